"""How long a client may take: arithmetic on what a session tells, without a clock of its own."""

from __future__ import annotations

from typing import NamedTuple

RATE_GRACE = 30.0
"""Seconds.  A message may begin as slowly as it likes for so long."""

STRESS_TIMEOUT = 10.0
"""Seconds.  So long, at the most, may a client be silent while there are hardly any places left for others."""


class Timeouts(NamedTuple):
    """Seconds that a command and a TLS handshake may take, and octets a second that a message must bring (0: any)."""

    command: float
    handshake: float
    data_rate: int


class Deadlines:
    """One client's.  Times are those of any monotonic clock.

    A command has to be complete within ``command`` seconds after our last answer, however its octets are spread: one
    octet now and then gains nothing.  A message has to bring ``data_rate`` octets a second on average, once the first
    30 seconds are over, and may not stop for ``command`` seconds either.
    """

    def __init__(self, timeouts: Timeouts, now: float) -> None:
        self._timeouts = timeouts
        self._since = self._heard = now
        self._octets = 0

    def begin(self, now: float) -> None:
        """It is the client's turn again, from now on."""
        self._since = self._heard = now
        self._octets = 0

    def heard(self, now: float, octets: int) -> None:
        """So many octets came in."""
        self._heard = now
        self._octets += octets

    def for_handshake(self, now: float) -> float:
        """Seconds left for the TLS handshake."""
        return self._since + self._timeouts.handshake - now

    def for_command(self, now: float, *, stress: bool = False) -> float:
        """Seconds left for a command."""
        return self._since + self._patience(stress) - now

    def for_message(self, now: float, *, stress: bool = False) -> float:
        """Seconds left for a message, if nothing more comes."""
        until = self._heard + self._patience(stress)
        if self._timeouts.data_rate:
            until = min(until, self._since + max(RATE_GRACE, self._octets / self._timeouts.data_rate))
        return until - now

    def _patience(self, stress: bool) -> float:
        return min(self._timeouts.command, STRESS_TIMEOUT) if stress else self._timeouts.command
