"""How operators look at the queue, and what they do to it in bulk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.ids import first_id, recipient_id
from smtpeter.model.listing import Filter, MessageRow, Verb
from smtpeter.store.sqlite.destinations import became_due, look_again, unpark
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.preparing import go_on, waits
from smtpeter.store.sqlite.rows import (
    CANCELLED,
    DUE,
    FIRST_FINAL,
    HELD,
    LEASED,
    STATES,
    WAITING,
    milliseconds,
    seconds,
    unpack_tags,
)
from smtpeter.store.sqlite.settle import finish

_FEW_OPEN = 20_000
"""Recipients.  Up to so many that are not final are sorted for a listing; where there are more, the newest are soon
found by walking back from the newest submission."""

_ID_SLACK = 60.0
"""Seconds by which the time in a submission's id and that in its row may differ; it is a millisecond."""

_FROM = "recipient AS r{index} JOIN submission AS s ON s.id = r.submission"
_BY_STATE = " INDEXED BY recipient_open"
# What waits to be prepared keeps the time that its submission asked for; what is due already keeps its place.
_CHANGE = f"""
    UPDATE recipient SET state = ?1, due = CASE state
        WHEN {WAITING} THEN due WHEN {DUE} THEN min(due, coalesce(?2, due)) ELSE coalesce(?2, due) END
    WHERE submission = ?3 AND number = ?4
"""


_PREPARATION = "EXISTS (SELECT 1 FROM preparation AS w WHERE w.submission = r.submission"
_IS_POSTPONED = f"r.state = {WAITING} AND {_PREPARATION} AND w.postponed"
_LANE = "destination AS d WHERE d.domain = r.domain AND d.account = r.account"
_IS_LATER = f"r.state = {DUE} AND (r.due > ? OR EXISTS (SELECT 1 FROM {_LANE} AND d.parked > ?))"


class _Change(NamedTuple):
    """What a verb does: ``fits`` is a condition, in which every parameter is the time now."""

    fits: str
    states: tuple[int, ...]
    state: int
    due_now: bool
    event: EventKind | None


_CHANGES: Mapping[Verb, _Change] = {
    Verb.RETRY: _Change(f"({_IS_LATER} OR {_IS_POSTPONED} AND w.due > ?))", (WAITING, DUE), DUE, True, None),
    Verb.HOLD: _Change("", (WAITING, DUE), HELD, False, EventKind.HELD),
    Verb.RELEASE: _Change("", (HELD,), DUE, True, EventKind.RELEASED),
    Verb.CANCEL: _Change("", (WAITING, DUE, HELD), CANCELLED, False, EventKind.CANCELLED),
}


def _conditions(filter: Filter) -> tuple[list[str], list[Any]]:
    """A filter, all but its states, as SQL."""
    conditions: list[str] = []
    values: list[Any] = []

    def add(condition: str, value: Any) -> None:
        conditions.append(condition)
        values.append(value)

    if filter.submission is not None:
        add("r.submission = ?", filter.submission)
    if filter.number is not None:
        add("r.number = ?", filter.number)
    if filter.account is not None:
        add("s.account = (SELECT number FROM account WHERE folded = ?)", filter.account.casefold())
    if filter.recipient is not None:
        add("lower(r.address) = lower(?)", filter.recipient)
    if filter.domain is not None:
        add("r.domain = ?", filter.domain.lower())
    if filter.tag is not None:
        add("instr(';' || s.tags || ';', ?)", f";{filter.tag};")
    if filter.since is not None:
        add("r.submission >= ?", first_id(filter.since - _ID_SLACK))
        add("s.time >= ?", milliseconds(filter.since))
    if filter.until is not None:
        add("r.submission < ?", first_id(filter.until + _ID_SLACK))
        add("s.time < ?", milliseconds(filter.until))
    if filter.attempted:
        conditions.append(f"(r.state NOT IN ({WAITING}, {DUE}) OR r.attempts > 0 OR {_IS_POSTPONED}))")
    return conditions, values


def _numbers(states: Collection[RecipientState]) -> set[int]:
    return {number for number, state in STATES.items() if state in states}


def _in_states(states: Sequence[int]) -> str:
    return f"r.state IN ({', '.join(map(str, sorted(states)))})"


def select(
    connection: sqlite3.Connection, filter: Filter, limit: int, before: tuple[str, int] | None = None
) -> Sequence[MessageRow]:
    """See :meth:`smtpeter.interfaces.IQueueStore.select`."""
    conditions, values = _conditions(filter)
    if before is not None:
        submission, number = before
        conditions += ["r.submission <= ?", "(r.submission < ? OR r.number > ?)"]
        values += [submission, submission, number]
    index = ""
    if filter.states is not None:
        states = sorted(_numbers(filter.states))
        conditions.append(_in_states(states))
        if states and max(states) < FIRST_FINAL:
            few = filter.submission is None and _are_few(connection, states)
            if few:
                index = _BY_STATE
            if few or filter.since is None:  # else there may be fewer of this time than in these states
                conditions.append("r.state < 4")
    where = " AND ".join(conditions) or "true"
    rows = connection.execute(
        f"""
        SELECT r.submission, r.number, s.recipients, r.state, r.attempts, coalesce(a.email, ''), s.reverse_path,
            r.address, s.subject, s.time, r.due, s.tags
        FROM {_FROM.format(index=index)} LEFT JOIN account AS a ON a.number = s.account
        WHERE {where} ORDER BY r.submission DESC, r.number LIMIT ?
        """,
        [*values, limit],
    )
    return [_message_row(row) for row in rows]


