"""What is remembered for a while, in bounded room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """Values by key, each until its time is over.  ``seconds`` tells the time.

    Each takes some of ``room``; those that nobody asked for the longest make way.
    """

    def __init__(self, seconds: Callable[[], float], room: int) -> None:
        self._seconds = seconds
        self._room = room
        self._values: OrderedDict[K, tuple[V, float, int]] = OrderedDict()
        self._taken = 0

    def get(self, key: K) -> tuple[V, float] | None:
        """A value and how many seconds it is still good for."""
        found = self._values.get(key)
        if found is None:
            return None
        left = found[1] - self._seconds()
        if left <= 0:
            self._forget(key)
            return None
        self._values.move_to_end(key)
        return found[0], left

    def put(self, key: K, value: V, ttl: float, size: int = 1) -> None:
        """Remember it for ``ttl`` seconds."""
        if key in self._values:
            self._forget(key)
        self._values[key] = (value, self._seconds() + ttl, size)
        self._taken += size
        while self._taken > self._room:
            self._forget(next(iter(self._values)))

    def __len__(self) -> int:
        return len(self._values)

    def _forget(self, key: K) -> None:
        self._taken -= self._values.pop(key)[2]
