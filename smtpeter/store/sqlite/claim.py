"""Leases: who has a recipient in hand, and what happens when nobody has any more."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Any

from smtpeter.errors import StoreDamaged
from smtpeter.model.delivery import Job, LeasedRecipient
from smtpeter.model.event import EventKind
from smtpeter.model.feature import PlacedSlot
from smtpeter.model.ids import recipient_id
from smtpeter.model.submission import Content
from smtpeter.store.sqlite.destinations import became_due, look_again
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.rows import DUE, HELD, LEASED, milliseconds, seconds, unpack_options, unpack_slots

INLINE = 32 * 1024
"""Octets.  Content up to this size may come with its job, which saves a journey to a reader for each message."""

DAMAGED = "what is stored of it is damaged; it is not sent"
"""Why a recipient is held, for its event."""

_FIND_DUE = f"""
    SELECT submission, number FROM recipient
    WHERE state < 4 AND state = {DUE} AND domain = ? AND due <= ?{{also}} ORDER BY due, submission, number LIMIT ?
"""
_CLAIM = f"""
    UPDATE recipient SET state = {LEASED}, lease = ?, lease_until = ?
    WHERE (submission, number) IN ({_FIND_DUE})
    RETURNING submission, number, address, domain, notify, orcpt, attempts, duplicate
"""
_AVOIDED = " AND (submission || ' ' || number) NOT IN (SELECT value FROM json_each(?))"
_CLAIM_ONE = f"""
    UPDATE recipient SET state = {LEASED}, lease = ?, lease_until = ?
    WHERE submission = ? AND number = ? AND state < 4 AND state = {DUE} AND due <= ?
    RETURNING submission, number, address, domain, notify, orcpt, attempts, duplicate
"""
_SUBMISSION = """
    SELECT account, reverse_path, ret, envid, body, smtputf8, size, digest, file, submission.time, expires, recipients,
        options, content.data, prepare
    FROM submission LEFT JOIN content ON content.number = submission.content AND size <= ? AND NOT prepare
    WHERE id = ?
"""
_PREPARE = -1
_PREPARED = """
    SELECT size, digest, content.data, file, slots
    FROM prepared LEFT JOIN content ON content.number = prepared.content AND size <= ?
    WHERE submission = ?
"""
_LEASED = f"""
    SELECT submission, number, lease, domain, due, in_doubt FROM recipient WHERE state < 4 AND state = {LEASED}
