"""``smtpeter queue why``: what a message waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import click

from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.message import read_messages
from smtpeter.cli.printing import json_option, print_json, time_or_none, visible
from smtpeter.cli.reasons import Around, Reason, explain
from smtpeter.cli.running import is_served
from smtpeter.cli.sites import remarkable
from smtpeter.model.delivery import FINAL_STATES, RecipientState
from smtpeter.store.opening import Store, result_of

SHOWN = 20
"""Recipients of one submission that are told one by one, those first that are not final."""


class _Told(NamedTuple):
    id: str
    recipient: str
    state: RecipientState
    reason: Reason


@click.command()
@click.argument("id")
@json_option
@pass_installation
def why(installation: Installation, id: str, as_json: bool) -> None:
    """Tell what a message waits for, or what became of it: by a recipient's id, or a submission's."""
    with installation.open() as store:
        told = _ask(store, id, installation.clock.time(), is_served(installation.settings))
    if as_json:
        documents = [_describe(each) for each in told]
        # Only the id of a submission with several recipients is no recipient's id.
        print_json(documents[0] if told[0].id == id else {"id": id, "messages": documents})
        return
    told = sorted(told, key=lambda each: each.state in FINAL_STATES)
    for each in told[:SHOWN]:
        lead = "" if len(told) == 1 else f"{each.recipient} ({each.id}): "
        click.echo(visible(f"{lead}{each.reason.why}"))
    if len(told) > SHOWN:
        left = Counter(str(each.state) for each in told[SHOWN:])
        states = ", ".join(f"{count} {state}" for state, count in left.items())
        click.echo(f"and {len(told) - SHOWN} more: {states} (--json tells of all)")


def _ask(store: Store, id: str, now: float, served: bool) -> Sequence[_Told]:
    """Everything is read from the store; what a delivery is doing meanwhile is seen as it was at that moment."""
    messages = read_messages(store, id)
    submission = result_of(store.queue.submission(messages[0][0].submission))
    around = Around(now, remarkable(store, now), result_of(store.queue.paused()), served)
    told = []
    for row, events in messages:
        standing = result_of(store.queue.standing(row.submission, row.number))
        domain = submission.envelope.recipients[row.number - 1].domain
        reason = explain(row.id, domain, standing, submission, events, around)
        told.append(_Told(row.id, row.recipient, standing.state, reason))
    return told


def _describe(told: _Told) -> dict[str, str | None]:
    return {
        "id": told.id,
        "recipient": told.recipient,
        "state": str(told.state),
        "why": told.reason.why,
        "until": time_or_none(told.reason.until),
    }
