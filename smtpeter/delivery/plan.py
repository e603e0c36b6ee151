"""Which of those that wait may go next: turns for accounts and lanes, without a clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from smtpeter.model.delivery import Lane


class Parked(NamedTuple):
    """Lanes of a site that are to be left alone for so many seconds; 0: not any more."""

    site: str
    lanes: Sequence[Lane]
    seconds: float


class Plan(NamedTuple):
    """What is to be claimed, each lane for so many recipients at most, and what is to be left alone."""

    shares: Sequence[tuple[Lane, int]]
    parked: Sequence[Parked]


class Turns:
    """The lanes of one site that have something due.  Each account has its turn, and in it each lane of its own.

    ``parked`` is until when the store leaves a lane alone, by the timers' clock.
    """

    def __init__(self) -> None:
        self._accounts: dict[int, dict[Lane, None]] = {}
        self.parked: dict[Lane, float] = {}

    def __len__(self) -> int:
        return sum(map(len, self._accounts.values()))

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def lanes(self) -> list[Lane]:
        """All of them."""
        return [lane for lanes in self._accounts.values() for lane in lanes]

    def add(self, lane: Lane) -> None:
        """It has something due; where it was there before it keeps its place."""
        self._accounts.setdefault(lane.account, {})[lane] = None

    def remove(self, lane: Lane) -> None:
        """Nothing is due there now."""
        lanes = self._accounts.get(lane.account)
        if lanes is not None:
            lanes.pop(lane, None)
            if not lanes:
                del self._accounts[lane.account]

    def share(self, room: int) -> list[tuple[Lane, int]]:
        """Divide room for so many recipients.  Those that get something go behind those that got nothing."""
        shares: list[tuple[Lane, int]] = []
        accounts = list(self._accounts)
        for position, account in enumerate(accounts):
            if room <= 0:
                break
            part = -(-room // (len(accounts) - position))
            lanes = self._accounts.pop(account)
            given = divide(lanes, part)
            for lane, count in given:
                del lanes[lane]
                lanes[lane] = None
                room -= count
            self._accounts[account] = lanes
            shares += given
        return shares


def divide(lanes: Iterable[Lane] | Mapping[Lane, None], room: int) -> list[tuple[Lane, int]]:
    """The same for each, as far as it goes."""
    waiting = list(lanes)
    shares = []
    for position, lane in enumerate(waiting):
        if room <= 0:
            break
        part = -(-room // (len(waiting) - position))
        shares.append((lane, part))
        room -= part
    return shares
