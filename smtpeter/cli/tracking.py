"""``smtpeter tracking``: links that must not work any more."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from smtpeter.cli.arguments import address, domain_key
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_done, print_json, print_table
from smtpeter.errors import NotPossible
from smtpeter.model.event import format_time
from smtpeter.model.feature import BlockKind
from smtpeter.model.hosts import canonical_host
from smtpeter.model.ids import parse_id
from smtpeter.store.opening import Store, result_of


@click.group()
def tracking() -> None:
    """Tracked links: those of an account, of a message, or to a domain can be ended, and given back."""


def _domain(value: str) -> str:
    """A domain, or an IP address, as links are compared with it: a type for click."""
    if "/" in value:
        host = _host_of(value)
        hint = f"; its domain is {host}" if host else ""
        raise click.BadParameter(f"{value[:100]!r} is not a domain{hint}")
    domain = canonical_host(value)
    return domain if ":" in domain or domain[:1].isdecimal() else domain_key(domain)


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _submission(value: str) -> str:
    """A submission's id: a type for click."""
    parts = parse_id(value)
    if parts is None:
        raise click.BadParameter(f"{value[:100]!r} is not the id of a message")
    if parts[1] is not None:
        raise click.BadParameter(f"{value!r} is one recipient's id; links end for a whole submission: {parts[0]}")
    return parts[0]


def _add_command(name: str, description: str) -> None:
    @tracking.command(name, help=description)
    @click.option("--account", type=address, metavar="EMAIL", help="Links in mail of this account.")
    @click.option("--submission", type=_submission, metavar="ID", help="Links in this message.")
    @click.option("--domain", type=_domain, metavar="DOMAIN", help="Links to this domain and all below it.")
    @json_option
    @pass_installation
    def command(
        installation: Installation, account: str | None, submission: str | None, domain: str | None, as_json: bool
    ) -> None:
        given = [
            (kind, value)
            for kind, value in zip(BlockKind, (account, submission, domain), strict=True)
            if value is not None
        ]
        if len(given) != 1:
            raise click.UsageError("give exactly one of --account, --submission and --domain")
        kind, value = given[0]
        with installation.open() as store:
            changed = (_block if name == "block" else _unblock)(store, kind, value, installation.clock.time())
        state = "blocked" if name == "block" else "not blocked"
        text = f"links of {kind} {value}" if kind is not BlockKind.DOMAIN else f"links to {value}"
        document = {"kind": str(kind), "value": value, "blocked": name == "block", "changed": changed}
        print_done(as_json, f"{text} are {state}{'' if changed else ', as before'}", document)


def _block(store: Store, kind: BlockKind, value: str, now: float) -> bool:
    if kind is BlockKind.ACCOUNT and result_of(store.accounts.account(value)) is None:
        raise NotPossible(f"there is no account {value}")
    return result_of(store.blocks.block(kind, value, now))


def _unblock(store: Store, kind: BlockKind, value: str, now: float) -> bool:
    return result_of(store.blocks.unblock(kind, value))


_add_command("block", "End links: within a second they are not found any more.")
_add_command("unblock", "Let links work again.")


@tracking.command("list")
@json_option
@pass_installation
def list_(installation: Installation, as_json: bool) -> None:
    """List what is blocked, oldest first."""
    with installation.open() as store:
        blocks = result_of(store.blocks.blocks())
    if as_json:
        print_json([{"kind": str(kind), "value": value, "time": format_time(time)} for kind, value, time in blocks])
        return
    print_table(("KIND", "VALUE", "SINCE"), [(kind, value, format_time(time)) for kind, value, time in blocks])
