"""``smtpeter login`` and ``smtpeter token``: what programs prove themselves with, over SMTP and over HTTPS."""

from __future__ import annotations

from typing import Any

import click

from smtpeter.auth.secrets import make_login, make_token, split_token
from smtpeter.cli.arguments import address
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_done, print_json, print_secret, print_table, time_or_none
from smtpeter.cli.switches import feature_options, features_of, without_features
from smtpeter.errors import NotPossible
from smtpeter.model.account import USUAL_SCOPES, Credential, CredentialKind, Scope
from smtpeter.model.event import format_time
from smtpeter.store.opening import result_of

_account_option = click.option("--account", "email", type=address, required=True, help="Whose it is.")
_whose_option = click.option("--account", "email", type=address, help="Only those of this account.")
_enable_option = click.option(
    "--enable",
    multiple=True,
    metavar="FEATURE[=VALUE]",
    help='A feature that is on for its mail, as "smtpeter features" lists them, or tags=ONE,TWO, which its mail '
    "then has. May be repeated.",
)
_name_option = click.option("--name", default="", help="What it is for, in your own words.")


@click.group()
def login() -> None:
    """Logins: a username and a password for one program that sends by SMTP."""


@login.command("add")
@_account_option
@_enable_option
@_name_option
@json_option
@pass_installation
def add_login(installation: Installation, email: str, enable: tuple[str, ...], name: str, as_json: bool) -> None:
    """Add a login, and print its username and password once."""
    options = feature_options(enable, installation) if enable else ()
    with installation.open() as store:
        new = make_login(installation.keys)
        result_of(
            store.accounts.add_credential(
                CredentialKind.LOGIN, email, new.public, new.secret_hash, new.key_id, name, options
            )
        )
    print_secret(as_json, username=new.public, password=new.shown)


@login.command("list")
@_whose_option
@json_option
@pass_installation
def list_logins(installation: Installation, email: str | None, as_json: bool) -> None:
    """List logins, revoked ones too."""
    _list(installation, CredentialKind.LOGIN, "username", email, as_json)


@login.command("edit")
@click.argument("username")
@click.option("--name", help="What it is for, in your own words.")
@_enable_option
@click.option("--disable", multiple=True, metavar="FEATURE", help="A feature that is off from now on.")
@json_option
@pass_installation
def edit_login(
    installation: Installation,
    username: str,
    name: str | None,
    enable: tuple[str, ...],
    disable: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change a login's name, or the features that are on for its mail."""
    if name is None and not enable and not disable:
        raise click.UsageError("nothing to change: give --name, --enable or --disable")
    username = username.lower()
    with installation.open() as store:
        credential = result_of(store.accounts.credential(CredentialKind.LOGIN, username))
        if credential is None:
            raise NotPossible(f"there is no login {username}")
        options = None
        if enable or disable:
            kept = without_features(credential.options, disable, installation)
            options = tuple((kept | dict(feature_options(enable, installation))).items())
        result_of(store.accounts.edit_credential(CredentialKind.LOGIN, username, name, options))
    print_done(as_json, f"login {username} is changed", {"username": username})


@login.command("rotate")
@click.argument("username")
@json_option
@pass_installation
def rotate_login(installation: Installation, username: str, as_json: bool) -> None:
    """Give a login another password, and print it once; the old one ends within a second."""
    with installation.open() as store:
        new = make_login(installation.keys, username.lower())
        result_of(store.accounts.rotate_credential(CredentialKind.LOGIN, new.public, new.secret_hash, new.key_id))
    print_secret(as_json, username=new.public, password=new.shown)


@login.command("revoke")
@click.argument("username")
@json_option
@pass_installation
def revoke_login(installation: Installation, username: str, as_json: bool) -> None:
    """End a login for ever, within a second."""
    username = username.lower()
    with installation.open() as store:
        result_of(store.accounts.revoke_credential(CredentialKind.LOGIN, username))
    print_done(as_json, f"login {username} is revoked", {"username": username, "revoked": True})


@click.group()
def token() -> None:
    """Tokens: one word for one program that sends by HTTPS."""


@token.command("add")
@_account_option
@_enable_option
@_name_option
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([*map(str, Scope)]),
    default=[*map(str, USUAL_SCOPES)],
    help="What it is for; may be repeated. send: to send mail. read: to read messages, events and log files. "
    "manage: to manage accounts, logins and tokens, as far as its account may. Without it: send and read.",
)
@json_option
@pass_installation
def add_token(
    installation: Installation, email: str, enable: tuple[str, ...], name: str, scopes: tuple[str, ...], as_json: bool
) -> None:
    """Add a token, and print it once."""
    options = feature_options(enable, installation) if enable else ()
    wanted = tuple(scope for scope in Scope if scope in scopes)
    with installation.open() as store:
        new = make_token(installation.keys)
        result_of(
            store.accounts.add_credential(
                CredentialKind.TOKEN, email, new.public, new.secret_hash, new.key_id, name, options, wanted
            )
        )
    print_secret(as_json, token=new.shown)


@token.command("list")
@_whose_option
@json_option
@pass_installation
def list_tokens(installation: Installation, email: str | None, as_json: bool) -> None:
    """List tokens by their public part, revoked ones too."""
    _list(installation, CredentialKind.TOKEN, "token", email, as_json)


@token.command("revoke")
@click.argument("token")
@json_option
@pass_installation
def revoke_token(installation: Installation, token: str, as_json: bool) -> None:
    """End a token for ever, within a second: give its public part, as "token list" shows it, or all of it."""
    whole = split_token(token)
    # A token with a slip in it still holds a secret, which is not to be repeated.
    public = whole[0] if whole else token.removeprefix("smtpeter_").partition("_")[0]
    with installation.open() as store:
        result_of(store.accounts.revoke_credential(CredentialKind.TOKEN, public))
    print_done(as_json, f"token {public} is revoked", {"token": public, "revoked": True})


def _list(installation: Installation, kind: CredentialKind, public: str, email: str | None, as_json: bool) -> None:
    with installation.open() as store:
        if email is not None and result_of(store.accounts.account(email)) is None:
            raise NotPossible(f"there is no account {email}")
        credentials = result_of(store.accounts.credentials(kind, email))
    if as_json:
        print_json([{public: each.public} | _describe(each) for each in credentials])
        return
    scopes = ("SCOPES",) if kind is CredentialKind.TOKEN else ()
    print_table(
        (public.upper(), "ACCOUNT", "CREATED", "USED", "REVOKED", *scopes, "FEATURES", "NAME"),
        [
            (
                each.public,
                each.account.email,
                format_time(each.created),
                time_or_none(each.used) or "never",
                time_or_none(each.revoked) or "",
                *(" ".join(each.scopes) for _ in scopes),
                " ".join(features_of(each.options)),
                each.name,
            )
            for each in credentials
        ],
    )


def _describe(credential: Credential) -> dict[str, Any]:
    scopes = {"scopes": list(credential.scopes)} if credential.kind is CredentialKind.TOKEN else {}
    return {
        "account": credential.account.email,
        "name": credential.name,
        **scopes,
        "features": features_of(credential.options),
        "created": format_time(credential.created),
        "used": time_or_none(credential.used),
        "revoked": time_or_none(credential.revoked),
    }
