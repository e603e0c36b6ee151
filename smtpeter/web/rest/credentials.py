"""``/v1/logins`` and ``/v1/tokens``: what programs prove themselves with, for their owners and for administrators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema, field_validator

from smtpeter.interfaces import IAccountStore, IFeatureCatalog, ISecretMaker
from smtpeter.model.account import USUAL_SCOPES, Credential, CredentialKind, Scope
from smtpeter.model.event import format_time
from smtpeter.model.feature import CORE_OPTIONS, option_key
from smtpeter.web.rest.people import STRICT, check_name, is_admin, owner_of
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.values import ApiError, Call, Response, json_response

_LONGEST_NAME = 200
_SHOWN: Mapping[str, bool] = {"true": True, "false": False}
_TEXT = {"type": "string"}
_TIME = {"type": ["string", "null"], "description": "UTC"}
_SCOPE = {"type": "string", "enum": list(map(str, Scope))}
_ON = (
    "Features that are on for all its mail unless the message says otherwise, by name: true, false or a text; and "
    "`tags`, words with commas between or a list of them, that all its mail has which names none itself"
)
_FOR = "What it may be used for. `manage`: logins and tokens with any of these, so whoever has it has them all"


Given = bool | str | list[str]


def read_options(value: Any) -> dict[str, Given]:
    """Options as they are given.  An empty list or text is none of them: PHP and forms have no other empty object.

    :raises ValueError: where it is something else.
    """
    if value in ([], ""):
        return {}
    if not isinstance(value, dict) or not all(_is_given(each) for each in value.values()):
        raise ValueError("must be an object: features by name, each true, false or a text")
    return value


def _is_given(value: Any) -> bool:
    return isinstance(value, (bool, str)) or (isinstance(value, list) and all(isinstance(each, str) for each in value))


def read_list(value: Any) -> Any:
    """A list, of which a form with one value does not know that it is one."""
    return [value] if isinstance(value, str) else value


_OPTIONS = {"type": "object", "additionalProperties": {"type": ["boolean", "string"]}}
_GIVEN = {"type": "object", "additionalProperties": {"type": ["boolean", "string", "array"], "items": _TEXT}}
Options = Annotated[dict[str, Given], BeforeValidator(read_options), WithJsonSchema(_GIVEN)]
Scopes = Annotated[list[Scope], BeforeValidator(read_list), Field(min_length=1)]


class Whose(BaseModel):
    """Whose credentials are listed."""

    account: str | None = Field(None, description="Those of this account (for administrators); else one's own")


class NewLogin(BaseModel):
    """A login that is to be made."""

    model_config = STRICT

    account: str | None = Field(None, description="Whose it will be (for administrators); else one's own")
    name: str = Field("", description="What it is for, in your own words", max_length=_LONGEST_NAME)
    options: Options = Field({}, description=_ON)

    _name = field_validator("name")(check_name)


class NewToken(NewLogin):
    """A token that is to be made."""

    scopes: Scopes = Field(list(USUAL_SCOPES), description=_FOR)


class CredentialChange(BaseModel):
    """What is to be different; what is not given stays."""

    model_config = STRICT

    name: str | None = Field(None, description="What it is for, in your own words", max_length=_LONGEST_NAME)
    options: Options | None = Field(None, description=f"{_ON}. They replace those that it has")

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str | None) -> str | None:
        return None if value is None else check_name(value)


class TokenChange(CredentialChange):
    """The same of a token."""

    scopes: Scopes | None = Field(None, description=_FOR)


def describe_credential(credential: Credential) -> dict[str, Any]:
    """A login or a token for JSON; never its secret."""
    described: dict[str, Any] = {
        "username" if credential.kind is CredentialKind.LOGIN else "id": credential.public,
        "account": credential.account.email,
        "name": credential.name,
        "options": {
            name: value if name in CORE_OPTIONS else _SHOWN.get(value, value) for name, value in credential.options
        },
        "created": format_time(credential.created),
        "used": None if credential.used is None else format_time(credential.used),
        "revoked": None if credential.revoked is None else format_time(credential.revoked),
    }
    if credential.kind is CredentialKind.TOKEN:
        described["scopes"] = list(map(str, credential.scopes))
    return described


class Credentials:
    """What the routes do with credentials of one kind."""

    def __init__(
        self, kind: CredentialKind, accounts: IAccountStore, secrets: ISecretMaker, catalog: IFeatureCatalog
    ) -> None:
        self._kind = kind
        self._accounts = accounts
        self._secrets = secrets
        self._catalog = catalog

    async def list(self, call: Call) -> Response:
        """Those of an account, revoked ones too."""
        whose: Whose = call.query
        owner = await owner_of(self._accounts, call.submitter, whose.account)
        found = await self._accounts.credentials(self._kind, owner.email)
        return json_response([describe_credential(each) for each in found])

    async def add(self, call: Call) -> Response:
        """Make one, and show its secret this once."""
        given: NewLogin = call.body
        owner = await owner_of(self._accounts, call.submitter, given.account)
        options = self._options(given.options)
        new = self._secrets.login() if self._kind is CredentialKind.LOGIN else self._secrets.token()
        scopes = _in_order(given.scopes) if isinstance(given, NewToken) else USUAL_SCOPES
        await self._accounts.add_credential(
            self._kind, owner.email, new.public, new.secret_hash, new.key_id, given.name, options, scopes
        )
        return json_response(self._secret(new))

    async def show(self, call: Call) -> Response:
        """One of them."""
        return json_response(describe_credential(await self._found(call)))

    async def change(self, call: Call) -> Response:
        """Another name, other options, other scopes."""
        found = await self._found(call)
        change: CredentialChange = call.body
        options = None if change.options is None else self._options(change.options)
        scopes = _in_order(change.scopes) if isinstance(change, TokenChange) and change.scopes else None
        await self._accounts.edit_credential(self._kind, found.public, change.name, options, scopes)
        changed = found._replace(
            name=found.name if change.name is None else change.name,
            options=found.options if options is None else options,
            scopes=found.scopes if scopes is None else scopes,
        )
        return json_response(describe_credential(changed))

    async def rotate(self, call: Call) -> Response:
        """Another secret for a login."""
        found = await self._found(call)
        new = self._secrets.login(found.public)
        await self._accounts.rotate_credential(self._kind, found.public, new.secret_hash, new.key_id)
        return json_response(self._secret(new))

    async def revoke(self, call: Call) -> Response:
        """End it for ever."""
        found = await self._found(call)
        await self._accounts.revoke_credential(self._kind, found.public)
        return json_response({"revoked": found.public})

    def _secret(self, new: Any) -> dict[str, str]:
        if self._kind is CredentialKind.LOGIN:
            return {"username": new.public, "password": new.shown}
        return {"id": new.public, "token": new.shown}

    async def _found(self, call: Call) -> Credential:
        """One that is not revoked, and may be touched by whoever asks."""
        found: Credential | None = await self._accounts.credential(self._kind, call.path["id"].lower())
        submitter = call.submitter
        if found is None or (found.account.number != submitter.account.number and not is_admin(submitter)):
            raise ApiError(404, f"There is no such {self._kind}, or it was revoked")
        return found

    def _options(self, given: Mapping[str, Given]) -> tuple[tuple[str, str], ...]:
        options: dict[str, str] = {}
        for name, value in given.items():
            canonical = CORE_OPTIONS.get(option_key(name)) or self._catalog.canonical(name)
            if canonical is None:
                known = ", ".join(option.name for option in self._catalog.options)
                raise ApiError(400, f"options: there is no such feature here (there are: {known})")
            if canonical in options:
                raise ApiError(400, f"options.{canonical}: given twice, under two of its names")
            try:
                options[canonical] = self._catalog.read_default(name, _text_of(canonical, value))
            except ValueError as error:
                raise ApiError(400, f"options.{canonical}: {error}") from None
        return tuple(options.items())


def _text_of(option: str, value: Given) -> str:
    """What was given for an option, as text.

    :raises ValueError: where that cannot be; its text tells what is expected.
    """
    if isinstance(value, str):
        return value
    if option == "tags" and isinstance(value, list):
        return ",".join(value)
    if option == "tags":
        raise ValueError("write a list of words, or words with commas between")
    if isinstance(value, list):
        raise ValueError("write true, false or a text")
    return "true" if value else "false"


def _in_order(scopes: list[Scope]) -> tuple[Scope, ...]:
    return tuple(scope for scope in Scope if scope in scopes)


def routes(accounts: IAccountStore, secrets: ISecretMaker, catalog: IFeatureCatalog) -> list[Route]:
    """The routes of this module."""
    logins = Credentials(CredentialKind.LOGIN, accounts, secrets, catalog)
    tokens = Credentials(CredentialKind.TOKEN, accounts, secrets, catalog)
    return [
        *_routes_of(logins, "logins", "login", {"username": _TEXT, "password": _TEXT}, NewLogin, CredentialChange),
        Route("POST", "/logins/{id}/rotate", Scope.MANAGE, logins.rotate, "Give a login another password",
              "The old one ends within a second.", "logins", parameters={"id": "The login's username"},
              answers={200: Answer("The password, shown this once", _object({"username": _TEXT, "password": _TEXT}))}),
        *_routes_of(tokens, "tokens", "token", {"id": _TEXT, "token": _TEXT}, NewToken, TokenChange),
    ]  # fmt: skip


def _routes_of(
    credentials: Credentials,
    path: str,
    noun: str,
    secret: Mapping[str, Any],
    new: type[BaseModel],
    change: type[BaseModel],
) -> list[Route]:
    is_login = noun == "login"
    what = "name or options" if is_login else "name, options or scopes"
    shape = _object({
        "username" if is_login else "id": _TEXT, "account": _TEXT, "name": _TEXT,
        "options": _OPTIONS,
        "created": {"type": "string", "description": "UTC"}, "used": _TIME, "revoked": _TIME,
        **({} if is_login else {"scopes": {"type": "array", "items": _SCOPE}}),
    })  # fmt: skip
    named = {"id": "The login's username" if is_login else "The token's id: what stands in it behind `smtpeter_`"}
    described = {200: Answer(f"The {noun}", shape)}

    def route(method: str, tail: str, function: Callable[..., Any], summary: str, **more: Any) -> Route:
        return Route(method, f"/{path}{tail}", Scope.MANAGE, function, summary, tag=path, **more)

    return [
        route("GET", "", credentials.list, f"All {path} of an account, revoked ones too", query=Whose,
              answers={200: Answer(f"The {path}, oldest first", {"type": "array", "items": shape})}),
        route("POST", "", credentials.add, f"Make a {noun}", body=new,
              answers={200: Answer("Its secret, shown this once", _object(secret))}),
        route("GET", "/{id}", credentials.show, f"One {noun}", answers=described, parameters=named),
        route("PATCH", "/{id}", credentials.change, f"Change a {noun}'s {what}", body=change,
              answers=described, parameters=named),
        route("DELETE", "/{id}", credentials.revoke, f"Revoke a {noun}", parameters=named,
              description="It ends within a second, for ever.",
              answers={200: Answer("It is revoked", _object({"revoked": _TEXT}))}),
    ]  # fmt: skip


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": dict(properties)}
