"""Claims what is due, hands it to the agent as it has places, and has the outcomes written down."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.delivery.form import Impersonal
from smtpeter.delivery.notify import Notifier
from smtpeter.delivery.overdue import Overdue
from smtpeter.delivery.plan import Parked
from smtpeter.delivery.report import DeliveryReport
from smtpeter.delivery.retry import RetryPolicy, conclude, conclude_overdue, is_overdue
from smtpeter.delivery.settling import Ended, Settler
from smtpeter.delivery.walltime import WallTime
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.interfaces import IClock, IDeliveryAgent, IMetrics, IPersonalizer, IQueueStore
from smtpeter.model.delivery import Job, Lane, Outcome, OutcomeKind

LANES = 500  # looked at together
AT_ONCE = 50  # jobs that are started in one turn of the reactor
GAP = 0.01  # seconds between two claims, so that each finds many
SOON = 1.0  # seconds until the next look after trouble
WATCH = 15.0  # seconds between looks at leases and at the clock
PERSONAL = 10  # recipients of a personal job that one connection deals with, and that are written down together
UNSETTLED = 2000  # jobs that may have ended and wait to be written down; nothing is claimed beyond
SETTLE_TIMEOUT = 10.0  # seconds that stopping waits for the store


_NOT_TRIED = Outcome(OutcomeKind.NOT_TRIED)


class _Attempt:
    """A job that the agent has.  Times are of the timers."""

    __slots__ = ("job", "renewed", "started")

    def __init__(self, job: Job, now: float) -> None:
        self.job = job
        self.started = self.renewed = now


class Scheduler(Service):
    """Keeps the agent fed.

    ``random`` gives numbers in [0, 1).  ``personalizer`` tells which recipients need a transaction of their own.
    ``in_flight`` is how many recipients may be claimed and not yet ended, ``lease`` how long (seconds) a claim holds
    without being renewed, ``poll`` how long the store is left alone when nothing is heard, ``stop_timeout`` how long
    stopping waits for what is under way.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        queue: IQueueStore,
        agent: IDeliveryAgent,
        notifier: Notifier,
        clock: IClock,
        timers: IReactorTime,
        metrics: IMetrics,
        policy: RetryPolicy,
        random: Callable[[], float],
        personalizer: IPersonalizer | None = None,
        in_flight: int = 2000,
        lease: float = 900.0,
        poll: float = 5.0,
        stop_timeout: float = 25.0,
    ) -> None:
        self._queue = queue
        self._agent = agent
        self._time = WallTime(clock, timers, self._clock_was_set)
        self._timers = timers
        self._metrics = metrics
        self._policy = policy
        self._random = random
        self._personalizer = personalizer or Impersonal()
        self._in_flight = in_flight
        self._lease = lease
        self._poll = poll
        self._stop_timeout = stop_timeout
        self._settler = Settler(
            queue=queue, notifier=notifier, clock=clock, timers=timers, metrics=metrics, more_due=self._ring
        )
        self._report = DeliveryReport(timers, metrics)
        self._overdue = Overdue(
            queue=queue,
            agent=agent,
            settler=self._settler,
            time=self._time,
            timers=timers,
            policy=policy,
            lease=lease,
            goes_on=lambda: bool(self.running) and not self._paused,
        )
        agent.on_room(self._ring)
        self._ready: deque[Job] = deque()
        self._attempts: set[_Attempt] = set()
        self._claimed = 0  # recipients that are in ready or in attempts
        self._paused = True  # until the store says otherwise
        self._wanted = True  # whether there may be something to claim
        self._claiming = self._starting = self._troubled = False
        self._turn: IDelayedCall | None = None  # in which more of what is ready is started
        self._to_unpark: list[Parked] = []  # as the store could not when it was asked
        self._claim_ended: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        self._watch: IDelayedCall | None = None
        self._set_back = True  # the clock may have been, while we did not look
        self._back = 0.0  # by how much it was, as far as we saw

    # --- the service ---

    def startService(self) -> None:
        super().startService()
        self._time.now()
        self._watch = self._timers.callLater(WATCH, self._look_after)
        self.generation_changed()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for timer in (self._alarm, self._watch, self._turn):
            if timer is not None and timer.active():
                timer.cancel()
        if self._claiming:
            self._claim_ended = Deferred()
            await self._within(self._claim_ended, SETTLE_TIMEOUT)
        self._release_ready()
        await self._within(self._agent.stop(), self._stop_timeout)
        await self._within(self._settler.drain(), SETTLE_TIMEOUT)
        self._report.finish()
        left = len(self._attempts) + self._settler.unsettled
        if left:
            self._log.warn("stopped with {jobs} jobs open; they are tried again", event="stop", jobs=left)

    async def _within(self, deferred: Deferred[Any], seconds: float) -> None:
        try:
            await deferred.addTimeout(seconds, self._timers)
        except (TimeoutError, CancelledError):
            pass

    def wake(self, domains: Iterable[str]) -> None:
        """These domains have mail now."""
        self._wanted = True
        self._look()

    def generation_changed(self) -> None:
        """A command changed something in the store: perhaps delivery was paused or resumed, or mail is due earlier."""
        self._spawn(self._read_paused())

    async def _read_paused(self) -> None:
        try:
            self._paused = await self._queue.paused()
        except Exception as error:
            self._note_trouble(error)
            self._timers.callLater(SOON, self._try_again)
            return
        if self._paused:
            self._release_ready()
        else:
            self._wanted = True
            self._look()

    def _try_again(self) -> None:
        if self.running:
            self.generation_changed()

    # --- claiming ---

    def _look(self) -> None:
        """Claim, if there may be something, and there is room for it."""
        if not self._wanted or self._claiming or self._paused or not self.running:
            return
        if self._ready:
            return  # of which the agent does not know yet; starting the last of it comes back here
        if self._claimed > self._in_flight * 7 // 8:
            return  # what ends comes back here
        if self._settler.unsettled > UNSETTLED:
            self._set_alarm(SOON)
            return
        self._claiming = True
        self._timers.callLater(GAP, self._spawn_claim)

    def _spawn_claim(self) -> None:
        self._spawn(self._claim())

    async def _claim(self) -> None:
        self._wanted = False
        limit = self._in_flight - self._claimed
        now = self._time.now()
        sleep = self._poll
        try:
            lanes, due = await self._queue.due_lanes(now, LANES)
            crowded = len(lanes) == LANES
            plan = self._agent.plan(lanes, limit, crowded)
            to_unpark, self._to_unpark = self._to_unpark, []
            parked = (*to_unpark, *plan.parked)
            parkings: list[Deferred[Any]] = [Deferred.fromCoroutine(self._park(each, now)) for each in parked]
            self._wanted |= any(not each.seconds for each in parked)
            if crowded:  # others are told when these are out of the way
                for parking in parkings:
                    self._wanted |= await parking
            if plan.shares and not self._paused and self.running:
                jobs = await self._queue.claim_due(plan.shares, now, now + self._lease)
                self._claimed += sum(len(job.recipients) for job in jobs)
                for job in jobs:
                    self._ready.extend(self._parts(job))
                self._wanted |= bool(jobs)
                self._agent.exhausted(_exhausted(plan.shares, jobs, lanes))
            self._end_trouble()
            if due is not None:
                sleep = min(sleep, max(due - now, GAP))
        except Exception as error:
            self._note_trouble(error)
            self._wanted = False
            sleep = SOON
        self._claiming = False
        if self._claim_ended is not None:
            self._claim_ended.callback(None)
        if self._paused or not self.running:
            self._release_ready()
            return
        self._set_alarm(sleep)
        self._start_ready()
        self._look()

    def _parts(self, job: Job) -> Sequence[Job]:
        try:
            return self._agent.parts(job)
        except Exception:
            self._log.failure("a job cannot be divided: submission={submission}", submission=job.submission)
            return (job,)  # the attempt tells what is wrong

    async def _park(self, parked: Parked, now: float) -> bool:
        try:
            await self._queue.park(parked.lanes, parked.site, now + parked.seconds)
        except Exception as error:
            self._note_trouble(error)
            if not parked.seconds:  # those that are still to be parked are told again
                self._to_unpark.append(parked)
            return False
        return True

    def _set_alarm(self, seconds: float) -> None:
        if self._alarm is not None and self._alarm.active():
            if self._alarm.getTime() <= self._timers.seconds() + seconds:
                return
            self._alarm.cancel()
        self._alarm = self._timers.callLater(seconds, self._ring)

    def _ring(self) -> None:
        self._wanted = True
        self._start_ready()
        self._look()

    def _release_ready(self) -> None:
        ready, self._ready = self._ready, deque()
        begun = {(attempt.job.submission, attempt.job.lease) for attempt in self._attempts}
        begun.update((job.submission, job.lease) for job in self._settler.jobs())
        for job in ready:
            self._claimed -= len(job.recipients)
            if (job.submission, job.lease) in begun:
                self._give_back(job)  # for the rest of it is not to be released
            else:
                self._spawn(self._release(job))

    async def _release(self, job: Job) -> None:
        try:
            await self._queue.release(job.submission, job.lease)
        except Exception as error:
            self._note_trouble(error)
            self._give_back(job)

    def _give_back(self, job: Job) -> None:
        """Have it written down that these recipients were not tried; the settler does not give up."""
        outcomes = {recipient.number: _NOT_TRIED for recipient in job.recipients}
        self._settler.add(Ended(job, conclude(job, outcomes, self._time.now(), self._policy, self._random())))

    # --- attempts ---

    def _start_ready(self) -> None:
        if self._starting or self._turn is not None:
            return
        self._starting = True
        try:
            for _ in range(AT_ONCE):
                if not self._ready:
                    break
                self._start(self._next_part())
        finally:
            self._starting = False
        if self._ready:
            self._turn = self._timers.callLater(0, self._next_turn)  # sessions have their turn first
        else:
            self._look()

    def _next_turn(self) -> None:
        self._turn = None
        self._start_ready()

    def _next_part(self) -> Job:
        """The next job; of a personal one some recipients only, as each needs a transaction of its own.  Others wait
        behind what else is ready, for another connection, and a crash finds less that is not written down yet.
        """
        job = self._ready.popleft()
        if len(job.recipients) <= PERSONAL or not self._personalizer.is_personal(job):
            return job
        self._ready.append(job._replace(recipients=job.recipients[PERSONAL:]))
        return job._replace(recipients=job.recipients[:PERSONAL])

    def _start(self, job: Job) -> None:
        now = self._time.now()
        if is_overdue(self._time.in_real_time(job), now, self._policy):
            self._claimed -= len(job.recipients)
            self._settler.add(Ended(job, conclude_overdue(job, now)))
            return
        attempt = _Attempt(job, self._timers.seconds())
        self._attempts.add(attempt)
        maybeDeferred(self._agent.deliver, job).addBoth(self._ended, attempt).addErrback(self._bug)

    def _ended(self, result: Mapping[int, Outcome] | Failure, attempt: _Attempt) -> None:
        job = attempt.job
        self._attempts.discard(attempt)
        self._claimed -= len(job.recipients)
        if isinstance(result, Failure):
            self._log.failure("the agent failed: submission={submission}", result, submission=job.submission)
            result = {}
        now = self._time.now()
        conclusions = conclude(self._time.in_real_time(job), result, now, self._policy, self._random())
        self._settler.add(Ended(job, conclusions))
        seconds = self._timers.seconds() - attempt.started
        self._metrics.observe("delivery_seconds", seconds)
        for recipient, outcome, _ in conclusions:
            self._report.add(recipient, outcome, seconds)
        self._start_ready()
        self._look()

    # --- what is looked after ---

    def _look_after(self) -> None:
        self._watch = self._timers.callLater(WATCH, self._look_after)
        now = self._timers.seconds()
        for attempt in self._attempts:
            if now - attempt.renewed > self._lease / 3:
                attempt.renewed = now
                self._spawn(self._renew(attempt))
        if not self._claiming:
            self._spawn(self._recover_expired())
        self._spawn(self._end_overdue())
        self._time.now()
        if self._set_back:
            self._spawn(self._bring_forward())

    async def _end_overdue(self) -> None:
        try:
            await self._overdue.look()
        except Exception as error:
            self._note_trouble(error)

    # --- the clock ---

    def _clock_was_set(self, seconds: float) -> None:
        self._log.warn("the clock was set by {seconds:.0f} seconds", event="clock", seconds=seconds)
        self._back = max(0.0, self._back - seconds)
        if seconds < 0 and self.running:
            self._spawn(self._bring_forward())

    async def _bring_forward(self) -> None:
        """What is due at a time that the clock showed once would wait until it shows that again."""
        self._set_back = False
        back, self._back = self._back, 0.0
        try:
            count = await self._queue.bring_forward(self._time.now(), self._policy.longest_wait, back)
        except StoreDamaged as error:
            self._log.error("damage: what waits for too long was not looked for: {reason}", event="damage",
                            reason=str(error))  # fmt: skip
            return
        except StorageUnavailable as error:
            self._set_back = True
            self._back += back
            self._note_trouble(error)
            return
        if count:
            self._log.warn("{recipients} recipients would have waited for what the clock showed before",
                           event="brought_forward", recipients=count)  # fmt: skip
        if count or back:
            self._ring()

    async def _recover_expired(self) -> None:
        """Leases that nobody has in hand come from claims whose answer was lost: they must not last for ever."""
        jobs = (*(attempt.job for attempt in self._attempts), *self._ready, *self._settler.jobs())
        in_hand = {(job.submission, job.lease) for job in jobs}
        try:
            count = await self._queue.recover_expired(self._time.now(), in_hand)
        except StorageUnavailable as error:
            self._note_trouble(error)
            return
        if count:
            self._log.warn("{recipients} recipients were leased by nobody and are due again", event="recovered",
                           recipients=count)  # fmt: skip
            self._wanted = True
            self._look()

    async def _renew(self, attempt: _Attempt) -> None:
        job = attempt.job
        try:
            ours = await self._queue.renew(job.submission, job.lease, self._time.now() + self._lease)
        except StorageUnavailable as error:
            self._note_trouble(error)
            attempt.renewed -= self._lease / 3
            return
        if not ours:
            self._log.warn("fenced: submission={submission}: the lease was lost", event="fenced",
                           submission=job.submission)  # fmt: skip

    # --- trouble ---

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(coroutine).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("an unexpected failure in delivery", failure)

    def _note_trouble(self, error: Exception) -> None:
        if not isinstance(error, StorageUnavailable):
            self._log.failure("the store failed in a way that it should not")
        elif not self._troubled:
            self._troubled = True
            self._log.error("storage: delivery waits: {reason}", event="storage", reason=str(error))

    def _end_trouble(self) -> None:
        if self._troubled:
            self._troubled = False
            self._log.info("storage: delivery goes on", event="storage")


def _exhausted(shares: Sequence[tuple[Lane, int]], jobs: Sequence[Job], told: Sequence[Lane]) -> list[Lane]:
    """Lanes of which less was claimed than could have been.

    Not those of which nothing could, though they were just told to have something due: something is wrong with them.
    They are left in their place, lest they be told and asked for again and again.
    """
    claimed = Counter((recipient.domain, job.account or 0) for job in jobs for recipient in job.recipients)
    doubtful = {lane for lane in told if not claimed[lane]}
    return [lane for lane, share in shares if claimed[lane] < share and lane not in doubtful]
