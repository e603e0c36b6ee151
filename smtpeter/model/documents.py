"""How messages and their events look in JSON: the same for commands and for the REST API."""

from __future__ import annotations

from typing import Any

from smtpeter.model.event import JournalEntry, format_time
from smtpeter.model.listing import MessageRow


def describe(row: MessageRow) -> dict[str, Any]:
    """A recipient."""
    return {
        "id": row.id,
        "submission": row.submission,
        "state": str(row.state),
        "attempts": row.attempts,
        "account": row.account,
        "envelope": row.envelope,
        "recipient": row.recipient,
        "subject": row.subject,
        "time": format_time(row.time),
        "next_attempt": None if row.next_attempt is None else format_time(row.next_attempt),
        "tags": list(row.tags),
    }


def describe_event(entry: JournalEntry) -> dict[str, Any]:
    """An event, its data beside its name and time."""
    return {"event": str(entry.kind), "time": format_time(entry.time)} | {
        name: value for name, value in entry.data.items() if name not in ("event", "time")
    }
