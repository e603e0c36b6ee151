"""The journal of events."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.interfaces import IEventJournal, IExecutor
from smtpeter.model import listing
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.model.feature import Happening
from smtpeter.store.sqlite import records
from smtpeter.store.sqlite.rows import DELIVERED, GROUP, groups, milliseconds, pack_data, seconds, unpack_data
from smtpeter.store.sqlite.transaction import Combinable

T = TypeVar("T")

_COLUMNS = "cursor, submission, number, kind, time, data"
_OF_SUBMISSION = f"""
    SELECT {_COLUMNS} FROM event
    WHERE cursor BETWEEN (SELECT first_event FROM submission WHERE id = ?1)
        AND (SELECT first_event + recipients - 1 FROM submission WHERE id = ?1)
    UNION ALL SELECT {_COLUMNS} FROM event WHERE kind <> 'attempt' AND submission = ?1
    ORDER BY cursor
"""
# A reader's events come after the delivery, so that the first of its kind is soon found.
_DELIVERED = f"""
    WITH wanted (submission, number) AS (VALUES {", ".join(["(?, ?)"] * GROUP)})
    SELECT wanted.submission, wanted.number, CASE WHEN state = {DELIVERED} THEN (
        SELECT time FROM event
        WHERE kind <> 'attempt' AND kind = '{EventKind.DELIVERY.value}'
            AND submission = wanted.submission AND number = wanted.number
        ORDER BY cursor LIMIT 1
    ) END
    FROM wanted CROSS JOIN recipient USING (submission, number)
"""
# Recipients are numbered from 1 on, and forgotten with their submission: to look for each would cost a third more.
_SIZES = "SELECT id, recipients FROM submission WHERE id IN (SELECT value FROM json_each(?))"
_INSERT = "INSERT INTO event (time, kind, submission, number, data) VALUES (?, ?, ?, ?, ?)"


def insert_events(
    connection: sqlite3.Connection, events: Iterable[tuple[int, EventKind, str, int, Mapping[str, Any]]]
) -> None:
    """Write events: time in milliseconds, kind, submission, recipient's number, data."""
    connection.executemany(
        _INSERT,
        [(time, kind.value, submission, number, pack_data(data)) for time, kind, submission, number, data in events],
    )


def _entry(row: tuple[Any, ...]) -> JournalEntry:
    cursor, submission, number, kind, time, data = row
    return JournalEntry(cursor, submission, number, EventKind(kind), seconds(time), unpack_data(data))


class Record(Combinable):
    """What mail readers did, to be written down."""

    __slots__ = ("happenings",)

    def __init__(self, happenings: Sequence[Happening]) -> None:
        self.happenings = happenings

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[Record]) -> Sequence[int]:
        """See :class:`smtpeter.store.sqlite.transaction.Combinable`.  Answers how many were written."""
        ids = {happening.submission for operation in operations for happening in operation.happenings}
        sizes: dict[str, int] = dict(connection.execute(_SIZES, (json.dumps(list(ids)),)).fetchall())
        written = []
        for operation in operations:
            rows = [
                (milliseconds(time), kind.value, submission, number, pack_data(data))
                for kind, time, submission, number, data in operation.happenings
                if 1 <= number <= sizes.get(submission, 0)
            ]
            connection.executemany(_INSERT, rows)
            written.append(len(rows))
        return written


@implementer(IEventJournal)
class EventJournal:
    """See :class:`smtpeter.interfaces.IEventJournal`."""

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

    def delivery_times(
        self, recipients: Collection[tuple[str, int]]
    ) -> Deferred[Mapping[tuple[str, int], float | None]]:
        """See the interface."""
        wanted = list(recipients)

        def read(connection: sqlite3.Connection) -> Mapping[tuple[str, int], float | None]:
            return {
                (submission, number): None if time is None else seconds(time)
                for group in groups(wanted)
                for submission, number, time in connection.execute(_DELIVERED, group)
            }

        return self._executor.read(read)

    def record(self, happenings: Sequence[Happening]) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(Record(happenings))

    def of_submission(self, submission: str, number: int | None) -> Deferred[Sequence[JournalEntry]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Sequence[JournalEntry]:
            rows = connection.execute(_OF_SUBMISSION, (submission,))
            return [_entry(row) for row in rows if number is None or row[2] == number]

        return self._executor.read(read)

    def after(self, cursor: int, limit: int) -> Deferred[Sequence[JournalEntry]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Sequence[JournalEntry]:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM event WHERE cursor > ? AND submission <> '' ORDER BY cursor LIMIT ?",
                (cursor, limit),
            )
            return [_entry(row) for row in rows]

        return self._executor.read(read)

    def records(
        self, filter: listing.RecordFilter, after: int, limit: int, render: Callable[[Sequence[listing.Record]], T]
    ) -> Deferred[tuple[T, int | None]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> tuple[T, int | None]:
            found, following = records.read_records(connection, filter, after, limit)
            return render(found), following

        run = self._executor.scan if filter.submission is None else self._executor.read
        return run(read)

    def last(self) -> Deferred[int]:
        """See the interface."""
        return self._executor.read(records.last)

    def kinds(self, account: int, since: float, until: float) -> Deferred[frozenset[EventKind]]:
        """See the interface."""
        return Deferred.fromCoroutine(self._kinds(account, since, until))

    async def _kinds(self, account: int, since: float, until: float) -> frozenset[EventKind]:
        seen: frozenset[EventKind] = frozenset()
        after: int | None = 0
        while after is not None:
            look = partial(records.look_for_kinds, account=account, since=since, until=until, seen=seen, after=after)
            found, after = await self._executor.scan(look)
            seen |= found
        return seen

    def first_time(self) -> Deferred[float | None]:
        """See the interface."""
        return self._executor.read(records.first_time)
