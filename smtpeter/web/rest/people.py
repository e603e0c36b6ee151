"""``/v1/accounts``: the people who may send, for administrators; and one's own account, for everybody."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from smtpeter.errors import Refusal
from smtpeter.interfaces import IAccountStore, ISecretMaker, ISubmitter
from smtpeter.model.account import Account, AccountState, Scope
from smtpeter.model.event import format_time
from smtpeter.smtp.grammar import parse_mailbox
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.values import ApiError, Call, Response, json_response

NO_SUCH_ACCOUNT = "There is no such account"

_TAG = "accounts"
_LONGEST_NAME = 200
_TEXT = {"type": "string"}
_ACCOUNT = {
    "type": "object",
    "required": ["email", "name", "admin", "state", "created"],
    "properties": {
        "email": _TEXT,
        "name": _TEXT,
        "admin": {"type": "boolean"},
        "state": {"type": "string", "enum": list(map(str, AccountState))},
        "created": {"type": "string", "description": "UTC"},
    },
}
_SECRET = {"type": "object", "required": ["email", "password"], "properties": {"email": _TEXT, "password": _TEXT}}


STRICT = ConfigDict(extra="forbid")
"""Of models in whose place a misspelt field must not be overlooked: it may be the one that says what is allowed."""


def check_email(value: str) -> str:
    """An e-mail address, as a model's field."""
    try:
        parse_mailbox(value)
    except Refusal:
        raise ValueError("must be an e-mail address") from None
    return value


def check_name(value: str) -> str:
    """A name for people, on one line."""
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


class NewAccount(BaseModel):
    """A person who is to be added."""

    model_config = STRICT

    email: str = Field(description="The address, by which the account is known", max_length=254)
    name: str = Field("", description="The person's name", max_length=_LONGEST_NAME)
    admin: bool = Field(False, description="May administer the gateway")
    pending: bool = Field(False, description="May not send until approved")

    _email = field_validator("email")(check_email)
    _name = field_validator("name")(check_name)


class AccountChange(BaseModel):
    """What becomes of an account."""

    model_config = STRICT

    state: Literal["approved", "suspended"] = Field(
        description="`approved`: may send. `suspended`: may neither send nor log in, by any login or token"
    )


def describe_account(account: Account) -> dict[str, Any]:
    """An account for JSON."""
    return {
        "email": account.email,
        "name": account.name,
        "admin": account.admin,
        "state": str(account.state),
        "created": format_time(account.created),
    }


def require_admin(submitter: ISubmitter) -> None:
    """Administrators only, and those who were approved: nobody approves himself.

    :raises ApiError: 403.
    """
    if not is_admin(submitter):
        raise ApiError(403, "This is for administrators: ask one of them, or use the token of one")


def is_admin(submitter: ISubmitter) -> bool:
    """Whether somebody may see to the accounts of others."""
    account: Account = submitter.account
    return account.admin and account.state is AccountState.APPROVED


class People:
    """What the routes below do."""

    def __init__(self, accounts: IAccountStore, secrets: ISecretMaker) -> None:
        self._accounts = accounts
        self._secrets = secrets

    async def own(self, call: Call) -> Response:
        """The account that asks."""
        return json_response(describe_account(call.submitter.account))

    async def list(self, call: Call) -> Response:
        """All accounts."""
        require_admin(call.submitter)
        return json_response([describe_account(each) for each in await self._accounts.accounts()])

    async def add(self, call: Call) -> Response:
        """Add one, with a password of its own."""
        require_admin(call.submitter)
        new: NewAccount = call.body
        state = AccountState.PENDING if new.pending else AccountState.APPROVED
        shown, password_hash = await self._secrets.password()
        await self._accounts.add_account(new.email, new.name, new.admin, state, password_hash)
        return json_response({"email": new.email, "password": shown})

    async def show(self, call: Call) -> Response:
        """One account."""
        return json_response(describe_account(await self._found(call)))

    async def change(self, call: Call) -> Response:
        """Approve or suspend."""
        account = await self._found(call)
        change: AccountChange = call.body
        if account.number == call.submitter.account.number and change.state == "suspended":
            raise ApiError(409, "An administrator cannot suspend the account that asks for it: let another one do it")
        await self._accounts.set_account_state(account.email, AccountState(change.state))
        return json_response(describe_account(account._replace(state=AccountState(change.state))))

    async def reset_password(self, call: Call) -> Response:
        """Another password, shown once."""
        account = await self._found(call)
        shown, password_hash = await self._secrets.password()
        await self._accounts.set_password(account.email, password_hash)
        return json_response({"email": account.email, "password": shown})

    async def _found(self, call: Call) -> Account:
        require_admin(call.submitter)
        account: Account | None = await self._accounts.account(call.path["email"])
        if account is None:
            raise ApiError(404, NO_SUCH_ACCOUNT)
        return account


async def owner_of(accounts: IAccountStore, submitter: ISubmitter, email: str | None) -> Account:
    """Whose credentials a request is about: the one who asks, or for an administrator anybody.

    :raises ApiError: 403, and 404.
    """
    own: Account = submitter.account
    if email is None or email.casefold() == own.email.casefold():
        return own
    require_admin(submitter)
    account: Account | None = await accounts.account(email)
    if account is None:
        raise ApiError(404, NO_SUCH_ACCOUNT)
    return account


def routes(accounts: IAccountStore, secrets: ISecretMaker) -> list[Route]:
    """The routes of this module."""
    people = People(accounts, secrets)
    one = {"email": "The account's e-mail address"}
    account = {200: Answer("The account", _ACCOUNT)}
    secret = {200: Answer("The password, shown this once", _SECRET)}
    only = "For administrators."
    return [
        Route(
            "GET",
            "/account",
            Scope.READ,
            people.own,
            "The account that the token belongs to",
            tag=_TAG,
            answers=account,
        ),
        Route(
            "GET",
            "/accounts",
            Scope.MANAGE,
            people.list,
            "All accounts",
            only,
            _TAG,
            answers={200: Answer("The accounts, by e-mail address", {"type": "array", "items": _ACCOUNT})},
        ),
        Route(
            "POST", "/accounts", Scope.MANAGE, people.add, "Add an account", only, _TAG, body=NewAccount, answers=secret
        ),
        Route(
            "GET",
            "/accounts/{email}",
            Scope.MANAGE,
            people.show,
            "One account",
            only,
            _TAG,
            answers=account,
            parameters=one,
        ),
        Route(
            "PATCH",
            "/accounts/{email}",
            Scope.MANAGE,
            people.change,
            "Approve or suspend an account",
            only,
            _TAG,
            body=AccountChange,
            answers=account,
            parameters=one,
        ),
        Route(
            "POST",
            "/accounts/{email}/password",
            Scope.MANAGE,
            people.reset_password,
            "Make another password",
            only,
            _TAG,
            answers=secret,
            parameters=one,
        ),
    ]
