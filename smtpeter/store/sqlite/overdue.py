"""What must not wait for its turn: mail whose time is over, or whose sender is to be told that it takes long."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from smtpeter.store.sqlite.destinations import LaneKey
from smtpeter.store.sqlite.rows import DUE, milliseconds

# The recipient's own row is read only where its submission is old enough: for all others the index is enough.
_FIND = f"""
    SELECT r.submission, r.number
    FROM recipient AS r INDEXED BY recipient_open CROSS JOIN submission AS s ON s.id = r.submission
    WHERE r.state < 4 AND r.state = {DUE} AND r.domain = ? AND r.account = ? AND r.due <= ?
        AND (s.expires <= ? OR coalesce(s.due, s.time) < ? AND (
            SELECT NOT t.delay_told AND instr(t.notify, 'DELAY') FROM recipient AS t
            WHERE t.submission = r.submission AND t.number = r.number
        ))
    ORDER BY r.due, r.submission, r.number LIMIT ?
"""


def find_overdue(
    connection: sqlite3.Connection, lanes: Sequence[LaneKey], limit: int, now: float, delayed: float
) -> list[tuple[str, int]]:
    """Which recipients :meth:`smtpeter.interfaces.IQueueStore.claim_overdue` is to claim: submission and number.

    It goes through all that is due in the lanes.
    """
    at, before = milliseconds(now), milliseconds(delayed)
    found: list[tuple[str, int]] = []
    for lane in lanes:
        if len(found) == limit:
            break
        found += connection.execute(_FIND, (*lane, at, at, before, limit - len(found)))
    return found
