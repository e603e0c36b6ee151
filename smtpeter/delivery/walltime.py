"""Wall time that may be set while we look at it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from smtpeter.interfaces import IClock
from smtpeter.model.delivery import Job

JUMP = 60.0  # seconds by which the clock may be set without our minding


class WallTime:
    """The clock, compared with timers that nobody can set.

    ``jumped`` is called with the seconds by which the clock was set, when that is seen.
    """

    def __init__(self, clock: IClock, timers: IReactorTime, jumped: Callable[[float], None]) -> None:
        self._clock = clock
        self._timers = timers
        self._jumped = jumped
        self._drift: float | None = None
        self._ahead = 0.0  # by how much the clock was set ahead, altogether
        self._seen = 0.0  # the time at which that was seen

    def now(self) -> float:
        """Seconds since the epoch.  It has to be asked every minute or so, lest a clock that is slewed seem to jump."""
        now = self._clock.time()
        drift = now - self._timers.seconds()
        jump, self._drift = drift - (drift if self._drift is None else self._drift), drift
        if abs(jump) > JUMP:
            self._ahead, self._seen = max(0.0, self._ahead + jump), now
            self._jumped(jump)
        return now

    def in_real_time(self, job: Job) -> Job:
        """The job, with its limit as far ahead as it was when it came in: what did not pass cannot be over."""
        if self._ahead and job.time < self._seen - self._ahead / 2:
            return job._replace(expires=job.expires + self._ahead)
        return job
