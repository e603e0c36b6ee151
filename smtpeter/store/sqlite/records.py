"""Reading on in the journal, with all that is known of each event, in steps that are never long."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from smtpeter.model.event import EventKind
from smtpeter.model.ids import first_id, recipient_id
from smtpeter.model.listing import Record, RecordFilter
from smtpeter.store.sqlite.rows import milliseconds, seconds, unpack_data, unpack_options, unpack_tags

WRITTEN = 3600.0
"""Seconds after which an event is in the journal, unless the store was away.  A message that took longer to come in,
while many others did, is not seen by who reads up to a time shortly after it began."""

WRITTEN_SOON = 600.0
"""Seconds after which nearly all are, and after which all is written that had waited for the store to be back."""

KINDS_STEP = 50_000
"""Events that are looked at at once where only their kinds are wanted."""

_NEIGHBOURS = 100
"""Submissions that are asked, so that some that came in slowly, or while the clock was wrong, mislead nobody."""

_BEFORE = f"SELECT first_event FROM submission WHERE id < ? ORDER BY id DESC LIMIT {_NEIGHBOURS}"
_BEHIND = "SELECT time, first_event FROM submission WHERE id >= ? ORDER BY id LIMIT 1"

_KINDS: Mapping[str, EventKind] = {kind.value: kind for kind in EventKind}

# Whatever is joined is found by its key: the order of the tables is that in which the journal is read.
_JOINED = """
    CROSS JOIN submission AS s ON s.id = e.submission
    CROSS JOIN recipient AS r ON r.submission = e.submission AND r.number = e.number
"""
_COLUMNS = """
    e.cursor, e.kind, e.time, e.submission, e.number, e.data, s.recipients, s.reverse_path, r.address, s.tags, s.options
