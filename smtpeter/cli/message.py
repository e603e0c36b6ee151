"""``smtpeter message``: what became of mail."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence

import click
from twisted.internet.defer import execute

from smtpeter.cli.arguments import filter_options, named
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_json
from smtpeter.cli.rows import print_message, print_rows
from smtpeter.errors import NotPossible
from smtpeter.features.sent import SentMessages
from smtpeter.model.documents import describe, describe_event
from smtpeter.model.event import JournalEntry
from smtpeter.model.listing import Filter, MessageRow
from smtpeter.store.opening import Store, result_of

_DEFAULT_LIMIT = 100
_ALL = 2**31 - 1


@click.group()
def message() -> None:
    """Messages: one row for each recipient, with a timeline."""


@message.command("list")
@filter_options
@json_option
@pass_installation
def list_(installation: Installation, filter: Filter, limit: int | None, as_json: bool) -> None:
    """List messages, newest first, 100 unless --limit says otherwise."""
    with installation.open() as store:
        rows = result_of(store.queue.select(filter, limit or _DEFAULT_LIMIT))
    print_rows(rows, as_json)


@message.command()
@click.argument("id")
@json_option
@pass_installation
def show(installation: Installation, id: str, as_json: bool) -> None:
    """Show what happened to a message: by a recipient's id, or all of a submission by its own."""
    with installation.open() as store:
        messages = read_messages(store, id)
    if as_json:
        documents = [describe(row) | {"events": [describe_event(each) for each in events]} for row, events in messages]
        # Only the id of a submission with several recipients is no recipient's id.
        print_json(documents[0] if messages[0][0].id == id else {"id": id, "messages": documents})
        return
    for position, (row, events) in enumerate(messages):
        if position:
            click.echo()
        print_message(row, events)


@message.command()
@click.argument("id")
@json_option
@pass_installation
def raw(installation: Installation, id: str, as_json: bool) -> None:
    """Write the octets that went to a recipient, and nothing else, to standard output (with --json: in base64).

    Before it is sent these are the octets for a receiver that takes 8-bit content; before its features have prepared
    it, the octets that came in. With the id of a submission that has several recipients, the places that are different
    for each of them (in tracked links, for example) are not filled, and nothing is signed. Signatures are made again:
    they are others where the keys of the domain are.
    """
    with installation.open() as store:
        row, *others = find_rows(store, id)
        submission = result_of(store.queue.submission(row.submission))
        signer = installation.signer(store, submission.account)
        sent = SentMessages(store.queue, store.content, store.journal, lambda: installation.catalog, execute, signer)
        try:
            octets = result_of(sent.octets(submission, None if others else row.number))
        except KeyError:
            raise NotPossible(f"the content of {id} is no longer kept (see [retention])") from None
    if as_json:
        print_json({"id": id, "base64": base64.b64encode(octets).decode("ascii")})
        return
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def find_rows(store: Store, id: str) -> Sequence[MessageRow]:
    """The recipient with this id, or the recipients of the submission with this id, in order.

    :raises NotPossible: where there is none.
    """
    rows = result_of(store.queue.select(named(id), _ALL))
    if not rows:
        raise NotPossible(f"there is no message {id}")
    return sorted(rows, key=lambda row: row.number)


def read_messages(store: Store, id: str) -> Sequence[tuple[MessageRow, Sequence[JournalEntry]]]:
    """As :func:`find_rows`, each with its events, oldest first."""
    rows = find_rows(store, id)
    events: dict[int, list[JournalEntry]] = {row.number: [] for row in rows}
    only = rows[0].number if len(rows) == 1 else None
    for entry in result_of(store.journal.of_submission(rows[0].submission, only)):
        events.setdefault(entry.number, []).append(entry)
    return [(row, events[row.number]) for row in rows]
