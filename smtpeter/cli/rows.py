"""How recipients and their events look, in listings and one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from smtpeter.cli.printing import counted, print_fields, print_json, print_table, shortened, visible
from smtpeter.model.documents import describe
from smtpeter.model.event import JournalEntry, format_time
from smtpeter.model.listing import MessageRow

_SUBJECT_WIDTH = 40
_INDENT = 27  # columns: what was said stands below what the event tells


def print_rows(rows: Sequence[MessageRow], as_json: bool) -> None:
    """A listing."""
    if as_json:
        print_json([describe(row) for row in rows])
        return
    print_table(
        ("ID", "TIME", "STATE", "ATTEMPTS", "ENVELOPE", "RECIPIENT", "SUBJECT"),
        [
            (
                row.id,
                format_time(row.time),
                row.state,
                str(row.attempts),
                row.envelope or "<>",
                row.recipient,
                shortened(row.subject, _SUBJECT_WIDTH),
            )
            for row in rows
        ],
    )


def _told(entry: JournalEntry) -> Iterator[tuple[str, Any]]:
    """An event's data for people: of the headers of a request, which are many, the program that made it.  The dialogue
    with a receiver has lines of its own."""
    for name, value in entry.data.items():
        if name == "headers" and isinstance(value, str):
            programs = (field.partition(": ") for field in value.split("\n"))
            yield from ((field, program) for field, _, program in programs if field == "user-agent")
        elif name != "dialogue":
            yield name, value


def print_message(row: MessageRow, events: Sequence[JournalEntry]) -> None:
    """One recipient with its timeline."""
    state = f"{row.state}, {counted(row.attempts, 'attempt')}"
    if row.next_attempt is not None:
        state += f", next one at {format_time(row.next_attempt)}"
    fields = [
        ("id", row.id),
        ("state", state),
        ("accepted", format_time(row.time)),
        ("account", row.account or "(ourselves)"),
        ("envelope", row.envelope or "<>"),
        ("recipient", row.recipient),
        ("subject", row.subject),
    ]
    if row.tags:
        fields.append(("tags", " ".join(row.tags)))
    print_fields(fields)
    if events:
        click.echo()
    for entry in events:
        data = ", ".join(f"{name}: {value}" for name, value in _told(entry) if value not in ("", None))
        click.echo(f"{format_time(entry.time)}  {entry.kind:<10}{visible(data)}".rstrip())
        for line in filter(None, str(entry.data.get("dialogue", "")).split("\n")):
            milliseconds, _, said = visible(line).partition(" ")
            click.echo(f"{milliseconds:>{_INDENT}} {said}")
