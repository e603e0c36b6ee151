"""What waits to be prepared by its features, and what came of that.

A row in ``preparation`` is there as long as a submission waits: until it was prepared, or nothing of it is open any
more.  Recipients that are held keep it, and wait again when they are released.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from smtpeter.errors import StoreDamaged
from smtpeter.model.delivery import FINAL_STATES, RecipientState, SettledJob
from smtpeter.model.event import EventKind, format_time
from smtpeter.model.feature import Prepared, Unprepared
from smtpeter.model.submission import Content
from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.enqueue import enqueue, following
from smtpeter.store.sqlite.journal import insert_events
from smtpeter.store.sqlite.leases import DAMAGED
from smtpeter.store.sqlite.rows import (
    DUE,
    FIRST_FINAL,
    HELD,
    STATE_NUMBERS,
    WAITING,
    milliseconds,
    pack_data,
    pack_slots,
    seconds,
    unpack_options,
)
from smtpeter.store.sqlite.settle import finish
from smtpeter.store.sqlite.transaction import Combinable

NEVER = 2**53
"""Milliseconds: due when a recipient is released."""

_FIND = "SELECT submission FROM preparation WHERE due <= ? ORDER BY due, submission LIMIT ?"
_CLAIM = """
    UPDATE preparation SET attempts = attempts + 1, due = ?, postponed = 0 WHERE submission = ? AND due <= ?
    RETURNING attempts
"""
_READ = """
    SELECT account, reverse_path, options, recipients, size, digest, file, time, expires FROM submission WHERE id = ?
"""
_OPEN = f"SELECT DISTINCT state FROM recipient WHERE submission = ? AND state < {FIRST_FINAL}"
_END = "DELETE FROM preparation WHERE submission = ?"
_TAKE = f"{_END} AND attempts = ?"
_MAKE_DUE = f"""
    UPDATE recipient SET state = CASE state WHEN {WAITING} THEN {DUE} ELSE state END, due = max(due, ?)
    WHERE submission = ? AND state IN ({WAITING}, {HELD})
    RETURNING number, state, domain, account, due
"""
_CONTENT = "INSERT INTO content (number, data) VALUES (?, ?)"
_PREPARED = "INSERT INTO prepared (submission, size, digest, content, file, slots) VALUES (?, ?, ?, ?, ?, ?)"
_AS_IT_CAME = "UPDATE submission SET prepare = 0 WHERE id = ?"
_EVENT = "INSERT INTO event (time, kind, submission, number, data) VALUES (?, ?, ?, ?, ?)"
_FAIL = f"""
    UPDATE recipient SET state = ?, attempts = ?, duplicate = ?
    WHERE submission = ? AND number = ? AND state = {WAITING}
