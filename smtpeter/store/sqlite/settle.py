"""Writing down what became of jobs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from smtpeter.model.delivery import FINAL_STATES, RecipientState, SettledJob
from smtpeter.model.event import EventKind
from smtpeter.model.submission import Submission
from smtpeter.store.sqlite.destinations import became_due
from smtpeter.store.sqlite.enqueue import enqueue
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.rows import LEASED, STATE_NUMBERS, milliseconds
from smtpeter.store.sqlite.transaction import Combinable

_SETTLE = f"""
    UPDATE recipient
    SET state = ?, attempts = ?, due = coalesce(?, due), duplicate = ?, in_doubt = 0, lease = NULL, lease_until = NULL
    WHERE submission = ? AND number = ? AND lease = ? AND state = {LEASED}
    RETURNING domain
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
        earliest: dict[str, int] = {}
        counts = []
        for operation in operations:
            now, count = milliseconds(operation.now), 0
            for job in operation.jobs:
                final = captured = settled = 0
                for number, state, attempts, due, event, duplicate in job.settlements:
                    due_at = milliseconds(due) if state is RecipientState.DUE else None
                    ours = connection.execute(
                        _SETTLE,
                        (
                            STATE_NUMBERS[state],
                            attempts,
                            due_at,
                            1 if duplicate else 0,
                            job.submission,
                            number,
                            job.lease,
                        ),
                    ).fetchall()
                    if not ours:
                        continue
                    settled += 1
                    if event is not None:
                        events.append((milliseconds(event.time), event.kind, job.submission, number, event.data))
                        captured |= bool(event.data.get("captured"))
                    if state in FINAL_STATES:
                        final += 1
                    elif due_at is not None:
                        ((domain,),) = ours
                        earliest[domain] = min(due_at, earliest.get(domain, due_at))
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
