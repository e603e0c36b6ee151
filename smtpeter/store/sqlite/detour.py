"""The way around recipients whose rows are damaged, so that they hold up nobody else."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.errors import StoreDamaged
from smtpeter.interfaces import IExecutor
from smtpeter.model.delivery import Job, Lane
from smtpeter.model.feature import Prepared, Unprepared
from smtpeter.store.sqlite import claim, leases, preparing
from smtpeter.store.sqlite.rows import DUE, LEASED

Key = tuple[str, int]
_ALL = 0
"""In place of a recipient's number: the whole submission."""

AVOIDED = 600.0
"""Seconds until what could not be read is tried again: it may have been the disk's mood."""


class Detour:
    """Does for each recipient alone what could not be done for all together.

    Which there are is read from their index, where the damaged rows themselves are not needed.  Those that fail are
    held where that can be written down, and otherwise left alone for a while.
    """

    _log = Logger()

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor
        self._avoided: dict[Key, float] = {}

    def avoided(self, now: float) -> Collection[Key]:
        """Recipients that nothing is to be tried with; ``now`` in seconds."""
        if self._avoided:
            self._avoided = {key: until for key, until in self._avoided.items() if until > now}
        return self._avoided.keys()

    async def claim(self, shares: Sequence[tuple[Lane, int]], now: float, lease_until: float) -> Sequence[Job]:
        """Claim each lane's share, one recipient after the other: of a submission there may be several jobs."""
        avoided = self.avoided(now)

        def find(connection: sqlite3.Connection) -> Iterable[Key]:
            keys: dict[Key, None] = {}
            for lane, share in shares:
                found = claim.find_due(connection, lane, now, share + len(avoided))
                keys |= dict.fromkeys([key for key in found if key not in avoided][:share])
            return keys

        return await self.claim_keys(await self._executor.read(find), now, lease_until)

    async def claim_keys(self, keys: Iterable[Key], now: float, lease_until: float) -> Sequence[Job]:
        """Claim these, one after the other."""
        jobs = await self._each(
            keys,
            lambda connection, key: claim.claim_one(connection, *key, now, lease_until),
            lambda connection, key: leases.hold_one(connection, *key, DUE, now),
            now,
        )
        return [job for job in jobs if job is not None]

    def unprepared(self, now: float) -> Collection[str]:
        """Submissions with whose preparation nothing is to be tried."""
        return [submission for submission, number in self.avoided(now) if number == _ALL]

    async def claim_incoming(self, limit: int, now: float, until: float) -> Sequence[Unprepared]:
        """Claim one submission that waits to be prepared after the other."""
        avoided = self.unprepared(now)
        found = await self._executor.read(
            lambda connection: preparing.find_incoming(connection, now, limit + len(avoided))
        )
        claimed = await self._each(
            [(submission, _ALL) for submission in found if submission not in avoided][:limit],
            lambda connection, key: preparing.claim_one(connection, key[0], now, until),
            lambda connection, key: preparing.hold(connection, key[0], now),
            now,
        )
        return [each for each in claimed if each is not None]

    async def store_prepared(self, prepared: Sequence[Prepared], now: float) -> preparing.Stored:
        """Write what was made of one submission after the other."""
        of = {(each.submission, _ALL): each for each in prepared}
        stored: list[preparing.Stored] = await self._each(
            of,
            lambda connection, key: preparing.StorePrepared([of[key]], now)(connection),
            lambda connection, key: preparing.hold(connection, key[0], now),
            now,
        )
        return preparing.Stored(
            sum(each.written for each in stored), tuple(file for each in stored for file in each.unwanted)
        )

    async def recover(self, now: float, only_expired: bool, in_hand: Collection[Key]) -> int:
        """End leases, one after the other."""
        avoided = self.avoided(now)
        keys = await self._executor.read(
            lambda connection: [key for key in leases.find_leased(connection) if key not in avoided]
        )
        return sum(
            await self._each(
                keys,
                lambda connection, key: leases.recover_one(connection, *key, now, only_expired, in_hand),
                lambda connection, key: leases.hold_one(connection, *key, LEASED, now),
                now,
            )
        )

    async def _each(
        self,
        keys: Iterable[Key],
        do: Callable[[sqlite3.Connection, Key], Any],
        hold: Callable[[sqlite3.Connection, Key], bool],
        now: float,
    ) -> list[Any]:
        """What came of those with which it could be done.  Others wait, where it was not damage."""
        results = await self._write_all(keys, do)
        done = [value for _, well, value in results if well]
        failures = {key: value for key, well, value in results if not well}
        broken = {key: failure for key, failure in failures.items() if failure.check(StoreDamaged) is not None}
        self._avoided |= dict.fromkeys(broken, now + AVOIDED)
        held = await self._write_all(broken, hold)
        for (submission, number), well, value in held:
            self._log.error(
                "damage: submission={submission} recipient={number} is not sent, {what}: {reason}",
                event="damage",
                submission=submission,
                number="all" if number == _ALL else number,
                what="and held" if well and value else "and cannot even be held",
                reason=broken[submission, number].getErrorMessage(),
            )
        for key, failure in failures.items():
            if key not in broken and not done:  # else what was claimed would be lost with its answer
                failure.raiseException()
        return done

    async def _write_all(
        self, keys: Iterable[Key], do: Callable[[sqlite3.Connection, Key], Any]
    ) -> list[tuple[Key, bool, Any]]:
        wanted = list(keys)
        written: list[Deferred[Any]] = [
            self._executor.write(lambda connection, key=key: do(connection, key))  # type: ignore[misc]
            for key in wanted
        ]
        results: list[tuple[bool, Any | Failure]] = await DeferredList(written, consumeErrors=True)
        return [(key, well, value) for key, (well, value) in zip(wanted, results, strict=True)]
