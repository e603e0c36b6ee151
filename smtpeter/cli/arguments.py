"""What is written on a command line: addresses, domains, times, ids, and the filter made of them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import click

from smtpeter.cli.installation import Installation
from smtpeter.errors import NotPossible, Refusal
from smtpeter.model.delivery import RecipientState
from smtpeter.model.ids import parse_id
from smtpeter.model.listing import Filter
from smtpeter.quantities import parse_duration
from smtpeter.smtp.grammar import RECIPIENT, parse_path

_DEFERRED = "deferred"
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}Z?")


def address(value: str) -> str:
    """An e-mail address as RFC 5321 has it: a type for click."""
    mailbox, domain, rest = _parse(value)
    if mailbox != value or not domain or rest:
        raise click.BadParameter(f"{value!r} is not an e-mail address")
    return mailbox


def domain_key(value: str) -> str:
    """A domain as the queue knows it, lower case and A-labels: a type for click."""
    mailbox, domain, rest = _parse(f"postmaster@{value}")
    if not mailbox or rest:
        raise click.BadParameter(f"{value!r} is not a domain")
    return domain


def _parse(mailbox: str) -> tuple[str, str, str]:
    try:
        return parse_path(f"<{mailbox}>", RECIPIENT)
    except Refusal:
        return "", "", ""


def moment(text: str, now: float) -> float:
    """Seconds since the epoch.

    :raises ValueError: where it is neither a date, nor a time, nor a duration.
    """
    if _DATE.fullmatch(text):
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp()
    if _TIME.fullmatch(text):
        return datetime.strptime(text[:19].replace("T", " "), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    if text.replace(".", "").isdecimal():
        raise ValueError("a number without a unit")
    return now - parse_duration(text)


def _read_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    installation = ctx.find_object(Installation)
    assert installation is not None
    try:
        return moment(value, installation.clock.time())
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is no time: write 2026-01-31, '2026-01-31 23:59:59' (UTC), or 2h for 2 hours ago"
        ) from None


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of FILTER; it gets them as ``filter`` and ``limit`` (None: not given)."""

    @click.option("--account", metavar="EMAIL", help="Mail that this account submitted.")
    @click.option("--recipient", metavar="ADDRESS", help="Mail to this address.")
    @click.option("--domain", type=domain_key, metavar="DOMAIN", help="Mail to this domain.")
    @click.option("--tag", help="Mail with this tag.")
    @click.option(
        "--state", "states", multiple=True, type=click.Choice([*map(str, RecipientState), _DEFERRED]),
        help="Recipients in this state; may be repeated. Deferred are those due that were attempted before.",
    )  # fmt: skip
    @click.option(
        "--since",
        callback=_read_moment,
        metavar="TIME",
        help="Accepted at this time or later: a date, a time (UTC), or 2h for 2 hours ago.",
    )
    @click.option("--until", callback=_read_moment, metavar="TIME", help="Accepted before this time.")
    @click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many recipients.")
    @functools.wraps(command)
    def filtered(
        *arguments: Any,
        account: str | None,
        recipient: str | None,
        domain: str | None,
        tag: str | None,
        states: tuple[str, ...],
        since: float | None,
        until: float | None,
        **options: Any,
    ) -> None:
        filter = Filter(account, recipient, domain, tag, None, since, until)
        command(*arguments, filter=in_states(filter, states), **options)

    return filtered


def in_states(filter: Filter, names: Collection[str]) -> Filter:
    """A filter narrowed to recipients in one of these states, none meaning all; "deferred" is one of the names."""
    known = {RecipientState.DUE if name == _DEFERRED else RecipientState(name) for name in names}
    attempted = _DEFERRED in names and RecipientState.DUE not in names
    return filter._replace(states=frozenset(known) or None, attempted=attempted)


def named(id: str, filter: Filter = Filter()) -> Filter:  # noqa: B008 (it cannot change)
    """A filter narrowed to the submission or the recipient that has this id.

    :raises NotPossible: where it cannot be an id.
    """
    parts = parse_id(id)
    if parts is None:
        raise NotPossible(f"{id[:100]!r} is not the id of a message")
    return filter._replace(submission=parts[0], number=parts[1])
