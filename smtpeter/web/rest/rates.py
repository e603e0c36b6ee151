"""How often a token may ask: arithmetic, with a clock that is given."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 10_000


class Rates:
    """So many requests a second for each key, and as many at once (the generic cell rate algorithm); 0: any number.

    ``seconds`` is a monotonic clock.
    """

    def __init__(self, per_second: int, seconds: Callable[[], float]) -> None:
        self._interval = 1 / per_second if per_second else 0.0
        self._seconds = seconds
        self._arrivals: dict[str, float] = {}

    def take(self, key: str) -> float:
        """Count a request.  0: it may be carried out; else it may not, and this is how many seconds to wait."""
        if not self._interval:
            return 0.0
        now = self._seconds()
        arrival = max(self._arrivals.get(key, 0.0), now)
        wait = arrival - now - 1.0 + self._interval
        # What many additions of a fraction lose is no reason to wait.
        if wait > 1e-6:
            return wait
        if len(self._arrivals) >= _MOST and key not in self._arrivals:
            self._arrivals = {each: at for each, at in self._arrivals.items() if at > now}
        self._arrivals[key] = arrival + self._interval
        return 0.0
