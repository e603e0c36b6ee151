"""Style sheets of mail, read: which rules they have, where those stand, and what they declare (CSS Syntax Level 3).

Nothing is evaluated and nothing is fetched.  What is not understood is left out, and stays in the sheet as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from smtpeter.mime.shield import COVER

Specificity = tuple[int, int, int]


class Compound(NamedTuple):
    """What is asked of one element: its tag, in lower case or empty, and words of its class and id.

    ``combinator`` is what stands before it: nothing, a space, ``>``, ``+`` or ``~``.
    """

    combinator: str
    tag: str
    words: tuple[str, ...]


class Selector(NamedTuple):
    """One of a rule's selectors.

    ``text`` is its normal form, which has no escapes and no quotes but ``"``.  Where it is not ``exact``, parts that
    depend on more than the elements (``:hover``) were taken out of it: it selects more.
    """

    text: str
    exact: bool
    specificity: Specificity
    compounds: tuple[Compound, ...]


class Declaration(NamedTuple):
    """``name: value``, the name in lower case.  The value begins at ``start`` of the sheet; at ``end`` it is over, with
    what is said of its importance."""

    name: str
    value: str
    important: bool
    start: int
    end: int


class Rule(NamedTuple):
    """A style rule and its place.  ``conditional`` are those within ``@media`` and ``@supports``.

    ``selectors`` is None where one of them was not understood, and ``declarations`` where one of those was not.
    """

    start: int
    end: int
    conditional: bool
    selectors: tuple[Selector, ...] | None
    declarations: tuple[Declaration, ...] | None


class Sheet(NamedTuple):
    """``rules`` in order, without those in at-rules that hold no style rules; ``attributes`` are the names of those
    that selectors ask for.  ``templated``: there are template tags outside of values."""

    rules: tuple[Rule, ...]
    attributes: frozenset[str]
    templated: bool


_COMMENT = r"/\*[^*]*+(?:\*(?!/)[^*]*+)*+(?:\*/|\Z)"
_STRING = r""""(?:[^"\\\n]|\\.)*+(?:"|\Z|(?=\n))|'(?:[^'\\\n]|\\.)*+(?:'|\Z|(?=\n))"""
_URL = r"url\(\s*+(?![\"'\s])[^)]*+(?:\)|\Z)"
# An ordinary rule, in one go: no strings or comments in its prelude, no braces in its block.
_PLAIN = re.compile(
    r"\s*+([^{}@;\"'/\\()\[<-][^{}@;\"'/\\()]*+)\{((?:[^{}\"'/\\(]|/(?!\*)|\([^(){}\"'\\;]*+\)"
    r"|\"[^\"\n\\{}]*+\"|'[^'\n\\{}]*+')*+)\}"
)
_MARK = re.compile(rf"{_COMMENT}|{_STRING}|{_URL}|\\.|<!--|-->|[{{}}()\[\];]", re.DOTALL | re.IGNORECASE)
_BLANK = re.compile(rf"(?:\s|<!--|-->|{_COMMENT})*+", re.DOTALL)
_COMMENTS = re.compile(_COMMENT, re.DOTALL)
_CLOSING = {"{": "}", "(": ")", "[": "]"}
_QUOTES = "\"'"
_REMEMBERED = 32_768  # characters

_GROUPING = re.compile(r"@(?:media|supports)\b", re.IGNORECASE)
_NAME = re.compile(r"[*_]?-{0,2}[a-z_][a-z0-9_-]*\Z")
_IMPORTANT = re.compile(r"\s*!\s*important\s*\Z", re.IGNORECASE)

_PART = re.compile(
    r"(?P<comma>\s*,\s*)|(?P<combinator>\s*[>+~]\s*|\s+)|(?P<tag>\*|[a-z][a-z0-9-]*)"
    r"|\.(?P<class>-?[a-z_][\w-]*)|\#(?P<id>-?[a-z_][\w-]*)"
    r"|\[\s*(?P<attribute>[a-z][\w-]*)\s*(?:(?P<operator>[~|^$*]?=)\s*"
    r"(?P<value>[\w-]+|\"[\w ./:%=?,+()#!-]*\"|'[\w ./:%=?,+()#!-]*')\s*)?\]"
    r"|:(?P<pseudo>:?[a-z-]+)(?P<argument>\([^()\"']*\))?",
    re.IGNORECASE | re.ASCII,
)
_POSITION = {"first-child", "last-child"}
_NTH = re.compile(r"\(\s*(?:odd|even|[+-]?\d{0,4}n?(?:\s*[+-]\s*\d{1,4})?)\s*\)", re.IGNORECASE)
_PSEUDO_ELEMENTS = {"before", "after", "first-line", "first-letter"}


def read_sheet(text: str) -> Sheet:
    """The rules of a style sheet in which template tags are covered.  Linear in its length."""
    return _read_again(text) if len(text) <= _REMEMBERED else _read(text)


def _read(text: str) -> Sheet:
    attributes: set[str] = set()
    rules = tuple(_rules(text, 0, len(text), False, attributes, 0))
    templated = COVER in text and not _covers_only_values(text, rules)
    return Sheet(rules, frozenset(attributes), templated)


# The messages of one sender differ, and their sheets do not.
_read_again = lru_cache(maxsize=8)(_read)


def read_declarations(text: str, offset: int = 0) -> tuple[Declaration, ...] | None:
    """What a block or a ``style`` attribute declares, or None where it is not clear.  ``offset`` is added to places."""
    found = []
    for start, end in _pieces(text):
        piece = text[start:end]
        if "/*" in piece:
            piece = _COMMENTS.sub(lambda match: " " * len(match[0]), piece)
        if piece.isspace() or not piece:
            continue
        name, colon, value = piece.partition(":")
        name = name.strip().lower()
        place = offset + end - len(value.lstrip())
        value = value.strip()
        place_after = place + len(value)
        important = False
        if "!" in value and (match := _IMPORTANT.search(value)):
            important = True
            value = value[: match.start()]
        if not colon or not _NAME.match(name) or "{" in value or (not value and not name.startswith("--")):
            return None
        if "\n" in value or "\r" in value or "\t" in value:
            value = " ".join(value.split())
        found.append(Declaration(name, value, important, place, place_after))
    return tuple(found)


def is_empty(text: str) -> bool:
    """Whether there is nothing in a style sheet but white space and comments."""
    return _BLANK.match(text).end() == len(text)  # type: ignore[union-attr]  # it matches the empty string


def _rules(text: str, pos: int, end: int, conditional: bool, attributes: set[str], depth: int) -> Iterator[Rule]:
    while pos < end:
        if plain := _PLAIN.match(text, pos, end):
            start = plain.start(1)
            pos = plain.end()
            yield _rule(start, pos, conditional, plain[1], plain[2], plain.start(2), attributes)
            continue
        pos = _BLANK.match(text, pos, end).end()  # type: ignore[union-attr]  # it matches the empty string
        if pos >= end:
            return
        start = pos
        brace, pos, closed = _statement(text, start, end)
        if brace is None or not closed:
            continue
        if text[start] != "@":
            prelude = _COMMENTS.sub(" ", text[start:brace])
            yield _rule(start, pos, conditional, prelude, text[brace + 1 : pos - 1], brace + 1, attributes)
        elif depth < 3 and _GROUPING.match(text, start):
            yield from _rules(text, brace + 1, pos - 1, True, attributes, depth + 1)


def _statement(text: str, start: int, end: int) -> tuple[int | None, int, bool]:
    """Where the block of the statement at ``start`` opens, if it has one, where it ends, and whether it does."""
    at_rule = text[start] == "@"
    open_: list[str] = []
    brace = None
    for match in _MARK.finditer(text, start, end):
        mark = match[0]
        if open_ and mark == open_[-1]:
            open_.pop()
            if not open_ and brace is not None:
                return brace, match.end(), True
        elif mark in _CLOSING:
            if not open_ and mark == "{":
                brace = match.start()
            open_.append(_CLOSING[mark])
        elif mark == ";" and not open_ and at_rule:
            return None, match.end(), True
    return brace, end, False


def _pieces(text: str) -> Iterator[tuple[int, int]]:
    """What stands between the semicolons of a block."""
    start = 0
    if not any(mark in text for mark in ("(", '"', "'", "/", "\\", "{", "[")):
        while (end := text.find(";", start)) >= 0:
            yield start, end
            start = end + 1
    else:
        open_: list[str] = []
        for match in _MARK.finditer(text):
            mark = match[0]
            if open_ and mark == open_[-1]:
                open_.pop()
            elif mark in _CLOSING:
                open_.append(_CLOSING[mark])
            elif mark == ";" and not open_:
                yield start, match.start()
                start = match.end()
    yield start, len(text)


def _rule(start: int, end: int, conditional: bool, prelude: str, block: str, offset: int, attributes: set[str]) -> Rule:
    return Rule(start, end, conditional, _selectors(prelude.strip(), attributes), read_declarations(block, offset))


def _selectors(prelude: str, attributes: set[str]) -> tuple[Selector, ...] | None:
    found: list[Selector] = []
    reading = _Reading()
    pos = 0
    while match := _PART.match(prelude, pos):
        pos = match.end()
        if match.lastgroup == "comma":
            if not reading.begun:
                return None
            found.append(reading.selector())
            reading = _Reading()
        elif not reading.take(match, attributes):
            return None
    if pos != len(prelude) or not reading.begun:
        return None
    found.append(reading.selector())
    return tuple(found)


class _Reading:
    """One selector, as far as it is read."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._exact = True
        self._ends = False  # it has to end here: engines understand a position in the last place only
        self._ids = self._tests = self._tags = 0
        self._compounds: list[Compound] = []
        self._begin("")

    def _begin(self, combinator: str) -> None:
        self.begun = False  # the compound selector that is being read
        self._combinator = combinator
        self._tag = ""
        self._words: list[str] = []

    def take(self, match: re.Match[str], attributes: set[str]) -> bool:
        """Add a part; False: it is not understood."""
        kind = match.lastgroup
        if kind in ("pseudo", "argument"):
            return self._take_pseudo(match["pseudo"].lower(), match["argument"] or "")
        if kind == "combinator":
            if not self.begun:
                return False
            self._end()
            self._begin(match[0].strip() or " ")
            self._parts.append(self._combinator)
        elif kind == "tag":
            if self.begun:
                return False
            self._tag = match[0].lower().strip("*")
            self._tags += bool(self._tag)
            self._append(self._tag or "*")
        elif kind == "class":
            self._tests += 1
            self._words.append(match["class"])
            self._append(match[0])
        elif kind == "id":
            self._ids += 1
            self._words.append(match["id"])
            self._append(match[0])
        else:
            self._take_attribute(match, attributes)
        if self._ends:
            self._exact = False
        return True

    def _take_attribute(self, match: re.Match[str], attributes: set[str]) -> None:
        self._tests += 1
        name = match["attribute"].lower()
        value = match["value"]
        # Engines do not see the attribute that they write, and premailer looks for `:` and `,` in all of a selector.
        if name == "style" or (value and (":" in value or "," in value)):
            self._append("")
            self._exact = False
        else:
            attributes.add(name)
            self._append(f'[{name}{match["operator"]}"{value.strip(_QUOTES)}"]' if value else f"[{name}]")

    def _take_pseudo(self, name: str, argument: str) -> bool:
        if name.startswith(":") or name in _PSEUDO_ELEMENTS:
            return False
        self._tests += 1
        self._append("")
        position = name in _POSITION and not argument
        if self._ends or not (position or (name == "nth-child" and _NTH.fullmatch(argument))):
            self._exact = False
        else:
            self._parts.append(f":{name}{argument.lower()}")
            self._ends = True
        return True

    def _append(self, part: str) -> None:
        if not self.begun and not part:
            self._parts.append("*")
        self._parts.append(part)
        self.begun = True

    def _end(self) -> None:
        self._compounds.append(Compound(self._combinator, self._tag, tuple(self._words)))

    def selector(self) -> Selector:
        parts = self._parts if self._exact else [part for part in self._parts if part[:1] != ":"]
        specificity = (self._ids, self._tests, self._tags)
        self._end()
        return Selector("".join(parts), self._exact, specificity, tuple(self._compounds))


def _covers_only_values(text: str, rules: tuple[Rule, ...]) -> bool:
    values = sum(declaration.value.count(COVER) for rule in rules for declaration in rule.declarations or ())
    return values == text.count(COVER)
