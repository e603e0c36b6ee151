"""From the end of an attempt to the store: outcomes are written in batches, and none is ever lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from smtpeter.delivery.notify import FailureNotifier
from smtpeter.delivery.retry import Conclusion, failures
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.interfaces import IClock, IMetrics, IQueueStore
from smtpeter.model.delivery import Job, RecipientState, SettledJob
from smtpeter.model.submission import Submission

GATHER = 0.005  # seconds in which ends are gathered before they are written together
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0


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

    ``more_due`` is called when what was written gave the queue something to do: another attempt, or a report.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        queue: IQueueStore,
        notifier: FailureNotifier,
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
        self._unsettled: list[Ended] = []
        self._writing: Sequence[Ended] = ()
        self._aside: list[Ended] = []
        self._timer: IDelayedCall | None = None
        self._aside_timer: IDelayedCall | None = None
        self._wait = 0.0
        self._drained: Deferred[None] | None = None

    @property
    def unsettled(self) -> int:
        """How many jobs have ended and are not yet written down."""
        return len(self._unsettled) + len(self._writing) + len(self._aside)

    def jobs(self) -> Iterator[Job]:
        """Those jobs."""
        for ended in (*self._writing, *self._unsettled, *self._aside):
            yield ended.job

    def add(self, ended: Ended) -> None:
        """Take over a job that has ended."""
        self._unsettled.append(ended)
        if self._timer is None and not self._writing:
            self._timer = self._timers.callLater(GATHER, self._start)

    def drain(self) -> Deferred[None]:
        """Fires when everything is written down that can be.  Cancel it to stop waiting; then the rest is left to the
        leases."""
        if self._aside_timer is not None:
            self._aside_timer.cancel()
            self._aside_timer = None
        if not self._unsettled and not self._writing:
            return succeed(None)
        if self._timer is not None:
            self._timer.reset(0)  # whatever is left unwritten is sent twice
        self._drained = Deferred(lambda deferred: self._give_up())
        return self._drained

    def _give_up(self) -> None:
        self._drained = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self._settle())

    async def _settle(self) -> None:
        batch, self._unsettled = self._unsettled, []
        self._writing = batch
        try:
            left = await self._write(batch)
        except StoreDamaged:
            left = await self._write_singly(batch)
        except StorageUnavailable as error:
            self._note_wait(error)
            left = batch
        except Exception:
            self._log.failure("outcomes could not be written")
            left = await self._write_singly(batch)
        self._writing = ()
        if not left and self._wait:
            self._log.info("storage: outcomes are written again", event="storage")
        longest = LONGEST_WAIT if self._drained is None else FIRST_WAIT
        self._wait = min(longest, self._wait * 2 or FIRST_WAIT) if left else 0.0
        self._unsettled = [*left, *self._unsettled]
        if self._unsettled:
            self._timer = self._timers.callLater(self._wait, self._start)
        elif self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    async def _write_singly(self, batch: Sequence[Ended]) -> list[Ended]:
        """One bad job must not hold up the others: it is put aside.  Answers what is left but for the same reason as
        everything else."""
        left: list[Ended] = []
        for ended in batch:
            try:
                left += await self._write([ended])
            except Exception as error:
                if isinstance(error, StorageUnavailable) and not isinstance(error, StoreDamaged):
                    self._note_wait(error)
                    left.append(ended)
                else:
                    self._put_aside(ended, error)
        return left

    def _put_aside(self, ended: Ended, error: Exception) -> None:
        self._log.error("damage: submission={submission} its outcome cannot be written: {reason}", event="damage",
                        submission=ended.job.submission, reason=str(error))  # fmt: skip
        self._aside.append(ended)
        if self._aside_timer is None and self._drained is None:
            self._aside_timer = self._timers.callLater(LONGEST_WAIT, self._try_aside)

    def _try_aside(self) -> None:
        self._aside_timer = None
        aside, self._aside = self._aside, []
        for ended in aside:
            self.add(ended)

    def _note_wait(self, error: StorageUnavailable) -> None:
        if not self._wait:
            self._log.error("storage: outcomes wait: {reason}", event="storage", reason=str(error))

    async def _write(self, batch: Sequence[Ended]) -> list[Ended]:
        """Answers what is left, because its notifications cannot be kept now."""
        jobs, count, left = [], 0, []
        for ended in batch:
            try:
                if ended.notifications is None:
                    ended.notifications = await self._notify(ended)
            except StorageUnavailable as error:
                if not self._wait:
                    self._log.error("storage: a report waits: {reason}", event="storage", reason=str(error))
                left.append(ended)
                continue
            settlements = tuple([conclusion.settlement for conclusion in ended.conclusions])
            jobs.append(SettledJob(ended.job.submission, ended.job.lease, settlements, ended.notifications))
            count += len(settlements)
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

    async def _notify(self, ended: Ended) -> tuple[Submission, ...]:
        failed = failures(ended.conclusions)
        if not failed:
            return ()
        try:
            report = await self._notifier.report(ended.job, failed, self._clock.time())
        except StorageUnavailable:
            raise
        except Exception:
            # The outcome must be written even where nobody can be told of it.
            self._log.failure("no report was made: submission={submission}", submission=ended.job.submission)
            return ()
        return () if report is None else (report,)


def _is_due_again(job: SettledJob) -> bool:
    return any(settlement.state is RecipientState.DUE for settlement in job.settlements)
