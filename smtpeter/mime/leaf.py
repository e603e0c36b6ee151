"""One text of a message as features edit it: octets without transfer encoding, with slots and protected ranges.

Charsets in which ASCII is ASCII are edited octet by octet, whatever else is there, and never decoded.  The others are
edited as UTF-8, where decoding and encoding gives the same octets back.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from smtpeter.mime.charset import decode_exactly, find_charset
from smtpeter.mime.html import Link, find_links
from smtpeter.mime.transfer import (
    SLOT_LIMIT,
    decode,
    encode_base64,
    encode_quoted,
    has_bare_newline,
    has_delimiter,
    has_long_line,
)
from smtpeter.model.feature import Slot

Edit = tuple[int, int, Sequence[bytes | Slot]]

_PGP = re.compile(rb"(?:^|>)[ \t]*+-----BEGIN PGP ", re.M)  # at the beginning of a line, also for readers of HTML
_NOT_SHOWN = re.compile(r"[^!-~]")
_REMEMBERED = 131_072  # octets
_RAW_FACTOR = 4  # a transfer encoding makes text at most this much larger, as a rule


class LeafState(NamedTuple):
    """What can be put back."""

    octets: bytes
    slots: tuple[tuple[int, Slot], ...]
    protected: tuple[tuple[int, int], ...]


class EncodedLeaf(NamedTuple):
    """A leaf for the wire: its transfer encoding, its body, and the offsets of its slots in the body."""

    encoding: str
    body: list[bytes]
    slots: list[tuple[int, Slot]]


class UntouchableError(Exception):
    """Why a leaf cannot be edited; the text can be told to people."""


class EditableLeaf:
    """An IEditableLeaf.

    ``raw`` is its body on the wire, ``transfer_encoding`` and ``charset`` are what its header says.

    :raises UntouchableError: where it cannot be edited without damage.
    """

    def __init__(self, raw: bytes, type: str, transfer_encoding: str, charset: bytes, limit: int) -> None:
        known = find_charset(charset)
        if known is None:
            raise UntouchableError(f"a {type} part is in the charset {_shown(charset)}, which is not known")
        if len(raw) > _RAW_FACTOR * limit:
            raise UntouchableError(_too_large(type, len(raw)))
        try:
            octets = decode(raw, transfer_encoding)
        except ValueError:
            shown = _shown(transfer_encoding.encode("ascii"))
            raise UntouchableError(f"a {type} part has the transfer encoding {shown}, which cannot be read") from None
        if len(octets) > limit:
            raise UntouchableError(_too_large(type, len(octets)))
        if b"-----BEGIN PGP " in octets and _PGP.search(octets):
            raise UntouchableError(f"a {type} part is signed or encrypted with PGP")
        self.takes_slots = known.in_line
        self.encoding = known.codec if known.in_octets else "utf-8"
        self._codec: str | None = None  # where what is edited is not what goes
        if not known.in_octets:
            decoded = decode_exactly(octets, known)
            if decoded is None:
                raise UntouchableError(f"a {type} part would be damaged: it is not exactly {_shown(charset)}")
            octets, self._codec = decoded[0].encode("utf-8"), decoded[1]
        self._on_error = "xmlcharrefreplace" if type == "text/html" else "replace"
        self._raw = raw
        self._transfer_encoding = transfer_encoding
        self._original = octets
        self._octets = octets
        self._slots: list[tuple[int, Slot]] = []
        self._protected: list[tuple[int, int]] = []
        self._links: tuple[bytes, Sequence[Link]] | None = None  # those of these octets

    @property
    def octets(self) -> bytes:
        """What it holds now."""
        return self._octets

    @property
    def protected(self) -> tuple[tuple[int, int], ...]:
        """Ranges that features asked others to leave alone, in order; none overlaps another."""
        return tuple(self._protected)

    @property
    def edited(self) -> bool:
        """Whether it is not any more what it was."""
        return bool(self._slots) or self._octets != self._original

    def links(self) -> Sequence[Link]:
        """The links in HTML, found once for as long as nothing is edited."""
        octets = self._octets
        if self._links is None or self._links[0] is not octets:
            self._links = octets, _find_again(octets) if len(octets) <= _REMEMBERED else find_links(octets)
        return self._links[1]

    def text(self) -> str:
        """``octets`` decoded.

        :raises UnicodeError: where they are not what the charset says.
        """
        return self._octets.decode(self.encoding)

    def set_text(self, text: str) -> None:
        """Replace everything.

        :raises ValueError: where it already holds slots.
        """
        if self._slots:
            raise ValueError("slots were put into this already")
        if self._codec is not None:
            text = text.encode(self._codec, self._on_error).decode(self._codec)
        self._octets = text.encode(self.encoding, self._on_error)
        self._protected = []

    def protect(self, start: int, end: int) -> None:
        """Ask the features that follow to leave this range alone."""
        if not 0 <= start <= end <= len(self._octets):
            raise ValueError(f"({start}, {end}) is no range of {len(self._octets)} octets")
        ranges = self._protected
        first = bisect_left(ranges, start, key=_end)
        last = bisect_right(ranges, end, key=_start)
        if first < last:
            start, end = min(start, ranges[first][0]), max(end, ranges[last - 1][1])
        ranges[first:last] = [(start, end)] if start < end else []

    def splice(self, edits: Sequence[Edit]) -> None:
        """Replace ranges by octets and slots, as IEditableLeaf says.

        :raises ValueError: for edits out of order or range, for those that cut a slot, and for slots where
            ``takes_slots`` is false or that are longer than 64 octets.
        """
        octets, kept = self._octets, _Kept(self._slots)
        pieces: list[bytes] = []
        position = length = 0
        moves: list[tuple[int, int, int, int]] = []  # what was (start, end) is (start, end) now
        checked: Slot | None = None
        for start, end, new in edits:
            if not position <= start <= end <= len(octets):
                raise ValueError(f"({start}, {end}) is no range of {len(octets)} octets behind {position}")
            if self._slots:
                kept.take(start, end, length - position)
            pieces.append(octets[position:start])
            begin = length = length + start - position
            for piece in new:
                if isinstance(piece, Slot):
                    if piece is not checked:  # as a rule all of them are the same
                        self._check(piece)
                        checked = piece
                    kept.slots.append((length, piece))
                    piece = b"x" * piece.length
                pieces.append(piece)
                length += len(piece)
            moves.append((start, end, begin, length))
            position = end
        kept.take(len(octets), len(octets), length - position)
        pieces.append(octets[position:])
        self._octets, self._slots = b"".join(pieces), kept.slots
        self._protected = list(_moved(self._protected, moves))

    def _check(self, slot: Slot) -> None:
        if not self.takes_slots:
            raise ValueError("this charset takes no slots")
        if not 0 < slot.length <= SLOT_LIMIT:
            raise ValueError(f"a slot has 1 to {SLOT_LIMIT} octets, not {slot.length}")

    def snapshot(self) -> LeafState:
        """What :meth:`restore` brings back."""
        return LeafState(self._octets, tuple(self._slots), tuple(self._protected))

    def restore(self, state: LeafState | None) -> None:
        """Be what it was then; None: what it was at first."""
        octets, slots, protected = state or LeafState(self._original, (), ())
        self._octets, self._slots, self._protected = octets, list(slots), list(protected)

    def encode(self, delimiters: tuple[bytes, ...], *, is_last: bool) -> EncodedLeaf:
        """For the wire, in the same transfer encoding if that can be, else in quoted-printable.

        No line begins like a delimiter.  ``is_last`` tells that the message ends with it: its last line end stays.
        """
        pieces = self._wire_pieces()
        tail = b"\r\n" if is_last and self._raw.endswith(b"\n") else b""
        if not self._slots:
            octets = pieces[0]
            if self._transfer_encoding == "base64":
                end = len(self._raw.rstrip(b"\r\n\t "))
                return EncodedLeaf("base64", [encode_base64(octets), self._raw[end:]], [])
            if self._fits(octets, delimiters) and (octets.endswith(tail) or not octets):
                return EncodedLeaf(self._transfer_encoding, [octets], [])
        body, offsets = encode_quoted(pieces, delimiters)
        if tail and not body[-1].endswith(tail) and body != [b""]:
            body.append(b"=\r\n")
        slots = [(offset, slot) for offset, (_, slot) in zip(offsets, self._slots, strict=True)]
        return EncodedLeaf("quoted-printable", body, slots)

    def _fits(self, octets: bytes, delimiters: tuple[bytes, ...]) -> bool:
        """Whether they can go as they are."""
        return (
            self._transfer_encoding != "quoted-printable"
            and (self._transfer_encoding in ("8bit", "binary") or octets.isascii())
            and b"\0" not in octets
            and not has_bare_newline(octets)
            and not has_long_line(octets)
            and not has_delimiter(octets, delimiters)
        )

    def _wire_pieces(self) -> list[bytes]:
        """Text, slot, text, ... text, each in the charset of the message."""
        cuts = [0]
        for offset, slot in self._slots:
            cuts += (offset, offset + slot.length)
        cuts.append(len(self._octets))
        pieces = [self._octets[start:end] for start, end in pairwise(cuts)]
        if self._codec is None:
            return pieces
        return [piece.decode("utf-8", "replace").encode(self._codec, self._on_error) for piece in pieces]


@lru_cache(maxsize=4)
def _find_again(html: bytes) -> Sequence[Link]:
    """The same letter often comes many times, once for each reader."""
    return tuple(find_links(html))


class _Kept:
    """Slots that stay when ranges are replaced, with those that come."""

    def __init__(self, old: Sequence[tuple[int, Slot]]) -> None:
        self.slots: list[tuple[int, Slot]] = []
        self._old = old
        self._next = 0

    def take(self, start: int, end: int, shift: int) -> None:
        """Keep those up to ``start``, moved; forget those up to ``end``.

        :raises ValueError: where one of these offsets is within a slot.
        """
        old, slots = self._old, self.slots
        while self._next < len(old) and old[self._next][0] < start:
            offset, slot = old[self._next]
            if offset + slot.length > start:
                raise ValueError(f"{start} is within a slot")
            slots.append((offset + shift, slot))
            self._next += 1
        while self._next < len(old) and old[self._next][0] < end:
            offset, slot = old[self._next]
            if offset + slot.length > end:
                raise ValueError(f"{end} is within a slot")
            self._next += 1


def _moved(ranges: Sequence[tuple[int, int]], moves: Sequence[tuple[int, int, int, int]]) -> Iterator[tuple[int, int]]:
    """Ranges where they are after replacing; of those that were replaced in part, the part that is left."""
    number = 0
    shift = 0
    for start, end in ranges:
        while number < len(moves) and moves[number][1] <= start:
            shift = moves[number][3] - moves[number][1]
            number += 1
        new_start, inner = start + shift, number
        if number < len(moves) and moves[number][0] <= start < moves[number][1]:
            new_start = moves[number][3]
        new_end_shift = shift
        new_end: int | None = None
        while inner < len(moves) and moves[inner][0] < end:
            if moves[inner][1] >= end:
                new_end = moves[inner][2]
                break
            new_end_shift = moves[inner][3] - moves[inner][1]
            inner += 1
        new_end = end + new_end_shift if new_end is None else new_end
        if new_start < new_end:
            yield new_start, new_end


def _start(range: tuple[int, int]) -> int:
    return range[0]


def _end(range: tuple[int, int]) -> int:
    return range[1]


def _shown(name: bytes) -> str:
    """A name from a header, fit for people."""
    return _NOT_SHOWN.sub("?", name[:40].decode("latin-1"))


def _too_large(type: str, size: int) -> str:
    return f"a {type} part of {size / 1_000_000:.1f} MB is too large to be touched"
