"""Where one recipient stands in the queue, for whoever asks why it is not delivered yet."""

from __future__ import annotations

import sqlite3

from smtpeter.model.delivery import Lane, RecipientState
from smtpeter.model.listing import MOST_AHEAD, Standing
from smtpeter.store.sqlite.destinations import parking
from smtpeter.store.sqlite.preparing import NEVER
from smtpeter.store.sqlite.rows import DUE, STATES, WAITING, milliseconds, seconds

_READ = """
    SELECT state, attempts, due, lease_until, domain, account FROM recipient WHERE submission = ? AND number = ?
"""
_PREPARATION = "SELECT due, postponed FROM preparation WHERE submission = ?"
_AHEAD = f"""
    SELECT count(*) FROM (
        SELECT 1 FROM recipient
        WHERE state < 4 AND state = {DUE} AND domain = ? AND account = ? AND (due, submission, number) < (?, ?, ?)
        LIMIT {MOST_AHEAD}
    )
"""


def standing(connection: sqlite3.Connection, submission: str, number: int, now: float) -> Standing:
    """See :meth:`smtpeter.interfaces.IQueueStore.standing`."""
    row = connection.execute(_READ, (submission, number)).fetchone()
    if row is None:
        raise KeyError(f"{submission}-{number}")
    state, attempts, due, lease_until, domain, account = row
    known = Standing(STATES[state], attempts, seconds(due))
    if known.state is RecipientState.LEASED:
        return known._replace(until=None if lease_until is None else seconds(lease_until))
    if state == WAITING:
        until, postponed = connection.execute(_PREPARATION, (submission,)).fetchone() or (0, 0)
        if not milliseconds(now) < until < NEVER:
            return known._replace(unprepared=True)
        return known._replace(unprepared=True, postponed=bool(postponed), until=seconds(until))
    if state == DUE:
        (ahead,) = connection.execute(_AHEAD, (domain, account, due, submission, number)).fetchone()
        return known._replace(parking=parking(connection, Lane(domain, account), now), ahead=ahead)
    return known
