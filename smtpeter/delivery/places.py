"""How many connections there may be."""

from __future__ import annotations

from collections.abc import Callable


class Places:
    """So many connections.  Whoever finds none is called when there is one, in the order in which they came.

    ``limit`` may change from one moment to the next.  ``idle`` are to be called to have a connection closed that nobody
    uses, the one that has been there longest first; they answer whether there was one, and what is closed is given
    back.
    """

    def __init__(self, limit: Callable[[], int]) -> None:
        self.taken = 0
        self.idle: dict[Callable[[], bool], None] = {}
        self._limit = limit
        self._line: dict[Callable[[], None], None] = {}
        self._offering = False

    @property
    def crowding(self) -> float:
        """How many of them are taken: from 0 to 1."""
        return min(1.0, self.taken / self._limit())

    @property
    def are_free(self) -> bool:
        """Whether there is one that nobody waits for."""
        return self.taken < self._limit() and not self._line

    @property
    def are_wanted(self) -> bool:
        """Whether somebody waits for one."""
        return bool(self._line)

    def take(self, wake: Callable[[], None]) -> bool:
        """Whether there is a place; otherwise ``wake`` is called when it is worth asking again."""
        if self.taken >= self._limit():
            if wake not in self._line:
                self._line[wake] = None
                self._reclaim()
            return False
        self._line.pop(wake, None)
        self.taken += 1
        return True

    def give_back(self) -> None:
        """A connection is closed, or was not made."""
        self.taken -= 1
        self.offer()

    def offer(self) -> None:
        """There may be places: those that wait are called for as long as there are, as the first may want none now."""
        if self._offering:
            return  # what is given back meanwhile is dealt with by the loop below, not by recursion
        self._offering = True
        try:
            while self._line and self.taken < self._limit():
                first = next(iter(self._line))
                del self._line[first]
                first()
        finally:
            self._offering = False

    def _reclaim(self) -> None:
        first = next(iter(self.idle), None)
        if first is not None and not first():
            self.idle.pop(first, None)
