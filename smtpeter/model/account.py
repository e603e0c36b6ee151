"""Who may submit: accounts of people, logins and tokens of programs."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class AccountState(StrEnum):
    """Only an approved account sends; a suspended one may not even log in."""

    PENDING = "pending"
    APPROVED = "approved"
    SUSPENDED = "suspended"


class Account(NamedTuple):
    """A person.  ``password_hash`` is an argon2id string.  ``created`` is in seconds since the epoch."""

    number: int
    email: str
    name: str
    admin: bool
    state: AccountState
    password_hash: str
    created: float


class CredentialKind(StrEnum):
    """A login has a username and a password (SMTP); a token is one word (REST)."""

    LOGIN = "login"
    TOKEN = "token"


class Scope(StrEnum):
    """What a token may be used for.  MANAGE: accounts, logins and tokens, as far as its account may."""

    SEND = "send"
    READ = "read"
    MANAGE = "manage"


USUAL_SCOPES = (Scope.SEND, Scope.READ)
"""Those of a token of which nobody said otherwise."""


class Credential(NamedTuple):
    """A login or a token.

    ``public`` is the username of a login and the public part of a token.  ``secret_hash`` is a keyed hash made with the
    key ``key_id``.  ``options`` are the features that are on by default, by canonical name.  ``used`` is None until it
    was used for the first time.  ``scopes`` are a token's; a login sends.
    """

    number: int
    kind: CredentialKind
    account: Account
    public: str
    secret_hash: bytes
    key_id: str
    name: str
    options: tuple[tuple[str, str], ...]
    created: float
    used: float | None
    revoked: float | None
    scopes: tuple[Scope, ...] = USUAL_SCOPES
