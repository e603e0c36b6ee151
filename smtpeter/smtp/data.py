"""The octets after DATA: where they end, what is taken off them, what makes them unfit (RFC 5321 section 4.5.2).

Only ``<CRLF>.<CRLF>`` ends a message, whatever else a client sends: a message that holds a bare CR, a bare LF or a NUL
is swallowed to its real end and then refused, so that no part of it is ever read as a command.
"""

from __future__ import annotations

import re
from enum import Enum

LINE_LIMIT = 65536
_END = b"\r\n.\r\n"
_STUFFED_DOTS = re.compile(rb"\n\.")  # half the time of bytes.replace() where there are any
_ANYTHING_ELSE = bytes(octet for octet in range(256) if octet not in b"\r\n\0")


class DataFault(Enum):
    """Why a message cannot be taken."""

    BARE_NEWLINE = "bare CR, LF or NUL"
    TOO_LARGE = "too large"
    LINE_TOO_LONG = "line too long"


class DataDecoder:
    """Takes the stream after 354 in pieces of any size.

    ``fault`` is set as soon as the message is known to be unfit; from then on nothing more comes out of it.  Where
    there are several, it is in the end the worst of them, however the stream was cut.  ``size`` counts the octets
    without the stuffed dots and the final line (RFC 1870).
    """

    def __init__(self, size_limit: int) -> None:
        self.size = 0
        self.fault: DataFault | None = None
        self._size_limit = size_limit
        # The line end before the first line belongs to the DATA command: it lets a dot at once end the message, and is
        # taken off the first piece that comes out.
        self._held = b"\r\n"
        self._first = True
        self._line = 0

    def feed(self, chunk: bytes) -> tuple[bytes, bytes | None]:
        """Take octets of the stream.

        Answers the content that they complete, and None while the message goes on; once its final dot was seen,
        what came after that instead.
        """
        data = self._held + chunk
        end = data.find(_END)
        if end >= 0:
            return self._emit(data[: end + 2]), data[end + 5 :]
        cut = len(data) - _held_back(data)
        self._held = data[cut:]
        return self._emit(data[:cut]), None

    def _emit(self, piece: bytes) -> bytes:
        if not piece or self.fault is DataFault.BARE_NEWLINE:
            return b""
        # Every CR and LF belongs to a CRLF, and there is no NUL.
        if len(piece.translate(None, _ANYTHING_ELSE)) != 2 * piece.count(b"\r\n"):
            self.fault = DataFault.BARE_NEWLINE
            return b""
        piece = _STUFFED_DOTS.sub(b"\n", piece)
        if not self._lines_fit(piece):
            self.fault = DataFault.LINE_TOO_LONG
        if self._first:
            self._first = False
            piece = piece[2:]
        self.size += len(piece)
        if self.size > self._size_limit and self.fault is None:
            self.fault = DataFault.TOO_LARGE
        return piece if self.fault is None else b""

    def _lines_fit(self, piece: bytes) -> bool:
        """Whether no line is over the limit, its CRLF and a stuffed dot not counted (RFC 5321 section 4.5.3.1.6)."""
        first = piece.find(b"\n")
        if first < 0:
            self._line += len(piece)
            return self._line <= LINE_LIMIT
        longest = self._line + first - 1  # the CR is in this piece: none is ever given out alone
        self._line = len(piece) - piece.rfind(b"\n") - 1
        if len(piece) > LINE_LIMIT:
            longest = max(longest, max(map(len, piece.split(b"\n"))) - 1)
        return max(longest, self._line) <= LINE_LIMIT


def _held_back(data: bytes) -> int:
    """How many octets at the end of ``data`` may be the beginning of the final dot."""
    for length in (4, 3, 2, 1):
        if data.endswith(_END[:length]):
            return length
    return 0