"""


def claim_incoming(
    connection: sqlite3.Connection, limit: int, now: float, until: float, avoided: Collection[str] = ()
) -> Sequence[Unprepared]:
    """See :meth:`smtpeter.interfaces.IQueueStore.claim_incoming`.  Submissions in ``avoided`` are not looked at."""
    claimed: list[Unprepared] = []
    seen = set(avoided)
    while len(claimed) < limit:
        # What was found and is of no use is not found again, unless the index is damaged.
        found = find_incoming(connection, now, limit - len(claimed) + len(avoided))
        found = [submission for submission in found if submission not in seen][: limit - len(claimed)]
        if not found:
            break
        seen.update(found)
        for submission in found:
            unprepared = claim_one(connection, submission, now, until)
            if unprepared is not None:
                claimed.append(unprepared)
    return claimed


def find_incoming(connection: sqlite3.Connection, now: float, limit: int) -> Sequence[str]:
    """Submissions that wait to be prepared now, read from the index alone."""
    return [submission for (submission,) in connection.execute(_FIND, (milliseconds(now), limit))]


def claim_one(connection: sqlite3.Connection, submission: str, now: float, until: float) -> Unprepared | None:
    """Claim a submission; None where nothing of it waits now."""
    if not waits(connection, submission):  # first, for what is only held must not use up its attempts
        return None
    at = milliseconds(now)
    attempts = connection.execute(_CLAIM, (max(milliseconds(until), at + 1), submission, at)).fetchall()
    if not attempts:
        return None
    row = connection.execute(_READ, (submission,)).fetchone()
    try:
        account, path, options, recipients, size, digest, file, time, expires = row
        return Unprepared(
            submission,
            attempts[0][0],
            account,
            path,
            unpack_options(options),
            recipients,
            Content(size, digest, None, file),
            seconds(time),
            seconds(expires),
        )
    except (TypeError, ValueError) as error:
        raise StoreDamaged(f"what is stored of {submission} cannot be understood: {error}") from error


def waits(connection: sqlite3.Connection, submission: str) -> bool:
    """Whether recipients wait.  Otherwise its preparation rests until held ones are released, or is over."""
    states = {state for (state,) in connection.execute(_OPEN, (submission,))}
    if not states:
        connection.execute(_END, (submission,))
    elif WAITING not in states:
        connection.execute("UPDATE preparation SET due = ? WHERE submission = ?", (NEVER, submission))
    return WAITING in states


def hold(connection: sqlite3.Connection, submission: str, now: float) -> bool:
    """Hold what waits of a submission that is damaged."""
    held = connection.execute(
        f"UPDATE recipient SET state = {HELD} WHERE submission = ? AND state = {WAITING} RETURNING number",
        (submission,),
    ).fetchall()
    reason = {"description": DAMAGED}
    insert_events(
        connection, [(milliseconds(now), EventKind.HELD, submission, number, reason) for (number,) in sorted(held)]
    )
    return bool(held)


class Stored(NamedTuple):
    """How many were written, and the files of content that was not."""

    written: int
    unwanted: tuple[str, ...]


class StorePrepared(Combinable):
    """What was made of submissions; ``now`` is in seconds."""

    __slots__ = ("now", "prepared")

    def __init__(self, prepared: Sequence[Prepared], now: float) -> None:
        self.prepared = prepared
        self.now = now

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[StorePrepared]) -> Sequence[Stored]:
        """See :class:`smtpeter.store.sqlite.transaction.Combinable`."""
        contents: list[tuple[int, bytes]] = []
        prepared: list[tuple[object, ...]] = []
        unchanged: list[tuple[str]] = []
        events: list[tuple[int, str, str, int, str | None]] = []
        earliest: dict[LaneKey, int] = {}
        next_content = following(connection, "SELECT max(number) FROM content")
        results = []
        for operation in operations:
            at, count, unwanted = milliseconds(operation.now), 0, []
            for submission, attempt, content, slots, data in operation.prepared:
                rows = _take(connection, submission, attempt, at)
                if not rows:
                    if content is not None and content.file is not None:
                        unwanted.append(content.file)
                    continue
                count += 1
                packed = pack_data(data)
                for number, state, domain, account, due in rows:
                    events.append((at, EventKind.PREPARED.value, submission, number, packed))
                    if state == DUE:
                        earliest[domain, account] = min(due, earliest.get((domain, account), due))
                if content is None:
                    unchanged.append((submission,))
                    continue
                kept: int | None = None
                if content.file is None:
                    if content.data is None:
                        raise ValueError("content without data has to name its file")
                    kept = next_content
                    next_content += 1
                    contents.append((kept, content.data))
                prepared.append((submission, content.size, content.digest, kept, content.file, pack_slots(slots)))
            results.append(Stored(count, tuple(unwanted)))
        connection.executemany(_CONTENT, contents)
        connection.executemany(_PREPARED, prepared)
        connection.executemany(_AS_IT_CAME, unchanged)
        connection.executemany(_EVENT, events)
        became_due(connection, earliest)
        return results


def _take(
    connection: sqlite3.Connection, submission: str, attempt: int, at: int
) -> Sequence[tuple[int, int, str, int, int]]:
    """Make a submission due that was prepared: number, state, lane and due time of all that is open; none where it was
    claimed again, or nothing of it is open."""
    if not connection.execute(_TAKE, (submission, attempt)).rowcount:
        return ()
    return sorted(connection.execute(_MAKE_DUE, (at, submission)).fetchall())


def postpone(
    connection: sqlite3.Connection, submission: str, attempt: int, until: float, reason: str, now: float
) -> bool:
    """See :meth:`smtpeter.interfaces.IQueueStore.postpone_prepare`."""
    ours = connection.execute(
        "UPDATE preparation SET due = ?, postponed = 1 WHERE submission = ? AND attempts = ?",
        (milliseconds(until), submission, attempt),
    )
    if not ours.rowcount:
        return False
    data = {"description": reason, "next_attempt": format_time(until)}
    waiting = connection.execute(
        f"SELECT number FROM recipient WHERE submission = ? AND state = {WAITING}", (submission,)
    ).fetchall()
    at = milliseconds(now)
    insert_events(connection, [(at, EventKind.DEFERRAL, submission, number, data) for (number,) in waiting])
    return True


def fail(connection: sqlite3.Connection, submission: str, attempt: int, job: SettledJob, now: float) -> bool:
    """See :meth:`smtpeter.interfaces.IQueueStore.fail_prepare`."""
    found = connection.execute("SELECT attempts FROM preparation WHERE submission = ?", (submission,)).fetchone()
    if found != (attempt,):
        return False
    settled = final = 0
    for number, state, attempts, _due, event, duplicate, _told in job.settlements:
        if state is RecipientState.DUE:
            raise ValueError("what was not prepared cannot be due")
        values = (STATE_NUMBERS[state], attempts, duplicate, submission, number)
        if not connection.execute(_FAIL, values).rowcount:
            continue
        settled += 1
        final += state in FINAL_STATES
        if event is not None:
            insert_events(connection, [(milliseconds(event.time), event.kind, submission, number, event.data)])
    if final:
        finish(connection, [(final, 0, milliseconds(now), submission)])
    if settled:
        enqueue(connection, job.notifications)
    waits(connection, submission)
    return True


def oldest(connection: sqlite3.Connection, now: float) -> float | None:
    """See :meth:`smtpeter.interfaces.IQueueStore.oldest_unprepared`.  What is held does not count."""
    (time,) = connection.execute(
        f"""
        SELECT min(time) FROM (
            SELECT time FROM preparation WHERE submission =
                (SELECT submission FROM preparation WHERE attempts = 0 AND due < {NEVER} ORDER BY due LIMIT 1)
            UNION ALL
            SELECT time FROM preparation WHERE due > ? AND due < {NEVER} AND attempts = 1 AND NOT postponed
        )
        """,
        (milliseconds(now),),
    ).fetchone()
    return None if time is None else seconds(time)


def recover(connection: sqlite3.Connection, now: float) -> None:
    """At start: nobody has anything in hand; all is to be prepared, in the order in which it came."""
    connection.execute(
        "UPDATE preparation SET due = min(time, ?1), postponed = 0 WHERE due > min(time, ?1)", (milliseconds(now),)
    )


def go_on(connection: sqlite3.Connection, submissions: Iterable[str], now: int) -> None:
    """Prepare these now (milliseconds), as far as nobody has them in hand."""
    connection.executemany(
        f"UPDATE preparation SET due = ?, postponed = 0 WHERE submission = ? AND (postponed OR due = {NEVER})",
        [(now, submission) for submission in submissions],
    )
