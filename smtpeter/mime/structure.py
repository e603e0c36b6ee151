"""The MIME structure of a message (RFC 2045, RFC 2046), found by its octets: offsets only, nothing is decoded.

The content is canonical (its lines end in CRLF).  It may be hostile: each octet is looked at a small number of times,
whatever is nested in what, nothing is recursive, and a message beyond the limits has no structure at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

DEPTH_LIMIT = 32
PARTS_LIMIT = 1000
HEADER_LIMIT = 262_144  # octets of one header
_HEADERS_LIMIT = 16 << 20  # octets of all headers
_FIELD_LIMIT = 8192  # octets that are read of one field
_PARAMETERS_LIMIT = 100  # of one field
_PARAMETER_LIMIT = 2048  # octets of one; a boundary may have 70
IDENTITIES = frozenset(("", "7bit", "8bit", "binary"))  # transfer encodings that change nothing
SEALED = frozenset(
    (
        "multipart/signed", "multipart/encrypted",
        "application/pkcs7-mime", "application/x-pkcs7-mime",
    )
)  # fmt: skip
"""Media types that are signed or encrypted: nothing within may be touched."""

_CANDIDATES_LIMIT = 500_000  # lines that begin like a delimiter and are none
_LINE_LIMIT = 1 << 20  # octets of a line that is taken for a delimiter
_WINDOW = 1 << 18  # octets of one search: other threads can run in between

# A header ends where a line is neither field nor continuation.  No field begins with "--", as delimiters do.
_HEADER = re.compile(
    rb"(?:>?From [^\r\n]*\r\n)?(?:(?!--)[!-9;-~]++[ \t]*+:[^\r\n]*+(?:\r\n|\Z)|[ \t][^\r\n]*+(?:\r\n|\Z))*+"
)
_ANY_FIELD = re.compile(rb"^([!-9;-~]++)[ \t]*+:((?:[^\r\n]++|\r\n[ \t])*+)", re.M)
_CONTENT_FIELD = re.compile(rb"^(content-[!-9;-~]++)[ \t]*+:((?:[^\r\n]++|\r\n[ \t])*+)", re.I | re.M)
_FIELD = re.compile(rb"^(content-type|content-transfer-encoding)[ \t]*:((?:[^\r\n]++|\r\n[ \t])*+)", re.I | re.M)
# A comment that is not closed goes on to the end: it is not read again for each "(" in it.
_COMMENT = rb"\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*+(?:\)|\Z))*+(?:\)|\Z)"
_SPACE = rb"(?:[ \t\r\n]|" + _COMMENT + rb")*+"
_TOKEN = rb"([!#$%&'*+.^_`|~0-9A-Za-z-]++)"
_LEADING_TOKEN = re.compile(_SPACE + _TOKEN + _SPACE, re.S)
_MEDIA_TYPE = re.compile(_SPACE + _TOKEN + _SPACE + rb"/" + _SPACE + _TOKEN + _SPACE, re.S)
_PARAMETER = re.compile(
    rb";" + _SPACE + rb"(?:" + _TOKEN + _SPACE + rb"=" + _SPACE
    + rb'(?:"((?:[^"\\]|\\.)*+)"?|([^\s;]*+))' + _SPACE + rb")?",
    re.S,
)  # fmt: skip
_QUOTED_PAIR = re.compile(rb"\\(.)", re.S)


class Part(NamedTuple):
    """One entity: the message itself, or a part of it.  All numbers are offsets in the content.

    The header is ``content[begin:header_end]``, its last CRLF included; where no empty line follows it, ``body`` is
    the same offset.  The body is ``content[body:end]``, without the CRLF that belongs to the delimiter behind it.
    ``parent`` is the index of the part that holds this one, -1 for the message.  ``type`` is the media type in lower
    case, ``encoding`` the transfer encoding in lower case, empty where there is none.

    ``inner`` tells that the body has been looked into: a multipart whose delimiters were found, or a message/rfc822.
    In such a multipart, what stands before ``preamble_end`` and, where ``epilogue`` is not 0, what stands behind it is
    shown to nobody (RFC 2046 section 5.1.1).
    """

    begin: int
    header_end: int
    body: int
    end: int
    parent: int
    type: str
    encoding: str
    boundary: bytes = b""
    inner: bool = False
    preamble_end: int = 0
    epilogue: int = 0


def scan(content: bytes, *, depth: int = DEPTH_LIMIT, parts: int = PARTS_LIMIT) -> list[Part] | None:
    """All parts in the order in which they begin, the message first; None where the message is beyond the limits."""
    try:
        return _Scanner(content, depth, parts).scan()
    except _TooComplex:
        return None


def find_fields(content: bytes) -> list[tuple[bytes, bytes]]:
    """Names, in lower case, and unfolded values of all fields of a message's header, as far as it is read."""
    match = _HEADER.match(content, 0, min(len(content), HEADER_LIMIT))
    assert match is not None
    fields = _ANY_FIELD.finditer(content, 0, match.end())
    return [(field[1].lower(), field[2].replace(b"\r\n", b"").strip(b" \t")) for field in fields]


