"""Has mail prepared by its features: claims what waits, hands it to workers, has what they made of it written down."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.batches import FIRST_WAIT, LONGEST_WAIT
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.errors import StorageUnavailable
from smtpeter.features.exchange import Answer, AnswerKind, Task
from smtpeter.features.process import WorkerDied
from smtpeter.features.settling import Postponed, PreparedSettler, Refused, Report
from smtpeter.interfaces import IClock, IMetrics, IQueueStore
from smtpeter.model.delivery import RecipientState
from smtpeter.model.feature import Prepared, Unprepared

CLAIM = 64
"""Messages that are claimed and wait for a worker: enough for the time that another claim takes."""

LEASE = 900.0
"""Seconds for which a claim holds; what was not begun by then is left for another claim."""

DEATHS = 2
"""So often a feature may be at work when a worker ends, then this message goes on without it."""

ATTEMPTS = 20
"""A message that was claimed so often, and never came to an end, is not given to a worker any more."""

UNSETTLED = 250  # results that may wait to be written, with their octets; nothing is claimed beyond
GAP = 0.01  # seconds between two claims, so that each finds many
POLL = 5.0  # seconds for which the store is left alone when nothing is heard
AGE_INTERVAL = 1.0
STOP_TIMEOUT = 10.0


class Workers(Protocol):
    """See :class:`smtpeter.features.pool.WorkerPool`."""

    def room(self) -> int: ...

    def carry_out(self, task: Task) -> Deferred[Answer]: ...

    def stop(self) -> Deferred[None]: ...


class _Message:
    """A message that is ours to have prepared; the times that a worker ended at it."""

    __slots__ = ("claim", "deaths", "until", "wait", "without")

    def __init__(self, claim: Unprepared, until: float) -> None:
        self.claim = claim
        self.until = until
        self.deaths: Counter[str] = Counter()
        self.without: dict[str, str] = {}
        self.wait = 0.0


class Preparer(Service):
    """Keeps the workers fed.

    ``random`` gives numbers in [0, 1); ``policy`` tells when a message is tried again whose feature has it wait.
    ``more_due`` is called when mail may be delivered; ``measured`` every second with the time at which the mail came in
    that waits longest (None: none waits), and the time now.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        queue: IQueueStore,
        workers: Workers,
        report: Report,
        clock: IClock,
        timers: IReactorTime,
        metrics: IMetrics,
        policy: RetryPolicy,
        random: Callable[[], float],
        more_due: Callable[[], None],
        measured: Callable[[float | None, float], None] = lambda oldest, now: None,
    ) -> None:
        self._queue = queue
        self._workers = workers
        self._clock = clock
        self._timers = timers
        self._metrics = metrics
        self._policy = policy
        self._random = random
        self._measured = measured
        self._settler = PreparedSettler(queue=queue, report=report, clock=clock, timers=timers, more_due=more_due)
        self._ready: deque[_Message] = deque()
        self._wanted = True  # whether there may be something to claim
        self._claiming = self._troubled = False
        self._alarm: IDelayedCall | None = None
        self._wait = 0.0
        self._resting = False
        self._postponed: set[str] = set()  # in this process's time
        self._age_loop = LoopingCall(self._look_at_age)
        self._age_loop.clock = timers

    # --- the service ---

    def startService(self) -> None:
        super().startService()
        self._age_loop.start(AGE_INTERVAL)
        self._look()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._age_loop.stop()
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        # What is claimed and not begun, or not ended, is nobody's at the next start.
        self._ready.clear()
        try:
            await self._workers.stop().addTimeout(STOP_TIMEOUT, self._timers)
        except (TimeoutError, CancelledError):  # one that waits for a disk that hangs cannot even be killed
            self._log.warn("stopped with workers that do not end", event="stop")
        try:
            await self._settler.drain().addTimeout(STOP_TIMEOUT, self._timers)
        except (TimeoutError, CancelledError):
            self._log.warn("stopped with {count} results open; they are made again", event="stop",
                           count=self._settler.unsettled)  # fmt: skip

    def wake(self) -> None:
        """There is mail to be prepared."""
        self._wanted = True
        self._look()

    # --- claiming ---

    def _look(self) -> None:
        """Claim, if there may be something, and there is room for it."""
        if not self.running:
            return
        self._begin()
        if not self._wanted or self._claiming or self._resting or len(self._ready) > CLAIM // 2:
            return
        if self._settler.unsettled > UNSETTLED or self._workers.room() == 0:
            self._set_alarm(POLL)
            return  # what ends comes back here
        self._claiming = True
        self._timers.callLater(GAP, self._spawn_claim)

    def _spawn_claim(self) -> None:
        self._spawn(self._claim())

    async def _claim(self) -> None:
        now = self._clock.time()
        limit = CLAIM - len(self._ready)
        self._wanted = False
        try:
            if not self.running:
                return
            claims = await self._queue.claim_incoming(limit, now, now + LEASE)
        except Exception as error:
            self._note_trouble(error)
            self._wanted = True
            self._resting = True
            self._wait = min(LONGEST_WAIT, self._wait * 2 or FIRST_WAIT)
            self._set_alarm(self._wait)
            return
        finally:
            self._claiming = False
        self._end_trouble()
        self._wait = 0.0
        self._wanted |= len(claims) == limit
        self._ready.extend(_Message(claim, now + LEASE) for claim in claims)
        self._set_alarm(POLL)
        self._look()

    def _set_alarm(self, seconds: float) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.reset(seconds)
        elif self.running:
            self._alarm = self._timers.callLater(seconds, self._ring)

    def _ring(self) -> None:
        self._resting = False
        self.wake()

    # --- workers ---

    def _begin(self) -> None:
        """Give workers what they have room for."""
        while self._ready and self._workers.room() > 0:
            message = self._ready.popleft()
            if self._clock.time() >= message.until:
                self._wanted = True  # it may be somebody else's, or will be ours again
                continue
            claim = message.claim
            if claim.attempt > ATTEMPTS and claim.submission not in self._postponed:
                message.without[""] = f"it was begun {claim.attempt - 1} times and never came to an end"
            answered = self._workers.carry_out(_task(message))
            answered.addCallbacks(self._answered, self._died, callbackArgs=(message,), errbackArgs=(message,))
            answered.addBoth(self._went_on).addErrback(self._bug)

    def _answered(self, answer: Answer, message: _Message) -> None:
        claim = message.claim
        self._metrics.count("prepared", result=str(answer.kind))
        if answer.kind is not AnswerKind.STORAGE:
            self._postponed.discard(claim.submission)
        match answer.kind:
            case AnswerKind.PREPARED:
                self._tell_failed(claim, answer)
                self._settler.add(Prepared(claim.submission, claim.attempt, answer.content, answer.slots, answer.data))
            case AnswerKind.STORAGE:
                message.wait = min(LONGEST_WAIT, message.wait * 2 or FIRST_WAIT)
                self._log.error("storage: submission={submission} waits to be prepared: {reason}", event="storage",
                                submission=claim.submission, reason=answer.reason)  # fmt: skip
                self._timers.callLater(message.wait, self._again, message)
            case AnswerKind.DEFER:
                self._postpone(claim, answer.reason)
            case AnswerKind.FAIL:
                self._refuse(claim, answer.reason, RecipientState.FAILED)
            case AnswerKind.DAMAGED:
                self._log.error("content: submission={submission} is held: {reason}", event="content",
                                submission=claim.submission, reason=answer.reason)  # fmt: skip
                self._settler.add(Refused(claim, answer.reason, RecipientState.HELD))

    def _postpone(self, claim: Unprepared, reason: str) -> None:
        now = self._clock.time()
        until = now + self._policy.wait(claim.attempt - 1, self._random())
        if until > claim.expires:
            self._refuse(claim, reason, RecipientState.EXPIRED)
            return
        self._log.warn("submission={submission} is prepared again later: {reason}", event="prepare",
                       submission=claim.submission, reason=reason)  # fmt: skip
        self._postponed.add(claim.submission)
        self._settler.add(Postponed(claim.submission, claim.attempt, until, reason))
        self._set_alarm(min(POLL, until - now))

    def _refuse(self, claim: Unprepared, reason: str, state: RecipientState) -> None:
        self._log.error("submission={submission} cannot be prepared and fails: {reason}", event="prepare",
                        submission=claim.submission, reason=reason)  # fmt: skip
        self._settler.add(Refused(claim, reason, state))

    def _died(self, failure: Failure, message: _Message) -> None:
        """Once may be an accident; then whatever was at work is left out."""
        failure.trap(WorkerDied)
        died: Any = failure.value
        claim = message.claim
        self._metrics.count("prepared", result="died")
        self._log.error("submission={submission} feature={feature}: {reason}", event="prepare",
                        submission=claim.submission, feature=died.feature or "none", reason=died.reason)  # fmt: skip
        message.deaths[died.feature] += 1
        if "" in message.without:  # it was not even looked at, so nobody has said what its features' policy is
            self._postpone(claim, died.reason)
            return
        if message.deaths[died.feature] >= DEATHS:
            message.without[died.feature] = died.reason
        self._again(message)

    def _again(self, message: _Message) -> None:
        self._ready.append(message)
        self._look()

    def _went_on(self, result: Any) -> Any:
        self._look()
        return result

    def _tell_failed(self, claim: Unprepared, answer: Answer) -> None:
        if "failed" in answer.data:
            self._log.warn("submission={submission}: {description}", event="prepare", submission=claim.submission,
                           description=str(answer.data.get("description")))  # fmt: skip

    # --- the backlog ---

    def _look_at_age(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._measure()).addErrback(self._bug)

    async def _measure(self) -> None:
        try:
            oldest = await self._queue.oldest_unprepared()
        except StorageUnavailable:
            return  # it is told where something waits for it
        self._measured(oldest, self._clock.time())

    # --- trouble ---

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        Deferred.fromCoroutine(coroutine).addErrback(self._bug)

    def _bug(self, failure: Failure) -> None:
        self._log.failure("an unexpected failure while mail was prepared", failure)

    def _note_trouble(self, error: Exception) -> None:
        if not isinstance(error, StorageUnavailable):
            self._log.failure("the store failed in a way that it should not")
        elif not self._troubled:
            self._troubled = True
            self._log.error("storage: mail waits to be prepared: {reason}", event="storage", reason=str(error))

    def _end_trouble(self) -> None:
        if self._troubled:
            self._troubled = False
            self._log.info("storage: mail is prepared again", event="storage")


def _task(message: _Message) -> Task:
    claim = message.claim
    return Task(
        number=0,  # the pool's
        submission=claim.submission,
        account=claim.account,
        reverse_path=claim.reverse_path,
        recipients=claim.recipients,
        options=dict(claim.options),
        content=claim.content,
        without=dict(message.without),
    )
