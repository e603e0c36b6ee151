"""The avatar: somebody who has logged in, and whether they may still send."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.auth.directory import Directory
from smtpeter.errors import Refusal
from smtpeter.interfaces import ISubmitter
from smtpeter.model.account import Account, AccountState, Credential, CredentialKind, Scope


@implementer(ISubmitter)
class Submitter:
    """An account, and the login or token by which it came in (None: its own password, with no options)."""

    def __init__(self, account: Account, credential: Credential | None, directory: Directory, hostname: str) -> None:
        self.account = account
        self.login = "" if credential is None else credential.public
        self.options = () if credential is None else credential.options
        self.scopes = _scopes(credential)
        self._credential = credential
        self._directory = directory
        self._contact = f"postmaster@{hostname}"

    def check(self, sending: bool = True) -> Deferred[None] | None:
        """See :meth:`smtpeter.interfaces.ISubmitter.check`."""
        if self._credential is None:
            account, credential = self._directory.known_account(self.account.email), None
        else:
            credential = self._directory.known_credential(self._credential.kind, self._credential.public)
            account = credential and credential.account
        if account is None or self._refusal(account, credential, sending) is not None:
            return Deferred.fromCoroutine(self._check_stored(sending))
        self._renew(account, credential)
        return None

    async def _check_stored(self, sending: bool) -> None:
        if self._credential is None:
            account, credential = await self._directory.read_account(self.account.email), None
        else:
            credential = await self._directory.read_credential(self._credential.kind, self._credential.public)
            account = credential and credential.account
        refusal = self._refusal(account, credential, sending)
        if account is None or refusal is not None:
            raise refusal or AssertionError("an account that is not there was not refused")
        self._renew(account, credential)

    def _renew(self, account: Account, credential: Credential | None) -> None:
        self.account = account
        if credential is not None:
            self._credential, self.options, self.scopes = credential, credential.options, _scopes(credential)
            self._directory.note_used(credential.number)

    def _refusal(self, account: Account | None, credential: Credential | None, sending: bool) -> Refusal | None:
        """Why what is in the store by now may not send, or may not even do anything else."""
        if self._credential is None:
            if account is None or account.password_hash != self.account.password_hash:
                return _refused("The password of this account was changed: log in again", "password changed")
        elif credential is None or credential.number != self._credential.number:
            return _refused(f"This {self._credential.kind} was revoked: use another one", "credential revoked")
        elif credential.secret_hash != self._credential.secret_hash:
            return _refused(f"The secret of this {self._credential.kind} was changed: log in again", "secret changed")
        if account is None or account.state is AccountState.SUSPENDED:
            return _refused(f"This account is suspended: please ask {self._contact}", "account suspended")
        if sending and account.state is not AccountState.APPROVED:
            return _refused(f"This account is not approved for sending yet: please ask {self._contact}", "pending")
        return None


def _scopes(credential: Credential | None) -> tuple[Scope, ...]:
    """A person may do everything, a login sends, and a token is for what it was made for."""
    if credential is None:
        return tuple(Scope)
    return (Scope.SEND,) if credential.kind is CredentialKind.LOGIN else credential.scopes


def _refused(text: str, reason: str) -> Refusal:
    return Refusal(550, "5.7.1", text, reason)
