"""Replies out of the stream that a receiver sends (RFC 5321 section 4.2, RFC 2034).

What a receiver writes is not to be trusted: a reply has a bounded number of lines and octets, its text comes out clean,
and whatever cannot be read for certain is an error, never a guess.
"""

from __future__ import annotations

import re
from functools import lru_cache

from smtpeter.model.reply import Reply, clean_text

LINES_LIMIT = 128
SIZE_LIMIT = 65536  # octets of one reply
_SHORT = 128  # octets of a line that may be kept, for it may come again

_LINE = re.compile(rb"([2-5][0-9][0-9])(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?![^ \t])")


class MalformedReply(ValueError):
    """What came is no reply; nothing that follows it can be understood.  The text is for logs and holds none of it."""


class ReplyParser:
    """Takes octets in pieces of any size and gives replies.

    The text of a reply keeps its lines apart with ``\\n`` and leaves out the enhanced status code.  Lines that end in a
    bare LF are let pass.
    """

    def __init__(self) -> None:
        self._data = b""
        self._position = 0
        self._code = 0
        self._size = 0
        self._lines: list[str] = []

    @property
    def pending(self) -> bool:
        """Whether octets have come in beyond the last reply that was given."""
        return self._position < len(self._data) or bool(self._lines)

    def feed(self, data: bytes) -> None:
        """Add octets that came in."""
        self._data = self._data[self._position :] + data if self._position < len(self._data) else data
        self._position = 0

    def next_reply(self) -> Reply | None:
        """The next reply, None while it is not complete.

        :raises MalformedReply: where there is something else; the parser is of no further use then.
        """
        while True:
            start = self._position
            end = self._data.find(b"\n", start)
            self._check_size((len(self._data) if end < 0 else end + 1) - start)
            if end < 0:
                return None
            self._position = end + 1
            self._size += end + 1 - start
            line = self._data[start:end]
            if len(line) <= _SHORT and line[3:4] != b"-" and not self._lines:
                self._size = 0
                return _read_short_reply(line)
            code, last, text = _read_line(line)
            if last and not self._lines:
                self._size = 0
                return _make_reply(code, text)
            if self._lines and code != self._code:
                raise MalformedReply("a reply whose lines have different codes")
            self._code = code
            self._lines.append(text)
            if last:
                lines, self._lines, self._size = self._lines, [], 0
                return _join(code, lines)
            if len(self._lines) >= LINES_LIMIT:
                raise MalformedReply(f"a reply of more than {LINES_LIMIT} lines")

    def _check_size(self, more: int) -> None:
        if self._size + more > SIZE_LIMIT:
            raise MalformedReply(f"a reply of more than {SIZE_LIMIT} octets")


def _read_line(line: bytes) -> tuple[int, bool, str]:
    """The code, whether the reply ends here, and the text, clean."""
    match = _LINE.fullmatch(line.rstrip(b"\r"))
    if match is None:
        raise MalformedReply("a line that is no SMTP reply")
    digits, separator, octets = match.groups()
    text = (octets or b"").decode("utf-8", "replace")
    if not text.isprintable() or len(text) > 512:
        text = clean_text(text)
    return int(digits), separator != b"-", text


@lru_cache(maxsize=256)  # nearly all replies are a few
def _read_short_reply(line: bytes) -> Reply:
    code, _, text = _read_line(line)
    return _make_reply(code, text)


def _make_reply(code: int, text: str) -> Reply:
    match = _ENHANCED.match(text)
    if match is None or int(match[1]) != code // 100:
        return Reply(code, "", text.strip())
    return Reply(code, match[0], text[match.end() :].strip())


def _join(code: int, lines: list[str]) -> Reply:
    first = _make_reply(code, lines[0])
    if not first.enhanced:
        return Reply(code, "", "\n".join(lines))
    rest = [line.removeprefix(first.enhanced).strip() for line in lines[1:]]
    return Reply(code, first.enhanced, "\n".join((first.text, *rest)))
