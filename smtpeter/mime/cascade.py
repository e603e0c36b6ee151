"""The rules of a document's sheets, and what becomes of an element's ``style`` (CSS Cascading Level 4, section 6).

Rules *move* into attributes where their selectors depend on elements alone.  Attributes get no ``!important`` from
sheets, because nothing in a sheet could win over it: such a rule stays in its sheet, too.  Others *stay* only: what
is within ``@media``, or depends on more than the elements (``:hover``).
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from smtpeter.mime.css import Declaration, Rule, Selector, Sheet, Specificity, read_declarations
from smtpeter.mime.outline import Outline, vocabulary
from smtpeter.mime.shield import COVER

_ELEMENT = 100  # it costs about as much as looking at so many

SEEN = 0
"""The number of a selector that every element matches."""
NEVER = 1
"""The number of all that cannot match here."""

NORMAL, ATTRIBUTE, IMPORTANT, IMPORTANT_ATTRIBUTE = range(4)
Rank = tuple[int, Specificity, int]
"""Level, specificity, number of the rule: the greater one wins."""


class PlacedRule(NamedTuple):
    """A rule, the number of its sheet and those of its selectors, and its declarations by name as attributes have them.

    ``moves``: all of its selectors do.  Where something of it stays, ``competing`` are those of its declarations
    (place, name) that are not important.
    """

    rule: Rule
    sheet: int
    numbers: tuple[int, ...]
    moves: bool
    normal: dict[str, str]
    important: dict[str, str]
    competing: tuple[tuple[int, str], ...]


class Use(NamedTuple):
    """A selector as it stands in a rule."""

    rule: int
    specificity: Specificity
    moves: bool


class Outcome(NamedTuple):
    """What a ``style`` attribute becomes, if it changes, and where each of its properties is from."""

    style: str | None
    ranks: dict[str, Rank]


class Cascade:
    """All rules in their order.

    ``words`` are the classes and ids that selectors ask for, and ``attributes`` the names of other attributes.
    ``work`` is how often an engine may look at an element, about.  ``uses`` has the rules of each selector by its
    number.  ``moves``: there is something to move.
    """

    def __init__(self, marker: str, outline: Outline) -> None:
        self.rules: list[PlacedRule] = []
        self.uses: list[list[Use]] = [[], []]
        self.words: set[str] = set()
        self.attributes: set[str] = set()
        self.work = _ELEMENT * len(outline.sources)
        self.moves = False
        self._marker = marker
        self._outline = outline
        self._vocabulary = vocabulary(outline.sources)
        self._numbers = {f"[{marker}]": SEEN}

    def add(self, sheet: Sheet, number: int, written: str, *, conditional: bool) -> None:
        """Add a sheet, which was ``written`` so before its template tags were covered.  ``conditional``: it stays."""
        if self._marker in sheet.attributes:
            return
        self.attributes |= sheet.attributes
        for rule in sheet.rules:
            if rule.selectors is None or rule.declarations is None or not any(map(self._may_match, rule.selectors)):
                continue
            declared = _write(rule.declarations, written)
            may_move = not conditional and not rule.conditional and declared is not None
            place = len(self.rules)
            numbers = tuple(
                self._use(selector, Use(place, selector.specificity, may_move and selector.exact))
                for selector in rule.selectors
            )
            moves = may_move and all(selector.exact for selector in rule.selectors)
            competing = tuple(
                (i, each.name) for i, each in enumerate(rule.declarations) if not moves and not each.important
            )
            self.rules.append(PlacedRule(rule, number, numbers, moves, *(declared or ({}, {})), competing))

    def _use(self, selector: Selector, use: Use) -> int:
        if not self._may_match(selector):
            return NEVER
        number = self._numbers.setdefault(selector.text, len(self.uses))
        if number == len(self.uses):
            self.uses.append([])
            self.work += self._cost(selector)
        self.uses[number].append(use)
        for compound in selector.compounds:
            self.words.update(compound.words)
        self.moves |= use.moves
        return number

    def _may_match(self, selector: Selector) -> bool:
        """Whether there are such elements at all."""
        tags, words = self._vocabulary
        compounds = selector.compounds
        tag = compounds[-1].tag
        if tag and tag not in tags:
            return False
        for compound in compounds:
            for word in compound.words:
                if word not in words:
                    return False
        return True

    def _cost(self, selector: Selector) -> int:
        """How many elements an engine looks at that evaluates a selector from left to right."""
        total = len(self._outline.sources)
        cost = 0
        starting = 1
        for combinator, tag, words in selector.compounds:
            if combinator == " ":
                cost += total * min(starting, self._outline.depth)
            else:
                cost += total * (starting if combinator in "+~" else 1)
            counts = [self._vocabulary.words[word] for word in words]
            if tag:
                counts.append(self._vocabulary.tags[tag])
            starting = min(counts, default=total)
        if ":nth" in selector.text:
            cost += starting * total // 100
        return cost

    @property
    def selectors(self) -> int:
        """How many selectors an engine has to match."""
        return len(self._numbers)

    def marks(self) -> str:
        """A sheet with all selectors, each with a property of its own: ``r`` and its number."""
        return "".join([f"{text}{{r{number}:1}}" for text, number in self._numbers.items()])

    def outcome(self, numbers: list[int], written: str, value: str) -> Outcome:
        """What becomes of an element that these selectors match, and whose attribute is ``written`` so and means
        ``value``."""
        layers: tuple[dict[str, str], dict[str, str]] = ({}, {})
        ranks: dict[str, Rank] = {}
        used = sorted([(use.specificity, use.rule) for number in numbers for use in self.uses[number] if use.moves])
        for specificity, place in used:
            rule = self.rules[place]
            for level, layer, declared in ((NORMAL, layers[0], rule.normal), (IMPORTANT, layers[1], rule.important)):
                for name, text in declared.items():
                    layer.pop(name, None)  # it has to come after all that it wins over
                    layer[name] = text
                    _raise(ranks, name, (level, specificity, place))
        normal, important = layers
        for name in important:
            normal.pop(name, None)
        if value:
            for own in read_declarations(value) or ():
                if COVER in own.value:
                    continue  # it may come to nothing
                normal.pop(own.name, None)
                if own.important or important.get(own.name) == _text(own.name, own.value):
                    important.pop(own.name, None)
                _raise(ranks, own.name, (IMPORTANT_ATTRIBUTE if own.important else ATTRIBUTE, (0, 0, 0), 0))
        if not normal and not important:
            return Outcome(None, ranks)
        before = "; ".join(normal.values())
        if written := written.strip():
            before = f"{before}; {written}" if before else written
        if important and before:
            before += " " if before.endswith(";") else "; "
        return Outcome(before + "; ".join(important.values()), ranks)


def overlap(one: str, other: str) -> bool:
    """Whether two properties have a say in the same thing, as ``margin`` and ``margin-top`` do."""
    if {one, other} == {"font", "line-height"}:
        return True
    return one == other or one.startswith(f"{other}-") or other.startswith(f"{one}-")


def family(name: str) -> str:
    """What is the same for all properties that overlap."""
    return "font" if name == "line-height" else name.partition("-")[0]


def _raise(ranks: dict[str, Rank], name: str, rank: Rank) -> None:
    if name not in ranks or ranks[name] < rank:
        ranks[name] = rank


def _write(declarations: tuple[Declaration, ...], written: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Normal and important declarations, by name, as they are written into attributes; None where they cannot be."""
    layers: tuple[dict[str, str], dict[str, str]] = ({}, {})
    for name, value, important, start, _ in declarations:
        text = value
        if COVER in value:
            text = written[start : start + len(value)]
            if (
                '"' in text
                or "&" in text
                or "<" in text
                or any(a != b != COVER for a, b in zip(text, value, strict=True))
            ):
                return None
            text = f"{name}:{text}"
        else:
            text = _text(name, value)
        layer = layers[important]
        # A value that not everybody understands may have another one before it.
        layer[name] = f"{layer[name]}; {text}" if name in layer else text
    return layers


def _text(name: str, value: str) -> str:
    """A declaration, as it is written into an attribute with double quotes."""
    if '"' in value and "'" not in value and "\\" not in value:
        value = value.replace('"', "'")
    return f"{name}:{escape(value)}" if "&" in value or '"' in value or "<" in value else f"{name}:{value}"
