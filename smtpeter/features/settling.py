"""From a worker's answer to the store: what came of messages is written in batches, and nothing is lost on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from smtpeter.batches import Batches
from smtpeter.delivery.retry import Conclusion
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, IQueueStore
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
        more_due: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._report = report
        self._clock = clock
        self._more_due = more_due
        self._ends: Batches[End] = Batches(
            "prepared messages",
            write=self._write,
            broken=self._give_up,
            timers=timers,
            log=self._log,
            apart=lambda end: not isinstance(end, Prepared),
        )

    @property
    def unsettled(self) -> int:
        """How many results are not yet written down."""
        return len(self._ends)

    def add(self, end: End) -> None:
        """Take over a result."""
        self._ends.add(end)

    def drain(self) -> Deferred[None]:
        """Fires when everything is written down.  Cancel it to stop waiting: what is left is prepared again."""
        return self._ends.drain()

    def _give_up(self, end: End, error: Exception) -> None:
        self._log.failure("damage: submission={submission}: what features made of it cannot be written",
                          event="damage", submission=end.submission)  # fmt: skip

    # --- what is written ---

    async def _write(self, ends: Sequence[End]) -> Sequence[End]:
        prepared = [end for end in ends if isinstance(end, Prepared)]
        if prepared:
            await self._store(prepared)
        for end in ends:
            if isinstance(end, Postponed):
                await self._postpone(end)
            elif isinstance(end, Refused):
                await self._refuse(end)
        return ()

    async def _postpone(self, end: Postponed) -> None:
        if not await self._queue.postpone_prepare(*end):
            self._fenced(1)

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
