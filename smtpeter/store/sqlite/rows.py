"""How values are written in rows, and read from them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from smtpeter.model.delivery import RecipientState
from smtpeter.model.feature import PlacedSlot, Slot

WAITING, DUE, LEASED, HELD, DELIVERED, FAILED, EXPIRED, CANCELLED = range(8)
FIRST_FINAL = DELIVERED

STATE_NUMBERS: Mapping[RecipientState, int] = {
    RecipientState.DUE: DUE,
    RecipientState.LEASED: LEASED,
    RecipientState.HELD: HELD,
    RecipientState.DELIVERED: DELIVERED,
    RecipientState.FAILED: FAILED,
    RecipientState.EXPIRED: EXPIRED,
    RecipientState.CANCELLED: CANCELLED,
}
STATES: Mapping[int, RecipientState] = {number: state for state, number in STATE_NUMBERS.items()} | {
    WAITING: RecipientState.DUE  # for the world; it waits to be prepared
}

_JSON = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False)


AVOIDED = " AND (submission || ' ' || number) NOT IN (SELECT value FROM json_each(?))"
"""A condition on an index of recipients: they are none of those that :func:`avoid` was given."""


def avoid(recipients: Collection[tuple[str, int]]) -> tuple[str, ...]:
    """The value for :data:`AVOIDED`; none where there is nobody to avoid."""
    return (json.dumps([f"{submission} {number}" for submission, number in recipients]),) if recipients else ()


GROUP = 50
"""Rows that are asked for in one statement; where there are fewer, NULL is asked for, which no row has."""


def groups(rows: Sequence[tuple[Any, ...]]) -> Iterator[list[Any]]:
    """The values for statements that ask for :data:`GROUP` rows each."""
    for begin in range(0, len(rows), GROUP):
        group = rows[begin : begin + GROUP]
        yield [*chain.from_iterable(group), *[None] * (len(rows[0]) * (GROUP - len(group)))]


def milliseconds(seconds: float) -> int:
    """A time as rows have it."""
    return round(seconds * 1000)


def seconds(milliseconds: int) -> float:
    """A time as the rest of the program has it."""
    return milliseconds / 1000


def pack_options(options: tuple[tuple[str, str], ...]) -> str:
    """Options as JSON, none as an empty text."""
    return json.dumps(options, separators=(",", ":")) if options else ""


def unpack_options(text: str) -> tuple[tuple[str, str], ...]:
    """What :func:`pack_options` was given."""
    return tuple((name, value) for name, value in json.loads(text)) if text else ()


def pack_slots(slots: tuple[PlacedSlot, ...]) -> str:
    """Slots as JSON, none as an empty text."""
    return json.dumps([[offset, *slot] for offset, slot in slots], separators=(",", ":")) if slots else ""


def unpack_slots(text: str) -> tuple[PlacedSlot, ...]:
    """What :func:`pack_slots` was given."""
    if not text:
        return ()
    return tuple(PlacedSlot(offset, Slot(feature, key, length)) for offset, feature, key, length in json.loads(text))


def pack_data(data: Mapping[str, Any]) -> str | None:
    """An event's data as JSON, none as NULL.  What is no character in it becomes ``?``."""
    if not data:
        return None
    text = _JSON.encode(dict(data))
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def unpack_data(text: str | None) -> Mapping[str, Any]:
    """What :func:`pack_data` was given."""
    if not text:
        return {}
    data: Mapping[str, Any] = json.loads(text)
    return data


def unpack_tags(text: str) -> tuple[str, ...]:
    """Tags from the text that joins them by semicolons, which are in no tag."""
    return tuple(text.split(";")) if text else ()
