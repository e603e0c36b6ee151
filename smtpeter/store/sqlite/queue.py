"""The queue, as the rest of the program sees it: each call one operation for the executor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.errors import IdempotencyConflict, StoreDamaged
from smtpeter.interfaces import IClock, IExecutor, IQueueStore
from smtpeter.model.delivery import Job, Lane, SettledJob
from smtpeter.model.envelope import Recipient
from smtpeter.model.feature import PlacedSlot, Prepared, Unprepared
from smtpeter.model.listing import Filter, MessageRow, Parking, Standing, Verb
from smtpeter.model.submission import Content, Idempotency, Submission, Taken
from smtpeter.store.content import ContentStore
from smtpeter.store.sqlite import claim, destinations, leases, listing, overdue, preparing, retention, setback, standing
from smtpeter.store.sqlite.detour import Detour
from smtpeter.store.sqlite.enqueue import Answer, Enqueue, read_submission
from smtpeter.store.sqlite.idempotency import KEPT, Keys
from smtpeter.store.sqlite.rows import milliseconds
from smtpeter.store.sqlite.settle import Settle

_LANES_TOGETHER = 100
"""Lanes that are looked through for what is overdue in one scan, before other scans have their turn."""


@implementer(IQueueStore)
class QueueStore:
    """See :class:`smtpeter.interfaces.IQueueStore`."""

    _log = Logger()

    def __init__(self, executor: IExecutor, content: ContentStore, clock: IClock) -> None:
        self._executor = executor
        self._content = content
        self._clock = clock
        self._detour = Detour(executor)

    def enqueue(self, submission: Submission) -> Deferred[Taken | None]:
        """See the interface."""
        operation = Enqueue(submission)
        taken: Deferred[Taken | None] = Deferred(lambda taken: setattr(operation, "withdrawn", True))
        self._executor.write(operation).addBoth(self._enqueued, operation, taken)
        return taken

    def _enqueued(self, result: Answer | Failure, operation: Enqueue, taken: Deferred[Taken | None]) -> None:
        if operation.withdrawn:
            Deferred.fromCoroutine(self._take_back(result, operation.submission)).addErrback(
                lambda failure: self._log.failure("a message was not taken back", failure)
            )
        elif isinstance(result, Failure):
            taken.errback(result)
        elif isinstance(result, IdempotencyConflict):
            self._discard(operation.submission)
            taken.errback(result)
        elif isinstance(result, Taken):
            if result.again:
                self._discard(operation.submission)
            taken.callback(result)
        else:
            taken.callback(None)

    async def _take_back(self, result: Answer | Failure, submission: Submission) -> None:
        """The sender was told that this one was not taken.

        What was written under a key stays: its sender comes again with the key and is told that it was taken, as others
        may have been meanwhile.
        """
        if result is True:
            now, of_it = self._clock.time(), Filter(submission=submission.id)
            cancelled = await self.apply(of_it, Verb.CANCEL, now, len(submission.envelope.recipients))
            self._log.warn(
                "too late: id={id} was written after its sender had been told to come again; "
                "{cancelled} of {recipients} recipients were cancelled",
                event="late",
                id=submission.id,
                cancelled=cancelled,
                recipients=len(submission.envelope.recipients),
            )
        self._discard(submission)

    def _discard(self, submission: Submission) -> None:
        if submission.content.file is not None:
            self._content.discard(submission.content.file)

    def taken(
        self, account: int | None, idempotency: Idempotency, recipients: Sequence[Recipient], now: float
    ) -> Deferred[Taken | None]:
        """See the interface."""
        return self._executor.read(lambda connection: Keys(connection).taken(account, idempotency, recipients, now))

    def recover(self) -> Deferred[int]:
        """See the interface."""
        return Deferred.fromCoroutine(self._recover())

    async def _recover(self) -> int:
        now = self._clock.time()
        try:
            count: int = await self._executor.write(lambda connection: leases.recover(connection, now))
        except StoreDamaged:
            count = await self._detour.recover(now, False, ())
        with suppress(StoreDamaged):  # whoever had them has until some time, and that comes
            await self._executor.write(lambda connection: preparing.recover(connection, now))
        with suppress(StoreDamaged):  # they are parked until some time, and that comes too
            await self._executor.write(lambda connection: destinations.recover(connection, now))
        return count

    def recover_expired(self, now: float, in_hand: Collection[tuple[str, int]]) -> Deferred[int]:
        """See the interface."""
        return Deferred.fromCoroutine(self._recover_expired(now, in_hand))

    async def _recover_expired(self, now: float, in_hand: Collection[tuple[str, int]]) -> int:
        avoided = self._detour.avoided(now)
        try:
            count: int = await self._executor.write(
                lambda connection: leases.recover_expired(connection, now, in_hand, avoided)
            )
        except StoreDamaged:
            count = await self._detour.recover(now, True, in_hand)
        return count

    def bring_forward(self, now: float, longest: float, back: float = 0.0) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(lambda connection: setback.bring_forward(connection, now, longest, back))

    def due_lanes(self, now: float, limit: int) -> Deferred[tuple[Sequence[Lane], float | None]]:
        """See the interface."""
        return self._executor.read(lambda connection: destinations.due_lanes(connection, now, limit))

    def claim_due(self, shares: Sequence[tuple[Lane, int]], now: float, lease_until: float) -> Deferred[Sequence[Job]]:
        """See the interface."""
        return Deferred.fromCoroutine(self._claim_due(tuple(shares), now, lease_until))

    async def _claim_due(self, shares: Sequence[tuple[Lane, int]], now: float, lease_until: float) -> Sequence[Job]:
        avoided = self._detour.avoided(now)
        for inline in (claim.INLINE, -1):  # if content is what cannot be read, whoever reads it alone is told
            with suppress(StoreDamaged):
                jobs: Sequence[Job] = await self._executor.write(
                    partial(
                        claim.claim_due,
                        shares=shares,
                        now=now,
                        lease_until=lease_until,
                        inline=inline,
                        avoided=avoided,
                    )
                )
                return jobs
        return await self._detour.claim(shares, now, lease_until)

    def claim_overdue(
        self, lanes: Sequence[Lane], limit: int, now: float, delayed: float, until: float
    ) -> Deferred[Sequence[Job]]:
        """See the interface."""
        return Deferred.fromCoroutine(self._claim_overdue(list(dict.fromkeys(lanes)), limit, now, delayed, until))

    async def _claim_overdue(
        self, lanes: Sequence[Lane], limit: int, now: float, delayed: float, until: float
    ) -> Sequence[Job]:
        """Found beside everything else, for there may be much to look through; claimed by name."""
        avoided = self._detour.avoided(now)
        keys: list[tuple[str, int]] = []
        for begin in range(0, len(lanes), _LANES_TOGETHER):
            found = await self._find_overdue(lanes[begin : begin + _LANES_TOGETHER], limit + len(avoided), now, delayed)
            keys += [key for key in found if key not in avoided]
            if len(keys) >= limit:
                break
        if not keys:
            return ()
        with suppress(StoreDamaged):
            jobs: Sequence[Job] = await self._executor.write(
                lambda connection: claim.claim_keys(connection, keys[:limit], now, until)
            )
            return jobs
        return await self._detour.claim_keys(keys[:limit], now, until)

    async def _find_overdue(
        self, lanes: Sequence[Lane], limit: int, now: float, delayed: float
    ) -> Sequence[tuple[str, int]]:
        """Lanes where something is damaged wait for their turn, when each of their recipients is looked at alone."""
        try:
            found: Sequence[tuple[str, int]] = await self._executor.scan(
                lambda connection: overdue.find_overdue(connection, lanes, limit, now, delayed)
            )
        except StoreDamaged:
            each = [await self._find_overdue([lane], limit, now, delayed) for lane in lanes] if len(lanes) > 1 else []
            found = [key for part in each for key in part]
        return found

    def park(self, lanes: Collection[Lane], site: str, until: float) -> Deferred[None]:
        """See the interface."""
        return self._executor.write(lambda connection: destinations.park(connection, lanes, site, until))

    def parking(self, lane: Lane) -> Deferred[Parking | None]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.read(lambda connection: destinations.parking(connection, lane, now))

    def standing(self, submission: str, number: int) -> Deferred[Standing]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.read(lambda connection: standing.standing(connection, submission, number, now))

    def claim_incoming(self, limit: int, now: float, until: float) -> Deferred[Sequence[Unprepared]]:
        """See the interface."""
        return Deferred.fromCoroutine(self._claim_incoming(limit, now, until))

    async def _claim_incoming(self, limit: int, now: float, until: float) -> Sequence[Unprepared]:
        avoided = self._detour.unprepared(now)
        try:
            claimed: Sequence[Unprepared] = await self._executor.write(
                lambda connection: preparing.claim_incoming(connection, limit, now, until, avoided)
            )
        except StoreDamaged:
            claimed = await self._detour.claim_incoming(limit, now, until)
        return claimed

    def store_prepared(self, prepared: Sequence[Prepared]) -> Deferred[int]:
        """See the interface."""
        return Deferred.fromCoroutine(self._store_prepared(prepared, self._clock.time()))

    async def _store_prepared(self, prepared: Sequence[Prepared], now: float) -> int:
        try:
            stored: preparing.Stored = await self._executor.write(preparing.StorePrepared(prepared, now))
        except StoreDamaged:
            stored = await self._detour.store_prepared(prepared, now)
        for file in stored.unwanted:
            self._content.discard(file)
        for each in prepared:
            if each.content is not None and each.content.data is not None:
                self._content.prepared.put(each.submission, each.content.data, each.content.digest)
        return stored.written

    def postpone_prepare(self, submission: str, attempt: int, until: float, reason: str) -> Deferred[bool]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.write(
            lambda connection: preparing.postpone(connection, submission, attempt, until, reason, now)
        )

    def fail_prepare(self, submission: str, attempt: int, settlement: SettledJob) -> Deferred[bool]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.write(lambda connection: preparing.fail(connection, submission, attempt, settlement, now))

    def oldest_unprepared(self) -> Deferred[float | None]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.read(lambda connection: preparing.oldest(connection, now))

    def renew(self, submission: str, lease: int, lease_until: float) -> Deferred[bool]:
        """See the interface."""
        return self._executor.write(lambda connection: leases.renew(connection, submission, lease, lease_until))

    def mark_in_doubt(self, submission: str, lease: int, numbers: Sequence[int]) -> Deferred[bool]:
        """See the interface."""
        return self._executor.write(lambda connection: leases.mark_in_doubt(connection, submission, lease, numbers))

    def settle(self, jobs: Sequence[SettledJob]) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(Settle(jobs, self._clock.time()))

    def release(self, submission: str, lease: int) -> Deferred[None]:
        """See the interface."""
        return self._executor.write(lambda connection: leases.release(connection, submission, lease))

    def select(
        self, filter: Filter, limit: int, before: tuple[str, int] | None = None
    ) -> Deferred[Sequence[MessageRow]]:
        """See the interface."""
        run = self._executor.scan if filter.submission is None else self._executor.read
        return run(lambda connection: listing.select(connection, filter, limit, before))

    def count(self, filter: Filter, verb: Verb) -> Deferred[int]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.scan(lambda connection: listing.count(connection, filter, verb, now))

    def apply(self, filter: Filter, verb: Verb, now: float, limit: int) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(lambda connection: listing.apply(connection, filter, verb, now, limit))

    def submission(self, id: str) -> Deferred[Submission]:
        """See the interface."""
        return self._executor.read(lambda connection: read_submission(connection, id))

    def prepared(self, submission: str) -> Deferred[tuple[Content, tuple[PlacedSlot, ...]] | None]:
        """See the interface."""
        return self._executor.read(lambda connection: claim.prepared(connection, submission))

    def depths(self) -> Deferred[Mapping[str, int]]:
        """See the interface."""
        return self._executor.read(listing.depths)

    def paused(self) -> Deferred[bool]:
        """See the interface."""
        return self._executor.read(listing.setting("paused")).addCallback(bool)

    def set_paused(self, paused: bool) -> Deferred[None]:
        """See the interface."""
        return self._executor.write(lambda connection: listing.set_paused(connection, paused))

    def purge(self, now: float, content_age: float, captured_age: float, event_age: float, limit: int) -> Deferred[int]:
        """See the interface."""
        before = [milliseconds(now - age) for age in (content_age, captured_age, event_age, KEPT)]
        purged = self._executor.write(lambda connection: retention.purge(connection, *before, limit=limit))

        async def remove_files() -> int:
            count, files, keys = cast(retention.Purged, await purged)
            if files:
                await self._content.remove(files)
            if count:
                self._content.prepared.clear()  # what is forgotten is forgotten
            return count + keys

        return Deferred.fromCoroutine(remove_files())

    def generation(self) -> Deferred[int]:
        """See the interface."""
        return self._executor.read(listing.setting("generation")).addCallback(int)
