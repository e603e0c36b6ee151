"""HTTP/1.1 for the simplest requests only, without I/O: octets in, requests and answers out.

Mail readers send GET and HEAD without a body, and programs hand over mail by POST; of those for ``/t/`` and
``/v1/send`` there may be very many.  Whatever has anything unusual about it is :data:`HARD`, and somebody else's
business: here is no error to answer, no body to find the end of but one whose length is told,
nothing of what two readers of HTTP might understand in two ways (RFC 9112 section 11.2).
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple

from smtpeter.web.tracking import Answer

LONGEST = 8192
"""Octets of a request without its body."""

LONGEST_BODY = 64 * 1024
"""Octets of a body."""

MOST_FIELDS = 100

HEADS = 1000
"""Different heads of answers that are remembered: all who follow one link have the same."""

BLOCKS = 1000
"""Different blocks of fields that are remembered: programs of one kind send the same octets each time."""

_LINE = re.compile(rb"(?:(GET|HEAD) (/t/[!-~]*+)|(POST) (/v1/send(?:\?[!-~]*+)?+)) HTTP/1\.1\r\n")
_LENGTH = re.compile(rb"[0-9]{1,5}")
_BLOCK = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[\t -~\x80-\xff]*+\r\n)++\r\n")
_FIELD = re.compile(rb"([^:\r]++):[ \t]*+([^\r]*+)\r\n")  # of what is known to be fields
_BEGINNINGS = (b"GET /t/", b"HEAD /t/", b"POST /v1/send ", b"POST /v1/send?")

_HARD_NAMES = frozenset(
    {
        b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te", b"http2-settings",
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


class LeanRequest(NamedTuple):
    """A request, all of it.  ``end`` is where the next one begins, ``close``: no other one follows."""

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    close: bool
    end: int
    body: bytes = b""


def read_request(octets: bytes, start: int) -> LeanRequest | _Hard | None:
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
    fields, close, length = block
    method = line[1]
    if method is not None:
        return HARD if length is not None else LeanRequest(method, line[2], fields, close, end)
    if length is None or length > LONGEST_BODY:
        return HARD
    if len(octets) < end + length:
        return None
    return LeanRequest(line[3], line[4], fields, close, end + length, octets[end : end + length])


@lru_cache(BLOCKS)
def _read_block(block: bytes) -> tuple[tuple[tuple[bytes, bytes], ...], bool, int | None] | _Hard:
    """The fields of a block, which has the empty line behind it, whether the connection ends after it, and how long the
    body is, None where there is none."""
    if not _BLOCK.fullmatch(block):
        return HARD
    fields = tuple([(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(block)])
    names = [name for name, _ in fields]
    if len(fields) > MOST_FIELDS or names.count(b"host") != 1 or not _HARD_NAMES.isdisjoint(names):
        return HARD
    words = [value.lower() for name, value in fields if name == b"connection"]
    if words not in ([], [b"keep-alive"], [b"close"]):
        return HARD
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) > 1 or not all(map(_LENGTH.fullmatch, lengths)):
        return HARD
    return fields, words == [b"close"], int(lengths[0]) if lengths else None


def _may_become_simple(octets: bytes, start: int) -> bool:
    """Whether octets that are no request may be the beginning of one."""
    if len(octets) - start > LONGEST or octets.find(b"\r\n\r\n", start) >= 0:
        return False
    beginning = octets[start : start + 14]
    return any(beginning.startswith(each) or each.startswith(beginning) for each in _BEGINNINGS)


def write_answer(answer: Answer, date: bytes, method: bytes, close: bool) -> bytes:
    """An answer's octets.  ``date`` is the value of its ``Date`` field."""
    status, fields, body = answer
    end = b"\r\nConnection: close\r\n\r\n" if close else b"\r\n\r\n"
    if method == b"HEAD" or status in _NO_BODY:
        return _head(status, fields, len(body)) + date + end
    return b"".join((_head(status, fields, len(body)), date, end, body))


@lru_cache(HEADS)
def _head(status: int, fields: tuple[tuple[bytes, bytes], ...], length: int) -> bytes:
    """All lines, up to the date."""
    lines = [b"HTTP/1.1 %d %s\r\n" % (status, HTTPStatus(status).phrase.encode("ascii"))]
    lines += [b"%s: %s\r\n" % field for field in fields]
    if status not in _NO_BODY:
        lines.append(b"Content-Length: %d\r\n" % length)
    return b"".join((*lines, b"Date: "))
