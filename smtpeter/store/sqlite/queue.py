"""The queue, as the rest of the program sees it: each call one operation for the executor."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.interfaces import IClock, IExecutor, IQueueStore
from smtpeter.model.delivery import Job, SettledJob
from smtpeter.model.listing import Filter, MessageRow, Verb
from smtpeter.model.submission import Submission
from smtpeter.store.content import ContentStore
from smtpeter.store.sqlite import claim, destinations, listing, retention
from smtpeter.store.sqlite.enqueue import Enqueue, read_submission
from smtpeter.store.sqlite.rows import milliseconds
from smtpeter.store.sqlite.settle import Settle


@implementer(IQueueStore)
class QueueStore:
    """See :class:`smtpeter.interfaces.IQueueStore`."""

    def __init__(self, executor: IExecutor, content: ContentStore, clock: IClock) -> None:
        self._executor = executor
        self._content = content
        self._clock = clock
        self._inline = claim.INLINE

    def enqueue(self, submission: Submission) -> Deferred[None]:
        """See the interface."""
        return self._executor.write(Enqueue(submission))

    def recover(self) -> Deferred[int]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.write(lambda connection: claim.recover(connection, now))

    def recover_expired(self, now: float, in_hand: Collection[tuple[str, int]]) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(lambda connection: claim.recover_expired(connection, now, in_hand))

    def due_domains(self, now: float, limit: int) -> Deferred[tuple[Sequence[str], float | None]]:
        """See the interface."""
        return self._executor.read(lambda connection: destinations.due_domains(connection, now, limit))

    def claim_due(self, domains: Sequence[str], limit: int, now: float, lease_until: float) -> Deferred[Sequence[Job]]:
        """See the interface."""
        wanted, inline = tuple(dict.fromkeys(domains)), self._inline
        # If this fails, the next claim does without content: what cannot be read must hold up nothing else.
        self._inline = -1

        def claimed(jobs: Sequence[Job]) -> Sequence[Job]:
            self._inline = claim.INLINE
            return jobs

        return self._executor.write(
            lambda connection: claim.claim_due(connection, wanted, limit, now, lease_until, inline)
        ).addCallback(claimed)

    def renew(self, submission: str, lease: int, lease_until: float) -> Deferred[bool]:
        """See the interface."""
        return self._executor.write(lambda connection: claim.renew(connection, submission, lease, lease_until))

    def mark_in_doubt(self, submission: str, lease: int, numbers: Sequence[int]) -> Deferred[bool]:
        """See the interface."""
        return self._executor.write(lambda connection: claim.mark_in_doubt(connection, submission, lease, numbers))

    def settle(self, jobs: Sequence[SettledJob]) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(Settle(jobs, self._clock.time()))

    def release(self, submission: str, lease: int) -> Deferred[None]:
        """See the interface."""
        return self._executor.write(lambda connection: claim.release(connection, submission, lease))

    def select(self, filter: Filter, limit: int) -> Deferred[Sequence[MessageRow]]:
        """See the interface."""
        return self._executor.read(lambda connection: listing.select(connection, filter, limit))

    def count(self, filter: Filter, verb: Verb) -> Deferred[int]:
        """See the interface."""
        now = self._clock.time()
        return self._executor.read(lambda connection: listing.count(connection, filter, verb, now))

    def apply(self, filter: Filter, verb: Verb, now: float, limit: int) -> Deferred[int]:
        """See the interface."""
        return self._executor.write(lambda connection: listing.apply(connection, filter, verb, now, limit))

    def submission(self, id: str) -> Deferred[Submission]:
        """See the interface."""
        return self._executor.read(lambda connection: read_submission(connection, id))

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
        before = [milliseconds(now - age) for age in (content_age, captured_age, event_age)]
        purged = self._executor.write(lambda connection: retention.purge(connection, *before, limit=limit))

        async def remove_files() -> int:
            count, files = cast(retention.Purged, await purged)
            if files:
                await self._content.remove(files)
            return count

        return Deferred.fromCoroutine(remove_files())

    def generation(self) -> Deferred[int]:
        """See the interface."""
        return self._executor.read(listing.setting("generation")).addCallback(int)
