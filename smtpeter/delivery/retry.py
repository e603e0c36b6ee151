"""What follows from the outcome of an attempt: pure arithmetic on times and counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind, RecipientState, Settlement
from smtpeter.model.event import Event, EventKind, format_time

CAPTURED = Outcome(OutcomeKind.DELIVERED, text="captured")
_MISSING = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "The attempt ended without telling what became of it")
_OVERDUE = Outcome(OutcomeKind.DEFERRED, 0, "4.4.7", "The time for delivery was over")


class RetryPolicy(NamedTuple):
    """``schedule``: the waits (seconds) after the first, second, ... attempt; the last repeats.

    ``hold_in_doubt``: hold a recipient whose message may have arrived, instead of sending it again.  ``lifetime``: how
    long (seconds) delivery is tried when the sender sets no limit.  ``delay_notice``: how long (seconds) a message may
    wait before its sender is told, if he asked to be.
    """

    schedule: Sequence[float]
    hold_in_doubt: bool = False
    lifetime: float = 86400.0
    delay_notice: float = 4 * 3600.0

    @property
    def longest_wait(self) -> float:
        """Seconds; no wait is longer."""
        return max(self.schedule) * 1.1

    def wait(self, attempts: int, random: float) -> float:
        """Seconds from the end of an attempt to the next one; ``attempts`` ended before it, ``random`` is in [0, 1).

        A tenth more or less spreads what failed together.
        """
        return self.schedule[min(attempts, len(self.schedule) - 1)] * (0.9 + 0.2 * random)


def is_overdue(job: Job, now: float, policy: RetryPolicy) -> bool:
    """Whether a job that was just claimed must not be attempted any more.

    A limit that the sender set is kept to the letter.  Where only our own lifetime is over, there is one last attempt:
    so neither a long standstill nor a clock that jumped makes a whole queue expire untried.
    """
    return now >= job.expires and job.expires - job.began < policy.lifetime - 1


class Conclusion(NamedTuple):
    """What becomes of a recipient, and of what outcome it is the end.

    Its sender is to be told of a delay where the settlement has ``delay_told`` and the recipient had not.
    """

    recipient: LeasedRecipient
    outcome: Outcome
    settlement: Settlement


def conclude(
    job: Job, outcomes: Mapping[int, Outcome], now: float, policy: RetryPolicy, random: float
) -> list[Conclusion]:
    """A settlement for every recipient of a job whose attempt ended at ``now`` (seconds since the epoch)."""
    return [
        Conclusion(recipient, outcome, _settle(job, recipient, outcome, now, policy, random))
        for recipient in job.recipients
        for outcome in (outcomes.get(recipient.number, _MISSING),)
    ]


def conclude_overdue(job: Job, now: float, outcome: Outcome = _OVERDUE) -> list[Conclusion]:
    """Settlements for a job that is not attempted because its time is over: no attempt is counted.  ``outcome`` tells
    what kept it from being attempted before."""
    return [
        Conclusion(recipient, outcome, _fail(recipient, recipient.attempts, outcome, now, expired=True))
        for recipient in job.recipients
    ]


def conclude_waiting(
    job: Job, outcome: Outcome, now: float, policy: RetryPolicy, *, paused: bool = True
) -> list[Conclusion]:
    """Settlements for a job that is due and cannot be attempted now, because its site is ``paused``, or has no room for
    it yet; ``outcome`` is why.

    Where its time is over, our own limit or its sender's, it expires: there is no last attempt to a site that takes
    none.  One that is only busy will come to it, and then our own limit is over but for a last attempt, as
    :func:`is_overdue` has it.  Otherwise it stays as it is, in its place, but that its sender may have to be told of
    the delay.
    """
    if now >= job.expires if paused else is_overdue(job, now, policy):
        return conclude_overdue(job, now, outcome)
    return [
        Conclusion(
            recipient,
            outcome,
            Settlement(
                recipient.number,
                RecipientState.DUE,
                recipient.attempts,
                None,
                None,
                recipient.possible_duplicate,
                _is_delay_told(job, recipient, now, policy),
            ),
        )
        for recipient in job.recipients
    ]


def _settle(
    job: Job, recipient: LeasedRecipient, outcome: Outcome, now: float, policy: RetryPolicy, random: float
) -> Settlement:
    number, attempts, told = recipient.number, recipient.attempts + 1, recipient.delay_told
    match outcome.kind:
        case OutcomeKind.DELIVERED:
            data = _describe(recipient, outcome)
            if not outcome.code:  # no receiver said yes: it was only kept
                data["captured"] = True
            event = Event(EventKind.DELIVERY, now, data)
            return Settlement(
                number, RecipientState.DELIVERED, attempts, now, event, recipient.possible_duplicate, told
            )
        case OutcomeKind.FAILED:
            return _fail(recipient, attempts, outcome, now, expired=False)
        case OutcomeKind.NOT_TRIED:
            due, duplicate = now + outcome.pause, recipient.possible_duplicate
            return Settlement(number, RecipientState.DUE, recipient.attempts, due, None, duplicate, told)
    doubtful = outcome.kind is OutcomeKind.IN_DOUBT
    duplicate = doubtful or recipient.possible_duplicate
    if outcome.kind is OutcomeKind.HOLD or (doubtful and policy.hold_in_doubt):
        event = Event(EventKind.HELD, now, _describe(recipient, outcome))
        return Settlement(number, RecipientState.HELD, attempts, now, event, duplicate, told)
    due = now + max(policy.wait(recipient.attempts, random), outcome.pause)
    if due > job.expires:
        return _fail(recipient, attempts, outcome, now, expired=True)
    data = _describe(recipient, outcome)
    data["next_attempt"] = format_time(due)
    event = Event(EventKind.DEFERRAL, now, data)
    told = _is_delay_told(job, recipient, now, policy)
    return Settlement(number, RecipientState.DUE, attempts, due, event, duplicate, told)


def _is_delay_told(job: Job, recipient: LeasedRecipient, now: float, policy: RetryPolicy) -> bool:
    """Whether the sender of what goes on waiting was told of the delay before, or is told now (RFC 3461 section 4.1).

    It counts as told too where the reverse-path is null: nobody asks again.
    """
    wanted = recipient.notify is not None and "DELAY" in recipient.notify.split(",")
    return recipient.delay_told or (wanted and now - job.began >= policy.delay_notice)


def _fail(recipient: LeasedRecipient, attempts: int, outcome: Outcome, now: float, *, expired: bool) -> Settlement:
    state = RecipientState.EXPIRED if expired else RecipientState.FAILED
    data = _describe(recipient, outcome)
    data["type"] = state.value
    duplicate = outcome.kind is OutcomeKind.IN_DOUBT or recipient.possible_duplicate
    event = Event(EventKind.FAILURE, now, data)
    return Settlement(recipient.number, state, attempts, now, event, duplicate, recipient.delay_told)


def _describe(recipient: LeasedRecipient, outcome: Outcome) -> dict[str, Any]:
    """The fields that the journal cannot join; ``attempt`` counts from 0."""
    data = {
        "attempt": recipient.attempts,
        "from": outcome.local,
        "to": outcome.remote,
        "code": outcome.code,
        "status": outcome.enhanced,
        "description": outcome.text,
        "state": outcome.stage,
    }
    if outcome.seven_bit:
        data["converted"] = "7bit"
    if outcome.tls:
        data["tls"] = outcome.tls
    if outcome.failure is not None:
        data["class"] = outcome.failure.value
    if outcome.dialogue:
        data["dialogue"] = outcome.dialogue
    if outcome.kind is OutcomeKind.IN_DOUBT or recipient.possible_duplicate:
        data["possible_duplicate"] = True
    return data
