"""Lines out of a stream of commands, of bounded length (RFC 5321 sections 2.3.8 and 4.5.3.1.4)."""

from __future__ import annotations

from enum import Enum

_BEGINNING = 16


class LineFault(Enum):
    """Why a line cannot be read as a command."""

    TOO_LONG = "too long"
    BARE_NEWLINE = "not ended by CRLF, or with a CR or NUL inside"


class LineBuffer:
    """Keeps what has come in until it is asked for, as lines or as it is.

    A line over the limit is thrown away as it comes, so that no more than one limit of it is ever kept; ``beginning``
    is what it began with.  Nothing is kept alive of what was taken.
    """

    def __init__(self) -> None:
        self.beginning = b""
        self._data = b""
        self._position = 0
        self._discarding = False

    def __len__(self) -> int:
        return len(self._data) - self._position

    def append(self, data: bytes) -> None:
        """Add octets that came in."""
        self._data = self._data[self._position :] + data if self._position < len(self._data) else data
        self._position = 0

    def take_all(self) -> bytes:
        """All that is there, no matter where lines end."""
        data = self._data[self._position :] if self._position else self._data
        self._data = b""
        self._position = 0
        return data

    def take_line(self, limit: int) -> bytes | LineFault | None:
        """The next line without its CRLF, or what is wrong with it; None while it is not complete.

        ``limit`` counts octets with the CRLF.
        """
        end = self._data.find(b"\n", self._position)
        if end < 0:
            self._wait_for_more(limit)
            return None
        line = self._data[self._position : end + 1]
        self._position = end + 1
        if self._discarding or len(line) > limit:
            if not self._discarding:
                self.beginning = line[:_BEGINNING]
            self._discarding = False
            return LineFault.TOO_LONG
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            return LineFault.BARE_NEWLINE
        return line[:-2]

    def _wait_for_more(self, limit: int) -> None:
        self._data = self._data[self._position :]
        self._position = 0
        if len(self._data) > limit:
            if not self._discarding:
                self.beginning = self._data[:_BEGINNING]
            self._discarding = True
            self._data = b""
