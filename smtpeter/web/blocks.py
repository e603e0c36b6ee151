"""Links that must die: what operators blocked, known without asking the store for each click."""

from __future__ import annotations

from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IAccountStore, IBlockStore
from smtpeter.model.feature import BlockKind
from smtpeter.model.hosts import canonical_host

RETRY = 1.0
"""Seconds after which a store that failed is asked again."""


class BlockLists(NamedTuple):
    """What is blocked, by kind."""

    accounts: frozenset[int] = frozenset()
    submissions: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()


async def read_lists(store: IBlockStore, accounts: IAccountStore) -> BlockLists:
    """What is blocked now."""
    numbers, submissions, domains = set(), set(), set()
    for block in await store.blocks():
        if block.kind is BlockKind.ACCOUNT:
            account = await accounts.account(block.value)
            if account is not None:
                numbers.add(account.number)
        elif block.kind is BlockKind.SUBMISSION:
            submissions.add(block.value)
        else:
            domains.add(canonical_host(block.value))
    return BlockLists(frozenset(numbers), frozenset(submissions), frozenset(domains))


class Blocks:
    """What is blocked, as the store had it when its generation last changed; ``lists`` is what it has now.

    While the store cannot be read the last list is used.  ``timers`` is the reactor.
    """

    _log = Logger()

    def __init__(self, store: IBlockStore, accounts: IAccountStore, timers: Any, lists: BlockLists) -> None:
        self._store = store
        self._accounts = accounts
        self._timers = timers
        self._lists = lists
        self._wanted = 0
        self._reading = False
        self._again: IDelayedCall | None = None
        self._stopped = False

    def is_blocked(self, account: int | None, submission: str, domain: str = "") -> bool:
        """See :meth:`smtpeter.interfaces.IFeatureServices.is_blocked`."""
        accounts, submissions, domains = self._lists
        if account in accounts or submission in submissions:
            return True
        return bool(domains) and bool(domain) and _is_below(canonical_host(domain), domains)

    def generation_changed(self) -> None:
        """Something in the store is no longer as it was: read the list."""
        self._wanted += 1
        self._read()

    def stop(self) -> None:
        """Ask nothing of the store any more."""
        self._stopped = True
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _read(self) -> None:
        if self._reading or self._stopped:
            return
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._reading = True
        Deferred.fromCoroutine(self._read_all())

    async def _read_all(self) -> None:
        try:
            read = 0
            while read != self._wanted and not self._stopped:
                read = self._wanted
                self._lists = await read_lists(self._store, self._accounts)
        except StorageUnavailable:
            self._later()
            return
        except Exception:
            self._log.failure("the list of blocked links cannot be read")
            self._later()
            return
        finally:
            self._reading = False

    def _later(self) -> None:
        if not self._stopped:
            self._wanted += 1
            self._again = self._timers.callLater(RETRY, self._retry)

    def _retry(self) -> None:
        self._again = None
        self._read()


def _is_below(domain: str, domains: frozenset[str]) -> bool:
    """Whether a domain, or one that it is below, is among these."""
    while domain:
        if domain in domains:
            return True
        domain = domain.partition(".")[2]
    return False
