"""How operators look at mail: filters, and rows of a listing."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from smtpeter.model.delivery import RecipientState


class Filter(NamedTuple):
    """Which recipients an operator means; None everywhere means all of them.

    ``account`` is an account's e-mail address, ``recipient`` a whole address (compared without case), ``domain`` a
    recipient's domain.  ``since`` (inclusive) and ``until`` (exclusive) are arrival times in seconds since the epoch.
    ``submission`` and ``number`` name one submission or one recipient of it.  With ``attempted``, of the recipients
    that are due only those count that were attempted before: the deferred ones.
    """

    account: str | None = None
    recipient: str | None = None
    domain: str | None = None
    tag: str | None = None
    states: frozenset[RecipientState] | None = None
    since: float | None = None
    until: float | None = None
    submission: str | None = None
    number: int | None = None
    attempted: bool = False


class MessageRow(NamedTuple):
    """One recipient of one submission, as listings show it.  Times are seconds since the epoch.

    ``account`` is an e-mail address, empty for our own notifications.  ``next_attempt`` is None unless state is DUE.
    """

    id: str
    submission: str
    number: int
    state: RecipientState
    attempts: int
    account: str
    envelope: str
    recipient: str
    subject: str
    time: float
    next_attempt: float | None
    tags: tuple[str, ...]


class Verb(StrEnum):
    """What an operator may do to recipients in the queue."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
