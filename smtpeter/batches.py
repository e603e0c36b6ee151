"""What is to be written to the store: gathered, written together, and kept for as long as the store cannot take it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from smtpeter.errors import StorageUnavailable, StoreDamaged

T = TypeVar("T")

GATHER = 0.005  # seconds in which items are gathered before they are written together
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0  # seconds, in trouble of the store


class Batches(Generic[T]):
    """Has items written.

    ``write`` writes some together and answers those that have to wait; where it raises StorageUnavailable, all of them
    do.  Where it fails for another reason, or because something is damaged, each of them is written alone, so that a
    bad one does not hold up others.  One that fails alone is given to ``broken``, while its exception is dealt with.
    Items that are ``apart`` are always written alone.  ``what`` they are is for the lines in ``log``.
    """

    def __init__(
        self,
        what: str,
        *,
        write: Callable[[Sequence[T]], Awaitable[Sequence[T]]],
        broken: Callable[[T, Exception], None],
        timers: IReactorTime,
        log: Logger,
        apart: Callable[[T], bool] = lambda item: False,
    ) -> None:
        self._what = what
        self._write = write
        self._broken = broken
        self._timers = timers
        self._log = log
        self._apart = apart
        self._waiting: list[T] = []
        self._writing: Sequence[T] = ()
        self._timer: IDelayedCall | None = None
        self._wait = 0.0
        self._drained: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting) + len(self._writing)

    def __iter__(self) -> Iterator[T]:
        yield from self._writing
        yield from self._waiting

    @property
    def draining(self) -> bool:
        """Whether somebody waits for the end."""
        return self._drained is not None

    def add(self, item: T) -> None:
        """Take over an item."""
        self._waiting.append(item)
        if self._timer is None and not self._writing:
            self._timer = self._timers.callLater(GATHER, self._start)

    def drain(self) -> Deferred[None]:
        """Fires when everything is written that can be.  Cancel it to stop waiting, and trying."""
        if not self._waiting and not self._writing:
            return succeed(None)
        if self._timer is not None:
            self._timer.reset(0)
        self._drained = Deferred(lambda deferred: self._give_up())
        return self._drained

    def note_wait(self, error: StorageUnavailable, what: str = "") -> None:
        """Say that they wait, or ``what`` of them does, once for each time of trouble."""
        if not self._wait:
            self._log.error(f"storage: {what or f'{self._what} wait'}: {{reason}}", event="storage", reason=str(error))

    def _give_up(self) -> None:
        self._drained = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self._timer = None
        Deferred.fromCoroutine(self._write_all())

    async def _write_all(self) -> None:
        batch, self._waiting = self._waiting, []
        self._writing = batch
        left = await self._write_together([item for item in batch if not self._apart(item)])
        left += await self._write_singly([item for item in batch if self._apart(item)])
        self._writing = ()
        if not left and self._wait:
            self._log.info(f"storage: {self._what} are written again", event="storage")
        longest = LONGEST_WAIT if self._drained is None else FIRST_WAIT
        self._wait = min(longest, self._wait * 2 or FIRST_WAIT) if left else 0.0
        self._waiting = [*left, *self._waiting]
        if self._waiting:
            self._timer = self._timers.callLater(self._wait, self._start)
        elif self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    async def _write_together(self, items: Sequence[T]) -> list[T]:
        if not items:
            return []
        try:
            return [*await self._write(items)]
        except StoreDamaged:
            return await self._write_singly(items)
        except StorageUnavailable as error:
            self.note_wait(error)
            return [*items]
        except Exception:
            self._log.failure(f"{self._what} could not be written")
            return await self._write_singly(items)

    async def _write_singly(self, items: Sequence[T]) -> list[T]:
        left: list[T] = []
        for item in items:
            try:
                left += await self._write([item])
            except Exception as error:
                if isinstance(error, StorageUnavailable) and not isinstance(error, StoreDamaged):
                    self.note_wait(error)
                    left.append(item)
                else:
                    self._broken(item, error)
        return left
