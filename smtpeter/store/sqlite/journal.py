"""The journal of events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.interfaces import IEventJournal, IExecutor
from smtpeter.model.event import EventKind, JournalEntry
from smtpeter.store.sqlite.rows import pack_data, seconds, unpack_data

_COLUMNS = "cursor, submission, number, kind, time, data"
_OF_SUBMISSION = f"""
    SELECT {_COLUMNS} FROM event
    WHERE cursor BETWEEN (SELECT first_event FROM submission WHERE id = ?1)
        AND (SELECT first_event + recipients - 1 FROM submission WHERE id = ?1)
    UNION ALL SELECT {_COLUMNS} FROM event WHERE kind <> 'attempt' AND submission = ?1
    ORDER BY cursor
"""


def insert_events(
    connection: sqlite3.Connection, events: Iterable[tuple[int, EventKind, str, int, Mapping[str, Any]]]
) -> None:
    """Write events: time in milliseconds, kind, submission, recipient's number, data."""
    connection.executemany(
        "INSERT INTO event (time, kind, submission, number, data) VALUES (?, ?, ?, ?, ?)",
        [(time, kind.value, submission, number, pack_data(data)) for time, kind, submission, number, data in events],
    )


def _entry(row: tuple[Any, ...]) -> JournalEntry:
    cursor, submission, number, kind, time, data = row
    return JournalEntry(cursor, submission, number, EventKind(kind), seconds(time), unpack_data(data))


@implementer(IEventJournal)
class EventJournal:
    """See :class:`smtpeter.interfaces.IEventJournal`."""

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

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
