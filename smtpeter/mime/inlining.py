"""Style sheets of HTML, moved into ``style`` attributes.

An engine tells which selectors match which elements, and sees nothing but tags and selectors.  The cascade is ours,
and so are the edits: what changes in the text are ``style`` attributes and the rules that went into them, nothing else.

Rules stay in their sheet where something still needs them: ``@media`` and other at-rules, selectors that depend on
more than the elements (``:hover``), rules that match nothing here (but something in the reader's own page, or what only
Outlook sees), and those that are ``!important``.  What stays gets an ``!important`` where otherwise it would lose for
no other reason than that its opponent has moved.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from html import unescape
from typing import NamedTuple

from smtpeter.mime.cascade import NORMAL, Cascade, Outcome, PlacedRule, Rank, family, overlap
from smtpeter.mime.css import is_empty, read_sheet
from smtpeter.mime.outline import Outline, StyleElement, attribute, attributes, read_outline, tag_name, vocabulary
from smtpeter.mime.shield import COVER, cover_templates

InliningEngine = Callable[[str, str], Mapping[int, str]]
"""Applies a sheet to HTML, and gives the ``style`` of each element that got one, by the number in its ``x-n``."""

_HAS_STYLE = re.compile(r"<style[\s/>]", re.IGNORECASE)
_NUMBER = "x-n"
_MARK = re.compile(r"\br(\d+)")
_SPECIAL = re.compile(r"[<>&\"\x00-\x08\x0b\x0e-\x1f\x7f\ud800-\udfff]")
_TABLE_PARTS = {"table", "tr", "tbody", "thead", "tfoot"}


class TooComplex(Exception):
    """It would take too long; the text says why."""


class Bounds(NamedTuple):
    """How much is looked at: characters of a text, and ``marks``, that is ``{`` and ``,``, of its sheets.

    What is asked of an engine: how deep elements nest, how many selectors there are, and how often it looks at an
    element (``work``).  And how many characters may be put in.
    """

    characters: int
    marks: int
    depth: int
    selectors: int
    work: int
    growth: int


class Inlined(NamedTuple):
    """The text, and what is to be said about it; ``edits`` is what was done to get it: (start, end, new), in order."""

    text: str
    notes: tuple[str, ...]
    edits: tuple[tuple[int, int, str], ...] = ()


def inline_styles(text: str, engine: InliningEngine, bounds: Bounds) -> Inlined:
    """The text with its style sheets inlined.

    :raises TooComplex: where that is more than the bounds allow.
    """
    if not _HAS_STYLE.search(text):
        return Inlined(text, ())
    if len(text) > bounds.characters:
        raise TooComplex(f"it has more than {bounds.characters:,} characters")
    covered = cover_templates(text)
    outline = read_outline(covered)
    marks = sum(covered.count(mark, style.sheet_start, style.sheet_end) for style in outline.styles for mark in "{,")
    if marks > bounds.marks:
        raise TooComplex(f"its style sheets have more than {bounds.marks:,} rules, selectors and values")
    cascade = Cascade(_NUMBER, outline)
    notes = [
        note for number, style in enumerate(outline.styles) if (note := _add(cascade, style, number, text, covered))
    ]
    if cascade.moves:
        if outline.depth > bounds.depth:
            raise TooComplex(f"its elements nest more than {bounds.depth} deep")
        if cascade.selectors > bounds.selectors or cascade.work > bounds.work:
            raise TooComplex(f"it has {cascade.selectors:,} selectors for {len(outline.sources):,} tags")
        styles = engine(_skeleton(outline, cascade), cascade.marks())
        edits = _Edits(text, outline, cascade, bounds.growth).made(styles)
        return Inlined(_apply(edits, text), tuple(notes), tuple(edits))
    return Inlined(text, tuple(notes))


def _apply(edits: list[_Edit], text: str) -> str:
    out: list[str] = []
    done = 0
    for start, end, new in edits:
        out += (text[done:start], new)
        done = end
    return "".join((*out, text[done:]))


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
    pieces = {source: _piece(source, cascade) for source in set(outline.sources)}
    parts = [pieces[source] for source in outline.sources]
    out = [f"{head}{number}{tail}" if tail else head for number, (head, tail, _) in enumerate(parts)]
    # Rows have a section, which is not always written: one of the two engines would not put it there.
    open_sections: list[bool] = []  # of each open table, whether one of its sections is open
    for number, part in [(number, part) for number, (_, _, part) in enumerate(parts) if part]:
        if part == "table":
            open_sections.append(False)
        elif not open_sections:
            pass
        elif part == "/table":
            open_sections.pop()
        elif part != "tr":
            open_sections[-1] = part[0] != "/"
        elif not open_sections[-1]:
            open_sections[-1] = True
            out[number] = f"<tbody>{out[number]}"
    if outline.doctype:
        out.insert(0, "<!DOCTYPE html>")
    return "".join(out)


def _piece(source: str, cascade: Cascade) -> tuple[str, str, str]:
    """A tag as the engine sees it, before and after its number, and which part of a table it begins or ends."""
    name = tag_name(source)
    if source[1] == "/":
        return f"</{name}>", "", f"/{name}" if name in _TABLE_PARTS and name != "tr" else ""
    tail = ""
    part = name if name in _TABLE_PARTS else ""
    seen = {"style", _NUMBER}
    for each in attributes(source) if cascade.attributes or cascade.words else ():
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
    return f"<{name} {_NUMBER}=", f"{tail}>", part


# --- what is edited -------------------------------------------------------------------------------------------------

_Edit = tuple[int, int, str]


class _Edits:
    """What is to be changed in a text."""

    def __init__(self, text: str, outline: Outline, cascade: Cascade, growth: int) -> None:
        self._text = text
        self._outline = outline
        self._cascade = cascade
        self._growth = growth
        self._complete = True  # whether every element got what the sheets have for it
        self._outcomes: dict[tuple[tuple[int, ...], str], Outcome] = {}
        self._matched: set[int] = set()
        self._hidden = vocabulary(outline.hidden)

    def made(self, styles: Mapping[int, str]) -> list[_Edit]:
        """All edits, in order.  ``styles`` is what the engine says about each element."""
        edits = [*self._in_tags(styles)]
        stronger = self._to_strengthen()
        for number, style in enumerate(self._outline.styles):
            rules = [rule for rule in self._cascade.rules if rule.sheet == number]
            edits += self._in_sheet(style, rules, stronger.get(number, []))
        return sorted(edits)

    def _in_tags(self, styles: Mapping[int, str]) -> Iterator[_Edit]:
        sources, starts = self._outline.sources, self._outline.starts
        self._complete = len(styles) == sum(source[1] != "/" for source in sources)
        numbers = {style: [int(number) for number in _MARK.findall(style)] for style in set(styles.values())}
        telling = {style for style, found in numbers.items() if any(self._cascade.uses[number] for number in found)}
        known: dict[tuple[str, str], _Edit | None] = {}
        for number, style in [each for each in styles.items() if each[1] in telling]:
            source, start = sources[number], starts[number]
            key = (source, style)
            if key not in known or COVER in source:
                known[key] = self._in_tag(source, numbers[style], self._text[start : start + len(source)])
            if edit := known[key]:
                self._spend(len(edit[2]))
                yield start + edit[0], start + edit[1], edit[2]

    def _in_tag(self, source: str, numbers: list[int], written: str) -> _Edit | None:
        """The edit within a tag that is ``written`` so, with template tags covered in ``source``."""
        own = None
        plain = COVER not in source and "style" not in source.lower()
        for each in () if plain else attributes(source):
            if COVER in each.name:
                self._complete = False  # nobody knows what it will be
                return None
            if each.name == "style" and own is None:
                own = each
        if own is None:
            new = self._outcome(numbers, "", "").style
            end = len(tag_name(source)) + 1
            return (end, end, f' style="{new}"') if new else None
        value = written[own.value_start : own.value_start + len(own.value)]
        if own.quote != '"' and '"' in value:
            if COVER in own.value:
                self._complete = False  # its quotes may be those of the template language
                return None
            value = value.replace('"', "&quot;")
        new = self._outcome(numbers, value, unescape(own.value)).style
        if not new:
            return None
        if own.quote == '"':
            return own.value_start, own.value_start + len(own.value), new
        return own.start, own.end, f'style="{new}"'

    def _outcome(self, numbers: list[int], written: str, value: str) -> Outcome:
        key = (tuple(numbers), written)
        if key not in self._outcomes:
            self._matched.update(numbers)
            self._outcomes[key] = self._cascade.outcome(numbers, written, value)
        return self._outcomes[key]

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

    def _spend(self, amount: int) -> None:
        """Count what is written, and what is compared."""
        self._growth -= amount
        if self._growth < 0:
            raise TooComplex("it would grow too much")

    def _has_moved(self, rule: PlacedRule) -> bool:
        """Whether nothing needs this rule any more: no media query that it competes with, and nothing unseen."""
        if not rule.moves or rule.important or not self._complete or not self._matched.issuperset(rule.numbers):
            return False
        subjects = [selector.compounds[-1] for selector in rule.rule.selectors or ()]
        return not any(
            (not tag or tag in self._hidden.tags) and all(word in self._hidden.words for word in words)
            for _, tag, words in subjects
        )

    def _to_strengthen(self) -> dict[int, list[int]]:
        """For each sheet the places of declarations that stay and would lose to what has moved, though they won before.

        What did not win on most elements stays as it is.
        """
        votes: Counter[tuple[int, int]] = Counter()
        for (numbers, _), outcome in self._outcomes.items():
            families: defaultdict[str, list[tuple[str, Rank]]] = defaultdict(list)
            for name, rank in outcome.ranks.items():
                families[family(name)].append((name, rank))
            for use in [use for number in numbers for use in self._cascade.uses[number] if not use.moves]:
                placed = self._cascade.rules[use.rule]
                for index, name in placed.competing:
                    rivals = families.get(family(name), ())
                    self._spend(len(rivals))
                    for other, rank in rivals:
                        if rank[2] != use.rule and overlap(name, other):
                            votes[use.rule, index] += 1 if rank < (NORMAL, use.specificity, use.rule) else -1
        places: defaultdict[int, list[int]] = defaultdict(list)
        for (number, index), vote in votes.items():
            if vote > 0:
                placed = self._cascade.rules[number]
                places[placed.sheet].append((placed.rule.declarations or ())[index].end)
        return places
