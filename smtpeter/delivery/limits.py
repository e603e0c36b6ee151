"""What one site takes from us, and what of that is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from smtpeter.delivery.places import Places
from smtpeter.delivery.throttle import Throttle
from smtpeter.settings import SourceAddress

AT_ONCE = 100  # of those that wait for room, when there is all of it


class Allotment:
    """What a site takes from one of our addresses: so fast, over so many connections, whichever of its hosts they lead
    to."""

    def __init__(self, address: SourceAddress, throttle: Throttle) -> None:
        self.address = address
        self.throttle = throttle
        self.places = Places(lambda: throttle.limit)


class SiteLimits:
    """All of a site, in the order in which our addresses are to be used.

    ``load`` are the messages on their way.  ``starved`` are to be called when there is less.
    """

    def __init__(self, site: str, allotments: Sequence[Allotment]) -> None:
        self.site = site
        self.allotments = allotments
        self.load = 0
        self.starved: dict[Callable[[], None], None] = {}

    def ended(self) -> None:
        """A message is not on its way any more."""
        self.load -= 1
        # When nothing is on its way any more nobody else will call them.
        for hear in list(islice(self.starved, 1 if self.load else AT_ONCE)):
            if hear in self.starved:
                del self.starved[hear]
                hear()


class Source:
    """An address of ours, as seen by some hosts of a site.

    ``reach`` tells whether these hosts are there at all: it is the throttle of the whole site where it has no others.
    """

    __slots__ = ("address", "places", "reach", "throttle")

    def __init__(self, allotment: Allotment, reach: Throttle | None = None) -> None:
        self.address = allotment.address
        self.throttle = allotment.throttle
        self.places = allotment.places
        self.reach = reach or allotment.throttle

    @property
    def limit(self) -> int:
        """How many connections there may be to these hosts."""
        return min(self.throttle.limit, self.reach.limit)

    def paused(self, now: float) -> float:
        """Seconds for which nothing goes there from here; 0.0: it is not paused."""
        return max(self.throttle.paused(now), self.reach.paused(now))

    def succeeded(self, now: float) -> None:
        """A message was dealt with."""
        self.throttle.succeeded(now)
        if self.reach is not self.throttle:
            self.reach.succeeded(now)
        self.places.offer()  # there may be more of them now
