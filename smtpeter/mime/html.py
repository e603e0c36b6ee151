"""HTML as octets: where its links are, what people read of them, and where its body ends.

Nothing is parsed and written again: what is found are ranges, so that whoever edits changes those and nothing else.
The tokens are those of the HTML standard (13.2.5) with scripting off, in any encoding in which ASCII is ASCII.  Time is
linear in the number of octets, whatever they are.

Where this differs from a browser:

* Links in conditional comments (``<!--[if mso]> ... <![endif]-->``) count: they are those of Outlook.
* What is in ``svg`` and ``math`` is read by the rules of HTML, not of XML, and what is in ``template`` counts.
* The first ``</script>`` ends a script, even where that holds ``<!-- <script>``.
* A character reference in text is read as it is in attributes: ``&copyright`` stays what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.entities import html5
from typing import NamedTuple

# Within what is repeated possessively there is nothing that could be tried again, and no group: that is what keeps time
# linear, and what the first versions of Python 3.11 get right.
_SPACE = rb"[\t\n\f\r ]"
_NAME = rb"[^\t\n\f\r />]*+"
_ATTRIBUTE_NAME = rb"[^\t\n\f\r />][^\t\n\f\r />=]*+"
# A quote that is never closed takes all that follows, so that the tag has no end, and is none.
_VALUE = rb"""(?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|[^\t\n\f\r >"'][^\t\n\f\r >]*+|)"""
_ATTRIBUTES = rb"(?:[\t\n\f\r /]*+%b(?:%b*+=%b*+%b)?+)*+[\t\n\f\r /]*+" % (_ATTRIBUTE_NAME, _SPACE, _SPACE, _VALUE)
_CONDITION = rb"\[if[^\]>]*+\]>"
_COMMENT_TEXT = rb"(?:[^-]++|-(?!-!?>))*+"
_BOGUS_COMMENT = rb"(?:!(?!--)|\?|/(?![a-z]))[^>]*+>"  # a doctype too

# Elements whose content is text, whatever it looks like, up to their end tag.
_TEXT_ELEMENTS = rb"iframe|noembed|noframes|plaintext|script|style|textarea|title|xmp"
_OF_INTEREST = rb"(?:a|area|form|%b|/a|/body|/html)(?=[\t\n\f\r />])|v:" % _TEXT_ELEMENTS
# Most tags are such, as people write them, and go by in half the time.
_USUAL = (
    rb"(?-i:/?(?:t(?:[dr]|able|body)|p|br?|h[1-6r]|img|span|div|strong|center|ul|li)"
    rb"""(?: [a-z]++="[^"]*+")*+>)"""
)

_TOKEN = re.compile(
    # What is of no interest, and then what is.
    rb"[^<]*+(?:<(?:%b|(?!%b)/?[a-z]%b%b>|(?![a-z/!?])|%b|!--(?!%b)(?:-?>|%b--!?>))[^<]*+)*+"
    % (_USUAL, _OF_INTEREST, _NAME, _ATTRIBUTES, _BOGUS_COMMENT, _CONDITION, _COMMENT_TEXT)
    + rb"<(?:(/?[a-z]%b)(%b)>|!--%b(%b)--!?>)" % (_NAME, _ATTRIBUTES, _CONDITION, _COMMENT_TEXT),
    re.IGNORECASE,
)
_END_OF_TEXT = re.compile(rb"</(%b)(?=[\t\n\f\r />])" % _TEXT_ELEMENTS, re.IGNORECASE)
_ATTRIBUTE = re.compile(rb"(%b)(?:%b*+=%b*+%b)?+" % (_ATTRIBUTE_NAME, _SPACE, _SPACE, _VALUE))


def _first(name: bytes) -> re.Pattern[bytes]:
    """Finds the value of the first attribute with this name, from where the attributes begin."""
    others = rb"(?:[\t\n\f\r /]*+(?!%b(?:[\t\n\f\r />=]|\Z))%b(?:%b*+=%b*+%b)?+)*+[\t\n\f\r /]*+"
    value = rb"""%b%b*+=%b*+(?:"([^"]*+)"|'([^']*+)'|([^\t\n\f\r >"'][^\t\n\f\r >]*+))"""
    pattern = others % (name, _ATTRIBUTE_NAME, _SPACE, _SPACE, _VALUE) + value % (name, _SPACE, _SPACE)
    return re.compile(pattern, re.IGNORECASE)


_PIECE = re.compile(
    rb"(?P<text>[^<]++|<(?![a-z/!?]))|<(?:(?P<name>/?[a-z]%b)%b>|%b|!--(?:-?>|%b--!?>))"
    % (_NAME, _ATTRIBUTES, _BOGUS_COMMENT, _COMMENT_TEXT),
    re.IGNORECASE,
)
# Nothing that is shown follows, whatever stands before it.
_USUAL_END = re.compile(rb"</body[\t\n\f\r ]*+>[\t\n\f\r ]*+(?:</html[\t\n\f\r ]*+>[\t\n\f\r ]*+)?+\Z", re.IGNORECASE)
_END_LENGTH = 200  # octets
_REFERENCE = re.compile(rb"&(?:#([0-9]++);?|#[xX]([0-9A-Fa-f]++);?|([A-Za-z][A-Za-z0-9]*+(?:;|(?!=))))")

_OPENING_AND_CLOSING = (b"a", b"/a")
_HREF = _first(b"href")
_ADDRESSES = {b"a": _HREF, b"area": _HREF}
_ADDRESSES_AND_FORMS = {**_ADDRESSES, b"form": _first(b"action")}
_TEXTS = frozenset(_TEXT_ELEMENTS.split(b"|"))
_INLINE = frozenset(
    b"a abbr acronym b bdi bdo big cite code em font i ins mark s small span strong sub sup tt u wbr".split()
)
_AROUND = bytes(range(0x21))
_REPLACEMENT = "\ufffd".encode()


class Link(NamedTuple):
    """An element that leads somewhere.

    ``tag`` is its name in lower case, ``attributes`` all of them as they are written.  ``html[start:end]`` is the
    address as it is written, without quotes, and ``value`` what browsers make of it: character references decoded (to
    UTF-8, outside of ASCII), without control characters and spaces around it, and without tabs and ends of lines within
    it.  ``html[inner_start:inner_end]`` is what stands between an ``a`` and its end; nothing for other elements.
    """

    tag: bytes
    attributes: bytes
    start: int
    end: int
    value: bytes
    inner_start: int
    inner_end: int

    @property
    def names(self) -> tuple[bytes, ...]:
        """The names of its attributes, in lower case."""
        return tuple([name.lower() for name in _ATTRIBUTE.findall(self.attributes)])

    def has(self, name: bytes) -> bool:
        """Whether it has an attribute with this name, which is given in lower case."""
        return name in self.attributes.lower() and name in self.names


def find_links(html: bytes, *, forms: bool = False) -> list[Link]:
    """Each ``a``, ``area`` and VML element (``v:roundrect``) with its ``href``, in order; where ``forms`` is true each
    ``form`` with its ``action`` too.  Those whose address is empty, or not there, are left out."""
    links: list[Link] = []
    _collect(html, 0, len(html), _ADDRESSES_AND_FORMS if forms else _ADDRESSES, links)
    return links


def _collect(html: bytes, start: int, end: int, addresses: dict[bytes, re.Pattern[bytes]], links: list[Link]) -> None:
    """Add what is in ``html[start:end]``.  It calls itself for conditional comments, in which there are no others."""
    is_open = -1  # which of the links is an `a` that has not ended
    for name, token in _tokens(html, start, end):
        if not name:
            _collect(html, *token.span(3), addresses, links)
            continue
        if is_open >= 0 and name in _OPENING_AND_CLOSING:
            links[is_open] = Link(*links[is_open][:-1], token.start(1) - 1)
            is_open = -1
        wanted = addresses.get(name) or (_HREF if name.startswith(b"v:") else None)
        address = wanted.match(html, *token.span(2)) if wanted else None
        if address is None:
            continue
        group = address.lastindex or 0
        value = _address(address[group])
        if value:
            if name == b"a":
                is_open = len(links)
            inner = token.end()
            links.append(Link(name, token[2], *address.span(group), value, inner, end if name == b"a" else inner))


def find_body_end(html: bytes) -> int:
    """Where to put what is to be shown last: before the last ``</body>``, or else ``</html>``, or else at the end, but
    before ends of lines there."""
    usual = _USUAL_END.search(html, max(0, len(html) - _END_LENGTH))
    if usual is not None:
        return usual.start()
    body = document = -1
    for name, token in _tokens(html, 0, len(html)):
        if name == b"/body":
            body = token.start(1) - 1
        elif name == b"/html":
            document = token.start(1) - 1
    if body < 0:
        body = document if document >= 0 else len(html.rstrip(b"\r\n"))
    return body


def visible_text(html: bytes, start: int, end: int, encoding: str) -> str:
    """What people read of ``html[start:end]``, with one space for any white space, and none around it."""
    written = html[start:end]
    if b"<" not in written and b"&" not in written:
        return " ".join(written.decode(encoding, "replace").split())
    pieces = []
    while start < end:
        piece = _PIECE.match(html, start, end)
        if piece is None:
            break
        start = piece.end()
        if piece["text"]:
            pieces.append(piece["text"])
        elif piece["name"]:
            name = piece["name"].lower()
            if name.removeprefix(b"/") not in _INLINE:
                pieces.append(b" ")
            if name in _TEXTS:
                start = _end_of_text(html, name, start, end)
    text = b"".join(pieces).decode(encoding, "replace")
    return " ".join(_decode_references(text.encode("utf-8", "replace")).decode("utf-8", "replace").split())


def _tokens(html: bytes, start: int, end: int) -> Iterator[tuple[bytes, re.Match[bytes]]]:
    """Tags that are of interest, by their names in lower case, and conditional comments, without one."""
    # There is none at the end, nor where a tag or a comment begins that has none.
    while token := _TOKEN.match(html, start, end):
        start = token.end()
        name = (token[1] or b"").lower()
        if name in _TEXTS:
            start = _end_of_text(html, name, start, end)
        else:
            yield name, token


def _end_of_text(html: bytes, name: bytes, start: int, end: int) -> int:
    """Where the end tag of an element stands whose content is text; ``end`` where it has none."""
    if name != b"plaintext":
        for closing in _END_OF_TEXT.finditer(html, start, end):
            if closing[1].lower() == name:
                return closing.start()
    return end


def _address(written: bytes) -> bytes:
    """What an address in an attribute means, as the URL standard has it (4.4, up to where parts are told apart)."""
    if b"\0" in written:
        written = written.replace(b"\0", _REPLACEMENT)
    if b"&" in written:
        written = _decode_references(written)
    return written.translate(None, b"\t\n\r").strip(_AROUND)


def _decode_references(octets: bytes) -> bytes:
    """Decode character references, as they are read in attributes (HTML 13.2.5.72-80), once."""
    if octets.count(b"&") == octets.count(b"&amp;"):
        return octets.replace(b"&amp;", b"&")
    return _REFERENCE.sub(_decode_reference, octets)


def _decode_reference(reference: re.Match[bytes]) -> bytes:
    decimal, hexadecimal, name = reference.groups()
    if name is not None:
        text = html5.get(name.decode("ascii"))
        return reference[0] if text is None else text.encode("utf-8")
    digits = (decimal or hexadecimal).lstrip(b"0")
    code = int(digits or b"0", 10 if decimal else 16) if len(digits) < 8 else 0
    if 0x80 <= code < 0xA0:
        # Somebody meant Windows-1252, which leaves five of them as they are.
        return bytes((code,)).decode("cp1252", "replace").replace("\ufffd", chr(code)).encode("utf-8")
    if code == 0 or code > 0x10FFFF or 0xD800 <= code < 0xE000:
        return _REPLACEMENT
    return chr(code).encode("utf-8")
