"""Ports that leave others their turn, and rest where they cannot accept at all."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from smtpeter.intake.late import LateFactory

AT_ONCE = 8
"""Connections that are accepted in one turn.  Each costs a TLS handshake: a crowd of them waits with the system, rather
than in front of the sessions that are there.  Under 1,000 connections a second those wait half as long as without."""

PAUSE = 0.5
"""Seconds that a port rests.  Meanwhile connections wait with the system, and everything else goes on."""


class Breath:
    """Stands before a listening port, lets in a few at a time, and lets it rest where nothing came of accepting.

    The system, which has no file left for a connection, would ask again at once.
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
        self._port.numberAccepts = AT_ONCE  # Twisted lets in more each time that all it lets in came
        self._accept()
        if self._factory.asked == before and self._port.connected:
            self._port.stopReading()
            self._resting = self._timers.callLater(PAUSE, self._go_on)

    def _go_on(self) -> None:
        if self._port.connected:
            self._port.startReading()
