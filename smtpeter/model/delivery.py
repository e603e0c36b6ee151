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


class Lane(NamedTuple):
    """What waits for its turn side by side: one account's mail to one domain.

    ``account`` is its number, 0 for notifications of our own that belong to nobody.
    """

    domain: str
    account: int


class LeasedRecipient(NamedTuple):
    """A recipient that is ours to attempt.  ``attempts`` counts those that ended before this one.

    ``possible_duplicate`` tells that an earlier attempt may have got through without our knowing; ``delay_told`` that
    the sender was told that it takes long.
    """

    number: int
    id: str
    address: str
    domain: str
    notify: str | None
    orcpt: str | None
    attempts: int
    possible_duplicate: bool
    delay_told: bool = False


class Job(NamedTuple):
    """Recipients of one submission, claimed together under one lease.

    ``lease`` is the fencing token: what is settled under a token that is no longer the row's own changes nothing.
    Times are seconds since the epoch, by the store's clock.  ``content`` is what features made of it, where they made
    anything; ``slots`` are the places in it that each recipient fills with values of his own.  ``due`` is the time that
    its sender wanted it to wait for; 0.0: none.
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
    due: float = 0.0

    @property
    def began(self) -> float:
        """From when on it could be delivered: what its sender wanted it to wait is no delay."""
        return max(self.time, self.due)


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


class FailureKind(StrEnum):
    """Whose trouble it is that a recipient was not reached, as far as can be told."""

    RECIPIENT_HARD = "recipient_hard"
    RECIPIENT_SOFT = "recipient_soft"
    REPUTATION = "reputation"
    CONTENT = "content"
    POLICY = "policy"
    NETWORK = "network"
    CONFIGURATION = "configuration"


class Outcome(NamedTuple):
    """What became of one recipient in one attempt.

    ``code`` is the reply's code, 0 where there was no reply; ``enhanced`` the enhanced status code or empty; ``text``
    is already clean (:func:`smtpeter.model.reply.clean_text`).  ``local`` and ``remote`` are IP addresses,
    ``remote_mta`` the name of the host, each empty where no connection was made.  ``stage`` tells where in the dialogue
    it was decided: ``connect``, ``greeting``, ``hello``, ``starttls``, ``tls`` (the handshake), ``auth``, ``mail``,
    ``rcpt``, ``data``, ``message`` or ``end``; ``route`` where it was found out before any connection.  ``seven_bit``:
    the content went converted to 7 bits, which the receiver's lack of 8BITMIME made necessary.  ``tls`` tells how the
    connection was encrypted (``TLSv1.3 TLS_AES_256_GCM_SHA384, verified``), empty where it was not.  ``dialogue`` is
    what was said, one line for each line (``12 < 250 Ok``), see :mod:`smtpeter.smtp.dialogue`.  ``notifies``: the
    receiver offered DSN, and so will tell the sender what he asked to be told.  ``failure``: whose trouble it is, where
    it is any.  ``pause``: seconds before which there is no sense in another attempt.
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
    tls: str = ""
    dialogue: str = ""
    notifies: bool = False
    failure: FailureKind | None = None
    pause: float = 0.0


class Settlement(NamedTuple):
    """What the store writes for one recipient of a job, in one transaction with its event.

    ``attempts`` is the new count.  ``due`` counts only in state DUE (seconds since the epoch; None: as it was, so that
    it keeps its place).  ``delay_told``: the sender has been told, now or before, that it takes long.
    """

    number: int
    state: RecipientState
    attempts: int
    due: float | None
    event: Event | None
    possible_duplicate: bool = False
    delay_told: bool = False


class SettledJob(NamedTuple):
    """A job's end: its settlements, and the notifications (DSNs) that are enqueued in the same transaction."""

    submission: str
    lease: int
    settlements: tuple[Settlement, ...]
    notifications: tuple[Submission, ...] = ()
