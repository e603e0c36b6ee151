"""The machine's wall clock, behind the interface that everything else asks."""

from __future__ import annotations

import time

from zope.interface import implementer

from smtpeter.interfaces import IClock


@implementer(IClock)
class WallClock:
    """The real one."""

    def time(self) -> float:
        """See :meth:`smtpeter.interfaces.IClock.time`."""
        return time.time()
