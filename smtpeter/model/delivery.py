"""A message on its way out: jobs, outcomes, and what is written down of them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from smtpeter.model.event import Event
from smtpeter.model.feature import PlacedSlot
from smtpeter.model.submission import Content, Submission


class RecipientState(StrEnum):
    """Every recipient is in exactly one of these; the last four are final."""

    DUE = "due"
    LEASED = "leased"
    HELD = "held"
    DELIVERED = "delivered"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


FINAL_STATES = frozenset(
    {RecipientState.DELIVERED, RecipientState.FAILED, RecipientState.EXPIRED, RecipientState.CANCELLED}
)


class LeasedRecipient(NamedTuple):
    """A recipient that is ours to attempt.  ``attempts`` counts those that ended before this one.

    ``possible_duplicate`` tells that an earlier attempt may have got through without our knowing.
    """

    number: int
    id: str
    address: str
    domain: str
    notify: str | None
    orcpt: str | None
    attempts: int
    possible_duplicate: bool


class Job(NamedTuple):
    """Recipients of one submission, claimed together under one lease.

    ``lease`` is the fencing token: what is settled under a token that is no longer the row's own changes nothing.
    Times are seconds since the epoch, by the store's clock.  ``content`` is what features made of it, where they made
    anything; ``slots`` are the places in it that each recipient fills with values of his own.
    """

    submission: str
    lease: int
    lease_until: float
    account: int | None
    reverse_path: str
    ret: str | None
    envid: str | None
    body: str
    smtputf8: bool
    content: Content
    time: float
    expires: float
    recipients: tuple[LeasedRecipient, ...]
    options: tuple[tuple[str, str], ...] = ()
    slots: tuple[PlacedSlot, ...] = ()


class OutcomeKind(StrEnum):
    """What one attempt did for one recipient.

    HOLD is for trouble that is ours to mend, such as a relay that refuses our credentials.  IN_DOUBT: the final dot was
    sent and no answer was read.  NOT_TRIED: the attempt never came to this recipient; it does not count.
    """

    DELIVERED = "delivered"
    DEFERRED = "deferred"
    FAILED = "failed"
    HOLD = "hold"
    IN_DOUBT = "in_doubt"
    NOT_TRIED = "not_tried"


class Outcome(NamedTuple):
    """What became of one recipient in one attempt.

    ``code`` is the reply's code, 0 where there was no reply; ``enhanced`` the enhanced status code or empty; ``text``
    is already clean (:func:`smtpeter.model.reply.clean_text`).  ``local`` and ``remote`` are IP addresses,
    ``remote_mta`` the name of the host, each empty where no connection was made.  ``stage`` tells where in the dialogue
    it was decided: ``connect``, ``greeting``, ``hello``, ``starttls``, ``auth``, ``mail``, ``rcpt``, ``data``,
    ``message`` or ``end``.  ``seven_bit``: the content went converted to 7 bits, which the receiver's lack of 8BITMIME
    made necessary.
    """

    kind: OutcomeKind
    code: int = 0
    enhanced: str = ""
    text: str = ""
    local: str = ""
    remote: str = ""
    remote_mta: str = ""
    stage: str = ""
    seven_bit: bool = False


class Settlement(NamedTuple):
    """What the store writes for one recipient of a job, in one transaction with its event.

    ``attempts`` is the new count.  ``due`` counts only in state DUE (seconds since the epoch).
    """

    number: int
    state: RecipientState
    attempts: int
    due: float
    event: Event | None
    possible_duplicate: bool = False


class SettledJob(NamedTuple):
    """A job's end: its settlements, and the notifications (DSNs) that are enqueued in the same transaction."""

    submission: str
    lease: int
    settlements: tuple[Settlement, ...]
    notifications: tuple[Submission, ...] = ()
