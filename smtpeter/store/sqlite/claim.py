"""Claims: recipients that are due become jobs under a lease.

Each statement here is paid for every recipient, so what can be asked for many at once is: which are due is read from
their index alone, and what their jobs need for :data:`smtpeter.store.sqlite.rows.GROUP` of them together.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from smtpeter.errors import StoreDamaged
from smtpeter.model.delivery import Job, LeasedRecipient
from smtpeter.model.feature import PlacedSlot
from smtpeter.model.ids import recipient_id
from smtpeter.model.submission import Content
from smtpeter.store.sqlite.destinations import LaneKey, look_again, set_next
from smtpeter.store.sqlite.rows import (
    AVOIDED,
    DUE,
    GROUP,
    LEASED,
    avoid,
    groups,
    milliseconds,
    seconds,
    unpack_options,
    unpack_slots,
)

INLINE = 32 * 1024
"""Octets.  Content up to this size may come with its job, which saves a journey to a reader for each message."""

TOGETHER = 100
"""Recipients of one submission beyond a lane's share that are claimed with it, so that they can go together."""

_FIND_DUE = f"""
    SELECT submission, number, due FROM recipient
    WHERE state < 4 AND state = {DUE} AND domain = ? AND account = ?{{also}} ORDER BY due, submission, number LIMIT ?
"""
# Not by the index of what is open, which "state < 4" would allow.
_FIND_TOGETHER = f"""
    SELECT number FROM recipient
    WHERE submission = ? AND state = {DUE} AND domain = ? AND account = ? AND due <= ? ORDER BY number LIMIT ?
"""
_CLAIM = f"""
    UPDATE recipient SET state = {LEASED}, lease = ?, lease_until = ?
    WHERE submission = ? AND number = ? AND state = {DUE}
"""
_WANTED = f"WITH wanted (id, place) AS (VALUES {', '.join(['(?, ?)'] * GROUP)})"
_STILL_DUE = f"""
    {_WANTED} SELECT submission, number, domain, account
    FROM wanted CROSS JOIN recipient ON submission = wanted.id AND number = wanted.place
    WHERE state = {DUE} AND due <= ?
"""
_CLAIMED = f"""
    {_WANTED} SELECT submission, number, address, domain, notify, orcpt, attempts, duplicate, delay_told
    FROM wanted CROSS JOIN recipient ON submission = wanted.id AND number = wanted.place
    WHERE state = {LEASED} AND lease = ?
"""
_SUBMISSIONS = f"""
    SELECT id, account, reverse_path, ret, envid, body, smtputf8, size, digest, file, submission.time, expires,
        recipients, options, content.data, prepare, due
    FROM submission LEFT JOIN content ON content.number = submission.content AND size <= ? AND NOT prepare
    WHERE id IN (VALUES {", ".join(["(?)"] * GROUP)})
"""
_RECIPIENTS, _PREPARE = 11, 14
_PREPARED = """
    SELECT size, digest, content.data, file, slots
    FROM prepared LEFT JOIN content ON content.number = prepared.content AND size <= ?
    WHERE submission = ?
"""

Key = tuple[str, int]
Found = dict[str, list[int]]
"""Recipients' numbers by their submissions."""

_Row = tuple[int, str, str, str | None, str | None, int, int, int]


def claim_due(
    connection: sqlite3.Connection,
    shares: Sequence[tuple[LaneKey, int]],
    now: float,
    lease_until: float,
    inline: int = INLINE,
    avoided: Collection[Key] = (),
) -> Sequence[Job]:
    """See :meth:`smtpeter.interfaces.IQueueStore.claim_due`.

    Content up to ``inline`` octets comes along.  Recipients in ``avoided`` are not even looked at.
    """
    at = milliseconds(now)
    statement = _FIND_DUE.format(also=AVOIDED if avoided else "")
    also = avoid(avoided)
    found: Found = {}
    following: dict[LaneKey, int | None] = {}
    unfinished: dict[LaneKey, str] = {}
    for lane, share in _added(shares).items():
        # One more than is wanted tells what the lane waits for next.
        rows = connection.execute(statement, (*lane, *also, share + 1)).fetchall()
        following[lane] = None
        for place, (submission, number, due) in enumerate(rows):
            if place == share or due > at:
                following[lane] = due
                if due <= at:
                    unfinished[lane] = rows[place - 1][0]
                break
            found.setdefault(submission, []).append(number)
    read = _read_submissions(connection, found, inline)
    for lane, submission in unfinished.items():
        if read[submission][_RECIPIENTS] > len(found[submission]):
            known = set(found[submission])
            more = connection.execute(_FIND_TOGETHER, (submission, *lane, at, len(known) + TOGETHER))
            found[submission] += [number for (number,) in more if number not in known][:TOGETHER]
    jobs = _claim(connection, found, read, lease_until, inline)
    if avoided:
        look_again(connection, following)
    else:
        again = {lane for lane, submission in unfinished.items() if len(found[submission]) > 1}
        set_next(connection, {lane: due for lane, due in following.items() if lane not in again})
        look_again(connection, again)
    return jobs


