"""A pause for ports that cannot accept: the system, which has no file left for a connection, asks again at once."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtpeter.intake.late import LateFactory

PAUSE = 0.5
"""Seconds.  Meanwhile connections wait with the system, and everything else goes on."""


class Breath:
    """Stands before a listening port: where it was asked to accept and nothing came of it, it rests.

    ``port`` is one of Twisted's over TCP or a Unix socket, ``factory`` what makes its protocols.
    """

    def __init__(self, port: Any, factory: LateFactory, timers: IReactorTime) -> None:
        self._port = port
        self._accept = port.doRead
        self._factory = factory
        self._timers = timers
        self._resting: IDelayedCall | None = None
        port.doRead = self._do_read

    def stop(self) -> None:
        """Never go on."""
        if self._resting is not None and self._resting.active():
            self._resting.cancel()

    def _do_read(self) -> None:
        before = self._factory.asked
        self._accept()
        if self._factory.asked == before and self._port.connected:
            self._port.stopReading()
            self._resting = self._timers.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self._port.connected:
            self._port.startReading()