def content_fields(content: bytes, part: Part) -> dict[bytes, bytes]:
    """The ``Content-...`` fields of a part: names in lower case, and unfolded values.  Of several that are alike the
    first counts."""
    found: dict[bytes, bytes] = {}
    for field in _CONTENT_FIELD.finditer(content, part.begin, part.header_end):
        found.setdefault(field[1].lower(), field[2][:_FIELD_LIMIT].replace(b"\r\n", b"").strip(b" \t"))
    return found


def content_parameters(value: bytes) -> dict[bytes, bytes]:
    """The parameters of a Content-Type or Content-Disposition field, for :func:`parameter`."""
    match = _MEDIA_TYPE.match(value) or _LEADING_TOKEN.match(value)
    return _read_parameters(value, match.end() if match else 0)


def parameter(given: Mapping[bytes, bytes], name: bytes) -> bytes:
    """A parameter: plain, quoted, or in the ways of RFC 2231.  Empty where it is not there."""
    if name in given:
        return given[name].rstrip()
    if name + b"*" in given:
        return _decode_extended(given[name + b"*"]).rstrip()
    return _joined_sections(given, name).rstrip()


def leading_token(value: bytes) -> str:
    """The first word of a field, behind comments and white space, in lower case: a transfer encoding, a disposition."""
    match = _LEADING_TOKEN.match(value)
    return "" if match is None else match[1].decode("ascii").lower()


def delimiters_around(parts: Sequence[Part], part: Part) -> frozenset[bytes]:
    """What a line of this part must not be, behind two hyphens."""
    delimiters = set()
    while part.parent >= 0:
        part = parts[part.parent]
        if part.boundary:
            delimiters |= {part.boundary, part.boundary + b"--"}
    return frozenset(delimiters)


def is_message(parts: Sequence[Part], part: Part) -> bool:
    """Whether a part's header is that of a message, and not of a part of a multipart."""
    return part.parent < 0 or not parts[part.parent].boundary


class _TooComplex(Exception):
    """The message is beyond the limits."""


class _Delimiter(NamedTuple):
    """A delimiter line: where its CRLF begins, where what follows it begins, whose it is, and whether it is the last
    one (``close``)."""

    at: int
    next: int
    owner: int
    close: bool


