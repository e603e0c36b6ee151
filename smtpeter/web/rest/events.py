"""``/v1/events/...``: what happened to messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated

from pydantic import BaseModel, Field

from smtpeter.interfaces import IClock, IEventJournal, IQueueStore
from smtpeter.model.account import Scope
from smtpeter.model.listing import Record, RecordFilter
from smtpeter.web.rest.moments import Moment, Tags, read_tags
from smtpeter.web.rest.own import find_own
from smtpeter.web.rest.records import in_order, json_event
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.streams import AT_A_TIME, json_list, rendered, streamed, written
from smtpeter.web.rest.values import ApiError, Call, Response, json_response

MONTH = 31 * 86400
"""Seconds, at most, from ``start`` to ``end``."""

_LOOKS = 500
"""Calls of the journal for one answer of ``/v1/events``: with few events among many of others it ends before it has as
many as were asked for."""

_SHAPE = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "description": "attempt, delivery, failure, click, open, ..."},
        "data": {"type": "object", "description": "the same fields as beside it"},
    },
    "additionalProperties": True,
}
_LIST = Answer("Events, the oldest first", {"type": "array", "items": _SHAPE})
_PAGE = Answer(
    "Events in order, and the cursor to go on from",
    {
        "type": "object",
        "required": ["events", "cursor", "more"],
        "properties": {
            "events": {"type": "array", "items": _SHAPE},
            "cursor": {"type": "string"},
            "more": {"type": "boolean", "description": "whether there may be more of them now"},
        },
    },
)
_PERIOD = (
    "The time between start and end is at most 31 days. Without them it is {default}. "
    "Clicks and opens are written a second after they happened, so that in long lists they may stand a little late."
)


class Period(BaseModel):
    """Which events are wanted."""

    start: Moment | None = Field(None, description="Events at this time (UTC) or later")
    end: Moment | None = Field(None, description="Events before this time (UTC)")
    tags: Tags = Field((), description="Events of messages with all of these tags")


class Continuation(BaseModel):
    """Where to go on, and how far."""

    after: Annotated[str, Field(pattern="^[0-9]{1,18}$")] = Field(
        "0", description="The cursor of an earlier answer; without it from the beginning of what is kept"
    )
    limit: int = Field(1000, ge=1, le=10_000, description="At most so many events")


def routes(queue: IQueueStore, journal: IEventJournal, clock: IClock) -> list[Route]:
    """The routes of events."""
    events = _Events(queue, journal, clock)
    last_month = _PERIOD.format(default="the last month")
    return [
        Route(
            "GET", "/events/messageid/{id}", Scope.READ, events.of_message, "Events of a message",
            _PERIOD.format(default="the month after the message was sent"), "Events", Period, answers={200: _LIST},
            parameters={"id": "The id of a message, or of a submission: then of all its recipients"},
        ),
        Route(
            "GET", "/events/email/{address}", Scope.READ, events.of_address, "Events of a recipient's address",
            last_month, "Events", Period, answers={200: _LIST},
            parameters={"address": "The e-mail address, compared without case"},
        ),
        Route(
            "GET", "/events/template/{id}", Scope.READ, events.of_template, "Events of a template's messages",
            last_month, "Events", Period, answers={200: _LIST}, parameters={"id": "The template's number"},
        ),
        Route(
            "GET", "/events/tags/{tags}", Scope.READ, events.of_tags, "Events of messages with these tags",
            last_month, "Events", Period, answers={200: _LIST},
            parameters={"tags": "Tags with semicolons between them; a message needs all of them"},
        ),
        Route(
            "GET", "/events", Scope.READ, events.after, "All events, in order",
            "For programs that follow what happens: give the cursor of each answer to the next request, as after. "
            "No event is left out and none comes twice. Where more is true ask again at once, even if this answer has "
            "few events or none; else later. Here events have more fields than elsewhere, such as machine (why a click "
            "was taken for a program's).",
            "Events", Continuation, answers={200: _PAGE},
        ),
    ]  # fmt: skip


class _Events:
    def __init__(self, queue: IQueueStore, journal: IEventJournal, clock: IClock) -> None:
        self._queue = queue
        self._journal = journal
        self._clock = clock

    async def of_message(self, call: Call) -> Response:
        submission, number = await find_own(self._queue, call.submitter, call.path["id"])
        filter = self._filter(call, since=submission.time // 1)
        return await self._list(filter._replace(submission=submission.id, number=number))

    async def of_address(self, call: Call) -> Response:
        return await self._list(self._filter(call)._replace(recipient=call.path["address"]))

    async def of_template(self, call: Call) -> Response:
        self._filter(call)  # what is wrong in the query is said all the same
        return json_response([])  # no message is made from a template yet

    async def of_tags(self, call: Call) -> Response:
        tags = read_tags(call.path["tags"])
        if not tags:
            raise ApiError(404, "There is no tag in this path: write /events/tags/TAG1;TAG2")
        filter = self._filter(call)
        return await self._list(filter._replace(tags=tuple(dict.fromkeys(tags + filter.tags))))

    async def after(self, call: Call) -> Response:
        position = int(call.query.after)
        last = await self._journal.last()
        if position > last:
            raise ApiError(400, "after: this cursor is not of this store, which may have been brought back from a "
                           "backup: begin again without after")  # fmt: skip
        filter = RecordFilter(account=call.submitter.account.number)
        return await streamed(_page(self._journal, filter, position, last, call.query.limit))

    def _filter(self, call: Call, since: float | None = None) -> RecordFilter:
        """What a query wants; without times in it, the month from ``since`` on, or the last one.

        :raises ApiError: 400.
        """
        period: Period = call.query
        start, end = period.start, period.end
        if start is None and end is None:
            start = self._clock.time() - MONTH if since is None else since
            end = None if since is None else since + MONTH
        elif start is None:
            assert end is not None
            start = end - MONTH
        elif end is None:
            end = start + MONTH
        if end is not None and end < start:
            raise ApiError(400, "end: must not be before start")
        if end is not None and end - start > MONTH:
            raise ApiError(400, "end: must be at most 31 days after start")
        return RecordFilter(call.submitter.account.number, since=start, until=end, tags=period.tags)

    async def _list(self, filter: RecordFilter) -> Response:
        return await streamed(json_list(rendered(self._journal, filter, _render)))


def _render(records: Sequence[Record]) -> bytes:
    return written(in_order(records), json_event)


def _render_each(records: Sequence[Record]) -> Sequence[tuple[int, bytes]]:
    return [(record.cursor, json_event(record, everything=True).encode("utf-8", "replace")) for record in records]


async def _page(
    journal: IEventJournal, filter: RecordFilter, position: int, last: int, limit: int
) -> AsyncIterator[bytes]:
    """At most ``limit`` events behind a position; ``last`` was the newest cursor before anything was looked at."""
    start, more = b'{"events":[', True
    for _ in range(_LOOKS):
        found, after = await journal.records(filter, position, AT_A_TIME, _render_each)
        if found:
            yield start + b",".join([text for _, text in found[:limit]])
            start = b","
        if len(found) >= limit:
            position, more = found[limit - 1][0], len(found) > limit or after is not None
            break
        limit -= len(found)
        if after is None:
            # What is nobody's, or somebody else's, need not be looked at again.
            position, more = max(position, last, *(cursor for cursor, _ in found[-1:])), False
            break
        position = after
    end = b'],"cursor":"%d","more":%s}' % (position, b"true" if more else b"false")
    yield end if start == b"," else start + end
