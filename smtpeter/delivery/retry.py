"""What follows from the outcome of an attempt: pure arithmetic on times and counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind, RecipientState, Settlement
from smtpeter.model.event import Event, EventKind, format_time

CAPTURED = Outcome(OutcomeKind.DELIVERED, text="captured")
_MISSING = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "The attempt ended without telling what became of it")
_OVERDUE = Outcome(OutcomeKind.DEFERRED, 0, "4.4.7", "The time for delivery was over")


class RetryPolicy(NamedTuple):
    """``schedule``: the waits (seconds) after the first, second, ... attempt; the last repeats.

    ``hold_in_doubt``: hold a recipient whose message may have arrived, instead of sending it again.  ``lifetime``: how
    long (seconds) delivery is tried when the sender sets no limit.
    """

    schedule: Sequence[float]
    hold_in_doubt: bool = False
    lifetime: float = 86400.0

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
    return now >= job.expires and job.expires - job.time < policy.lifetime - 1


class Conclusion(NamedTuple):
    """What becomes of a recipient, and of what outcome it is the end."""

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


def conclude_overdue(job: Job, now: float) -> list[Conclusion]:
    """Settlements for a job that is not attempted because its time is over: no attempt is counted."""
    return [
        Conclusion(recipient, _OVERDUE, _fail(recipient, recipient.attempts, _OVERDUE, now, expired=True))
        for recipient in job.recipients
    ]


def failures(conclusions: Collection[Conclusion]) -> list[Conclusion]:
    """Those that are final and bad."""
    bad = (RecipientState.FAILED, RecipientState.EXPIRED)
    return [conclusion for conclusion in conclusions if conclusion.settlement.state in bad]


def _settle(
    job: Job, recipient: LeasedRecipient, outcome: Outcome, now: float, policy: RetryPolicy, random: float
) -> Settlement:
    number, attempts = recipient.number, recipient.attempts + 1
    match outcome.kind:
        case OutcomeKind.DELIVERED:
            data = _describe(recipient, outcome)
            if not outcome.code:  # no receiver said yes: it was only kept
                data["captured"] = True
            event = Event(EventKind.DELIVERY, now, data)
            return Settlement(number, RecipientState.DELIVERED, attempts, now, event, recipient.possible_duplicate)
        case OutcomeKind.FAILED:
            return _fail(recipient, attempts, outcome, now, expired=False)
        case OutcomeKind.NOT_TRIED:
            return Settlement(number, RecipientState.DUE, recipient.attempts, now, None, recipient.possible_duplicate)
    doubtful = outcome.kind is OutcomeKind.IN_DOUBT
    duplicate = doubtful or recipient.possible_duplicate
    if outcome.kind is OutcomeKind.HOLD or (doubtful and policy.hold_in_doubt):
        event = Event(EventKind.HELD, now, _describe(recipient, outcome))
        return Settlement(number, RecipientState.HELD, attempts, now, event, duplicate)
    due = now + policy.wait(recipient.attempts, random)
    if due > job.expires:
        return _fail(recipient, attempts, outcome, now, expired=True)
    data = _describe(recipient, outcome)
    data["next_attempt"] = format_time(due)
    return Settlement(number, RecipientState.DUE, attempts, due, Event(EventKind.DEFERRAL, now, data), duplicate)


def _fail(recipient: LeasedRecipient, attempts: int, outcome: Outcome, now: float, *, expired: bool) -> Settlement:
    state = RecipientState.EXPIRED if expired else RecipientState.FAILED
    data = _describe(recipient, outcome)
    data["type"] = state.value
    duplicate = outcome.kind is OutcomeKind.IN_DOUBT or recipient.possible_duplicate
    return Settlement(recipient.number, state, attempts, now, Event(EventKind.FAILURE, now, data), duplicate)


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
    if outcome.kind is OutcomeKind.IN_DOUBT or recipient.possible_duplicate:
        data["possible_duplicate"] = True
    return data