class _Scanner:
    """One pass over the content.  ``_open`` are the parts around the present one, outermost first; ``_boundaries``
    those of them that wait for a delimiter.  Where two have the same boundary, its lines belong to the outer one."""

    def __init__(self, content: bytes, depth: int, parts: int) -> None:
        self._content = content
        self._depth_limit = depth
        self._parts_limit = parts
        self._parts: list[Part] = []
        self._open: list[int] = []
        self._boundaries: dict[bytes, int] = {}
        self._candidates = 0
        self._headers = 0

    def scan(self) -> list[Part]:
        position = self._enter(0, -1, "text/plain")
        while (delimiter := self._next_delimiter(position)) is not None:
            self._end_inside(delimiter.owner, delimiter.at)
            if delimiter.close:
                self._close(delimiter)
                position = delimiter.next
            else:
                position = self._next_part(delimiter)
        self._end_inside(-1, len(self._content))
        return self._parts

    def _enter(self, begin: int, parent: int, default_type: str) -> int:
        """A part begins, and with it those that begin in it.  Answers from where delimiters are to be looked for."""
        while True:
            index, part = len(self._parts), self._read(begin, parent, default_type)
            if index >= self._parts_limit or len(self._open) >= self._depth_limit:
                raise _TooComplex
            self._parts.append(part)
            self._open.append(index)
            if part.boundary:
                if part.boundary not in self._boundaries:
                    self._boundaries[part.boundary] = index
            elif part.inner:
                begin, parent, default_type = part.body, index, "text/plain"
                continue
            # The CRLF before the body may belong to a delimiter that is the body's first line.
            return max(0, part.body - 2)

    def _read(self, begin: int, parent: int, default_type: str) -> Part:
        content = self._content
        match = _HEADER.match(content, begin, min(len(content), begin + HEADER_LIMIT + 1))
        assert match is not None
        header_end = match.end()
        self._headers += header_end - begin
        if header_end - begin > HEADER_LIMIT or self._headers > _HEADERS_LIMIT:
            raise _TooComplex
        separated = content.startswith(b"\r\n", header_end)
        body = header_end + 2 if separated else header_end
        fields: dict[bytes, bytes] = {}
        for field in _FIELD.finditer(content, begin, header_end):
            fields.setdefault(field[1].lower(), field[2][:_FIELD_LIMIT].replace(b"\r\n", b""))
        given = fields.get(b"content-type")
        type, boundary = (default_type, b"") if given is None else _read_content_type(given)
        encoding = leading_token(fields.get(b"content-transfer-encoding", b""))
        inner = type == "message/rfc822" and separated and encoding in IDENTITIES
        if not type.startswith("multipart/"):
            boundary = b""
        return Part(begin, header_end, body, len(content), parent, type, encoding, boundary, inner)

    def _next_part(self, delimiter: _Delimiter) -> int:
        owner = self._parts[delimiter.owner]
        if not owner.inner:
            self._parts[delimiter.owner] = owner._replace(inner=True, preamble_end=max(owner.body, delimiter.at))
        default_type = "message/rfc822" if owner.type == "multipart/digest" else "text/plain"
        return self._enter(delimiter.next, delimiter.owner, default_type)

    def _close(self, delimiter: _Delimiter) -> None:
        """The last part of a multipart has ended; the multipart itself goes on to the end of its epilogue."""
        owner = self._parts[delimiter.owner]
        self._parts[delimiter.owner] = owner._replace(epilogue=delimiter.next)
        del self._boundaries[owner.boundary]

    def _end_inside(self, owner: int, at: int) -> None:
        """All parts inside this one end here."""
        while self._open and self._open[-1] != owner:
            index = self._open.pop()
            part = self._parts[index]
            if self._boundaries.get(part.boundary) == index:
                del self._boundaries[part.boundary]
            self._parts[index] = part._replace(end=max(part.body, at))

    def _next_delimiter(self, start: int) -> _Delimiter | None:
        content, boundaries = self._content, self._boundaries
        for at in self._lines_with_dashes(start) if boundaries else ():
            line_end = content.find(b"\r\n", at + 4, at + 4 + _LINE_LIMIT)
            if line_end < 0:
                if len(content) - at > _LINE_LIMIT:
                    continue  # no delimiter has such a line
                line_end = len(content)
            text = content[at + 4 : line_end].rstrip(b" \t")
            owner = boundaries.get(text)
            if owner is not None:
                return _Delimiter(at, min(line_end + 2, len(content)), owner, False)
            owner = boundaries.get(text[:-2]) if text.endswith(b"--") else None
            if owner is not None:
                return _Delimiter(at, line_end, owner, True)
            self._candidates += 1
            if self._candidates > _CANDIDATES_LIMIT:
                raise _TooComplex
        return None

    def _lines_with_dashes(self, start: int) -> Iterator[int]:
        """Offsets of CRLFs behind which a line begins with two hyphens."""
        content = self._content
        while start < len(content):
            window = start + _WINDOW
            at = content.find(b"\r\n--", start, window + 3)
            if at < 0:
                start = window
            else:
                yield at
                start = at + 4


# --- fields -----------------------------------------------------------------------------------------------------------


def _read_content_type(value: bytes) -> tuple[str, bytes]:
    """Media type and boundary.  What cannot be read is text/plain (RFC 2045 section 5.2)."""
    match = _MEDIA_TYPE.match(value)
    if match is None:
        return "text/plain", b""
    type = b"/".join(match.groups()).decode("ascii").lower()
    if not type.startswith("multipart/"):
        return type, b""
    return type, parameter(_read_parameters(value, match.end()), b"boundary")


def _read_parameters(value: bytes, start: int) -> dict[bytes, bytes]:
    """Names in lower case and values as they are given.  Of several that are alike the first counts."""
    given: dict[bytes, bytes] = {}
    for _ in range(_PARAMETERS_LIMIT):
        start = value.find(b";", start)
        match = _PARAMETER.match(value, start) if start >= 0 else None
        if match is None:
            break
        name, quoted, plain = match.groups(b"")
        if len(name) <= _PARAMETER_LIMIT and len(quoted) <= _PARAMETER_LIMIT >= len(plain):
            given.setdefault(name.lower(), _QUOTED_PAIR.sub(rb"\1", quoted) or plain)
        start = match.end()
    return given


def _joined_sections(given: Mapping[bytes, bytes], name: bytes) -> bytes:
    """``boundary*0=``, ``boundary*1*=`` and so on, joined (RFC 2231 section 3)."""
    sections = []
    for number in range(len(given)):
        section = b"%b*%d" % (name, number)
        if section in given:
            sections.append(given[section])
        elif section + b"*" in given:
            value = given[section + b"*"]
            sections.append(unquote_to_bytes(value) if number else _decode_extended(value))
        else:
            break
    return b"".join(sections)


def _decode_extended(value: bytes) -> bytes:
    """``charset'language'text`` with percent signs (RFC 2231 section 4)."""
    return unquote_to_bytes(value.split(b"'", 2)[-1])
