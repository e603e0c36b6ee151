"""Writing down what became of jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smtpeter.model.delivery import FINAL_STATES, RecipientState, SettledJob
from smtpeter.model.event import EventKind
from smtpeter.model.submission import Submission
from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.enqueue import enqueue
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.rows import DUE, LEASED, STATE_NUMBERS, milliseconds
from smtpeter.store.sqlite.transaction import Combinable

_OURS = f"submission = ? AND number = ? AND lease = ? AND state = {LEASED}"
_END = f"""
    UPDATE recipient SET state = ?, attempts = ?, duplicate = ?, delay_told = max(delay_told, ?),
        in_doubt = 0, lease = NULL, lease_until = NULL
    WHERE {_OURS}
"""
# To be told the lane takes as long as all the rest.
_PUT_OFF = f"""
    UPDATE recipient SET state = {DUE}, attempts = ?, duplicate = ?, delay_told = max(delay_told, ?),
        due = coalesce(?, due), in_doubt = 0, lease = NULL, lease_until = NULL
    WHERE {_OURS} RETURNING domain, account, due
"""
_FINISH = """
    UPDATE submission
    SET done = CASE WHEN unfinished = ?1 THEN ?3 END, unfinished = unfinished - ?1, captured = max(captured, ?2)
    WHERE id = ?4
"""


class Settle(Combinable):
    """Outcomes of jobs that are to be written down; ``now`` is in seconds."""

    __slots__ = ("jobs", "now")

    def __init__(self, jobs: Sequence[SettledJob], now: float) -> None:
        self.jobs = jobs
        self.now = now

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[Settle]) -> Sequence[int]:
        """See :class:`smtpeter.store.sqlite.transaction.Combinable`."""
        events: list[tuple[int, EventKind, str, int, Mapping[str, Any]]] = []
        finished: list[tuple[int, int, int, str]] = []
        notifications: list[Submission] = []
        earliest: dict[LaneKey, int] = {}
        counts = []
        for operation in operations:
            now, count = milliseconds(operation.now), 0
            for job in operation.jobs:
                final = captured = settled = 0
                for number, state, attempts, due, event, duplicate, told in job.settlements:
                    marks = 1 if duplicate else 0, 1 if told else 0  # sqlite3 takes long over a bool
                    ours = job.submission, number, job.lease
                    if state is RecipientState.DUE:
                        at = None if due is None else milliseconds(due)
                        rows = connection.execute(_PUT_OFF, (attempts, *marks, at, *ours)).fetchall()
                        if not rows:
                            continue
                        ((domain, account, at),) = rows
                        earliest[domain, account] = min(at, earliest.get((domain, account), at))
                    elif not connection.execute(_END, (STATE_NUMBERS[state], attempts, *marks, *ours)).rowcount:
                        continue
                    elif state in FINAL_STATES:
                        final += 1
                    settled += 1
                    if event is not None:
                        events.append((milliseconds(event.time), event.kind, job.submission, number, event.data))
                        captured |= bool(event.data.get("captured"))
                if final:
                    finished.append((final, captured, now, job.submission))
                if settled:
                    notifications.extend(job.notifications)
                count += settled
            counts.append(count)
        finish(connection, finished)
        insert_events(connection, events)
        became_due(connection, earliest)
        if notifications:
            enqueue(connection, notifications)
        return counts


def finish(connection: sqlite3.Connection, finished: Iterable[tuple[int, int, int, str]]) -> None:
    """Recipients became final: how many, whether one was captured (0 or 1), now (milliseconds), their submission."""
    connection.executemany(_FINISH, finished)
