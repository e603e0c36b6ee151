"""From a worker's answer to the store: what came of messages is written in batches, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from smtpeter.delivery.retry import Conclusion
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.interfaces import IClock, IMetrics, IQueueStore
from smtpeter.model.delivery import (
    Job,
    LeasedRecipient,
    Outcome,
    OutcomeKind,
    RecipientState,
    SettledJob,
    Settlement,
)
from smtpeter.model.event import Event, EventKind
from smtpeter.model.feature import Prepared, Unprepared
from smtpeter.model.ids import recipient_id
from smtpeter.model.listing import Filter
from smtpeter.model.submission import Submission

GATHER = 0.005  # seconds in which results are gathered before they are written together
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0

Report = Callable[[Job, Sequence[Conclusion], float], Awaitable[Submission | None]]
"""Makes the notification of what failed; None where nobody wants one."""


class Postponed(NamedTuple):
    """It is to be prepared again, at ``until`` (seconds since the epoch)."""

    submission: str
    attempt: int
    until: float
    reason: str


class Refused(NamedTuple):
    """It cannot be prepared; ``state`` is what becomes of its recipients: FAILED, EXPIRED, or HELD for somebody to
    look at."""

    message: Unprepared
    reason: str
    state: RecipientState

    @property
    def submission(self) -> str:
        """The submission's id."""
        return self.message.submission


End = Prepared | Postponed | Refused


