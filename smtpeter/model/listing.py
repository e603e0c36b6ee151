"""How operators look at mail: filters, and rows of a listing."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind


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


class Parking(NamedTuple):
    """Why nobody looks at a lane: the site that it waits for, and until when (seconds since the epoch)."""

    site: str
    until: float


MOST_AHEAD = 1000
"""As far as those are counted that are due before somebody."""


class Standing(NamedTuple):
    """Where a recipient stands in the queue.  Times are seconds since the epoch.

    ``due`` counts in state DUE.  ``until`` is when its lease ends; or, where it is ``unprepared``, until when its
    features have it in hand, or with ``postponed`` are left alone; otherwise None.  ``parking`` is that of its lane.
    ``ahead`` is how many others of its lane are due before it, up to MOST_AHEAD.
    """

    state: RecipientState
    attempts: int
    due: float
    unprepared: bool = False
    postponed: bool = False
    until: float | None = None
    parking: Parking | None = None
    ahead: int = 0


class RecordFilter(NamedTuple):
    """Which events are wanted; None everywhere means all of them.

    ``account`` is an account's number.  ``kinds`` are kinds of events.  ``since`` (inclusive) and ``until`` (exclusive)
    are the events' times in seconds since the epoch.  ``submission`` and ``number`` name one submission or one
    recipient of it; ``recipient`` is a whole address (compared without case); ``tags`` must all be there.
    """

    account: int | None = None
    kinds: frozenset[EventKind] | None = None
    since: float | None = None
    until: float | None = None
    submission: str | None = None
    number: int | None = None
    recipient: str | None = None
    tags: tuple[str, ...] = ()


class Record(NamedTuple):
    """An event, with what is known of its recipient and submission.

    ``id`` is the recipient's.  ``options`` are the submission's effective ones.  ``time`` in seconds since the epoch.
    """

    cursor: int
    kind: EventKind
    time: float
    id: str
    envelope: str
    recipient: str
    tags: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    data: Mapping[str, Any]


class Verb(StrEnum):
    """What an operator may do to recipients in the queue."""

    RETRY = "retry"
    HOLD = "hold"
    RELEASE = "release"
    CANCEL = "cancel"
