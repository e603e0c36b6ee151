"""The small table that the scheduler looks at: domains, and when their next recipient falls due.

Every operation that makes recipients due, or takes due ones away, ends with one of these functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from smtpeter.store.sqlite.rows import milliseconds, seconds

_EARLIER = """
    INSERT INTO destination (domain, next_due) VALUES (?, ?)
    ON CONFLICT (domain) DO UPDATE SET next_due = excluded.next_due WHERE excluded.next_due < next_due
"""
_FIRST_DUE = "SELECT min(due) FROM recipient WHERE state < 4 AND state = 1 AND domain = ?"
_SET = """
    INSERT INTO destination (domain, next_due) VALUES (?, ?)
    ON CONFLICT (domain) DO UPDATE SET next_due = excluded.next_due WHERE excluded.next_due <> next_due
"""


def became_due(connection: sqlite3.Connection, earliest: Mapping[str, int]) -> None:
    """Recipients became due; ``earliest`` has the first time (milliseconds) for each of their domains."""
    connection.executemany(_EARLIER, earliest.items())


def look_again(connection: sqlite3.Connection, domains: Iterable[str]) -> None:
    """Recipients of these domains may be due no more."""
    for domain in domains:
        (first,) = connection.execute(_FIRST_DUE, (domain,)).fetchone()
        if first is None:
            connection.execute("DELETE FROM destination WHERE domain = ?", (domain,))
        else:
            connection.execute(_SET, (domain, first))


def due_domains(connection: sqlite3.Connection, now: float, limit: int) -> tuple[Sequence[str], float | None]:
    """See :meth:`smtpeter.interfaces.IQueueStore.due_domains`."""
    at = milliseconds(now)
    domains = connection.execute(
        "SELECT domain FROM destination WHERE next_due <= ? ORDER BY next_due LIMIT ?", (at, limit)
    ).fetchall()
    (following,) = connection.execute("SELECT min(next_due) FROM destination WHERE next_due > ?", (at,)).fetchone()
    return [domain for (domain,) in domains], None if following is None else seconds(following)
