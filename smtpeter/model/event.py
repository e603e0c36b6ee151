"""What happened: one vocabulary for the journal, logs, REST, webhooks and the dashboard."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple


class EventKind(StrEnum):
    """The names of events, fixed for the outside world."""

    ATTEMPT = "attempt"
    PREPARED = "prepared"
    DEFERRAL = "deferral"
    DELIVERY = "delivery"
    FAILURE = "failure"
    HELD = "held"
    RELEASED = "released"
    CANCELLED = "cancelled"
    BOUNCE = "bounce"
    RESPONSE = "response"
    ABUSE = "abuse"
    CLICK = "click"
    OPEN = "open"
    DMARC = "dmarc"


class Event(NamedTuple):
    """Something that happened to a recipient.  ``time`` is in seconds since the epoch.

    ``data`` holds only what the submission's and the recipient's own rows do not tell: they are joined at reading.
    """

    kind: EventKind
    time: float
    data: Mapping[str, Any]


class JournalEntry(NamedTuple):
    """An event as the journal gives it back; ``cursor`` grows with every entry."""

    cursor: int
    submission: str
    number: int
    kind: EventKind
    time: float
    data: Mapping[str, Any]


def format_time(seconds: float) -> str:
    """A time as clients know it: ``YYYY-MM-DD hh:mm:ss``, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
