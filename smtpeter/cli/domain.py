"""``smtpeter domain``: the domains that accounts send from, and the keys that sign for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from smtpeter.auth.domain_keys import make_keys, read_key, record_name, record_text
from smtpeter.cli.arguments import address, domain_key
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_done, print_json, print_table
from smtpeter.cli.zone import key_records
from smtpeter.errors import NotPossible
from smtpeter.locations import is_host_name
from smtpeter.model.domain import DomainKey, SenderDomain
from smtpeter.model.event import format_time
from smtpeter.store.opening import Store, result_of


@click.group()
def domain() -> None:
    """Sender domains: each belongs to an account, whose mail from there is signed (DKIM)."""


def sender_domain(value: str) -> str:
    """A domain that can be sent from, in A-labels and lower case: a type for click."""
    name = domain_key(value)
    if not is_host_name(name) or "." not in name:
        raise click.BadParameter(f"{value[:100]!r} is not a domain that anybody can send from")
    return name


def _key_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--selector", metavar="NAME", help="With --key: the name of that key.")(command)
    return click.option(
        "--key",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A private key in PEM to sign with (RSA or Ed25519), instead of new ones.",
    )(command)


@domain.command()
@click.argument("name", metavar="DOMAIN", type=sender_domain)
@click.option("--account", "email", required=True, type=address, metavar="EMAIL", help="Whose it is.")
@_key_options
@json_option
@pass_installation
def add(
    installation: Installation, name: str, email: str, file: Path | None, selector: str | None, as_json: bool
) -> None:
    """Add a domain, with new keys to sign with (RSA and Ed25519), and print what to publish.

    Domains below it belong to the same account, unless they are added themselves.
    """
    pem = _read_pem(file, selector)
    with installation.open() as store:
        keys, warnings = _keys(installation, name, pem, selector, ())
        added = result_of(store.domains.add_domain(name, email, keys))
    _print_keys(added, warnings, as_json, f"{name} is a sender domain of {added.email}; publish these records:")


@domain.command("list")
@click.option("--account", "email", type=address, metavar="EMAIL", help="Those of this account.")
@json_option
@pass_installation
def list_(installation: Installation, email: str | None, as_json: bool) -> None:
    """List sender domains."""
    with installation.open() as store:
        domains = result_of(store.domains.domains(email))
    if as_json:
        print_json([_describe(each) for each in domains])
        return
    print_table(
        ("DOMAIN", "ACCOUNT", "ADDED", "KEYS"),
        [
            (each.domain, each.email, format_time(each.created), " ".join(key.selector for key in each.keys) or "none")
            for each in domains
        ],
    )


@domain.command()
@click.argument("name", metavar="DOMAIN", type=sender_domain)
@json_option
@pass_installation
def remove(installation: Installation, name: str, as_json: bool) -> None:
    """Remove a domain and its keys: mail from there is not signed any more, from the next second on."""
    with installation.open() as store:
        result_of(store.domains.remove_domain(name))
    print_done(as_json, f"{name} is not a sender domain any more", {"domain": name})


@domain.command()
@click.argument("name", metavar="DOMAIN", type=sender_domain)
@click.option("--add", "adds", is_flag=True, help="Make new keys beside those that are there; with --key: take that.")
@click.option("--remove", "removed", metavar="SELECTOR", help="Do not sign with this key any more, and forget it.")
@_key_options
@json_option
@pass_installation
def keys(
    installation: Installation,
    name: str,
    adds: bool,
    removed: str | None,
    file: Path | None,
    selector: str | None,
    as_json: bool,
) -> None:
    """Show the keys of a domain with their records, or change them. Private keys are never shown."""
    if adds and removed is not None:
        raise click.UsageError("--add and --remove exclude each other")
    if file is not None and not adds:
        raise click.UsageError("--key needs --add")
    pem = _read_pem(file, selector)
    warnings: Sequence[str] = ()
    with installation.open() as store:
        found = find_domain(store, name)
        if adds:
            new, warnings = _keys(installation, name, pem, selector, [key.selector for key in found.keys])
            for key in new:
                result_of(store.domains.add_key(name, key))
        elif removed is not None:
            result_of(store.domains.remove_key(name, removed))
        found = find_domain(store, name)
    _print_keys(found, warnings, as_json)


def find_domain(store: Store, name: str) -> SenderDomain:
    """The domain with this name.

    :raises NotPossible: where it is nobody's.
    """
    for each in result_of(store.domains.domains()):
        if each.domain == name:
            return each
    raise NotPossible(f"{name} is not a sender domain: add it with smtpeter domain add {name} --account EMAIL")


def _read_pem(file: Path | None, selector: str | None) -> bytes | None:
    if (file is None) != (selector is None):
        raise click.UsageError("--key and --selector belong together")
    return None if file is None else file.read_bytes()


def _keys(
    installation: Installation, name: str, pem: bytes | None, selector: str | None, taken: Sequence[str]
) -> tuple[Sequence[DomainKey], Sequence[str]]:
    """Keys to be added, and what is to be said about them."""
    if pem is None or selector is None:
        return make_keys(installation.keys, name, installation.clock.time(), taken), ()
    given = read_key(installation.keys, name, selector, pem)
    return [given.key], [given.warning] if given.warning else ()


def _print_keys(domain: SenderDomain, warnings: Sequence[str], as_json: bool, text: str = "") -> None:
    if as_json:
        print_json(_describe(domain) | {"warnings": list(warnings)})
        return
    if text:
        click.echo(f"{text}\n")
    for record in key_records(domain):
        click.echo(record.line())
    if not domain.keys:
        click.echo(f"{domain.domain} has no key: mail from there is not signed")
    for warning in warnings:
        click.echo(f"smtpeter: {warning}", err=True)


def _describe(domain: SenderDomain) -> dict[str, Any]:
    return {
        "domain": domain.domain,
        "account": domain.email,
        "created": format_time(domain.created),
        "keys": [
            {
                "selector": key.selector,
                "algorithm": str(key.algorithm),
                "name": record_name(domain.domain, key.selector),
                "record": record_text(key),
            }
            for key in domain.keys
        ],
    }
