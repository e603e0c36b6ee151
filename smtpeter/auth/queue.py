"""A queue for what is slow, in which nobody stands in everybody's way."""

from __future__ import annotations

from collections import OrderedDict, deque

from twisted.internet.defer import Deferred, succeed

from smtpeter.errors import Refusal

_BUSY = "Too many passwords are being checked now; try again later"


class FairQueue:
    """Lets ``at_once`` in at a time, and the others one after the other: in turn from each network, however many of
    one wait, and those first who are known.

    ``each`` may wait from one network, and ``waiting`` in all; those who are known have as many places for themselves.
    """

    def __init__(self, at_once: int, each: int, waiting: int) -> None:
        self._free = at_once
        self._each = each
        self._limit = waiting
        self._known: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()
        self._others: OrderedDict[str, deque[Deferred[None]]] = OrderedDict()

    def enter(self, network: str, *, known: bool) -> Deferred[None]:
        """Fires when it is one's turn; :meth:`leave` has to follow.

        :raises Refusal: (454) where too many wait.
        """
        if self._free:
            self._free -= 1
            return succeed(None)
        lines = self._known if known else self._others
        if len(lines.get(network, ())) >= self._each:
            raise Refusal(454, "4.7.0", _BUSY, f"{self._each} wait from {network}")
        if sum(map(len, lines.values())) >= self._limit:
            raise Refusal(454, "4.7.0", _BUSY, f"{self._limit} wait")
        turn: Deferred[None] = Deferred()
        lines.setdefault(network, deque()).append(turn)
        return turn

    def leave(self) -> None:
        """The next one's turn."""
        self._free += 1
        while self._free and (self._known or self._others):
            lines = self._known or self._others
            network, line = lines.popitem(last=False)
            turn = line.popleft()
            if line:
                lines[network] = line
            if not turn.called:  # else it was given up meanwhile
                self._free -= 1
                turn.callback(None)
