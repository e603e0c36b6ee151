"""HTTP/1.1 for the simplest requests only, without I/O: octets in, requests and answers out.

Mail readers send GET and HEAD without a body; of those for ``/t/`` there may be very many.  Whatever has anything
unusual about it is :data:`HARD`, and somebody else's business: here is no error to answer, no body to find the end of,
nothing of what two readers of HTTP might understand in two ways (RFC 9112 section 11.2).
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from smtpeter.web.tracking import STRICT, Answer

LONGEST = 8192
"""Octets of a request."""

MOST_FIELDS = 100

BLOCKS = 1000
"""Different blocks of fields that are remembered: programs of one kind send the same octets each time."""

_LINE = re.compile(rb"(GET|HEAD) (/t/[!-~]*+) HTTP/1\.1\r\n")
_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)++\r\n")
_FIELD = re.compile(rb"([^:\r]++):[ \t]*+([^\r]*+)\r\n")  # of what is known to be fields
_BEGINNINGS = (b"GET /t/", b"HEAD /t/")

_HARD_NAMES = frozenset(
    {
        b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te", b"http2-settings",
        b"proxy-connection", b"keep-alive",
        # A proxy before us may take these for what they look like.
        b"content_length", b"transfer_encoding", b"content.length", b"transfer.encoding",
    }
)  # fmt: skip
_NO_BODY = frozenset({204, 304})


class _Hard(Enum):
    HARD = "hard"


HARD: Final = _Hard.HARD
"""Not a request for here."""


class Request(NamedTuple):
    """A request, all of it.  ``end`` is where the next one begins, ``close``: no other one follows."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    close: bool
    end: int


def read_request(octets: bytes, start: int) -> Request | _Hard | None:
    """The request that begins at ``start``; None where more of it has to come."""
    line = _LINE.match(octets, start)
    # The line's own end counts as the first half of an empty line: then there are no fields.
    found = -1 if line is None else octets.find(b"\r\n\r\n", line.end() - 2)
    if line is None or found < 0:
        return None if _may_become_simple(octets, start) else HARD
    end = found + 4
    if end - start > LONGEST:
        return HARD
    block = _read_block(octets[line.end() : end])
    if block is HARD:
        return HARD
    fields, close = block
    method, target = line.groups()
    return Request(method, target, fields, close, end)


@lru_cache(BLOCKS)
def _read_block(block: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], bool] | _Hard:
    """The fields of a block, which has the empty line behind it, and whether the connection ends after it."""
    if not _BLOCK.fullmatch(block):
        return HARD
    fields = tuple([(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(block)])
    names = [name for name, _ in fields]
    if len(fields) > MOST_FIELDS or names.count(b"host") != 1 or not _HARD_NAMES.isdisjoint(names):
        return HARD
    words = [value.lower() for name, value in fields if name == b"connection"]
    if words not in ([], [b"keep-alive"], [b"close"]):
        return HARD
    return fields, words == [b"close"]


def _may_become_simple(octets: bytes, start: int) -> bool:
    """Whether octets that are no request may be the beginning of one."""
    if len(octets) - start > LONGEST or octets.find(b"\r\n\r\n", start) >= 0:
        return False
    beginning = octets[start : start + 8]
    return any(beginning.startswith(each) or each.startswith(beginning) for each in _BEGINNINGS)


def write_answer(answer: Answer, date: bytes, method: bytes, close: bool) -> bytes:
    """An answer's octets.  ``date`` is the value of its ``Date`` field."""
    status, fields, body = answer
    lines = [_first_lines(status), date, b"\r\n"]
    for name, value in fields[len(STRICT) :]:
        lines += (name, b": ", value, b"\r\n")
    if status not in _NO_BODY:
        lines.append(b"Content-Length: %d\r\n" % len(body))
    lines.append(b"Connection: close\r\n\r\n" if close else b"\r\n")
    if method != b"HEAD" and status not in _NO_BODY:
        lines.append(body)
    return b"".join(lines)


@lru_cache(1000)
def _first_lines(status: int) -> bytes:
    strict = b"".join(b"%s: %s\r\n" % field for field in STRICT)
    return b"HTTP/1.1 %d %s\r\n%sDate: " % (status, HTTPStatus(status).phrase.encode("ascii"), strict)
