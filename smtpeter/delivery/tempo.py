"""How many connections a site is worth: as many as it takes to have what waits on its way soon, and no more.

Opening a connection costs as much as several messages on one that is there, ours and the receiver's alike.
"""

from __future__ import annotations

SOON = 0.02  # seconds within which what waits is to be on its way, where there is nobody else
LATER = 1.0  # the same where every place is taken
UNKNOWN = 0.02  # seconds that a message is taken to need where none was sent yet: few, for opening is dear
STALL = 0.25  # seconds without an end after which a site counts as slow
WINDOW = 10.0  # seconds over which the quickest message counts


class Tempo:
    """How quickly a site deals with messages.  Times are the timers' seconds.

    The quickest of late counts, not the mean: where it is we who are busy, all of them take long, and more connections
    would make that worse.
    """

    __slots__ = ("_before", "_progress", "_since", "_window")

    def __init__(self) -> None:
        self._before = self._window = float("inf")
        self._since = float("-inf")
        self._progress = 0.0

    def begun(self, now: float, busy: int) -> None:
        """A message goes out; ``busy`` are under way with it."""
        if busy <= 1:
            self._progress = now

    def ended(self, now: float, seconds: float) -> None:
        """A message was dealt with, in so many seconds."""
        self._progress = now
        if now - self._since >= WINDOW:
            self._before = self._window if now - self._since < 2 * WINDOW else float("inf")
            self._since, self._window = now, seconds
        elif seconds < self._window:
            self._window = seconds

    def wanted(self, now: float, waiting: int, busy: int, crowding: float) -> int:
        """How many connections are worth having, with so many messages waiting and so many under way.

        ``crowding`` tells how many of all places for connections are taken, from 0 to 1.
        """
        quickest = min(self._before, self._window)
        seconds = quickest if quickest < float("inf") else UNKNOWN
        stalled = now - self._progress if busy else 0.0
        if stalled >= STALL:
            seconds = max(seconds, stalled)
        return max(1, busy + int(waiting * seconds / max(SOON, LATER * crowding)))
