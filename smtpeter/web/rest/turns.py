"""Large answers: only so many at a time are in memory, fairly among accounts, until their clients have taken them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator

from twisted.internet.defer import DeferredSemaphore

PIECE = 65_536
"""Octets that are written at a time."""


class Turns:
    """``at_once`` turns together, of which one account has ``of_one`` at the most."""

    def __init__(self, at_once: int, of_one: int) -> None:
        self._all = DeferredSemaphore(at_once)
        self._of_one = of_one
        self._own: dict[int, tuple[DeferredSemaphore, int]] = {}

    async def take(self, account: int) -> Callable[[], None]:
        """Wait for a turn.  What ends it, and may be called twice."""
        own, users = self._own.get(account) or (DeferredSemaphore(self._of_one), 0)
        self._own[account] = own, users + 1
        try:
            await own.acquire()
            try:
                await self._all.acquire()
            except BaseException:
                own.release()
                raise
        except BaseException:
            self._forget(account)
            raise
        taken = True

        def end() -> None:
            nonlocal taken
            if taken:
                taken = False
                self._all.release()
                own.release()
                self._forget(account)

        return end

    def _forget(self, account: int) -> None:
        own, users = self._own[account]
        if users > 1:
            self._own[account] = own, users - 1
        else:
            del self._own[account]


class Pieces(AsyncIterator[bytes]):
    """Pieces of an answer; ``end`` is called when they are taken, or nobody wants them any more."""

    def __init__(self, pieces: Iterable[bytes], end: Callable[[], None]) -> None:
        self._pieces = iter(pieces)
        self._end = end

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        await self.aclose()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Nothing more is wanted."""
        self._pieces = iter(())
        self._end()


def slices(octets: bytes) -> Iterator[bytes]:
    """Octets that are there as a whole, piece by piece: a transport would copy all of them at once."""
    for start in range(0, len(octets), PIECE):
        yield octets[start : start + PIECE]
