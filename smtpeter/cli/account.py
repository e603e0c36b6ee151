"""``smtpeter account``: the people who may send."""

from __future__ import annotations

import sys

import click

from smtpeter.auth.secrets import hash_password, make_password
from smtpeter.cli.arguments import address
from smtpeter.cli.installation import Installation, pass_installation
from smtpeter.cli.printing import json_option, print_done, print_json, print_secret, print_table
from smtpeter.errors import NotPossible
from smtpeter.model.account import AccountState
from smtpeter.model.event import format_time
from smtpeter.store.opening import result_of


@click.group()
def account() -> None:
    """People: each has an e-mail address, a password, and any number of logins and tokens."""


@account.command()
@click.argument("email", type=address)
@click.option("--name", default="", help="The person's name.")
@click.option("--admin", is_flag=True, help="May administer the gateway.")
@click.option("--pending", is_flag=True, help="May not send until approved.")
@json_option
@pass_installation
def add(installation: Installation, email: str, name: str, admin: bool, pending: bool, as_json: bool) -> None:
    """Add a person, and print the password once."""
    password = make_password()
    state = AccountState.PENDING if pending else AccountState.APPROVED
    with installation.open() as store:
        result_of(store.accounts.add_account(email, name, admin, state, hash_password(password)))
    print_secret(as_json, email=email, password=password)


@account.command("list")
@json_option
@pass_installation
def list_(installation: Installation, as_json: bool) -> None:
    """List all accounts."""
    with installation.open() as store:
        accounts = result_of(store.accounts.accounts())
    if as_json:
        print_json(
            [
                {
                    "email": each.email,
                    "name": each.name,
                    "admin": each.admin,
                    "state": str(each.state),
                    "created": format_time(each.created),
                }
                for each in accounts
            ]
        )
        return
    print_table(
        ("EMAIL", "STATE", "ADMIN", "CREATED", "NAME"),
        [
            (each.email, each.state, "yes" if each.admin else "", format_time(each.created), each.name)
            for each in accounts
        ],
    )


@account.command()
@click.argument("email", type=address)
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the password from standard input, one line.")
@json_option
@pass_installation
def passwd(installation: Installation, email: str, from_stdin: bool, as_json: bool) -> None:
    """Give a person another password: a generated one, printed once, or one from standard input."""
    password = sys.stdin.readline().rstrip("\r\n") if from_stdin else make_password()
    try:
        password_hash = hash_password(password)
    except ValueError as error:
        raise NotPossible(str(error)) from None
    with installation.open() as store:
        result_of(store.accounts.set_password(email, password_hash))
    if from_stdin:
        print_done(as_json, f"{email} has the new password", {"email": email})
    else:
        print_secret(as_json, email=email, password=password)


@account.command()
@click.argument("email", type=address)
@json_option
@pass_installation
def approve(installation: Installation, email: str, as_json: bool) -> None:
    """Let a person send, who was pending or suspended."""
    _set_state(installation, email, AccountState.APPROVED, as_json)


@account.command()
@click.argument("email", type=address)
@json_option
@pass_installation
def suspend(installation: Installation, email: str, as_json: bool) -> None:
    """Let a person neither log in nor send, by any login or token, until approved again."""
    _set_state(installation, email, AccountState.SUSPENDED, as_json)


def _set_state(installation: Installation, email: str, state: AccountState, as_json: bool) -> None:
    with installation.open() as store:
        result_of(store.accounts.set_account_state(email, state))
    print_done(as_json, f"{email} is {state}", {"email": email, "state": str(state)})
