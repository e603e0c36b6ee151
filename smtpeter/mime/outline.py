"""The tags of an HTML document without all that is between them: enough to tell which selectors match which element.

Where the tags are is found in the document itself, so that whoever learned something about an element can change its tag
and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

_ATTRIBUTES = (
    r"(?:[\s/]+|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s>\"'][^\s>]*+)?+)?+)*+"
)
_ATTRIBUTE = re.compile(
    r"([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"'][^\s>]*+))?+)?+"
)
_TAG = rf"</?[a-zA-Z][^\s/>]*+{_ATTRIBUTES}(?:>|\Z)"
_OPAQUE = "iframe|math|noembed|noframes|noscript|plaintext|script|select|style|svg|template|textarea|title|xmp"
_TOKEN = re.compile(
    r"(?P<comment><!--(?:-?>|[^-]*+(?:-(?!-!?>)[^-]*+)*+(?:--!?>|\Z)))"
    rf"|(?P<opaque><(?P<name>{_OPAQUE})(?=[\s/>]){_ATTRIBUTES}(?:>(?P<inner>(?:[^<]++|<(?!/(?P=name)[\s/>]))*+)|\Z)"
    r"(?P<close></(?P=name)[^>]*+>)?)"
    rf"|(?P<tag>{_TAG})"
    r"|(?P<odd><[!?/][^>]*+(?:>|\Z))",
    re.DOTALL | re.IGNORECASE,
)
_FIND_TAG = re.compile(_TAG)
_TAG_NAME = re.compile(r"</?([a-zA-Z][^\s/>]*)")
_ENGINE_NAME = re.compile(r"[a-z][a-z0-9-]*\Z")
_REVEALING = re.compile(r"<!--\s*\[\s*if\b[^\]]*\]\s*>\s*(?:<!(?:--)?\s*)?-->\Z|<!\[\s*if\b", re.IGNORECASE)
_REVEALED = re.compile(r"<!(?:--\s*<!)?\[\s*endif\b", re.IGNORECASE)
_QUOTES = ("", "", '"', "'", "")  # by the group of _ATTRIBUTE
_VOID = {"area", "br", "col", "embed", "hr", "img", "input", "param", "source", "track", "wbr"}
_CLOSED_BY_OTHERS = {"p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "colgroup", "option"}
_LEFT_OUT = {"base", "frame", "frameset", "head", "link", "meta"}  # none of them is shown
_EMPTY = {"iframe", "math", "select", "svg", "textarea"}  # elements of the body whose content nobody looks at
_HOLDING = {"noscript", "select", "svg", "template"}  # what is in them may be shown nevertheless


class Attribute(NamedTuple):
    """An attribute of a tag: its name in lower case, its value as it is written, and where both are, quotes included."""

    name: str
    value: str
    start: int
    end: int
    value_start: int
    quote: str


class StyleElement(NamedTuple):
    """A ``style`` element and its sheet.  ``common``: it is not only for readers other than Outlook."""

    source: str
    start: int
    end: int
    sheet_start: int
    sheet_end: int
    common: bool


class Outline(NamedTuple):
    """``tags`` are the start and end tags (source, start) of what is shown, in order, without those that not every reader
    takes for an element: the sources of such start tags are ``hidden``.  ``depth`` is how deep they nest, at least."""

    tags: list[tuple[str, int]]
    styles: list[StyleElement]
    hidden: set[str]
    depth: int
    doctype: bool


def read_outline(text: str) -> Outline:
    """The outline of a document or fragment in which template tags are covered.  Linear in its length."""
    tags: list[tuple[str, int]] = []
    styles: list[StyleElement] = []
    hidden: set[str] = set()
    steps: dict[str, int | None] = {}
    depth = deepest = 0
    doctype = revealed = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        source = match[0]
        if kind == "tag":
            if source not in steps:
                steps[source] = _step(source)
            step = steps[source]
            if step is None:
                hidden.add(source)
            else:
                tags.append((source, match.start()))
                depth += step
                deepest = max(deepest, depth)
        elif kind == "opaque":
            name = match["name"].lower()
            if match["inner"] is None:
                continue
            if name == "style" and match["close"]:
                tag = source[: match.start("inner") - match.start()]
                styles.append(StyleElement(tag, match.start(), match.end(), *match.span("inner"), not revealed))
            elif name in _EMPTY:
                tags.append((source[: match.start("inner") - match.start()], match.start()))
                tags.append((f"</{name}>", match.end()))
            if name in _HOLDING and match["inner"]:
                hidden.update(_FIND_TAG.findall(match["inner"]))
        elif _REVEALING.match(source):
            revealed = True
        elif _REVEALED.match(source):
            revealed = False
        elif kind == "comment":
            if "[" in source:
                hidden.update(_FIND_TAG.findall(source, 4))
        elif source[2:9].lower() == "doctype":
            doctype = True
    return Outline(tags, styles, hidden, deepest, doctype)


def tag_name(source: str) -> str:
    """The name of a tag, in lower case."""
    return _TAG_NAME.match(source)[1].lower()  # type: ignore[index]  # every tag has one


def attributes(source: str) -> Iterator[Attribute]:
    """The attributes of a start tag.  Where two have the same name, the first one counts."""
    name = _TAG_NAME.match(source)
    for match in _ATTRIBUTE.finditer(source, name.end() if name else 0, len(source) - 1):
        group = match.lastindex or 1
        value = match[group] if group > 1 else ""
        yield Attribute(match[1].lower(), value, match.start(), match.end(), match.start(group), _QUOTES[group])


def attribute(source: str, name: str) -> str | None:
    """The value of an attribute, decoded, or None where a start tag does not have it."""
    return next((unescape(each.value) for each in attributes(source) if each.name == name), None)


def _step(source: str) -> int | None:
    """How much deeper it is behind this tag; None for tags that are left out."""
    name = tag_name(source)
    if name in _LEFT_OUT or not _ENGINE_NAME.match(name) or source[-1] != ">":
        return None
    if name in _VOID or name in _CLOSED_BY_OTHERS:
        return 0
    return -1 if source[1] == "/" else 1