class PreparedSettler:
    """Writes down what became of messages.  What cannot be written now is kept and tried again.

    What fails alone, because its own rows are damaged, is given up: its claim ends by itself, and it is prepared again.
    ``more_due`` is called when mail may be delivered because of what was written.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        queue: IQueueStore,
        report: Report,
        clock: IClock,
        timers: IReactorTime,
        metrics: IMetrics,
        more_due: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._report = report
        self._clock = clock
        self._timers = timers
        self._metrics = metrics
        self._more_due = more_due
        self._unsettled: list[End] = []
        self._writing: Sequence[End] = ()
        self._timer: IDelayedCall | None = None
        self._wait = 0.0
        self._drained: Deferred[None] | None = None

    @property
    def unsettled(self) -> int:
        """How many results are not yet written down."""
        return len(self._unsettled) + len(self._writing)

    def add(self, end: End) -> None:
        """Take over a result."""
        self._unsettled.append(end)
        if self._timer is None and not self._writing:
            self._timer = self._timers.callLater(GATHER, self._start)

    def drain(self) -> Deferred[None]:
        """Fires when everything is written down.  Cancel it to stop waiting: what is left is prepared again."""
        if not self._unsettled and not self._writing:
            return succeed(None)
        if self._timer is not None:
            self._timer.reset(0)
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
        left: list[End] = []
        prepared = [end for end in batch if isinstance(end, Prepared)]
        try:
            if prepared:
                await self._store(prepared)
        except StoreDamaged:
            left += await self._one_by_one(prepared)
        except StorageUnavailable as error:
            self._note_wait(error)
            left += prepared
        except Exception:
            self._log.failure("prepared messages could not be written")
            left += await self._one_by_one(prepared)
        left += await self._one_by_one([end for end in batch if not isinstance(end, Prepared)])
        self._writing = ()
        self._go_on(left)

    def _go_on(self, left: list[End]) -> None:
        if not left and self._wait:
            self._log.info("storage: prepared messages are written again", event="storage")
        longest = LONGEST_WAIT if self._drained is None else FIRST_WAIT
        self._wait = min(longest, self._wait * 2 or FIRST_WAIT) if left else 0.0
        self._unsettled = [*left, *self._unsettled]
        if self._unsettled:
            self._timer = self._timers.callLater(self._wait, self._start)
        elif self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    async def _one_by_one(self, ends: Sequence[End]) -> list[End]:
        """Answers what has to be tried again; one that is damaged must not hold up the others."""
        left: list[End] = []
        for end in ends:
            try:
                await self._write(end)
            except Exception as error:
                if isinstance(error, StorageUnavailable) and not isinstance(error, StoreDamaged):
                    self._note_wait(error)
                    left.append(end)
                else:
                    self._log.failure("damage: submission={submission}: what features made of it cannot be written",
                                      event="damage", submission=end.submission)  # fmt: skip
        return left

    def _note_wait(self, error: StorageUnavailable) -> None:
        if not self._wait:
            self._log.error("storage: prepared messages wait: {reason}", event="storage", reason=str(error))

    # --- what is written ---

    async def _write(self, end: End) -> None:
        match end:
            case Prepared():
                await self._store([end])
            case Postponed():
                if not await self._queue.postpone_prepare(*end):
                    self._fenced(1)
            case Refused():
                await self._refuse(end)

    async def _store(self, prepared: Sequence[Prepared]) -> None:
        written = await self._queue.store_prepared(prepared)
        if written < len(prepared):
            self._fenced(len(prepared) - written)
        if written:
            self._more_due()

    def _fenced(self, count: int) -> None:
        self._log.info("{count} messages were prepared that are somebody else's by now, or not wanted any more",
                       event="fenced", count=count)  # fmt: skip

    async def _refuse(self, end: Refused) -> None:
        """End, or hold, its recipients that still wait, and tell its sender of what has ended."""
        message, now = end.message, self._clock.time()
        submission = await self._queue.submission(message.submission)
        rows = await self._queue.select(
            Filter(submission=message.submission, states=frozenset({RecipientState.DUE})), message.recipients
        )
        job = _as_job(message, submission, {row.number for row in rows})
        conclusions = [_conclude(recipient, end, now) for recipient in job.recipients]
        notification = None if end.state is RecipientState.HELD else await self._notify(job, conclusions, now)
        settled = SettledJob(
            message.submission,
            message.attempt,
            tuple([conclusion.settlement for conclusion in conclusions]),
            () if notification is None else (notification,),
        )
        if not await self._queue.fail_prepare(message.submission, message.attempt, settled):
            self._fenced(1)
        elif notification is not None:
            self._more_due()

    async def _notify(self, job: Job, conclusions: Sequence[Conclusion], now: float) -> Submission | None:
        try:
            return await self._report(job, conclusions, now) if conclusions else None
        except StorageUnavailable:
            raise
        except Exception:
            # The outcome must be written even where nobody can be told of it.
            self._log.failure("no report was made: submission={submission}", submission=job.submission)
            return None


def _as_job(message: Unprepared, submission: Submission, numbers: set[int]) -> Job:
    """What a report is made of, with these recipients."""
    envelope = submission.envelope
    count = len(envelope.recipients)
    recipients = tuple(
        LeasedRecipient(
            number,
            recipient_id(submission.id, number, count),
            each.address,
            each.domain,
            each.notify,
            each.orcpt,
            0,
            False,
        )
        for number, each in enumerate(envelope.recipients, 1)
        if number in numbers
    )
    return Job(
        submission=submission.id,
        lease=message.attempt,
        lease_until=submission.expires,
        account=submission.account,
        reverse_path=envelope.reverse_path,
        ret=envelope.ret,
        envid=envelope.envid,
        body=envelope.body,
        smtputf8=envelope.smtputf8,
        content=submission.content,
        time=submission.time,
        expires=submission.expires,
        recipients=recipients,
    )


def _conclude(recipient: LeasedRecipient, end: Refused, now: float) -> Conclusion:
    if end.state is RecipientState.HELD:
        held = Event(EventKind.HELD, now, {"description": end.reason})
        outcome = Outcome(OutcomeKind.HOLD, 0, "4.3.0", end.reason)
        return Conclusion(recipient, outcome, Settlement(recipient.number, end.state, 0, now, held))
    outcome = Outcome(OutcomeKind.FAILED, 554, "5.3.0", end.reason, stage="prepare")
    data = {
        "attempt": 0,
        "from": "",
        "to": "",
        "code": outcome.code,
        "status": outcome.enhanced,
        "description": outcome.text,
        "state": outcome.stage,
        "type": end.state.value,
    }
    return Conclusion(
        recipient, outcome, Settlement(recipient.number, end.state, 0, now, Event(EventKind.FAILURE, now, data))
    )