def claim_keys(
    connection: sqlite3.Connection, keys: Sequence[Key], now: float, lease_until: float, inline: int = INLINE
) -> Sequence[Job]:
    """Claim those of these recipients that are due."""
    found: Found = {}
    lanes: set[LaneKey] = set()
    for group in groups(keys):
        for submission, number, domain, account in connection.execute(_STILL_DUE, (*group, milliseconds(now))):
            found.setdefault(submission, []).append(number)
            lanes.add((domain, account))
    jobs = _claim(connection, found, _read_submissions(connection, found, inline), lease_until, inline)
    look_again(connection, lanes)
    return jobs


def find_due(connection: sqlite3.Connection, lane: LaneKey, now: float, limit: int) -> Sequence[Key]:
    """Which recipients are due: submission and number, read from the index alone."""
    rows = connection.execute(_FIND_DUE.format(also=""), (*lane, limit)).fetchall()
    return [(submission, number) for submission, number, due in rows if due <= milliseconds(now)]


def claim_one(connection: sqlite3.Connection, submission: str, number: int, now: float, until: float) -> Job | None:
    """Claim a recipient; None where it is due no more."""
    jobs = claim_keys(connection, [(submission, number)], now, until, -1)
    return jobs[0] if jobs else None


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


def _added(shares: Sequence[tuple[LaneKey, int]]) -> dict[LaneKey, int]:
    added: dict[LaneKey, int] = {}
    for lane, share in shares:
        if share > 0:
            added[lane] = added.get(lane, 0) + share
    return added


def _read_submissions(connection: sqlite3.Connection, found: Iterable[str], inline: int) -> dict[str, tuple[Any, ...]]:
    """The rows of all submissions.

    :raises StoreDamaged: where one is missing.
    """
    read: dict[str, tuple[Any, ...]] = {}
    wanted = [(submission,) for submission in found]
    for group in groups(wanted):
        for id, *row in connection.execute(_SUBMISSIONS, (inline, *group)):
            read[id] = tuple(row)
    if len(read) < len(wanted):
        missing = ", ".join(submission for (submission,) in wanted if submission not in read)
        raise StoreDamaged(f"there is nothing stored of {missing}")
    return read


def _claim(
    connection: sqlite3.Connection, found: Found, read: dict[str, tuple[Any, ...]], lease_until: float, inline: int
) -> list[Job]:
    """Lease what was found to be due, and make the jobs."""
    if not found:
        return []
    lease, until = next_lease(connection), milliseconds(lease_until)
    keys = [(submission, number) for submission, numbers in found.items() for number in numbers]
    connection.executemany(_CLAIM, [(lease, until, submission, number) for submission, number in keys])
    claimed: dict[str, list[_Row]] = {}
    for group in groups(keys):
        for submission, *row in connection.execute(_CLAIMED, (*group, lease)):
            claimed.setdefault(submission, []).append(tuple(row))
    return [
        _job(connection, submission, lease, lease_until, read[submission], rows, inline)
        for submission, rows in claimed.items()
    ]


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
    row: tuple[Any, ...],
    rows: list[_Row],
    inline: int,
) -> Job:
    try:
        job = _make_job(submission, lease, lease_until, row, rows)
    except (TypeError, ValueError) as error:
        raise StoreDamaged(f"what is stored of {submission} cannot be understood: {error}") from error
    if row[_PREPARE]:
        made = prepared(connection, submission, inline)
        if made is None:  # what came in must not go instead
            raise StoreDamaged(f"what was prepared of {submission} is missing")
        job = job._replace(content=made[0], slots=made[1])
    return job


def _make_job(submission: str, lease: int, lease_until: float, row: tuple[Any, ...], rows: list[_Row]) -> Job:
    account, path, ret, envid, body, smtputf8, size, digest, file, time, expires, count, options, data, _, due = row
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
            [
                LeasedRecipient(
                    number,
                    recipient_id(submission, number, count),
                    address,
                    domain,
                    notify,
                    orcpt,
                    attempts,
                    bool(duplicate),
                    bool(told),
                )
                for number, address, domain, notify, orcpt, attempts, duplicate, told in sorted(rows)
            ]
        ),
        unpack_options(options),
        due=0.0 if due is None else seconds(due),
    )