"""
_FIND_LEASED = f"SELECT submission, number FROM recipient WHERE state < 4 AND state = {LEASED}"
_END_LEASE = "UPDATE recipient SET lease = NULL, lease_until = NULL, in_doubt = 0, duplicate = 1"
_OURS = f"submission = ? AND state = {LEASED} AND lease = ?"


def claim_due(
    connection: sqlite3.Connection,
    domains: Sequence[str],
    limit: int,
    now: float,
    lease_until: float,
    inline: int = INLINE,
    avoided: Collection[tuple[str, int]] = (),
) -> Sequence[Job]:
    """See :meth:`smtpeter.interfaces.IQueueStore.claim_due`.  Every domain has its share of ``limit``.

    Content up to ``inline`` octets comes along.  Recipients in ``avoided`` are not even looked at.
    """
    statement = _CLAIM.format(also=_AVOIDED if avoided else "")
    also = _avoid(avoided)
    lease = next_lease(connection)
    at, until = milliseconds(now), milliseconds(lease_until)
    claimed: dict[str, list[tuple[int, str, str, str | None, str | None, int, int]]] = {}
    looked_at: list[str] = []
    left = limit
    for position, domain in enumerate(domains):
        share = -(-left // (len(domains) - position))
        if share <= 0:
            break
        rows = connection.execute(statement, (lease, until, domain, at, *also, share)).fetchall()
        looked_at.append(domain)
        left -= len(rows)
        for submission, *rest in rows:
            claimed.setdefault(submission, []).append(tuple(rest))
    look_again(connection, looked_at)
    return [_job(connection, submission, lease, lease_until, rows, inline) for submission, rows in claimed.items()]


def next_lease(connection: sqlite3.Connection) -> int:
    """A fencing token that was never given before."""
    (lease,) = connection.execute(
        "UPDATE setting SET value = value + 1 WHERE name = 'lease' RETURNING value"
    ).fetchall()[0]
    return int(lease)


def _job(
    connection: sqlite3.Connection,
    submission: str,
    lease: int,
    lease_until: float,
    rows: list[tuple[int, str, str, str | None, str | None, int, int]],
    inline: int,
) -> Job:
    row = connection.execute(_SUBMISSION, (inline, submission)).fetchone()
    try:
        job = _make_job(submission, lease, lease_until, row, rows)
        if row[_PREPARE]:
            made = prepared(connection, submission, inline)
            if made is None:  # what came in must not go instead
                raise StoreDamaged(f"what was prepared of {submission} is missing")
            job = job._replace(content=made[0], slots=made[1])
    except (TypeError, ValueError) as error:
        raise StoreDamaged(f"what is stored of {submission} cannot be understood: {error}") from error
    return job


def prepared(
    connection: sqlite3.Connection, submission: str, inline: int = -1
) -> tuple[Content, tuple[PlacedSlot, ...]] | None:
    """See :meth:`smtpeter.interfaces.IQueueStore.prepared`.  Content up to ``inline`` octets comes along."""
    row = connection.execute(_PREPARED, (inline, submission)).fetchone()
    if row is None:
        return None
    size, digest, data, file, slots = row
    try:
        return Content(size, digest, data, file, prepared=True), unpack_slots(slots)
    except (TypeError, ValueError) as error:
        raise StoreDamaged(f"what was prepared of {submission} cannot be understood: {error}") from error


def _make_job(
    submission: str,
    lease: int,
    lease_until: float,
    row: tuple[Any, ...],
    rows: list[tuple[int, str, str, str | None, str | None, int, int]],
) -> Job:
    account, path, ret, envid, body, smtputf8, size, digest, file, time, expires, count, options, data, _ = row
    return Job(
        submission,
        lease,
        lease_until,
        account,
        path,
        ret,
        envid,
        body,
        bool(smtputf8),
        Content(size, digest, data, file),
        seconds(time),
        seconds(expires),
        tuple(
            LeasedRecipient(
                number,
                recipient_id(submission, number, count),
                address,
                domain,
                notify,
                orcpt,
                attempts,
                bool(duplicate),
            )
            for number, address, domain, notify, orcpt, attempts, duplicate in sorted(rows)
        ),
        unpack_options(options),
    )


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
        WHERE {_OURS} RETURNING domain, due
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
    some = f" AND (submission, number) IN ({_FIND_LEASED}{_AVOIDED})" if avoided else ""
    expired = connection.execute(f"{_LEASED} AND lease_until < ?{some}", (at, *_avoid(avoided))).fetchall()
    return _void(connection, [row for row in expired if (row[0], row[2]) not in in_hand], at)


# --- for one recipient alone, where not all can be read: see smtpeter.store.sqlite.detour ---


def find_due(connection: sqlite3.Connection, domain: str, now: float, limit: int) -> Sequence[tuple[str, int]]:
    """Which recipients are due: submission and number, read from the index alone."""
    return connection.execute(_FIND_DUE.format(also=""), (domain, milliseconds(now), limit)).fetchall()


def find_leased(connection: sqlite3.Connection) -> Sequence[tuple[str, int]]:
    """Which recipients are leased: submission and number, read from the index alone."""
    return connection.execute(_FIND_LEASED).fetchall()


def claim_one(connection: sqlite3.Connection, submission: str, number: int, now: float, until: float) -> Job | None:
    """Claim a recipient; None where it is due no more."""
    lease = next_lease(connection)
    values = (lease, milliseconds(until), submission, number, milliseconds(now))
    rows = connection.execute(_CLAIM_ONE, values).fetchall()
    if not rows:
        return None
    look_again(connection, [rows[0][3]])
    return _job(connection, submission, lease, until, [tuple(rows[0][1:])], -1)


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


def _avoid(avoided: Collection[tuple[str, int]]) -> tuple[str, ...]:
    """The value for what :data:`_AVOIDED` asks, where it does."""
    return (json.dumps([f"{submission} {number}" for submission, number in avoided]),) if avoided else ()


def _void(connection: sqlite3.Connection, rows: Sequence[tuple[str, int, int, str, int, int]], now: int) -> int:
    """End leases that nobody has any more: (submission, number, lease, domain, due, in doubt) each."""
    held = sorted((submission, number) for submission, number, _, _, _, in_doubt in rows if in_doubt)
    again = [(min(due, now), submission, number) for submission, number, _, _, due, in_doubt in rows if not in_doubt]
    connection.executemany(f"{_END_LEASE}, state = {HELD} WHERE submission = ? AND number = ?", held)
    reason = {
        "description": "the attempt was cut off after the final dot and before the answer",
        "possible_duplicate": True,
    }
    insert_events(connection, [(now, EventKind.HELD, submission, number, reason) for submission, number in held])
    connection.executemany(f"{_END_LEASE}, state = {DUE}, due = ? WHERE submission = ? AND number = ?", again)
    became_due(connection, _earliest([(domain, min(due, now)) for _, _, _, domain, due, doubt in rows if not doubt]))
    return len(rows)


def _earliest(rows: Sequence[tuple[str, int]]) -> dict[str, int]:
    earliest: dict[str, int] = {}
    for domain, due in rows:
        earliest[domain] = min(due, earliest.get(domain, due))
    return earliest
