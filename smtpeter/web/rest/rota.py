"""Whose turn it is, where several accounts have work for a few processes."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Generic, TypeVar

T = TypeVar("T")


class Rota(Generic[T]):
    """What waits, of each account in the order in which it came; the accounts take turns."""

    def __init__(self) -> None:
        self._waiting: dict[int, deque[T]] = {}  # the first is next
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, account: int, work: T) -> None:
        """Something more to do for an account."""
        self._waiting.setdefault(account, deque()).append(work)
        self._count += 1

    def take(self, busy: Collection[int], slow: Collection[int]) -> tuple[int, T] | None:
        """An account and what is to be done for it now; None where nothing is.

        Accounts in ``busy``, for which something is being done, come after all others, and ``slow`` ones after those
        that are not; nothing more is begun for an account that is both.
        """
        account = min(self._waiting, key=lambda each: (each in busy, each in slow), default=None)
        if account is None or (account in busy and account in slow):
            return None
        waiting = self._waiting.pop(account)
        work = waiting.popleft()
        if waiting:
            self._waiting[account] = waiting  # behind all others
        self._count -= 1
        return account, work

    def drop(self) -> T:
        """Take out what came last for the account that has the most."""
        account = max(self._waiting, key=lambda each: len(self._waiting[each]))
        work = self._waiting[account].pop()
        if not self._waiting[account]:
            del self._waiting[account]
        self._count -= 1
        return work

    def clear(self) -> list[T]:
        """Take out everything."""
        everything = [work for waiting in self._waiting.values() for work in waiting]
        self._waiting.clear()
        self._count = 0
        return everything
