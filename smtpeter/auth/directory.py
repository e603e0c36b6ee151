"""What is known of accounts, logins and tokens without asking the store again.

An entry here can only say yes: whoever would be refused because of it is looked up in the store first, so that what was
just added works at once.  What was revoked, suspended or changed is forgotten here as soon as the store's generation
changes, which the service looks at twice a second.
"""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred

from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IAccountStore, IClock
from smtpeter.model.account import Account, Credential, CredentialKind

_CAPACITY = 20_000
_K = TypeVar("_K")
_V = TypeVar("_V")


class Directory:
    """A cache in front of an account store, and a notebook of which credentials were used."""

    def __init__(self, store: IAccountStore, clock: IClock, capacity: int = _CAPACITY) -> None:
        self._store = store
        self._clock = clock
        self._capacity = capacity
        self._epoch = 0
        self._credentials: dict[tuple[CredentialKind, str], Credential] = {}
        self._accounts: dict[str, Account] = {}
        self._used: set[int] = set()

    def generation_changed(self) -> None:
        """Something in the store is no longer as it was: forget everything."""
        self._epoch += 1
        self._credentials.clear()
        self._accounts.clear()

    def known_credential(self, kind: CredentialKind, public: str) -> Credential | None:
        """A credential that existed, unrevoked, when the generation last changed; None: ask the store."""
        return self._credentials.get((kind, public))

    def known_account(self, email: str) -> Account | None:
        """An account as it was when the generation last changed; None: ask the store."""
        return self._accounts.get(email.lower())

    async def read_credential(self, kind: CredentialKind, public: str) -> Credential | None:
        """A credential as the store has it now; None where there is none, or it was revoked."""
        epoch = self._epoch
        credential = await self._store.credential(kind, public)
        if credential is not None and epoch == self._epoch:
            _keep(self._credentials, (kind, public), credential, self._capacity)
        return credential

    async def read_account(self, email: str) -> Account | None:
        """An account as the store has it now; None where there is none."""
        epoch = self._epoch
        account = await self._store.account(email)
        if account is not None and epoch == self._epoch:
            _keep(self._accounts, email.lower(), account, self._capacity)
        return account

    def note_used(self, number: int) -> None:
        """A credential was used; written down at the next :meth:`flush`."""
        self._used.add(number)

    def flush(self) -> Deferred[None]:
        """Write down, as of now, which credentials were used since the last time.  Never fails for storage trouble:
        then they are kept for the next time."""
        return Deferred.fromCoroutine(self._flush())

    async def _flush(self) -> None:
        used, self._used = self._used, set()
        if not used:
            return
        try:
            await self._store.credential_used(sorted(used), self._clock.time())
        except StorageUnavailable:
            self._used |= used


def _keep(cache: dict[_K, _V], key: _K, value: _V, capacity: int) -> None:
    """Put an entry into a cache, in place of the oldest one where it is full."""
    if key not in cache and len(cache) >= capacity:
        del cache[next(iter(cache))]
    cache[key] = value
