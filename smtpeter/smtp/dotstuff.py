"""Dot transparency on the way out (RFC 5321 section 4.5.2)."""

from __future__ import annotations

import re

_CRLF = b"\r\n"
_DOTS_AT_LINE_STARTS = re.compile(rb"\n\.")  # a third of what bytes.replace() takes, where there are any


class DotStuffer:
    """Doubles the dot at the start of each line, however the content is cut into chunks.

    The content is canonical: its lines end in CRLF, and there is no other CR or LF in it.
    """

    def __init__(self) -> None:
        self._tail = _CRLF  # the last two octets that went by: the first line starts like any other

    def feed(self, chunk: bytes) -> bytes:
        """The next octets for the wire."""
        stuffed = _DOTS_AT_LINE_STARTS.sub(b"\n..", chunk)
        if self._tail == _CRLF and chunk.startswith(b"."):
            stuffed = b"." + stuffed
        self._tail = chunk[-2:] if len(chunk) > 1 else (self._tail + chunk)[-2:]
        return stuffed

    def finish(self) -> bytes:
        """The final dot, with the line end that the content may lack."""
        return b".\r\n" if self._tail == _CRLF else b"\r\n.\r\n"
