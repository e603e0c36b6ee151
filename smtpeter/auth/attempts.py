"""Guesses at passwords, counted by where they come from and by what they are aimed at: arithmetic without a clock.

Failed logins make answers slower, never impossible.  A failed login is answered the later, the more of them came from
its address or were aimed at its name.  A right password is answered at once, unless its address has a bad record and
never got in by that name: so an attacker does not keep an owner out who is somewhere else, and does not find out sooner
that a guess was right.  Of an address with a bad record only a few logins are looked at at once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

FREE = 5
"""So many failures have no consequence: people mistype."""

FORGIVEN_EVERY = 60.0
"""Seconds after which one failure is forgotten."""

MOST = 20
"""Failures that are remembered: whoever stops guessing has a clean record again after so many minutes."""

FIRST_DELAY = 1.0
LONGEST_DELAY = 8.0
"""Seconds.  Each failure doubles the delay; the longest is well below what clients wait for an answer."""

AT_ONCE = 4
"""Logins under way from one address with a bad record."""

CAPACITY = 50_000
"""Addresses, names, and pairs of both, that are remembered; the oldest make room."""


class Failed(NamedTuple):
    """What follows from a failed login: seconds to wait before the answer, and what to tell the operator.

    ``alarm`` is how often this address or this name failed, where that is worth a line in the log (each time that it
    doubled), else 0.
    """

    delay: float
    alarm: int


class _Record:
    __slots__ = ("failures", "since", "total")

    def __init__(self, now: float) -> None:
        self.failures = 0.0
        self.since = now
        self.total = 0


class Attempts:
    """What is remembered of logins.  ``now`` is always a monotonic clock's time, in seconds.

    ``network`` is the client's address, or for IPv6 its network; ``name`` is what it logs in by, empty for a token:
    that is aimed at nobody.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._networks: OrderedDict[bytes, _Record] = OrderedDict()
        self._names: OrderedDict[bytes, _Record] = OrderedDict()
        self._successes: OrderedDict[bytes, None] = OrderedDict()
        self._under_way: dict[str, int] = {}

    def begin(self, network: str, name: str, now: float) -> bool:
        """Whether a login may be looked at now; where it may, :meth:`end` has to follow."""
        under_way = self._under_way.get(network, 0)
        if under_way >= AT_ONCE and not self.is_known(network, name) and self._delay_of(self._networks, network, now):
            return False
        self._under_way[network] = under_way + 1
        return True

    def end(self, network: str) -> None:
        """A login was answered, or given up."""
        self._under_way[network] -= 1
        if not self._under_way[network]:
            del self._under_way[network]

    def is_known(self, network: str, name: str) -> bool:
        """Whether this address got in by this name before."""
        return _digest(network, name) in self._successes

    def failed(self, network: str, name: str, now: float) -> Failed:
        """A login failed."""
        records = [self._count(self._networks, network, now)]
        if name:
            records.append(self._count(self._names, name, now))
        alarms = [record.total for record in records if record.total > FREE and _is_power(record.total)]
        return Failed(max(_delay(record.failures) for record in records), max(alarms, default=0))

    def succeeded(self, network: str, name: str, now: float) -> float:
        """A login succeeded; seconds to wait before the answer."""
        key = _digest(network, name)
        known = key in self._successes
        self._successes[key] = None
        self._successes.move_to_end(key)
        if len(self._successes) > self._capacity:
            self._successes.popitem(last=False)
        return 0.0 if known else self._delay_of(self._networks, network, now)

    def _count(self, records: OrderedDict[bytes, _Record], whose: str, now: float) -> _Record:
        key = _digest(whose)
        record = records.get(key)
        if record is None:
            record = records[key] = _Record(now)
            if len(records) > self._capacity:
                records.popitem(last=False)
        else:
            records.move_to_end(key)
            _forgive(record, now)
        record.failures = min(record.failures + 1, MOST)
        record.total += 1
        return record

    def _delay_of(self, records: OrderedDict[bytes, _Record], whose: str, now: float) -> float:
        record = records.get(_digest(whose))
        if record is None:
            return 0.0
        _forgive(record, now)
        return _delay(record.failures)


def _forgive(record: _Record, now: float) -> None:
    record.failures = max(0.0, record.failures - (now - record.since) / FORGIVEN_EVERY)
    record.since = now
    if not record.failures:
        record.total = 0


def _delay(failures: float) -> float:
    if failures <= FREE:
        return 0.0
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - FREE - 1)))


def _is_power(number: int) -> bool:
    return number & (number - 1) == 0


def _digest(*texts: str) -> bytes:
    """A short key of bounded size, whatever a client calls itself."""
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
