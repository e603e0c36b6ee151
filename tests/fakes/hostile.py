"""A receiver in memory that does harm in time: it answers late, octet by octet, or without end."""

from __future__ import annotations

from typing import NamedTuple

from tests.fakes.receiver import FakeReceiver


class Late(NamedTuple):
    """An answer that comes so many seconds later."""

    seconds: float
    octets: bytes


class Drip(NamedTuple):
    """An answer of which one octet comes every so many seconds."""

    seconds: float
    octets: bytes


class Endless(NamedTuple):
    """These octets, again and again, as fast as they are read."""

    octets: bytes


class HostileReceiver(FakeReceiver):
    """Answers may be those above too.  With ``stalls`` it reads nothing more once it has asked for the message.

    ``flood`` counts the octets of an endless answer that were read.
    """

    def __init__(self, clock, *, stalls=False, reading=None, **script):
        super().__init__(**script)
        self.flood = 0
        self.reading = reading
        self._clock = clock
        self._stalls = stalls

    def receive(self, octets):
        output = super().receive(octets)
        if self._stalls and self._in_data:
            self.reading = 0
        return output

    def _command(self, line):
        self._later = b""
        output = super()._command(line)
        self._in_data |= line == "DATA" and self._later.startswith(b"3")
        if line.startswith("RCPT") and self._later.startswith(b"2"):
            self._accepted.append(line[9:].partition(">")[0])
        return output

    def _say(self, answer):
        match answer:
            case Late(seconds, octets):
                self._later = octets
                self._clock.callLater(seconds, self.wire.push, octets)
            case Drip(seconds, octets):
                self._later = octets
                for place in range(len(octets)):
                    self._clock.callLater(seconds * (place + 1), self.wire.push, octets[place : place + 1])
            case Endless(octets):
                self._flood(octets)
            case _:
                return super()._say(answer)
        return b""

    def _flood(self, octets):
        if not self.wire.lost:
            self.flood += len(octets)
            self.wire.push(octets)
            self._clock.callLater(0.001, self._flood, octets)
