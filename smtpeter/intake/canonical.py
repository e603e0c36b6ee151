"""What the octets of a whole message have to be: the same as those that can come after DATA."""

from __future__ import annotations

from smtpeter.errors import Refusal
from smtpeter.model.reply import Reply
from smtpeter.smtp.answers import DATA_FAULTS
from smtpeter.smtp.data import LINE_LIMIT, DataFault

_BARE = Reply(554, "5.6.0", DATA_FAULTS[DataFault.BARE_NEWLINE].text)


class CanonicalOctets:
    """Looks at a message that passes in pieces of at most ``LINE_LIMIT`` octets.

    ``size`` counts them (RFC 1870); ``seven_bit`` tells whether all were ASCII so far.
    """

    def __init__(self, size_limit: int) -> None:
        self.size = 0
        self.seven_bit = True
        self._size_limit = size_limit
        self._line = 0
        self._last = b""

    def look(self, piece: bytes) -> None:
        """The next octets.

        :raises Refusal: where they are too many, or unfit (RFC 5321 sections 2.3.8 and 4.5.3.1.6).
        """
        self.size += len(piece)
        if self.size > self._size_limit:
            raise Refusal(*DATA_FAULTS[DataFault.TOO_LARGE])
        self.seven_bit = self.seven_bit and piece.isascii()
        after_cr = self._last == b"\r"
        pairs = piece.count(b"\r\n")
        if (
            piece.startswith(b"\n") != (after_cr and bool(piece))
            or piece.count(b"\n") != pairs + piece.startswith(b"\n")
            or piece.count(b"\r") != pairs + piece.endswith(b"\r")
            or b"\0" in piece
        ):
            raise Refusal(*_BARE)
        self._look_at_lines(piece)
        self._last = piece[-1:] or self._last

    def end(self) -> bytes:
        """Nothing more comes; what is missing of the last line's end, empty where it has one.

        :raises Refusal: as :meth:`look`.
        """
        if self._last == b"\r":
            raise Refusal(*_BARE)
        return b"" if self._last in (b"", b"\n") else b"\r\n"

    def _look_at_lines(self, piece: bytes) -> None:
        """No line between two line ends of a piece can be too long."""
        first = piece.find(b"\n")
        if first < 0:
            self._line += len(piece)
            longest = self._line - piece.endswith(b"\r")
        else:
            longest = self._line + first - 1
            self._line = len(piece) - piece.rfind(b"\n") - 1
        if longest > LINE_LIMIT:
            raise Refusal(*DATA_FAULTS[DataFault.LINE_TOO_LONG])
