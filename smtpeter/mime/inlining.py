"""Style sheets of HTML, moved into ``style`` attributes.

An engine tells which selectors match which elements, and sees nothing but tags and selectors.  The cascade is ours
(CSS Cascading Level 4, section 6), and so are the edits: what changes in the text are ``style`` attributes and the rules
that went into them, nothing else.

Rules stay in their sheet where something still needs them: ``@media`` and other at-rules, selectors that depend on more
than the elements (``:hover``), rules that match nothing here (but something in the reader's own page, or what only
Outlook sees), and those that are ``!important``.  Attributes get no ``!important`` from sheets, since nothing in a sheet
could win over it: the rule itself stays for that.  What is conditional gets one where otherwise it would lose only
because its opponent has moved.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import NamedTuple

from smtpeter.mime.cascade import NORMAL, Cascade, Outcome, PlacedRule, Rank, overlap
from smtpeter.mime.css import is_empty, read_sheet
from smtpeter.mime.outline import Outline, StyleElement, attribute, attributes, read_outline, tag_name
from smtpeter.mime.shield import COVER, cover_templates

Engine = Callable[[str, str], Mapping[int, str]]
"""Applies a sheet to HTML, and gives the ``style`` of each element that got one, by the number that it has in ``x-n``."""

_HAS_STYLE = re.compile(r"<style[\s/>]", re.IGNORECASE)
_NUMBER = "x-n"
_MARK = re.compile(r"\br(\d+)")
_SPECIAL = re.compile(r"[<>&\"]")
_TABLE_PARTS = {"table", "tr", "tbody", "thead", "tfoot"}


class TooComplex(Exception):
    """It would take too long; the text says why."""


class Bounds(NamedTuple):
    """How much may be asked of an engine.  ``work`` is the number of compound selectors, times that of tags."""

    characters: int
    work: int
    depth: int


class Inlined(NamedTuple):
    """The text, and what is to be said about it."""

    text: str
    notes: tuple[str, ...]


def inline_styles(text: str, engine: Engine, bounds: Bounds) -> Inlined:
    """The text with its style sheets inlined.

    :raises TooComplex: where that is more than the bounds allow.
    """
    if not _HAS_STYLE.search(text):
        return Inlined(text, ())
    if len(text) > bounds.characters:
        raise TooComplex(f"it has more than {bounds.characters:,} characters")
    covered = cover_templates(text)
    outline = read_outline(covered)
    cascade = Cascade(_NUMBER)
    notes = [
        note
        for number, style in enumerate(outline.styles)
        if (note := _add(cascade, style, number, text, covered))
    ]
    if cascade.moves:
        if outline.depth > bounds.depth:
            raise TooComplex(f"its elements nest more than {bounds.depth} deep")
        if len(outline.tags) * cascade.weight > bounds.work:
            raise TooComplex(f"it has {cascade.weight:,} selectors for {len(outline.tags):,} tags")
        styles = engine(_skeleton(outline, cascade), cascade.marks())
        text = _Edits(text, outline, cascade).made(styles)
    return Inlined(text, tuple(notes))


def _add(cascade: Cascade, style: StyleElement, number: int, text: str, covered: str) -> str:
    """Add a sheet, unless it wants to be left alone.  What is to be said about it, if anything."""
    source = style.source
    if attribute(source, "data-embed") is not None or attribute(source, "data-premailer") == "ignore":
        return ""
    if (attribute(source, "type") or "text/css").strip().lower() != "text/css":
        return ""
    sheet = read_sheet(covered[style.sheet_start : style.sheet_end])
    if sheet.templated:
        return "a style sheet with template tags between its rules was left as it is"
    media = (attribute(source, "media") or "all").strip().lower()
    conditional = not style.common or media not in ("all", "screen")
    cascade.add(sheet, number, text[style.sheet_start : style.sheet_end], conditional=conditional)
    return ""


# --- what the engine sees -------------------------------------------------------------------------------------------


def _skeleton(outline: Outline, cascade: Cascade) -> str:
    """The tags, with their numbers and only such attributes as selectors ask for."""
    out = ["<!DOCTYPE html>"] if outline.doctype else []
    pieces: dict[str, tuple[str, str, str]] = {}
    open_sections: list[bool] = []  # for each open table, whether one of its sections is open
    for number, (source, _) in enumerate(outline.tags):
        piece = pieces.get(source)
        if piece is None:
            piece = pieces[source] = _piece(source, cascade)
        head, tail, part = piece
        if part:
            # Rows have a section, which is not always written: one of the two engines would not put it there.
            if part == "table":
                open_sections.append(False)
            elif not open_sections:
                pass
            elif part == "/table":
                open_sections.pop()
            elif part == "tr" and not open_sections[-1]:
                open_sections[-1] = True
                out.append("<tbody>")
            elif part != "tr" and part != "/tr":
                open_sections[-1] = part[0] != "/"
        out.append(f"{head}{number}{tail}" if tail else head)
    return "".join(out)


def _piece(source: str, cascade: Cascade) -> tuple[str, str, str]:
    """A tag as the engine sees it, before and after its number, and which part of a table it begins or ends."""
    name = tag_name(source)
    if source[1] == "/":
        return f"</{name}>", "", f"/{name}" if name in _TABLE_PARTS else ""
    tail = ""
    seen = {"style", _NUMBER}
    for each in attributes(source):
        if each.name in seen:
            continue
        seen.add(each.name)
        if each.name in cascade.attributes:
            tail += f' {each.name}="{_SPECIAL.sub("?", unescape(each.value))}"'
        elif each.name == "class":
            if words := [word for word in unescape(each.value).split() if word in cascade.words]:
                tail += f' class="{" ".join(words)}"'
        elif each.name == "id" and unescape(each.value) in cascade.words:
            tail += f' id="{unescape(each.value)}"'
    return f"<{name} {_NUMBER}=", f"{tail}>", name if name in _TABLE_PARTS else ""


# --- what is edited -------------------------------------------------------------------------------------------------

_Edit = tuple[int, int, str]


class _Edits:
    """What is to be changed in a text."""

    def __init__(self, text: str, outline: Outline, cascade: Cascade) -> None:
        self._text = text
        self._outline = outline
        self._cascade = cascade
        self._complete = True  # whether every element got what the sheets have for it
        self._outcomes: dict[tuple[str, str], tuple[list[int], Outcome]] = {}
        self._matched: set[int] = set()
        names = [source for source in outline.hidden if source[1] != "/"]
        self._hidden_tags = {tag_name(source) for source in names}
        self._hidden_words = {
            word
            for source in names
            for each in attributes(source)
            if each.name in ("class", "id")
            for word in unescape(each.value).split()
        }

    def made(self, styles: Mapping[int, str]) -> str:
        """The text with all edits made.  ``styles`` is what the engine says about each element."""
        edits = [*self._in_tags(styles)]
        stronger = self._to_strengthen()
        for number, style in enumerate(self._outline.styles):
            rules = [rule for rule in self._cascade.rules if rule.sheet == number]
            edits += self._in_sheet(style, rules, stronger.get(number, []))
        edits.sort()
        out: list[str] = []
        done = 0
        for start, end, new in edits:
            out += (self._text[done:start], new)
            done = end
        return "".join((*out, self._text[done:]))

    def _in_tags(self, styles: Mapping[int, str]) -> Iterator[_Edit]:
        known: dict[tuple[str, str], _Edit | None] = {}
        for number, (source, start) in enumerate(self._outline.tags):
            if source[1] == "/":
                continue
            style = styles.get(number)
            if style is None:
                self._complete = False
                continue
            key = (source, style)
            if key not in known or COVER in source:
                known[key] = self._in_tag(source, style, self._text[start : start + len(source)])
            if edit := known[key]:
                yield start + edit[0], start + edit[1], edit[2]

    def _in_tag(self, source: str, style: str, written: str) -> _Edit | None:
        """The edit within a tag that is ``written`` so, with template tags covered in ``source``."""
        own = None
        for each in attributes(source):
            if COVER in each.name:
                self._complete = False  # nobody knows what it will be
                return None
            if each.name == "style" and own is None:
                own = each
        if own is None:
            new = self._outcome(style, "", "").style
            end = len(tag_name(source)) + 1
            return (end, end, f' style="{new}"') if new else None
        value = written[own.value_start : own.value_start + len(own.value)]
        if own.quote != '"' and '"' in value:
            if COVER in own.value:
                self._complete = False  # its quotes may be those of the template language
                return None
            value = value.replace('"', "&quot;")
        new = self._outcome(style, value, unescape(own.value)).style
        if not new:
            return None
        if own.quote == '"':
            return own.value_start, own.value_start + len(own.value), new
        return own.start, own.end, f'style="{new}"'

    def _outcome(self, style: str, written: str, value: str) -> Outcome:
        key = (style, written)
        if key not in self._outcomes:
            numbers = [int(number) for number in _MARK.findall(style)]
            self._matched.update(numbers)
            self._outcomes[key] = (numbers, self._cascade.outcome(numbers, written, value))
        return self._outcomes[key][1]

    def _in_sheet(self, style: StyleElement, rules: list[PlacedRule], stronger: list[int]) -> list[_Edit]:
        """What goes from a sheet because it has moved; and what becomes important."""
        edits: list[_Edit] = []
        sheet = self._text[style.sheet_start : style.sheet_end]
        rest: list[str] = []
        done = 0
        for rule in rules:
            if self._has_moved(rule):
                start = rule.rule.start
                while start > done and sheet[start - 1].isspace():
                    start -= 1
                rest.append(sheet[done:start])
                done = rule.rule.end
                edits.append((start, done, ""))
        rest.append(sheet[done:])
        if edits and is_empty("".join(rest)):
            return [(style.start, style.end, "")]
        edits += [(place, place, " !important") for place in stronger]
        return [(style.sheet_start + start, style.sheet_start + end, new) for start, end, new in edits]

    def _has_moved(self, rule: PlacedRule) -> bool:
        """Whether nothing needs this rule any more: no media query that it competes with, and nothing unseen."""
        if not rule.moves or rule.important or not self._complete or not self._matched.issuperset(rule.numbers):
            return False
        return not any(
            (not selector.tag or selector.tag in self._hidden_tags) and self._hidden_words.issuperset(selector.own_words)
            for selector in rule.rule.selectors or ()
        )

    def _to_strengthen(self) -> dict[int, list[int]]:
        """For each sheet the places of declarations that stay and would lose to what has moved, though they won before.

        What did not win on most elements stays as it is.
        """
        votes: Counter[tuple[int, int]] = Counter()
        for numbers, outcome in self._outcomes.values():
            families: defaultdict[str, list[tuple[str, Rank]]] = defaultdict(list)
            for name, rank in outcome.ranks.items():
                families[name.partition("-")[0]].append((name, rank))
            for use in [use for number in numbers for use in self._cascade.uses[number] if not use.moves]:
                placed = self._cascade.rules[use.rule]
                for index, name in placed.competing:
                    for other, rank in families.get(name.partition("-")[0], ()):
                        if rank[2] != use.rule and overlap(name, other):
                            votes[use.rule, index] += 1 if rank < (NORMAL, use.specificity, use.rule) else -1
        places: defaultdict[int, list[int]] = defaultdict(list)
        for (number, index), vote in votes.items():
            if vote > 0:
                placed = self._cascade.rules[number]
                places[placed.sheet].append((placed.rule.declarations or ())[index].end)
        return places
