"""The tags of an HTML document without all that is between them: enough to tell which selectors match which element.

Where the tags are is found in the document itself, so that whoever learned something about an element can change its
tag and nothing else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from html import unescape
from typing import NamedTuple

# All begin with "<", which is searched for in no time.  Of tags, behind that, the first alternative is for those that
# people write, and much faster.
_TAG = (
    r"/?[a-zA-Z](?:[^>\"'=]*+(?:=\s*+(?:\"[^\"]*+\"|'[^']*+'|[^\s>\"'][^\s>]*+)?+[^>\"'=]*+)*+>"
    r"|[^\s/>]*+(?:[\s/]++|[^\s/>][^\s/>=]*+(?:\s*+=\s*+(?:\"[^\"]*+(?:\"|\Z)|'[^']*+(?:'|\Z)|[^\s>\"'][^\s>]*+)?+)?+)*+"
    r">)"
)
# `unclosed` is what browsers leave out: a tag that goes on to the end.
_TOKEN = re.compile(
    rf"<(?:{_TAG}|(?P<unclosed>/?[a-zA-Z](?s:.*))"
    r"|!--(?:-?>|[^-]*+(?:-(?!-!?>)[^-]*+)*+(?:--!?>|\Z))|[!?/][^>]*+(?:>|\Z))"
)
CUT = re.compile("(" + _TOKEN.pattern.replace("?P<unclosed>", "?:") + ")")
"""With its ``split`` a text becomes text, token, text, token, ... text."""
_FIND_TAG = re.compile(f"<(?:{_TAG})")
_TAG_NAME = re.compile(r"</?([a-zA-Z][^\s/>]*)")
_ATTRIBUTE = re.compile(r"([^\s/>][^\s/>=]*+)(?:\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s>\"'][^\s>]*+))?+)?+")
_HAS_WORDS = re.compile(r"[\s\"'/](?:class|id)\s*=", re.IGNORECASE)
_QUOTES = ("", "", '"', "'", "")  # by the group of _ATTRIBUTE
_ENGINE_NAME = re.compile(r"[a-z][a-z0-9-]*\Z")
_REVEALING = re.compile(r"<!--\s*\[\s*if\b[^\]]*\]\s*>\s*(?:<!(?:--)?\s*)?-->\Z|<!\[\s*if\b", re.IGNORECASE)
_REVEALED = re.compile(r"<!(?:--\s*<!)?\[\s*endif\b", re.IGNORECASE)
_VOID = {"area", "br", "col", "embed", "hr", "img", "input", "param", "source", "track", "wbr"}
_CLOSED_BY_OTHERS = {"p", "li", "dt", "dd", "td", "th", "tr", "tbody", "thead", "tfoot", "colgroup", "option"}
_LEFT_OUT = {"base", "frame", "frameset", "head", "link", "meta"}  # none of them is shown
# What is in them is no HTML, or not read as HTML by everybody.
_OPAQUE = {
    "iframe", "math", "noembed", "noframes", "noscript", "plaintext", "script", "select", "style", "svg", "template",
    "textarea", "title", "xmp",
}  # fmt: skip
_INTO = 2
_REMEMBERED = 300  # characters
_SHOWN = {"iframe", "math", "select", "svg", "textarea"}
_HOLDING = {"noscript", "select", "svg", "template"}  # elements


class Attribute(NamedTuple):
    """An attribute: its name in lower case, its value as it is written, and where both are in the tag, with quotes."""

    name: str
    value: str
    start: int
    end: int
    value_start: int
    quote: str


class Vocabulary(NamedTuple):
    """Names of elements in lower case, words of their classes and ids, and how many have each of them."""

    tags: Counter[str]
    words: Counter[str]


class StyleElement(NamedTuple):
    """A ``style`` element and its sheet.  ``common``: it is not only for readers other than Outlook."""

    source: str
    start: int
    end: int
    sheet_start: int
    sheet_end: int
    common: bool


class Outline(NamedTuple):
    """The start and end tags of what is shown, in order: their sources, and where they are.

    Left out are those that not every reader takes for elements: the sources of such start tags are ``hidden``.
    ``depth`` is how deep elements nest, at least.
    """

    sources: list[str]
    starts: list[int]
    styles: list[StyleElement]
    hidden: set[str]
    depth: int
    doctype: bool


def read_outline(text: str) -> Outline:
    """The outline of a document or fragment in which template tags are covered.  Linear in its length."""
    reading = _Reading(text)
    pos: int | None = 0
    while pos is not None:
        pos = reading.read(pos)
    return Outline(reading.sources, reading.starts, reading.styles, reading.hidden, reading.deepest, reading.doctype)


class _Reading:
    """An outline, as far as it is read."""

    def __init__(self, text: str) -> None:
        self.sources: list[str] = []
        self.starts: list[int] = []
        self.styles: list[StyleElement] = []
        self.hidden: set[str] = set()
        self.deepest = 0
        self.doctype = False
        self._text = text
        self._depth = 0
        self._revealed = False
        self._steps: dict[str, int | None] = {}

    def read(self, pos: int) -> int | None:
        """Read on from here.  Where an opaque element ends, at which this has to begin anew; None: it is all read."""
        steps, sources, starts = self._steps, self.sources, self.starts
        depth, deepest = self._depth, self.deepest
        end: int | None = None
        for match in _TOKEN.finditer(self._text, pos):
            source = match.group()
            if source in steps:
                step = steps[source]
            elif not _TAG_NAME.match(source):
                self._note(source)
                continue
            elif match.lastgroup:
                break
            else:
                step = steps[source] = _step(source)
            if step is None:
                self.hidden.add(source)
            elif step == _INTO:
                end = self._pass(source, match.start())
                break
            else:
                sources.append(source)
                starts.append(match.start())
                depth += step
                if depth > deepest:
                    deepest = depth
        self._depth, self.deepest = depth, deepest
        return end

    def _note(self, source: str) -> None:
        """What is to be known of a comment or declaration."""
        if "[" in source:
            if _REVEALING.match(source):
                self._revealed = True
            elif _REVEALED.match(source):
                self._revealed = False
            else:
                self.hidden.update(_FIND_TAG.findall(source, 4))
        elif source[2:9].lower() == "doctype":
            self.doctype = True

    def _pass(self, source: str, start: int) -> int:
        """Pass by an opaque element.  Where it ends."""
        name = tag_name(source)
        inner = start + len(source)
        close = re.compile(rf"</{name}(?=[\s/>])[^>]*+>", re.IGNORECASE).search(self._text, inner)
        inner_end, end = close.span() if close else (len(self._text), len(self._text))
        if name == "style" and close:
            self.styles.append(StyleElement(source, start, end, inner, inner_end, not self._revealed))
        elif name in _SHOWN:
            self.sources += (source, f"</{name}>")
            self.starts += (start, inner_end)
        if name in _HOLDING:
            self.hidden.update(_FIND_TAG.findall(self._text, inner, inner_end))
        return end


def tag_name(source: str) -> str:
    """The name of a tag, in lower case."""
    return _TAG_NAME.match(source)[1].lower()  # type: ignore[index]  # every tag has one


def attributes(source: str) -> Sequence[Attribute]:
    """The attributes of a start tag.  Where two have the same name, the first one counts."""
    return _read_again(source) if len(source) <= _REMEMBERED else tuple(_read(source))


def _read(source: str) -> Iterator[Attribute]:
    name = _TAG_NAME.match(source)
    for match in _ATTRIBUTE.finditer(source, name.end() if name else 0, len(source) - 1):
        group = match.lastindex or 1
        value = match[group] if group > 1 else ""
        yield Attribute(match[1].lower(), value, match.start(), match.end(), match.start(group), _QUOTES[group])


@lru_cache(maxsize=256)
def _read_again(source: str) -> tuple[Attribute, ...]:
    """Each is asked for a few times, and a sender's letters have the same ones."""
    return tuple(_read(source))


def attribute(source: str, name: str) -> str | None:
    """The value of an attribute, decoded, or None where a start tag does not have it."""
    return next((unescape(each.value) for each in attributes(source) if each.name == name), None)


def vocabulary(sources: Iterable[str]) -> Vocabulary:
    """The vocabulary of start tags; end tags are passed over."""
    tags: Counter[str] = Counter()
    words: Counter[str] = Counter()
    for source, count in Counter(sources).items():
        if source[1] != "/":
            tags[tag_name(source)] += count
            if _HAS_WORDS.search(source):
                for each in attributes(source):
                    if each.name in ("class", "id"):
                        for word in unescape(each.value).split():
                            words[word] += count
    return Vocabulary(tags, words)


def _step(source: str) -> int | None:
    """How much deeper it is behind this tag; None for tags that are left out, _INTO for those of opaque elements."""
    name = tag_name(source)
    if name in _OPAQUE:
        return None if source[1] == "/" else _INTO
    if name in _LEFT_OUT or not _ENGINE_NAME.match(name):
        return None
    if name in _VOID or name in _CLOSED_BY_OTHERS:
        return 0
    return -1 if source[1] == "/" else 1
