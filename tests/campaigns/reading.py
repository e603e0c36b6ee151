"""How receivers read a message on the wire: the strict one of RFC 5321, and all that were ever fooled, in one."""

from __future__ import annotations

import re

_LOOSE_END = re.compile(rb"(?:^|\r\n|\r|\n)\.(?:\r\n|\r|\n)")


def read_strictly(stream: bytes) -> tuple[bytes, bytes] | None:
    """The lines behind 354 without stuffed dots, and what follows the final dot; None where that is not there."""
    content, end, rest = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    if not end:
        return None
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in content.split(b"\r\n")[1:]), rest


def has_bare(octets: bytes) -> bool:
    """Whether there is a CR or LF that is not of a CRLF."""
    unbroken = octets.replace(b"\r\n", b"")
    return b"\r" in unbroken or b"\n" in unbroken


def complaint(wire: bytes, content: bytes) -> str:
    """What is wrong with a message as it went out, final dot included; empty where a receiver gets ``content``."""
    if has_bare(wire):
        return "a bare CR or LF on the wire"
    read = read_strictly(wire)
    if read is None:
        return "no end"
    got, rest = read
    if rest:
        return f"an end before the end: {rest!r} follows"
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    if got != content:
        return f"{got!r} instead of {content!r}"
    # NULs never come so far; who skips them, and takes any newline for a line end, sees one end all the same.
    ends = [match.end() for match in _LOOSE_END.finditer(wire.replace(b"\0", b""))]
    return "" if ends == [len(wire)] else f"a loose receiver sees ends at {ends}"