"""
_JOURNAL = "event AS e NOT INDEXED"


def begin(connection: sqlite3.Connection, since: float) -> int:
    """A cursor behind which all events are that happened since a time (seconds since the epoch).

    An event is written after it happened, so that nothing is missed that comes behind a submission which was taken in
    before that time.
    """
    (first,) = connection.execute(
        f"SELECT min(first_event) FROM ({_BEFORE})", (first_id(since - WRITTEN_SOON),)
    ).fetchone()
    return first or 0


def end(connection: sqlite3.Connection, until: float) -> int | None:
    """A cursor from which on no event happened before a time; None where nobody can tell."""
    behind = connection.execute(_BEHIND, (first_id(until + WRITTEN),)).fetchone()
    if behind is None:
        return None
    # It may be the first one after the store was away: what had waited comes now.
    behind = connection.execute(_BEHIND, (first_id(seconds(behind[0]) + WRITTEN_SOON),)).fetchone()
    if behind is None:
        return None
    (latest,) = connection.execute(f"SELECT max(first_event) FROM ({_BEFORE})", (first_id(until),)).fetchone()
    return behind[1] if latest is None or latest < behind[1] else None


def read_records(
    connection: sqlite3.Connection, filter: RecordFilter, after: int, limit: int
) -> tuple[Sequence[Record], int | None]:
    """See :meth:`smtpeter.interfaces.IEventJournal.records`."""
    if filter.submission is not None:
        return _read_submission(connection, filter, after, limit)
    span = next_span(connection, filter.since, filter.until, after, limit)
    if span is None:
        return (), None
    first, last, goes_on = span
    conditions, values = _conditions(filter)
    where = " AND ".join(["e.cursor BETWEEN :first AND :last", *conditions])
    found = _read(connection, _JOURNAL, f"WHERE {where} ORDER BY e.cursor", values | {"first": first, "last": last})
    return found, last if goes_on else None


def next_span(
    connection: sqlite3.Connection, since: float | None, until: float | None, after: int, limit: int
) -> tuple[int, int, bool] | None:
    """The next cursors to be looked at, first and last, and whether there are more; None where there are none."""
    if since is not None:
        after = max(after, begin(connection, since))
    stop = None if until is None else end(connection, until)
    first, newest = connection.execute(
        "SELECT (SELECT min(cursor) FROM event WHERE cursor > ?), (SELECT max(cursor) FROM event)", (after,)
    ).fetchone()
    if stop is not None:
        newest = min(newest or 0, stop - 1)
    if first is None or first > newest:
        return None
    last = min(first + limit - 1, newest)
    return first, last, last < newest


def _read_submission(
    connection: sqlite3.Connection, filter: RecordFilter, after: int, limit: int
) -> tuple[Sequence[Record], int | None]:
    """The same for one submission, whose events are few and found by the index."""
    number = "" if filter.number is None else " AND number = :number"
    source = f"""(
        SELECT * FROM event NOT INDEXED
        WHERE cursor BETWEEN (SELECT first_event FROM submission WHERE id = :submission)
            AND (SELECT first_event + recipients - 1 FROM submission WHERE id = :submission){number}
        UNION ALL SELECT * FROM event WHERE kind <> 'attempt' AND submission = :submission{number}
    ) AS e"""
    conditions, values = _conditions(filter)
    where = " AND ".join(["e.cursor > :after", *conditions])
    values |= {"submission": filter.submission, "number": filter.number, "after": after, "limit": limit}
    found = _read(connection, source, f"WHERE {where} ORDER BY e.cursor LIMIT :limit", values)
    return found, found[-1].cursor if len(found) == limit else None


def _conditions(filter: RecordFilter) -> tuple[list[str], dict[str, Any]]:
    """A filter, all but its submission, as SQL."""
    conditions: list[str] = []
    values: dict[str, Any] = {}
    if filter.kinds is not None:
        conditions.append(f"e.kind IN ({', '.join(sorted(repr(kind.value) for kind in filter.kinds))})")
    if filter.since is not None:
        conditions.append("e.time >= :since")
        values["since"] = milliseconds(filter.since)
    if filter.until is not None:
        conditions.append("e.time < :until")
        values["until"] = milliseconds(filter.until)
    if filter.account is not None:
        conditions.append("s.account = :account")
        values["account"] = filter.account
    if filter.recipient is not None:
        conditions.append("lower(r.address) = lower(:recipient)")
        values["recipient"] = filter.recipient
    for index, tag in enumerate(filter.tags):
        conditions.append(f"instr(';' || s.tags || ';', :tag{index})")
        values[f"tag{index}"] = f";{tag};"
    return conditions, values


def _read(connection: sqlite3.Connection, source: str, rest: str, values: Mapping[str, Any]) -> Sequence[Record]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM {source} {_JOINED} {rest}", values)
    # Neighbours have much in common.
    tags_of, options_of = cache(unpack_tags), cache(unpack_options)
    return [
        Record(
            cursor,
            _KINDS[kind],
            seconds(time),
            recipient_id(submission, number, count),
            path,
            address,
            tags_of(tags),
            options_of(options),
            unpack_data(data),
        )
        for cursor, kind, time, submission, number, data, count, path, address, tags, options in rows
    ]


def first_time(connection: sqlite3.Connection) -> float | None:
    """See :meth:`smtpeter.interfaces.IEventJournal.first_time`.  A submission's attempts are its first events."""
    row = connection.execute("SELECT time FROM submission ORDER BY id LIMIT 1").fetchone()
    return None if row is None else seconds(row[0])


def last(connection: sqlite3.Connection) -> int:
    """See :meth:`smtpeter.interfaces.IEventJournal.last`."""
    (cursor,) = connection.execute("SELECT max(cursor) FROM event").fetchone()
    return cursor or 0


def look_for_kinds(
    connection: sqlite3.Connection,
    account: int,
    since: float,
    until: float,
    seen: frozenset[EventKind],
    after: int,
) -> tuple[frozenset[EventKind], int | None]:
    """A step of :meth:`smtpeter.interfaces.IEventJournal.kinds`: what was not seen yet, and the cursor to go on behind.

    Of most events nothing but the kind is read, because others of it were seen.
    """
    span = next_span(connection, since, until, after, KINDS_STEP)
    if span is None:
        return frozenset(), None
    first, last, goes_on = span
    found: set[EventKind] = set()
    while True:
        known = ", ".join(sorted(repr(kind.value) for kind in seen | found))
        row = connection.execute(
            f"""
            SELECT e.cursor, e.kind FROM {_JOURNAL} CROSS JOIN submission AS s ON s.id = e.submission
            WHERE e.cursor BETWEEN ? AND ? AND e.kind NOT IN ({known}) AND e.time >= ? AND e.time < ? AND s.account = ?
            ORDER BY e.cursor LIMIT 1
            """,
            (first, last, milliseconds(since), milliseconds(until), account),
        ).fetchone()
        if row is None:
            return frozenset(found), last if goes_on else None
        first = row[0] + 1
        found.add(_KINDS[row[1]])
