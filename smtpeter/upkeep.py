"""What is done again and again while the server runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.directory import Directory
from smtpeter.auth.tls import ServerTls
from smtpeter.errors import StorageUnavailable
from smtpeter.intake.gate import Gate
from smtpeter.interfaces import IClock, IQueueStore
from smtpeter.settings import Settings

GENERATION_INTERVAL = 0.5  # what a command changed takes effect within a second
ROOM_INTERVAL = 5.0
DEPTHS_INTERVAL = 10.0
USED_INTERVAL = 30.0
DAY = 86400.0
EXPIRY_WARNING = 14  # days
PURGE_INTERVAL = 60.0
PURGE_STEP = 200


class Changing(Protocol):
    """Whoever has read something from the store that commands change."""

    def generation_changed(self) -> None:
        """A command changed something."""


class Upkeep:
    """Keeps everything at work up to date: ``changing`` are told what commands did.

    ``depths`` are the recipients in each state that is not final.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        settings: Settings,
        reactor: Any,
        clock: IClock,
        queue: IQueueStore,
        changing: Collection[Changing],
        directory: Directory,
        gate: Gate,
        tls: ServerTls,
    ) -> None:
        self.depths: Mapping[str, int] = {}
        self._settings = settings
        self._reactor = reactor
        self._clock = clock
        self._queue = queue
        self._directory = directory
        self._changing = changing
        self._gate = gate
        self._tls = tls
        self._loops: list[LoopingCall] = []
        self._generation = -1
        self._running = False

    def start(self) -> None:
        """Do everything for the first time, and go on."""
        self._running = True
        for interval, task in (
            (GENERATION_INTERVAL, self._look_at_generation),
            (ROOM_INTERVAL, self._gate.measure),
            (DEPTHS_INTERVAL, self._look_at_depths),
            (USED_INTERVAL, self._directory.flush),
            (PURGE_INTERVAL, self._purge),
            (DAY, self._look_at_certificate),
        ):
            self._repeat(interval, task)

    def stop(self) -> None:
        """Begin nothing any more."""
        self._running = False
        for loop in self._loops:
            loop.stop()

    def _repeat(self, interval: float, task: Callable[[], object]) -> None:
        def attempt() -> Deferred[Any]:
            return maybeDeferred(task).addErrback(self._failed, task.__name__)

        loop = LoopingCall(attempt)
        loop.clock = self._reactor
        loop.start(interval)
        self._loops.append(loop)

    def _failed(self, failure: Failure, name: str) -> None:
        if failure.check(StorageUnavailable) is None:  # such trouble is told by the store itself
            self._log.failure("{name} failed", failure=failure, name=name)

    def _look_at_generation(self) -> Deferred[None]:
        def seen(generation: int) -> None:
            if generation != self._generation:
                self._generation = generation
                for each in self._changing:
                    each.generation_changed()

        return self._queue.generation().addCallback(seen)

    def _look_at_depths(self) -> Deferred[None]:
        def seen(depths: Mapping[str, int]) -> None:
            self.depths = depths

        return self._queue.depths().addCallback(seen)

    def _look_at_certificate(self) -> None:
        """Our own certificate is made anew in time (:class:`ServerTls` sees that its files changed); of another one
        it is said when that ought to be done."""
        now = self._clock.time()
        if self._settings.tls.certificate is None:
            ensure_certificate(self._settings.data_dir / "tls", self._settings.hostname, now)
            return
        days = (self._tls.expires - now) / DAY
        path = str(self._settings.tls.certificate)
        if days < 0:
            self._log.error("the certificate in use has expired: {path}", event="certificate", path=path)
        elif days < EXPIRY_WARNING:
            self._log.warn(
                "the certificate in use expires in {days} days: {path}", event="certificate", days=int(days), path=path
            )

    def _purge(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._purge_all())

    async def _purge_all(self) -> None:
        retention = self._settings.retention
        while self._running and await self._queue.purge(
            self._clock.time(), retention.content, retention.captured, retention.events, PURGE_STEP
        ):
            pass
