"""The header of a message as a submission server reads it: found by its octets, never parsed more than it must be."""

from __future__ import annotations

import re
from typing import NamedTuple

# RFC 5322 section 2.2; the space before the colon is its obsolete syntax (section 4.5).
_FIRST_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|>?From ")
# What was read is never tried again shorter (the "+" behind "*"): a name of 64 KiB without a colon has to be cheap.
_INTERESTING = re.compile(
    rb"^(received|date|message-id|subject|bcc|resent-bcc|x-smtpeter-(?-i:[!-9;-~]*+))[ \t]*+:",
    re.IGNORECASE | re.MULTILINE,
)
_CONTROL_PREFIX = b"x-smtpeter-"
_FIELD_END = re.compile(rb"\r\n(?![ \t])")


class Header(NamedTuple):
    """What a submission server wants to know of a header, and the octets that go on.

    ``block`` is the header without the fields that must not leave (Bcc, Resent-Bcc, X-SMTPeter-*), ending in CRLF,
    without the empty line behind it.  ``controls`` are the X-SMTPeter-* fields: lower-case names without the prefix,
    and their values.
    """

    block: bytes
    received: int
    has_date: bool
    message_id: bytes | None
    subject: bytes
    controls: tuple[tuple[str, bytes], ...]


def find_header_end(content: bytes | bytearray, start: int = 0) -> int | None:
    """Where the header ends: the offset just behind the CRLF of its last line, None while that cannot be told.

    ``start`` is the length of a shorter ``content`` that was searched before.  0 means that there is no header at all.
    """
    if content.startswith(b"\r\n") or (content and not _may_begin_header(content)):
        return 0
    end = content.find(b"\r\n\r\n", max(0, start - 3))
    return end + 2 if end >= 0 else None


def _may_begin_header(content: bytes | bytearray) -> bool:
    end = content.find(b"\r\n")
    if end < 0:
        return True
    return _FIRST_FIELD.match(content, 0, end) is not None


def read_header(block: bytes) -> Header:
    """Read a header block: fields, each ended by CRLF, without the empty line that ends them all."""
    received = 0
    has_date = False
    message_id: bytes | None = None
    subject = b""
    controls: list[tuple[str, bytes]] = []
    kept: list[bytes] = []
    begin = 0
    for match in _INTERESTING.finditer(block):
        name = match[1].lower()
        if name == b"received":
            received += 1
        elif name == b"date":
            has_date = True
        elif name == b"subject":
            subject = block[match.end() : _field_end(block, match.end())]
        elif name == b"message-id":
            message_id = block[match.end() : _field_end(block, match.end())].strip()
        else:
            end = _field_end(block, match.end())
            if name.startswith(_CONTROL_PREFIX):
                value = block[match.end() : end].replace(b"\r\n", b"").strip()
                controls.append((name[len(_CONTROL_PREFIX) :].decode("ascii"), value))
            kept.append(block[begin : match.start()])
            begin = end
    if begin:
        kept.append(block[begin:])
        block = b"".join(kept)
    return Header(block, received, has_date, message_id, subject, tuple(controls))


def count_fields(block: bytes) -> tuple[int, int]:
    """How many fields a header block has, and how many lines; cheap, so that what is too much is never read."""
    lines = block.count(b"\r\n")
    return lines - block.count(b"\r\n ") - block.count(b"\r\n\t"), lines


def _field_end(block: bytes, start: int) -> int:
    """The offset behind the CRLF of a field, its folded lines included (RFC 5322 section 2.2.3)."""
    end = _FIELD_END.search(block, start)
    return len(block) if end is None else end.end()
