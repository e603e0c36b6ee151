"""Who comes in: checkers of passwords and tokens, and the realm, on twisted.cred.

Whatever is wrong is answered alike, after the same work: an unknown name costs as many hashes and questions to the
store as a known one with a wrong secret.  Trouble of the store is never told as a wrong password.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.auth.attempts import Attempts
from smtpeter.auth.directory import Directory
from smtpeter.auth.keys import KeyRing
from smtpeter.auth.queue import FairQueue
from smtpeter.auth.secrets import hash_login, hash_token, split_token, unmatchable_hash, verify_password_gently
from smtpeter.auth.submitter import Submitter
from smtpeter.interfaces import IClock, ISubmitter, ITokenCredential
from smtpeter.locations import network_of
from smtpeter.model.account import Account, AccountState, Credential, CredentialKind

ToThread = Callable[..., Awaitable[Any]]
SecretHash = Callable[[KeyRing, str, str, str], bytes]

_AT_ONCE = 2
_WAITING = 64
_WAITING_EACH = 16
_REMEMBERED_FOR = 300.0
_REMEMBERED = 1000


class WrongSecret(UnauthorizedLogin):
    """The name is somebody's, but may not log in with this.  For the log only: clients are told the same as ever."""


class Identity(NamedTuple):
    """Who was recognised, and by what: the checkers' answer to the realm."""

    account: Account
    credential: Credential | None


@implementer(ITokenCredential)
class TokenCredential:
    """A token as a client presents it."""

    def __init__(self, token: str) -> None:
        self.token = token


class SecretVerifier:
    """Recognises generated secrets: logins' passwords and tokens, by one keyed hash."""

    def __init__(self, directory: Directory, keys: KeyRing) -> None:
        self._directory = directory
        self._keys = keys

    async def verify(self, kind: CredentialKind, public: str, secret: str, hash_secret: SecretHash) -> Identity:
        """Whose secret this is; fails with UnauthorizedLogin."""
        credential = self._directory.known_credential(kind, public)
        if not self._matches(credential, public, secret, hash_secret):
            credential = await self._directory.read_credential(kind, public)
            if not self._matches(credential, public, secret, hash_secret):
                raise UnauthorizedLogin if credential is None else WrongSecret
        assert credential is not None
        self._directory.note_used(credential.number)
        return Identity(credential.account, credential)

    def _matches(self, credential: Credential | None, public: str, secret: str, hash_secret: SecretHash) -> bool:
        """Whether the secret is right and may be used; the hash is computed in any case."""
        known = credential is not None and credential.key_id in self._keys.ids
        key_id = credential.key_id if credential is not None and known else self._keys.current
        expected = credential.secret_hash if credential is not None else bytes(hashlib.sha256().digest_size)
        right = hmac.compare_digest(hash_secret(self._keys, key_id, public, secret), expected)
        return right and known and credential is not None and _may_log_in(credential)


