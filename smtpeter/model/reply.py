"""One SMTP reply, on the wire and in the record."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

_BIDI = (*range(0x200E, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))  # they make a text look like another
_PRINTABLE = dict.fromkeys((*range(0x20), 0x7F, *range(0x80, 0xA0), 0x2028, 0x2029, *_BIDI), " ")
TEXT_LIMIT = 1024


def clean_text(text: str, limit: int = TEXT_LIMIT) -> str:
    """Text of a peer made fit for storage, logs and reports: no controls, at most ``limit`` characters."""
    if text.isprintable():
        return text[:limit].strip()
    return text.translate(_PRINTABLE)[:limit].strip()


class Reply(NamedTuple):
    """A reply of three parts (RFC 5321 section 4.2, RFC 2034).

    ``enhanced`` is empty where RFC 2034 wants none (greeting, EHLO, 3xx).  ``text`` may have several lines.
    """

    code: int
    enhanced: str
    text: str

    @property
    def category(self) -> int:
        """The class of the reply: 2, 3, 4 or 5."""
        return self.code // 100

    def encode(self) -> bytes:
        """The reply as octets.  Controls in a text become spaces, so that no text can add a line of its own."""
        return _encode(self)

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text.replace("\n", " ")) if part)


@lru_cache(maxsize=256)  # nearly all replies are a few
def _encode(reply: Reply) -> bytes:
    lead = f"{reply.enhanced} " if reply.enhanced else ""
    lines = [clean_text(line) for line in reply.text.split("\n")]
    last = len(lines) - 1
    return "".join(
        f"{reply.code}{' ' if number == last else '-'}{lead}{line}\r\n" for number, line in enumerate(lines)
    ).encode("utf-8")