def _are_few(connection: sqlite3.Connection, states: Sequence[int]) -> bool:
    (found,) = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM recipient AS r WHERE r.state < 4 AND {_in_states(states)} LIMIT ?)",
        (_FEW_OPEN + 1,),
    ).fetchone()
    return bool(found <= _FEW_OPEN)


def _message_row(row: tuple[Any, ...]) -> MessageRow:
    submission, number, count, state, attempts, account, path, address, subject, time, due, tags = row
    known = STATES[state]
    return MessageRow(
        id=recipient_id(submission, number, count),
        submission=submission,
        number=number,
        state=known,
        attempts=attempts,
        account=account,
        envelope=path,
        recipient=address,
        subject=subject,
        time=seconds(time),
        next_attempt=seconds(due) if state == DUE else None,
        tags=unpack_tags(tags),
    )


def _selection(filter: Filter, change: _Change, now: int) -> tuple[str, list[Any]]:
    """The rows that a verb fits, as what follows SELECT ..."""
    conditions, values = _conditions(filter)
    states = set(change.states)
    if filter.states is not None:
        states &= _numbers(filter.states)
    conditions += ["r.state < 4", _in_states(tuple(states))]
    if change.fits:
        conditions.append(change.fits)
        values += [now] * change.fits.count("?")
    index = _BY_STATE if states and filter.submission is None else ""
    return f"FROM {_FROM.format(index=index)} WHERE {' AND '.join(conditions)}", values


def count(connection: sqlite3.Connection, filter: Filter, verb: Verb, now: float) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.count`."""
    selection, values = _selection(filter, _CHANGES[verb], milliseconds(now))
    (found,) = connection.execute(f"SELECT count(*) {selection}", values).fetchone()
    return int(found)


def apply(connection: sqlite3.Connection, filter: Filter, verb: Verb, now: float, limit: int) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.apply`."""
    change, at = _CHANGES[verb], milliseconds(now)
    selection, values = _selection(filter, change, at)
    rows = connection.execute(
        f"SELECT r.submission, r.number, r.domain, r.account, {_PREPARATION}) {selection} LIMIT ?", [*values, limit]
    )
    found = rows.fetchall()
    if not found:
        return 0
    unprepared = {submission for submission, *_, is_unprepared in found if is_unprepared}
    connection.executemany(
        _CHANGE,
        [
            (
                WAITING if is_unprepared and change.state == DUE else change.state,
                at if change.due_now else None,
                submission,
                number,
            )
            for submission, number, *_, is_unprepared in found
        ],
    )
    if change.due_now:
        lanes = {(domain, account) for _, _, domain, account, is_unprepared in found if not is_unprepared}
        became_due(connection, dict.fromkeys(lanes, at))
        unpark(connection, lanes)
        go_on(connection, unprepared, at)
    else:
        look_again(connection, {(domain, account) for _, _, domain, account, *_ in found})
    if change.event is not None:
        insert_events(connection, [(at, change.event, submission, number, {}) for submission, number, *_ in found])
    if change.state == CANCELLED:
        finish(connection, [(1, 0, at, submission) for submission, *_ in found])
    if not change.due_now:
        for submission in unprepared:
            waits(connection, submission)
    bump_generation(connection)
    return len(found)


def depths(connection: sqlite3.Connection) -> Mapping[str, int]:
    """See :meth:`smtpeter.interfaces.IQueueStore.depths`."""
    found = dict(connection.execute("SELECT state, count(*) FROM recipient WHERE state < 4 GROUP BY state").fetchall())
    found[DUE] = found.get(DUE, 0) + found.pop(WAITING, 0)
    return {STATES[number].value: found.get(number, 0) for number in (DUE, LEASED, HELD)}


def bump_generation(connection: sqlite3.Connection) -> None:
    """Tell a running server that what it may have cached has changed."""
    connection.execute("UPDATE setting SET value = value + 1 WHERE name = 'generation'")


def setting(name: str) -> Callable[[sqlite3.Connection], Any]:
    """An operation that reads one of the things that there is one of, None where it was never set."""

    def read(connection: sqlite3.Connection) -> Any:
        row = connection.execute("SELECT value FROM setting WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    return read


def set_paused(connection: sqlite3.Connection, paused: bool) -> None:
    """See :meth:`smtpeter.interfaces.IQueueStore.set_paused`."""
    connection.execute("UPDATE setting SET value = ? WHERE name = 'paused'", (paused,))
    bump_generation(connection)
