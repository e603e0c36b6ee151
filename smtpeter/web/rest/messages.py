"""``/v1/messages``: what became of mail, as ``smtpeter message list`` and ``show`` have it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, WithJsonSchema

from smtpeter.interfaces import IEventJournal, IQueueStore
from smtpeter.model.account import Scope
from smtpeter.model.delivery import RecipientState
from smtpeter.model.documents import describe, describe_event
from smtpeter.model.event import JournalEntry
from smtpeter.model.ids import parse_id
from smtpeter.model.listing import Filter, MessageRow
from smtpeter.web.rest.moments import Moment
from smtpeter.web.rest.own import NO_SUCH_MESSAGE
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.streams import in_turns, streamed
from smtpeter.web.rest.values import ApiError, Call, Response

_ALL = 2**31 - 1
_TURN = 100  # messages, or events of one
_DEFERRED = "deferred"
_STATES = (*map(str, RecipientState), _DEFERRED)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode

_TEXT = {"type": "string"}
_MESSAGE: Mapping[str, Any] = {
    "type": "object",
    "required": ["id", "submission", "state", "recipient", "time"],
    "properties": {
        "id": _TEXT,
        "submission": _TEXT,
        "state": {"type": "string", "enum": list(map(str, RecipientState))},
        "attempts": {"type": "integer"},
        "account": _TEXT,
        "envelope": _TEXT,
        "recipient": _TEXT,
        "subject": _TEXT,
        "time": {"type": "string", "description": "when it was accepted, UTC"},
        "next_attempt": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": _TEXT},
    },
}


def _read_states(value: Any) -> list[str]:
    states = value if isinstance(value, list) else [value]
    if not all(state in _STATES for state in states):
        raise ValueError(f"must be one of {', '.join(_STATES)}")
    return states


def _check_cursor(value: str) -> str:
    parts = parse_id(value)
    if parts is None or parts[1] is None:
        raise ValueError("must be the cursor of an earlier answer")
    return value


class Listing(BaseModel):
    """Which messages are wanted."""

    recipient: str | None = Field(None, description="Mail to this address, compared without case")
    tag: str | None = Field(None, description="Mail with this tag")
    state: Annotated[
        list[str],
        BeforeValidator(_read_states),
        WithJsonSchema({"type": "array", "items": {"type": "string", "enum": list(_STATES)}}),
    ] = Field([], description="Recipients in this state, or one of these; deferred are those due that were tried")
    since: Moment | None = Field(None, description="Accepted at this time (UTC) or later")
    until: Moment | None = Field(None, description="Accepted before this time (UTC)")
    limit: int = Field(100, ge=1, le=1000, description="At most so many recipients")
    cursor: Annotated[str, AfterValidator(_check_cursor)] | None = Field(
        None, description="The cursor of an earlier answer, to go on behind it"
    )


def routes(queue: IQueueStore, journal: IEventJournal) -> list[Route]:
    """The routes of messages."""
    messages = _Messages(queue, journal)
    return [
        Route(
            "GET", "/messages", Scope.READ, messages.listing, "Messages, newest first",
            "An entry for each recipient. Where there are more, give the cursor to the next request; else it is null.",
            "Messages", Listing,
            answers={200: Answer("Messages", {
                "type": "object",
                "required": ["messages", "cursor"],
                "properties": {
                    "messages": {"type": "array", "items": _MESSAGE},
                    "cursor": {"type": ["string", "null"]},
                },
            })},
        ),
        Route(
            "GET", "/messages/{id}", Scope.READ, messages.show, "A message and what happened to it",
            "By a recipient's id one message with its events; by the id of a submission that has several recipients "
            "{id, messages}, with one for each.",
            "Messages",
            answers={200: Answer("The message", {"type": "object", "required": ["id"]})},
            parameters={"id": "The id of a message, or of a submission"},
        ),
    ]  # fmt: skip


class _Messages:
    def __init__(self, queue: IQueueStore, journal: IEventJournal) -> None:
        self._queue = queue
        self._journal = journal

    async def listing(self, call: Call) -> Response:
        wanted: Listing = call.query
        filter = Filter(
            account=call.submitter.account.email,
            recipient=wanted.recipient,
            tag=wanted.tag,
            states=_states(wanted.state),
            since=wanted.since,
            until=wanted.until,
            attempted=_DEFERRED in wanted.state and RecipientState.DUE not in wanted.state,
        )
        before = None
        if wanted.cursor is not None:
            submission, number = parse_id(wanted.cursor) or ("", 0)
            before = submission, number or 0
        found = await self._queue.select(filter, wanted.limit + 1, before)
        rows = found[: wanted.limit]
        cursor = f'"{rows[-1].submission}-{rows[-1].number}"' if len(found) > len(rows) else "null"
        return await streamed(_around('{"messages":[', in_turns(rows, _row, _TURN), f'],"cursor":{cursor}}}'))

    async def show(self, call: Call) -> Response:
        id = call.path["id"]
        parts = parse_id(id)
        if parts is None:
            raise ApiError(404, NO_SUCH_MESSAGE)
        submission, number = parts
        mine = Filter(account=call.submitter.account.email, submission=submission, number=number)
        rows = sorted(await self._queue.select(mine, _ALL), key=lambda row: row.number)
        # A single recipient's id is the submission's own.
        if not rows or (number is not None and rows[0].id != id):
            raise ApiError(404, NO_SUCH_MESSAGE)
        events: dict[int, list[JournalEntry]] = {row.number: [] for row in rows}
        for entry in await self._journal.of_submission(submission, rows[0].number if len(rows) == 1 else None):
            events.setdefault(entry.number, []).append(entry)
        if rows[0].id == id:
            return await streamed(_one(rows[0], events[rows[0].number]))
        return await streamed(_several(id, rows, events))


def _states(names: Sequence[str]) -> frozenset[RecipientState] | None:
    return frozenset(RecipientState.DUE if name == _DEFERRED else RecipientState(name) for name in names) or None


def _row(row: MessageRow) -> str:
    return _encode(describe(row))


def _event(entry: JournalEntry) -> str:
    return _encode(describe_event(entry))


async def _around(start: str, pieces: AsyncIterator[bytes], end: str) -> AsyncIterator[bytes]:
    """Pieces with commas between them, something before them, and something behind."""
    before = start.encode("utf-8", "replace")
    async for piece in pieces:
        yield before + piece
        before = b","
    yield (b"" if before == b"," else before) + end.encode("utf-8")


async def _one(row: MessageRow, events: Sequence[JournalEntry]) -> AsyncIterator[bytes]:
    async for piece in _around(f'{_row(row)[:-1]},"events":[', in_turns(events, _event, _TURN), "]}"):
        yield piece


async def _several(
    id: str, rows: Sequence[MessageRow], events: Mapping[int, Sequence[JournalEntry]]
) -> AsyncIterator[bytes]:
    start = f'{{"id":{_encode(id)},"messages":['.encode()
    for row in rows:
        async for piece in _one(row, events[row.number]):
            yield start + piece
            start = b""
        start = b","
    yield b"]}"
