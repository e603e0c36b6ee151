"""Answers that are made piece by piece, so that a month of events needs no more memory than a minute.

Whatever fails before the first piece is there is told by a status of its own.  What fails later is raised to whoever
carries the answer: then it must be seen to be cut, and not look like a complete one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from itertools import islice
from typing import TypeVar

from smtpeter.interfaces import IEventJournal
from smtpeter.model.listing import Record, RecordFilter
from smtpeter.web.rest.values import JSON, Fields, Response

T = TypeVar("T")

AT_A_TIME = 500
"""Events that are looked at in one call of the journal: some tens of milliseconds, in a thread of the store."""


async def rendered(
    journal: IEventJournal, filter: RecordFilter, render: Callable[[Sequence[Record]], T]
) -> AsyncIterator[T]:
    """What ``render`` makes of the records that a filter wants, some at a time; it is called in another thread.

    What is false (empty) is left out.
    """
    after: int | None = 0
    while after is not None:
        piece, after = await journal.records(filter, after, AT_A_TIME, render)
        if piece:
            yield piece


async def json_list(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """A list in JSON, of pieces that are items with commas between them."""
    start = b"["
    async for piece in pieces:
        yield start + piece
        start = b","
    yield b"]" if start == b"," else b"[]"


def written(items: Iterable[T], write: Callable[[T], str]) -> bytes:
    """Items in JSON with commas between them.  Each is encoded on its own: other threads can run in between."""
    return b",".join([write(item).encode("utf-8", "replace") for item in items])


async def in_turns(items: Iterable[T], write: Callable[[T], str], many: int) -> AsyncIterator[bytes]:
    """Items in JSON with commas between them, so many at a time: whoever carries the answer lets others have a turn."""
    left = iter(items)
    while some := list(islice(left, many)):
        yield written(some, write)


async def first_of(pieces: AsyncIterator[T]) -> T | None:
    """The first of them, None where there is none."""
    try:
        # With a default, as of 3.11, it cannot be awaited by whoever sends it what it waits for.
        return await anext(pieces)
    except StopAsyncIteration:
        return None


async def streamed(pieces: AsyncIterator[bytes], content_type: bytes = JSON, fields: Fields = ()) -> Response:
    """An answer of these pieces; its first is waited for."""
    first = await first_of(pieces) or b""
    return Response(200, content_type, _all(first, pieces), fields)


async def _all(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