class PasswordVerifier:
    """Recognises people by e-mail address and password: argon2 on threads, only a few at once.

    A password that was right is remembered for some minutes, as a keyed hash, so that a mail program that logs in for
    each message does not cost an argon2 each time.
    """

    def __init__(
        self, directory: Directory, keys: KeyRing, clock: IClock, defer_to_thread: ToThread, attempts: Attempts
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._attempts = attempts
        self._defer_to_thread = defer_to_thread
        self._key = keys.derive("remembered password")
        self._remembered: dict[bytes, tuple[str, float]] = {}
        self._queue = FairQueue(_AT_ONCE, _WAITING_EACH, _WAITING)
        self._unmatchable = unmatchable_hash()

    async def verify(self, email: str, password: str, address: str) -> Identity:
        """Whose password this is; fails with UnauthorizedLogin, or with Refusal (454) where too many are checked."""
        email = email.lower()
        mark = hmac.digest(self._key, f"{email}\0{password}".encode(), hashlib.sha256)
        account = await self._recognise(email, mark)
        if account is None:
            account, password_hash, right = await self._look_up(email, password, network_of(address))
            if account is None:
                raise UnauthorizedLogin
            if not right or account.state is AccountState.SUSPENDED:
                raise WrongSecret
            self._remember(mark, password_hash)
        return Identity(account, None)

    async def _recognise(self, email: str, mark: bytes) -> Account | None:
        """The account, where this very password was right a short while ago and is not changed since."""
        password_hash, until = self._remembered.get(mark, ("", 0.0))
        if until <= self._clock.time():
            return None
        account = self._directory.known_account(email) or await self._directory.read_account(email)
        if account is None or account.password_hash != password_hash or account.state is AccountState.SUSPENDED:
            return None
        return account

    def _remember(self, mark: bytes, password_hash: str) -> None:
        if len(self._remembered) >= _REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        self._remembered[mark] = (password_hash, self._clock.time() + _REMEMBERED_FOR)

    async def _look_up(self, email: str, password: str, network: str) -> tuple[Account | None, str, bool]:
        """The account, if there is one, the hash of its password, and whether this is the password."""
        await self._queue.enter(network, known=self._attempts.is_known(network, email))
        try:
            account = await self._directory.read_account(email)
            password_hash = (account is not None and account.password_hash) or self._unmatchable
            right = await self._defer_to_thread(verify_password_gently, password_hash, password)
        finally:
            self._queue.leave()
        return account, password_hash, bool(right)


@implementer(ICredentialsChecker)
class PasswordChecker:
    """IUsernamePassword: a login's username, or an account's e-mail address, each with its password."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, secrets: SecretVerifier, passwords: PasswordVerifier) -> None:
        self._secrets = secrets
        self._passwords = passwords

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        username, password = _text(credentials.username), _text(credentials.password)
        return Deferred.fromCoroutine(self._identify(username, password, getattr(credentials, "address", "")))

    async def _identify(self, username: str | None, password: str | None, address: str) -> Identity:
        if not username or not password:
            raise UnauthorizedLogin
        if "@" in username:
            return await self._passwords.verify(username, password, address)
        return await self._secrets.verify(CredentialKind.LOGIN, username.lower(), password, hash_login)


@implementer(ICredentialsChecker)
class TokenChecker:
    """ITokenCredential: a token."""

    credentialInterfaces = (ITokenCredential,)

    def __init__(self, secrets: SecretVerifier) -> None:
        self._secrets = secrets

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self._identify(credentials.token))

    async def _identify(self, token: str) -> Identity:
        parts = split_token(token)
        if parts is None:
            raise UnauthorizedLogin
        return await self._secrets.verify(CredentialKind.TOKEN, *parts, hash_token)


@implementer(IRealm)
class Realm:
    """Gives those who were recognised their avatar."""

    def __init__(self, directory: Directory, hostname: str) -> None:
        self._directory = directory
        self._hostname = hostname

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: Any) -> tuple[Any, Any, Callable[[], None]]:
        if ISubmitter not in interfaces:
            raise NotImplementedError("submitters are all there are")
        return ISubmitter, Submitter(avatarId.account, avatarId.credential, self._directory, self._hostname), _log_out


def build_portal(
    directory: Directory,
    keys: KeyRing,
    clock: IClock,
    hostname: str,
    defer_to_thread: ToThread,
    attempts: Attempts,
) -> Portal:
    """A portal for IUsernamePassword and ITokenCredential.  Doors use it behind a guard that has the same ``attempts``.

    ``defer_to_thread(function, *arguments)`` runs a slow function elsewhere and returns a Deferred.
    """
    secrets = SecretVerifier(directory, keys)
    passwords = PasswordVerifier(directory, keys, clock, defer_to_thread, attempts)
    return Portal(Realm(directory, hostname), [PasswordChecker(secrets, passwords), TokenChecker(secrets)])


def _may_log_in(credential: Credential) -> bool:
    return credential.revoked is None and credential.account.state is not AccountState.SUSPENDED


def _text(value: bytes | str) -> str | None:
    """UTF-8 as text; None where it is not UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value.encode("utf-8").decode("utf-8")
    except UnicodeError:
        return None


def _log_out() -> None:
    """Nothing is kept for a submitter, so nothing is to be undone."""
