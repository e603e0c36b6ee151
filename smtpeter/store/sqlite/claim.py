"""Leases: who has a recipient in hand, and what happens when nobody has any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence

from smtpeter.model.delivery import Job, LeasedRecipient
from smtpeter.model.event import EventKind
from smtpeter.model.ids import recipient_id
from smtpeter.model.submission import Content
from smtpeter.store.sqlite.destinations import became_due, look_again
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.rows import DUE, HELD, LEASED, milliseconds, seconds

INLINE = 32 * 1024
"""Octets.  Content up to this size may come with its job, which saves a journey to a reader for each message."""

_CLAIM = f"""
    UPDATE recipient SET state = {LEASED}, lease = ?, lease_until = ?
    WHERE (submission, number) IN (
        SELECT submission, number FROM recipient
        WHERE state < 4 AND state = {DUE} AND domain = ? AND due <= ? ORDER BY due, submission, number LIMIT ?)
    RETURNING submission, number, address, domain, notify, orcpt, attempts, duplicate
"""
_SUBMISSION = """
    SELECT account, reverse_path, ret, envid, body, smtputf8, size, digest, file, submission.time, expires, recipients,
        content.data
    FROM submission LEFT JOIN content ON content.number = submission.content AND submission.size <= ?
    WHERE id = ?
"""
_LEASED = f"""
    SELECT submission, number, lease, domain, due, in_doubt FROM recipient WHERE state < 4 AND state = {LEASED}
"""
_END_LEASE = "UPDATE recipient SET lease = NULL, lease_until = NULL, in_doubt = 0, duplicate = 1"
_OURS = f"submission = ? AND state = {LEASED} AND lease = ?"


def claim_due(
    connection: sqlite3.Connection,
    domains: Sequence[str],
    limit: int,
    now: float,
    lease_until: float,
    inline: int = INLINE,
) -> Sequence[Job]:
    """See :meth:`smtpeter.interfaces.IQueueStore.claim_due`.  Every domain has its share of ``limit``.

    Content up to ``inline`` octets comes along.
    """
    lease = next_lease(connection)
    at, until = milliseconds(now), milliseconds(lease_until)
    claimed: dict[str, list[tuple[int, str, str, str | None, str | None, int, int]]] = {}
    looked_at: list[str] = []
    left = limit
    for position, domain in enumerate(domains):
        share = -(-left // (len(domains) - position))
        if share <= 0:
            break
        rows = connection.execute(_CLAIM, (lease, until, domain, at, share)).fetchall()
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
    (account, path, ret, envid, body, smtputf8, size, digest, file, time, expires, count, data) = connection.execute(
        _SUBMISSION, (inline, submission)
    ).fetchone()
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


def recover_expired(connection: sqlite3.Connection, now: float, in_hand: Collection[tuple[str, int]]) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.recover_expired`."""
    at = milliseconds(now)
    expired = connection.execute(f"{_LEASED} AND lease_until < ?", (at,)).fetchall()
    return _void(connection, [row for row in expired if (row[0], row[2]) not in in_hand], at)


def _void(connection: sqlite3.Connection, rows: Sequence[tuple[str, int, int, str, int, int]], now: int) -> int:
    """End leases that nobody has any more: (submission, number, lease, domain, due, in doubt) each."""
    held = sorted((submission, number) for submission, number, _, _, _, in_doubt in rows if in_doubt)
    again = [(min(due, now), submission, number) for submission, number, _, _, due, in_doubt in rows if not in_doubt]
    connection.executemany(f"{_END_LEASE}, state = {HELD} WHERE submission = ? AND number = ?", held)
    reason = {"description": "the attempt was cut off after the final dot and before the answer"}
    insert_events(connection, [(now, EventKind.HELD, submission, number, reason) for submission, number in held])
    connection.executemany(f"{_END_LEASE}, state = {DUE}, due = ? WHERE submission = ? AND number = ?", again)
    became_due(connection, _earliest([(domain, min(due, now)) for _, _, _, domain, due, doubt in rows if not doubt]))
    return len(rows)


def _earliest(rows: Sequence[tuple[str, int]]) -> dict[str, int]:
    earliest: dict[str, int] = {}
    for domain, due in rows:
        earliest[domain] = min(due, earliest.get(domain, due))
    return earliest
