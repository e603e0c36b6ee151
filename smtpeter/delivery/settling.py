"""From the end of an attempt to the store: outcomes are written in batches, and none is ever lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smtpeter.batches import LONGEST_WAIT, Batches
from smtpeter.delivery.notify import Notifier, action_of
from smtpeter.delivery.retry import Conclusion
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, IMetrics, IQueueStore
from smtpeter.model.delivery import Job, RecipientState, SettledJob
from smtpeter.model.submission import Submission

REPORTS = 5  # that are made in one turn of the reactor


class Ended:
    """A job that has ended; its notifications are made when it is written."""

    __slots__ = ("conclusions", "job", "notifications")

    def __init__(self, job: Job, conclusions: Sequence[Conclusion]) -> None:
        self.job = job
        self.conclusions = conclusions
        self.notifications: tuple[Submission, ...] | None = None


class Settler:
    """Writes down what became of jobs.  What cannot be written now is kept and tried again.

    A job that fails alone, because its own rows are damaged, is put aside and tried again now and then.

    Parts of one job that ended meanwhile are written as one, with one report for all of them.  Jobs of one submission
    that were claimed apart have reports of their own: should one have lost its lease, its report is not made, and the
    others' must be.

    ``more_due`` is called when what was written gave the queue something to do: another attempt, or a report.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        queue: IQueueStore,
        notifier: Notifier,
        clock: IClock,
        timers: IReactorTime,
        metrics: IMetrics,
        more_due: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._notifier = notifier
        self._clock = clock
        self._timers = timers
        self._metrics = metrics
        self._more_due = more_due
        self._ended: Batches[Ended] = Batches(
            "outcomes", write=self._write, broken=self._put_aside, timers=timers, log=self._log
        )
        self._aside: list[Ended] = []
        self._aside_timer: IDelayedCall | None = None

    @property
    def unsettled(self) -> int:
        """How many jobs have ended and are not yet written down."""
        return len(self._ended) + len(self._aside)

    def jobs(self) -> Iterator[Job]:
        """Those jobs."""
        for ended in (*self._ended, *self._aside):
            yield ended.job

    def add(self, ended: Ended) -> None:
        """Take over a job that has ended."""
        self._ended.add(ended)

    def drain(self) -> Deferred[None]:
        """Fires when everything is written down that can be: whatever is left unwritten is sent twice.  Cancel it to
        stop waiting; then the rest is left to the leases."""
        if self._aside_timer is not None:
            self._aside_timer.cancel()
            self._aside_timer = None
        return self._ended.drain()

    def _put_aside(self, ended: Ended, error: Exception) -> None:
        self._log.error("damage: submission={submission} its outcome cannot be written: {reason}", event="damage",
                        submission=ended.job.submission, reason=str(error))  # fmt: skip
        self._aside.append(ended)
        if self._aside_timer is None and not self._ended.draining:
            self._aside_timer = self._timers.callLater(LONGEST_WAIT, self._try_aside)

    def _try_aside(self) -> None:
        self._aside_timer = None
        aside, self._aside = self._aside, []
        for ended in aside:
            self.add(ended)

    async def _write(self, batch: Sequence[Ended]) -> list[Ended]:
        """Answers what is left, because its notifications cannot be kept now."""
        jobs: list[SettledJob] = []
        left: list[Ended] = []
        made = 0
        for parts in _by_lease(batch):
            try:
                if await self._notify(parts):
                    made += 1
                    if made % REPORTS == 0:
                        await deferLater(self._timers, 0.0)
            except StorageUnavailable as error:
                self._ended.note_wait(error, "a report waits")
                left += parts
            else:
                jobs.append(_as_one(parts))
        count = sum(len(job.settlements) for job in jobs)
        settled = await self._queue.settle(jobs) if jobs else 0
        if any(job.notifications or _is_due_again(job) for job in jobs):
            self._more_due()
        if settled < count:
            self._metrics.count("settlements_fenced", count - settled)
            self._log.warn(
                "fenced: recipients={recipients} submissions={submissions}",
                event="fenced",
                recipients=count - settled,
                submissions=", ".join(job.submission for job in jobs[:10]),
            )
        return left

    async def _notify(self, parts: Sequence[Ended]) -> bool:
        """Make the report of these, for those of them that have none yet.  Answers whether there is one."""
        new = [ended for ended in parts if ended.notifications is None]
        told = [each for ended in new for each in ended.conclusions if action_of(each) is not None]
        report = await self._report(new[0].job, told) if told else None
        for ended in new:
            ended.notifications = ()
        if report is not None:
            new[0].notifications = (report,)
        return report is not None

    async def _report(self, job: Job, told: Sequence[Conclusion]) -> Submission | None:
        try:
            return await self._notifier.report(job, told, self._clock.time())
        except StorageUnavailable:
            raise
        except Exception:
            # The outcome must be written even where nobody can be told of it.
            self._log.failure("no report was made: submission={submission}", submission=job.submission)
            return None


def _by_lease(batch: Sequence[Ended]) -> Iterable[list[Ended]]:
    """Parts of the same job together."""
    parts: dict[tuple[str, int], list[Ended]] = {}
    for ended in batch:
        parts.setdefault((ended.job.submission, ended.job.lease), []).append(ended)
    return parts.values()


def _as_one(parts: Sequence[Ended]) -> SettledJob:
    settlements = tuple([conclusion.settlement for ended in parts for conclusion in ended.conclusions])
    notifications = tuple([report for ended in parts for report in ended.notifications or ()])
    return SettledJob(parts[0].job.submission, parts[0].job.lease, settlements, notifications)


def _is_due_again(job: SettledJob) -> bool:
    return any(settlement.state is RecipientState.DUE for settlement in job.settlements)
