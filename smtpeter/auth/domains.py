"""Who may send from which domain, and with which keys: known without asking the store for each message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from smtpeter.auth.domain_keys import record_name
from smtpeter.auth.keys import KeyRing
from smtpeter.auth.sealing import Unsealable, unseal
from smtpeter.errors import FeatureMissing, StorageUnavailable
from smtpeter.interfaces import IDomainStore, ISenderDomains
from smtpeter.model.domain import DomainKey, SenderDomain, SigningKey

RETRY = 1.0
"""Seconds after which a store that failed is asked again."""


class _Registered(NamedTuple):
    account: int
    keys: tuple[SigningKey, ...]
    is_broken: bool = False


@implementer(ISenderDomains)
class SenderDomains:
    """All domains as they were when :meth:`take` was last called.

    Each key is unsealed once.  One that cannot be is logged as an error, and mail of its domain waits until it can, or
    is removed: unsigned it might be taken for a forgery.
    """

    _log = Logger()

    def __init__(self, ring: KeyRing, domains: Sequence[SenderDomain] = ()) -> None:
        self._ring = ring
        self._seen: Sequence[SenderDomain] = ()
        self._unsealed: dict[tuple[str, DomainKey], SigningKey | None] = {}
        self._registered: dict[str, _Registered] = {}
        self._longest: dict[int, int] = {}  # bits of RSA keys, by the accounts that have any key
        self.take(domains)

    def owns(self, account: int, domain: str) -> bool:
        """See :meth:`smtpeter.interfaces.ISenderDomains.owns`."""
        nearest = self._nearest(domain)
        return nearest is not None and nearest.account == account

    def keys(self, account: int | None, domain: str) -> Sequence[SigningKey]:
        """See :meth:`smtpeter.interfaces.ISenderDomains.keys`."""
        nearest = self._nearest(domain)
        if nearest is None or nearest.account != account:
            return ()
        if nearest.is_broken:
            raise FeatureMissing(f"A key of the domain of {domain} cannot be used")
        return nearest.keys

    def has_keys(self, account: int | None) -> bool:
        """See :meth:`smtpeter.interfaces.ISenderDomains.has_keys`."""
        return account in self._longest

    def longest_key(self, account: int | None) -> int:
        """See :meth:`smtpeter.interfaces.ISenderDomains.longest_key`."""
        return 0 if account is None else self._longest.get(account, 0)

    def take(self, domains: Sequence[SenderDomain]) -> None:
        """These are all that there are now."""
        if domains == self._seen:
            return
        before, self._unsealed = self._unsealed, {}
        self._registered, self._longest = {}, {}
        for each in domains:
            keys = [self._unseal(each.domain, key, before) for key in each.keys]
            usable = tuple(key for key in keys if key is not None)
            self._registered[each.domain] = _Registered(each.account, usable, len(usable) < len(keys))
            if keys:
                bits = [self._longest.get(each.account, 0), *(key.bits for key in usable)]
                self._longest[each.account] = max(bits)
        self._seen = domains

    def _nearest(self, domain: str) -> _Registered | None:
        """The domain, or of those that it is below the one with most labels."""
        while domain:
            found = self._registered.get(domain)
            if found is not None:
                return found
            domain = domain.partition(".")[2]
        return None

    def _unseal(
        self, domain: str, key: DomainKey, before: Mapping[tuple[str, DomainKey], SigningKey | None]
    ) -> SigningKey | None:
        known = (domain, key)
        self._unsealed[known] = before[known] if known in before else self._open(domain, key)
        return self._unsealed[known]

    def _open(self, domain: str, key: DomainKey) -> SigningKey | None:
        try:
            private = unseal(self._ring, record_name(domain, key.selector), key.sealed, key.key_id)
        except Unsealable as error:
            self._log.error(
                "dkim: the key {selector} of {domain} cannot be used: {reason}",
                event="dkim",
                selector=key.selector,
                domain=domain,
                reason=str(error),
            )
            return None
        return SigningKey(domain, key.selector, key.algorithm, private, _bits(private))


def _bits(private: bytes) -> int:
    """Of an RSA key; 0 for others.  It was checked when it was made or read."""
    loaded = load_der_private_key(private, None, unsafe_skip_rsa_key_validation=True)
    return loaded.key_size if isinstance(loaded, RSAPrivateKey) else 0


class DomainReader:
    """Reads the domains whenever the store's generation changed.  While they cannot be read, they stay as they were.

    ``timers`` is the reactor.
    """

    _log = Logger()

    def __init__(self, store: IDomainStore, domains: SenderDomains, timers: IReactorTime) -> None:
        self._store = store
        self._domains = domains
        self._timers = timers
        self._wanted = 0
        self._reading = False
        self._stopped = False
        self._pause: Deferred[None] | None = None

    def generation_changed(self) -> None:
        """Something in the store is no longer as it was."""
        self._wanted += 1
        if not self._reading and not self._stopped:
            self._reading = True
            Deferred.fromCoroutine(self._read())

    def stop(self) -> None:
        """Ask nothing of the store any more."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()

    async def _read(self) -> None:
        read = 0
        while read != self._wanted and not self._stopped:
            read = self._wanted
            try:
                self._domains.take(await self._store.domains())
            except Exception as error:
                if not isinstance(error, StorageUnavailable):
                    self._log.failure("the sender domains cannot be read")
                await self._wait()
                read = 0
        self._reading = False

    async def _wait(self) -> None:
        self._pause = deferLater(self._timers, RETRY)
        try:
            await self._pause
        except CancelledError:
            pass
        self._pause = None
