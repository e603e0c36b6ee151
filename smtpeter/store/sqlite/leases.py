"""Leases: who has a recipient in hand, and what happens when nobody has any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from smtpeter.model.event import EventKind
from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.rows import AVOIDED, DUE, HELD, LEASED, avoid, milliseconds

DAMAGED = "what is stored of it is damaged; it is not sent"
"""Why a recipient is held, for its event."""

_LEASED = f"""
    SELECT submission, number, lease, domain, account, due, in_doubt FROM recipient
    WHERE state < 4 AND state = {LEASED}
"""
_FIND_LEASED = f"SELECT submission, number FROM recipient WHERE state < 4 AND state = {LEASED}"
_END_LEASE = "UPDATE recipient SET lease = NULL, lease_until = NULL, in_doubt = 0, duplicate = 1"
_OURS = f"submission = ? AND state = {LEASED} AND lease = ?"

_Row = tuple[str, int, int, str, int, int, int]


def renew(connection: sqlite3.Connection, submission: str, lease: int, lease_until: float) -> bool:
    """See :meth:`smtpeter.interfaces.IQueueStore.renew`."""
    changed = connection.execute(
        f"UPDATE recipient SET lease_until = ? WHERE {_OURS}", (milliseconds(lease_until), submission, lease)
    )
    return changed.rowcount > 0


def mark_in_doubt(connection: sqlite3.Connection, submission: str, lease: int, numbers: Sequence[int]) -> bool:
    """See :meth:`smtpeter.interfaces.IQueueStore.mark_in_doubt`.  Where the lease is lost for one, none is marked."""
    wanted = sorted(set(numbers))
    ours = {
        number for (number,) in connection.execute(f"SELECT number FROM recipient WHERE {_OURS}", (submission, lease))
    }
    if not wanted or not ours.issuperset(wanted):
        return False
    connection.executemany(
        "UPDATE recipient SET in_doubt = 1 WHERE submission = ? AND number = ?",
        [(submission, number) for number in wanted],
    )
    return True


def release(connection: sqlite3.Connection, submission: str, lease: int) -> None:
    """See :meth:`smtpeter.interfaces.IQueueStore.release`.  They keep their place: their time has come already."""
    rows = connection.execute(
        f"""
        UPDATE recipient SET state = {DUE}, lease = NULL, lease_until = NULL, in_doubt = 0
        WHERE {_OURS} RETURNING domain, account, due
        """,
        (submission, lease),
    ).fetchall()
    became_due(connection, _earliest(rows))


def recover(connection: sqlite3.Connection, now: float) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.recover`."""
    return _void(connection, connection.execute(_LEASED).fetchall(), milliseconds(now))


def recover_expired(
    connection: sqlite3.Connection,
    now: float,
    in_hand: Collection[tuple[str, int]],
    avoided: Collection[tuple[str, int]] = (),
) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.recover_expired`.  Recipients in ``avoided`` are not looked at."""
    at = milliseconds(now)
    some, also = f" AND (submission, number) IN ({_FIND_LEASED}{AVOIDED})", avoid(avoided)
    expired = connection.execute(f"{_LEASED} AND lease_until < ?{some if also else ''}", (at, *also)).fetchall()
    return _void(connection, [row for row in expired if (row[0], row[2]) not in in_hand], at)


# --- for one recipient alone, where not all can be read: see smtpeter.store.sqlite.detour ---


def find_leased(connection: sqlite3.Connection) -> Sequence[tuple[str, int]]:
    """Which recipients are leased: submission and number, read from the index alone."""
    return connection.execute(_FIND_LEASED).fetchall()


def hold_one(connection: sqlite3.Connection, submission: str, number: int, state: int, now: float) -> bool:
    """Hold a recipient that is in this state."""
    held = connection.execute(
        f"{_END_LEASE}, state = {HELD} WHERE submission = ? AND number = ? AND state < 4 AND state = ?",
        (submission, number, state),
    )
    reason = {"description": DAMAGED}
    insert_events(connection, [(milliseconds(now), EventKind.HELD, submission, number, reason)] * held.rowcount)
    return held.rowcount > 0


def recover_one(
    connection: sqlite3.Connection,
    submission: str,
    number: int,
    now: float,
    only_expired: bool,
    in_hand: Collection[tuple[str, int]],
) -> int:
    """:func:`recover`, or :func:`recover_expired`, for one recipient."""
    at = milliseconds(now)
    expired = f" AND lease_until < {at}" if only_expired else ""
    rows = connection.execute(f"{_LEASED} AND submission = ? AND number = ?{expired}", (submission, number)).fetchall()
    return _void(connection, [row for row in rows if (row[0], row[2]) not in in_hand], at)


def _void(connection: sqlite3.Connection, rows: Sequence[_Row], now: int) -> int:
    """End leases that nobody has any more: (submission, number, lease, domain, account, due, in doubt) each."""
    held = sorted((submission, number) for submission, number, *_, in_doubt in rows if in_doubt)
    again = [(min(due, now), submission, number) for submission, number, *_, due, in_doubt in rows if not in_doubt]
    connection.executemany(f"{_END_LEASE}, state = {HELD} WHERE submission = ? AND number = ?", held)
    reason = {
        "description": "the attempt was cut off after the final dot and before the answer",
        "possible_duplicate": True,
    }
    insert_events(connection, [(now, EventKind.HELD, submission, number, reason) for submission, number in held])
    connection.executemany(f"{_END_LEASE}, state = {DUE}, due = ? WHERE submission = ? AND number = ?", again)
    due_again = [(domain, account, min(due, now)) for _, _, _, domain, account, due, doubt in rows if not doubt]
    became_due(connection, _earliest(due_again))
    return len(rows)


def _earliest(rows: Sequence[tuple[str, int, int]]) -> dict[LaneKey, int]:
    earliest: dict[LaneKey, int] = {}
    for domain, account, due in rows:
        lane = domain, account
        earliest[lane] = min(due, earliest.get(lane, due))
    return earliest
