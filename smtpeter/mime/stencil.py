"""What edits did to one HTML text, done again to others that have the same tags and style sheets.

Mail to many is often made from one template, with other words, links and pictures in each.  Which styles an element
gets depends on tags and style sheets alone, so what was found out for one text holds for all of them.

Why that is safe: two texts with the same key are cut into the same tokens at the same places in their order, and all
that is not in the key stands between tokens, or is the value of one of :data:`_FREE`.  Neither says anything about
elements, as long as no selector asks for such values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from smtpeter.mime.outline import CUT

Edit = tuple[int, int, str]

# Cheap to search for: what it begins with is looked at last.
_FREE = re.compile(r'="(?:(?<= href=")|(?<= src=")|(?<= alt="))([^"\0]*+)"')
_STYLE = re.compile(r"\0(?:(<style[\s/>])|(</style[\s/>]))", re.IGNORECASE)
_ASKING = re.compile(r"\[[^\]]{0,200}?(?:\\|href|src|alt)", re.IGNORECASE)  # a selector, for one of these
_TEMPLATE_MARKS = ("{", "%%", "[[", "*|", "<%")  # in what stands between tokens


class Cut(NamedTuple):
    """A text in pieces: text, token, text, ... text; and what it has in common with others that get the same edits.

    ``values`` are those of all :data:`_FREE`, in order; None where they are in the key.
    """

    pieces: list[str]
    key: str
    values: list[str] | None


class Stencil(NamedTuple):
    """New pieces by their places; those of tokens with free values are in parts, between which the values stand.

    ``first`` has the number of the first value of each of these.
    """

    whole: Mapping[int, str]
    parted: Mapping[int, tuple[str, ...]]
    first: Mapping[int, int]

    @property
    def size(self) -> int:
        """How many characters it has, about."""
        return sum(map(len, self.whole.values())) + sum(len(part) for parts in self.parted.values() for part in parts)


def cut_html(text: str) -> Cut | None:
    """None where it is not clear what a text has in common with others: with template tags, for example."""
    if "\0" in text:
        return None
    pieces = CUT.split(text)
    tokens = "\0" + "\0".join(pieces[1::2])
    between = pieces[::2]
    sheets: list[str] = []
    place = begin = -1
    position = 0
    for match in _STYLE.finditer(tokens):
        place += tokens.count("\0", position, match.end())
        position = match.end()
        if match[1] and begin < 0:
            begin = place
        elif match[2] and begin >= 0:
            sheets += between[begin + 1 : place + 1]
            between[begin + 1 : place + 1] = [""] * (place - begin)
            begin = -1
    rest = "".join(between)
    # One character is found in no time, two are not.
    if begin >= 0 or any(mark[0] in rest and mark in rest for mark in _TEMPLATE_MARKS):
        return None
    values = None
    if not any(_ASKING.search(sheet) for sheet in sheets):
        parts = _FREE.split(tokens)
        tokens, values = '=""'.join(parts[::2]), parts[1::2]
    return Cut(pieces, "\0".join((tokens, "", *sheets)), values)


def make_stencil(made: Cut, edits: Sequence[Edit]) -> Stencil | None:
    """What these edits, in order, do to the text that was cut; None where they do not fit into its pieces."""
    pieces = made.pieces
    ends = list(accumulate(map(len, pieces)))
    first = {} if made.values is None else _first_values(pieces)
    whole: dict[int, str] = {}
    parted: dict[int, tuple[str, ...]] = {}
    number = 0
    for start, end, new in edits:
        while ends[number] <= start:
            number += 1
        last = number
        while ends[last] < end:
            last += 1
        if last > number:  # all of a style element goes
            begin = ends[number] - len(pieces[number])
            if new or start != begin or end != ends[last]:
                return None
            whole |= dict.fromkeys(range(number, last + 1), "")
            continue
        piece = pieces[number]
        offset = ends[number] - len(piece)
        if number in first:
            if number in parted:
                return None
            parts = _part(piece, start - offset, end - offset, new)
            if parts is None:
                return None
            parted[number] = parts
        else:
            before = whole.get(number, piece)
            shift = len(before) - len(piece)
            whole[number] = before[: start - offset + shift] + new + before[end - offset + shift :]
    return Stencil(whole, parted, {number: first[number] for number in parted})


def _first_values(pieces: Sequence[str]) -> dict[int, int]:
    """Of each token that has free values, how many stand before those."""
    first: dict[int, int] = {}
    token = -1
    for count, before in enumerate(_FREE.split("\0" + "\0".join(pieces[1::2]))[:-1:2]):
        token += before.count("\0")
        first.setdefault(2 * token + 1, count)
    return first


def _part(token: str, start: int, end: int, new: str) -> tuple[str, ...] | None:
    """An edited token, cut at its free values."""
    parts: list[str] = []
    done = 0
    for match in _FREE.finditer(token):
        first, last = match.span(1)
        if start < last and end > first:
            return None
        parts.append(_with(token, done, first, start, end, new))
        done = last
    parts.append(_with(token, done, len(token), start, end, new))
    return tuple(parts)


def _with(token: str, begin: int, finish: int, start: int, end: int, new: str) -> str:
    """``token[begin:finish]`` with the edit, if it is there."""
    if begin <= start and end <= finish:
        return token[begin:start] + new + token[end:finish]
    return token[begin:finish]


def apply_stencil(stencil: Stencil, made: Cut) -> str:
    """The same edits for another text with the same key."""
    pieces = made.pieces.copy()
    for number, piece in stencil.whole.items():
        pieces[number] = piece
    values = made.values or []
    for number, parts in stencil.parted.items():
        place = stencil.first[number]
        out = [parts[0]]
        for part in parts[1:]:
            out += (values[place], part)
            place += 1
        pieces[number] = "".join(out)
    return "".join(pieces)
