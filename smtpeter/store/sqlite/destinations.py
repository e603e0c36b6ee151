"""The small table that the scheduler looks at: lanes, when their next recipient falls due, and which are parked.

Every operation that makes recipients due, or takes due ones away, ends with one of these functions.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence

from smtpeter.model.delivery import Lane
from smtpeter.model.listing import Parking
from smtpeter.store.sqlite.rows import DUE, milliseconds, seconds

AT_START = 15.0  # seconds after the start at which no lane is parked any more, unless it was parked again

LaneKey = tuple[str, int]
"""A lane, without the cost of making one: domain and account."""

_EARLIER = """
    INSERT INTO destination (domain, account, next_due) VALUES (?, ?, ?)
    ON CONFLICT (domain, account) DO UPDATE SET next_due = excluded.next_due WHERE excluded.next_due < next_due
"""
_FIRST_DUE = f"SELECT min(due) FROM recipient WHERE state < 4 AND state = {DUE} AND domain = ? AND account = ?"
_SET = """
    INSERT INTO destination (domain, account, next_due) VALUES (?, ?, ?)
    ON CONFLICT (domain, account) DO UPDATE SET next_due = excluded.next_due WHERE excluded.next_due <> next_due
"""
_DELETE = "DELETE FROM destination WHERE domain = ? AND account = ?"

# The index is on this expression, so it has to be written like this everywhere.
_READY = "max(next_due, parked)"
_DUE_LANES = f"SELECT domain, account FROM destination WHERE {_READY} <= ? ORDER BY {_READY} LIMIT ?"
_FOLLOWING = f"SELECT {_READY} FROM destination WHERE {_READY} > ? ORDER BY {_READY} LIMIT 1"
_PARK = "UPDATE destination SET parked = ?, site = ? WHERE domain = ? AND account = ?"
_PARK_NO_LONGER = "UPDATE destination SET parked = ?1 WHERE parked > ?1"
_UNPARK = "UPDATE destination SET parked = 0, site = NULL WHERE domain = ? AND account = ? AND parked > 0"


def became_due(connection: sqlite3.Connection, earliest: Mapping[LaneKey, int]) -> None:
    """Recipients became due; ``earliest`` has the first time (milliseconds) for each of their lanes."""
    connection.executemany(_EARLIER, [(domain, account, due) for (domain, account), due in earliest.items()])


def set_next(connection: sqlite3.Connection, following: Mapping[LaneKey, int | None]) -> None:
    """When the first recipient of these lanes falls due (milliseconds); None: none is there."""
    there = [(domain, account, due) for (domain, account), due in following.items() if due is not None]
    connection.executemany(_SET, there)
    if len(there) < len(following):
        connection.executemany(_DELETE, [lane for lane, due in following.items() if due is None])


def look_again(connection: sqlite3.Connection, lanes: Iterable[LaneKey]) -> None:
    """Recipients of these lanes may be due no more."""
    set_next(connection, {lane: connection.execute(_FIRST_DUE, lane).fetchone()[0] for lane in lanes})


def due_lanes(connection: sqlite3.Connection, now: float, limit: int) -> tuple[Sequence[Lane], float | None]:
    """See :meth:`smtpeter.interfaces.IQueueStore.due_lanes`.  Neither what is due later nor what is parked is looked
    at."""
    at = milliseconds(now)
    lanes = [Lane(domain, account) for domain, account in connection.execute(_DUE_LANES, (at, limit))]
    following = connection.execute(_FOLLOWING, (at,)).fetchone()
    return lanes, None if following is None else seconds(following[0])


def park(connection: sqlite3.Connection, lanes: Collection[LaneKey], site: str, until: float) -> None:
    """See :meth:`smtpeter.interfaces.IQueueStore.park`."""
    at = milliseconds(until)
    connection.executemany(_PARK, [(at, site, domain, account) for domain, account in lanes])


def recover(connection: sqlite3.Connection, now: float) -> None:
    """See :meth:`smtpeter.interfaces.IQueueStore.recover`.  Their time could be over long before their parking is, and
    who parked them knew of them."""
    connection.execute(_PARK_NO_LONGER, (milliseconds(now + AT_START),))


def unpark(connection: sqlite3.Connection, lanes: Iterable[LaneKey]) -> None:
    """An operator wants these now."""
    connection.executemany(_UNPARK, lanes)


def parked(connection: sqlite3.Connection, site: str) -> Sequence[Lane]:
    """See :meth:`smtpeter.interfaces.ISiteStore.parked`."""
    rows = connection.execute("SELECT domain, account FROM destination WHERE parked > 0 AND ? IN ('', site)", (site,))
    return [Lane(domain, account) for domain, account in rows]


def parking(connection: sqlite3.Connection, lane: LaneKey, now: float) -> Parking | None:
    """See :meth:`smtpeter.interfaces.IQueueStore.parking`."""
    row = connection.execute(
        "SELECT site, parked FROM destination WHERE domain = ? AND account = ? AND parked > ?",
        (*lane, milliseconds(now)),
    ).fetchone()
    return None if row is None else Parking(row[0] or "", seconds(row[1]))
