"""Keys under which clients hand mail over, so that to hand it over again does no harm."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from smtpeter.errors import IdempotencyConflict
from smtpeter.model.envelope import Recipient
from smtpeter.model.ids import recipient_id
from smtpeter.model.submission import Idempotency, Submission, Taken
from smtpeter.store.sqlite.rows import milliseconds

KEPT = 86400.0
"""Seconds for which a key counts."""

_FIND = """
    SELECT digest, submission, number, recipients FROM idempotency
    WHERE account = ? AND key = ? AND address = ? AND time > ?
"""
_KEEP = """
    INSERT OR REPLACE INTO idempotency (account, key, address, digest, submission, number, recipients, time)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_OLD = "SELECT account, key, address FROM idempotency WHERE time <= ? ORDER BY time LIMIT ?"
_FORGET = "DELETE FROM idempotency WHERE account = ? AND key = ? AND address = ?"

_Place = tuple[int, bytes, str]


class _Known(NamedTuple):
    digest: bytes | None
    submission: str
    number: int
    recipients: int


class Keys:
    """The keys as one transaction sees them, with those that it adds; :meth:`write` has to be called in the end."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._added: dict[_Place, tuple[_Known, int]] = {}

    def admit(self, submission: Submission) -> tuple[Submission | None, Taken | IdempotencyConflict]:
        """What is to be enqueued of a submission that has a key, None for nothing, and what becomes of its request."""
        if submission.idempotency is None:
            raise ValueError(f"{submission.id} has no key")
        key, digest = submission.idempotency
        account = submission.account or 0
        if digest is not None:
            return self._admit_whole((account, _hashed(key), ""), digest, submission)
        return self._admit_each(account, _hashed(key), submission)

    def taken(
        self, account: int | None, idempotency: Idempotency, recipients: Sequence[Recipient], now: float
    ) -> Taken | None:
        """See :meth:`smtpeter.interfaces.IQueueStore.taken`."""
        key, digest = idempotency
        if digest is None:
            raise ValueError("only a request as a whole is known before it is read")
        known = self._find((account or 0, _hashed(key), ""), milliseconds(now))
        return None if known is None else _told_again(known, digest, recipients)

    def write(self) -> None:
        """Keep what was added."""
        self._connection.executemany(_KEEP, [(*place, *known, time) for place, (known, time) in self._added.items()])

    def _admit_whole(
        self, place: _Place, digest: bytes, submission: Submission
    ) -> tuple[Submission | None, Taken | IdempotencyConflict]:
        count, time = len(submission.envelope.recipients), milliseconds(submission.time)
        known = self._find(place, time)
        if known is None:
            self._added[place] = _Known(digest, submission.id, 0, count), time
            return submission, Taken.whole(submission.id, submission.envelope.recipients)
        try:
            return None, _told_again(known, digest, submission.envelope.recipients)
        except IdempotencyConflict as conflict:
            return None, conflict

    def _admit_each(self, account: int, key: bytes, submission: Submission) -> tuple[Submission | None, Taken]:
        time, recipients = milliseconds(submission.time), submission.envelope.recipients
        places: list[_Place] = [(account, key, _fold(recipient)) for recipient in recipients]
        all_known: dict[_Place, _Known] = {}
        new: dict[_Place, Recipient] = {}
        for place, recipient in zip(places, recipients, strict=True):
            known = self._find(place, time)
            if known is not None:
                all_known[place] = known
            else:
                new.setdefault(place, recipient)
        for number, place in enumerate(new, 1):
            all_known[place] = _Known(None, submission.id, number, len(new))
            self._added[place] = all_known[place], time
        told = tuple(
            (recipient_id(*all_known[place][1:]), recipient.address)
            for place, recipient in zip(places, recipients, strict=True)
        )
        if not new:
            return None, Taken(all_known[places[0]].submission, told, again=True)
        if len(new) < len(recipients):
            submission = submission._replace(envelope=submission.envelope._replace(recipients=tuple(new.values())))
        return submission, Taken(submission.id, told)

    def _find(self, place: _Place, now: int) -> _Known | None:
        if place in self._added:
            return self._added[place][0]
        row = self._connection.execute(_FIND, (*place, now - milliseconds(KEPT))).fetchone()
        return None if row is None else _Known(*row)


def forget_keys(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Forget keys that were used before a time (milliseconds), the oldest first; answers how many."""
    old = connection.execute(_OLD, (before, limit)).fetchall()
    connection.executemany(_FORGET, old)
    return len(old)


def _told_again(known: _Known, digest: bytes, recipients: Sequence[Recipient]) -> Taken:
    """What is told of a whole request that was made before: its recipients were the same, in the same order."""
    if known.digest != digest:
        raise IdempotencyConflict(f"another request than {known.submission} was made under this key")
    return Taken.whole(known.submission, recipients, again=True)


def _hashed(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def _fold(recipient: Recipient) -> str:
    """What two recipients have in common who are the same: the local part, octet for octet, and the domain, however
    it is written (RFC 5321 section 2.4)."""
    return f"{recipient.address.rpartition('@')[0]}@{recipient.domain}"
