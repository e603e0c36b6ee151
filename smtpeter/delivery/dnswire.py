"""DNS messages (RFC 1035): what is asked, and what was answered.  Nothing is sent here.

Only what mail needs is read, with little work even where somebody wrote a message to make much of it: each name in it
is spelled out once.
"""

from __future__ import annotations

import re
import struct
from ipaddress import IPv6Address
from typing import NamedTuple

from smtpeter.model.answer import Mx, Question, RecordType

PAYLOAD = 1232
"""Octets of a UDP answer that no network has to cut in pieces."""

NOERROR, FORMERR, NXDOMAIN, NOTIMP, BADVERS = 0, 1, 3, 4, 16
_CODES = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED", 16: "BADVERS"}

_NUMBERS = {RecordType.A: 1, RecordType.MX: 15, RecordType.AAAA: 28, RecordType.PTR: 12}
_NS, _CNAME, _SOA, _OPT = 2, 5, 6, 41
_INTERNET = 1
_HEADER, _TAIL, _RECORD = struct.Struct("!6H"), struct.Struct("!HH"), struct.Struct("!HHIH")
_NUMBER, _TIMES = struct.Struct("!H"), struct.Struct("!5I")

_RESPONSE, _TRUNCATED, _RECURSION_DESIRED, _OPCODE = 0x8000, 0x0200, 0x0100, 0x7800
_LONGEST_NAME = 255
_LONGEST_TTL = 0x7FFFFFFF  # more counts as 0 (RFC 2181 section 8)
_UNUSUAL = re.compile(r"[^!-\[\]-~]|\.")


class Query(NamedTuple):
    """``octets`` are what is sent."""

    question: Question
    number: int
    octets: bytes


class Record(NamedTuple):
    """``value`` is another name for an alias."""

    value: str | Mx
    ttl: int


class Response(NamedTuple):
    """What a name server said.  Names are in lower case without a dot at the end, and ``\\ddd`` for odd octets.

    ``records`` are those of the type that was asked for, by their name; ``aliases`` the CNAME records.
    ``negative_ttl`` is for how long there is nothing else (RFC 2308), None where that is not said.  ``refers``: to
    other servers.  A truncated one has nothing but that.
    """

    code: int
    truncated: bool
    records: dict[str, list[Record]]
    aliases: dict[str, Record]
    negative_ttl: int | None = None
    refers: bool = False


class _Malformed(Exception):
    pass


def code_text(code: int) -> str:
    """A response code, as people know it."""
    return _CODES.get(code, f"with the code {code}")


def make_query(question: Question, number: int, edns: bool = True) -> Query:
    """What is sent to a name server, under a number (16 bits) that should be random.

    :raises ValueError: where the name cannot be in the DNS: empty or long labels, too long as a whole.
    """
    octets = bytearray(_HEADER.pack(number, _RECURSION_DESIRED, 1, 0, 0, int(edns)))
    for label in question.name.encode("ascii").split(b"."):
        if not 1 <= len(label) <= 63:
            raise ValueError("a label is empty or longer than 63 octets")
        octets += bytes((len(label),)) + label
    octets += b"\0"
    if len(octets) - _HEADER.size > _LONGEST_NAME:
        raise ValueError("the name is too long")
    octets += _TAIL.pack(_NUMBERS[question.type], _INTERNET)
    if edns:
        octets += b"\0" + _RECORD.pack(_OPT, PAYLOAD, 0, 0)
    return Query(question, number, bytes(octets))


def parse_response(octets: bytes, query: Query) -> Response | None:
    """The response to this query; None for whatever else this is."""
    try:
        return _Reader(octets).response(query)
    except (_Malformed, IndexError, struct.error):
        return None


class _Reader:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._names: dict[int, str] = {}  # by where they begin

    def response(self, query: Query) -> Response:
        number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(self._octets)
        code = flags & 15
        if number != query.number or not flags & _RESPONSE or flags & _OPCODE or questions > 1:
            raise _Malformed
        if not questions and code in (NOERROR, NXDOMAIN):
            raise _Malformed
        response = Response(code, bool(flags & _TRUNCATED), {}, {})
        position = _HEADER.size
        wanted = _NUMBERS[query.question.type]
        if questions:
            name, position = self._name(position)
            if name != query.question.name or _TAIL.unpack_from(self._octets, position) != (wanted, _INTERNET):
                raise _Malformed
            position += _TAIL.size
        if response.truncated:
            return response
        negative_ttl, refers = None, False
        for index in range(answers + authorities + additional):
            name, position = self._name(position)
            kind, group, ttl, size = _RECORD.unpack_from(self._octets, position)
            position += _RECORD.size
            end = position + size
            if end > len(self._octets):
                raise _Malformed
            if index >= answers + authorities:
                if kind == _OPT:
                    code |= ttl >> 24 << 4
            elif group == _INTERNET:
                ttl = ttl if ttl <= _LONGEST_TTL else 0
                if index >= answers:
                    refers = refers or kind == _NS
                    if kind == _SOA:
                        negative_ttl = min(ttl, self._minimum(position))
                elif kind == wanted:
                    response.records.setdefault(name, []).append(Record(self._value(kind, position, size), ttl))
                elif kind == _CNAME:
                    response.aliases[name] = Record(self._name(position)[0], ttl)
            position = end
        refers = refers and negative_ttl is None
        return response._replace(code=code, negative_ttl=negative_ttl, refers=refers)

    def _value(self, kind: int, position: int, size: int) -> str | Mx:
        octets = self._octets[position : position + size]
        if kind == _NUMBERS[RecordType.MX]:
            return Mx(_NUMBER.unpack_from(octets)[0], self._name(position + 2)[0])
        if kind == _NUMBERS[RecordType.PTR]:
            return self._name(position)[0]
        if kind == _NUMBERS[RecordType.A] and size == 4:
            return ".".join(map(str, octets))
        if kind == _NUMBERS[RecordType.AAAA] and size == 16:
            return str(IPv6Address(octets))
        raise _Malformed

    def _minimum(self, position: int) -> int:
        """The last number of an SOA record: how long it holds that there is nothing."""
        position = self._name(self._name(position)[1])[1]
        minimum: int = _TIMES.unpack_from(self._octets, position)[4]
        return minimum

    def _name(self, position: int) -> tuple[str, int]:
        """The name that begins here, and where it ends."""
        labels: list[tuple[int, str]] = []
        end = tail = None
        bound = position
        size = 1
        while tail is None:
            length = self._octets[position]
            if length >= 0xC0:
                target = (length & 0x3F) << 8 | self._octets[position + 1]
                end = end or position + 2
                if target >= bound:
                    raise _Malformed  # only what came before can be meant, so there are no circles
                bound = position = target
                tail = self._names.get(target)
            elif length > 63:
                raise _Malformed
            elif length:
                label = self._octets[position + 1 : position + 1 + length].decode("latin-1").lower()
                if len(label) < length:
                    raise _Malformed
                labels.append((position, _UNUSUAL.sub(_escaped, label)))
                position += 1 + length
                size += 1 + length
                if size > _LONGEST_NAME:
                    raise _Malformed
            else:
                tail = ""
                end = end or position + 1
        name = tail
        for start, label in reversed(labels):
            name = f"{label}.{name}" if name else label
            self._names[start] = name
        if len(name) > 4 * _LONGEST_NAME:
            raise _Malformed
        return name, end or position


def _escaped(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]):03}"
