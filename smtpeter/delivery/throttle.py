"""How much goes to one site from one source address, and how fast: limits, what failures and successes make of them,
and pauses.  Pure arithmetic: every time is the timers' own, in seconds, and comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from typing import NamedTuple

from smtpeter.model.route import SiteCondition

START = 5  # connections to a site of which nothing is known yet
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
LATENESS = 0.5  # seconds by which a start may be late without losing its share
NARROW = 60.0  # seconds for which there are no more connections, after one too many
_PERIOD = 60.0  # seconds over which the real rate is measured
_RESTORED = 2.0  # what slowed a site before a restart is taken to have divided by: that is not written down
_SANE = 1.0  # a second, where a site is to be slowed of which no rate is known
_SLOWEST = 60.0  # seconds between two starts, however much a site is slowed
_NEVER = float("-inf")


@dataclass(frozen=True, slots=True)
class Rate:
    """``count`` in ``seconds``; ``burst``: how many may go at once ahead of that pace."""

    count: float
    seconds: float
    burst: int = 1


class Shape(NamedTuple):
    """The limits of one site, for one source address.

    ``name`` tells whose they are.  ``messages`` is how many transactions one connection serves, ``recipients`` how many
    recipients one transaction has; ``idle`` is how long (seconds) an idle connection is kept.  The message rate counts
    recipients.  ``start`` is how many connections there are at first; the pauses (seconds) are those of a dead site.
    """

    name: str
    connections: int = 20
    messages: int = 1000
    recipients: int = 100
    message_rate: Rate | None = None
    connection_rate: Rate | None = None
    idle: float = 30.0
    start: int = START
    first_pause: float = FIRST_PAUSE
    longest_pause: float = LONGEST_PAUSE


class Spell(NamedTuple):
    """Something out of the ordinary, in the timers' seconds.  ``reason`` is a sentence."""

    condition: SiteCondition
    reason: str
    since: float
    until: float


class Pace:
    """Virtual scheduling (GCRA): each start is due one interval after the one before, whenever that really was.

    So a start that is late, by up to ``tolerance`` seconds, costs nothing of the rate over time, and no span of time
    ever has more starts than its share, the burst, and the one that was under way.
    """

    __slots__ = ("burst", "due", "interval", "tolerance")

    def __init__(self, rate: Rate) -> None:
        self.burst = rate.burst
        self.due = _NEVER
        self.set_interval(rate.seconds / rate.count)

    def set_interval(self, interval: float) -> None:
        self.interval = interval
        self.tolerance = max(self.burst * interval, LATENESS)

    def wait(self, now: float) -> float:
        wait = self.due - self.tolerance - now
        return wait if wait > 0.0 else 0.0

    def take(self, now: float, cost: int) -> None:
        due = self.due
        self.due = (due if due > now else now) + cost * self.interval

    def room(self, now: float, until: float) -> int:
        """How many may start from ``now`` on and until then."""
        ahead = until + self.tolerance - max(self.due, now)
        return int(ahead / self.interval + 1e-9) + 1 if ahead >= 0.0 and until >= now else 0


class Meter:
    """What really went lately, roughly, at no cost to speak of."""

    __slots__ = ("_before", "_count", "_since")

    def __init__(self) -> None:
        self._since = _NEVER
        self._before = self._count = 0

    def add(self, now: float, count: int) -> None:
        if now - self._since >= _PERIOD:
            self._before = self._count if now - self._since < 2 * _PERIOD else 0
            self._since = now
            self._count = 0
        self._count += count

    def rate(self, now: float) -> float:
        """A second; 0.0 where nothing went."""
        elapsed = now - self._since
        if elapsed >= 2 * _PERIOD:
            return 0.0
        if self._before:
            return (self._before + self._count) / (_PERIOD + elapsed)
        return self._count / max(elapsed, _PERIOD / 6)


class Throttle:
    """What one source address may do to one site now.

    ``random`` gives numbers in [0, 1), which spread the ends of pauses by a tenth.

    The number of connections starts low and grows by one for each round of successes, up to the shape's; each failure
    takes one away.  A failure that leaves none makes the site dead: it is paused at once, longer each time, and after a
    pause of any kind a single connection has to succeed before there are more.
    """

    __slots__ = (
        "_asked", "_ceiling", "_connection_meter", "_connection_pace", "_dead", "_factor", "_message_meter",
        "_message_pace", "_narrow_until", "_paused_until", "_pauses", "_probing", "_random", "_slowed", "_window",
        "shape",
    )  # fmt: skip

    def __init__(self, shape: Shape, random: Callable[[], float] = lambda: 0.5) -> None:
        self.shape = shape
        self._random = random
        self._message_meter = Meter()
        self._connection_meter = Meter()
        self.resume()

    def resume(self) -> None:
        """Treat the site as if nothing had been."""
        shape = self.shape
        self._ceiling = shape.connections
        self._window = float(min(shape.start, shape.connections))
        self._message_pace = Pace(shape.message_rate) if shape.message_rate else None
        self._connection_pace = Pace(shape.connection_rate) if shape.connection_rate else None
        self._pauses = 0
        self._narrow_until = _NEVER
        self._probing = False
        self._paused_until = _NEVER
        self._factor = 1.0
        self._asked: Spell | None = None
        self._dead: Spell | None = None
        self._slowed: Spell | None = None

    # --- asked before each step, and told of it ---

    @property
    def limit(self) -> int:
        """How many connections there may be now, at least 1."""
        return 1 if self._probing else int(self._window)

    def paused(self, now: float) -> float:
        """Seconds for which nothing may start; 0.0: the site is not paused."""
        return self._paused_until - now if self._paused_until > now else 0.0

    def connect_wait(self, now: float) -> float:
        """Seconds until another connection may be opened; 0.0: now."""
        return self._wait(now, self._connection_pace)

    def connecting(self, now: float) -> None:
        """A connection is being opened."""
        self._connection_meter.add(now, 1)
        if self._connection_pace is not None:
            self._connection_pace.take(now, 1)

    def send_wait(self, now: float) -> float:
        """Seconds until another transaction may start; 0.0: now."""
        return self._wait(now, self._message_pace)

    def sending(self, now: float, recipients: int) -> None:
        """A transaction starts."""
        self._message_meter.add(now, recipients)
        if self._message_pace is not None:
            self._message_pace.take(now, recipients)

    def allowance(self, now: float, seconds: float) -> int | None:
        """How many recipients may start within so many seconds; None: any number."""
        self._refresh(now)
        start = max(now, self._paused_until)
        if start > now + seconds:
            return 0
        return None if self._message_pace is None else self._message_pace.room(start, now + seconds)

    def _wait(self, now: float, pace: Pace | None) -> float:
        if self._slowed is not None:
            self._refresh(now)
        wait = 0.0 if pace is None else pace.wait(now)
        paused = self._paused_until - now
        return paused if paused > wait else wait

    # --- what became of it ---

    def succeeded(self, now: float) -> None:
        """A transaction was dealt with, whatever the answer: somebody is there."""
        if self._dead is not None:
            self._revive(now)
        elif self._probing and now >= self._paused_until:
            self._probing = False
            self._pauses = 0
            self._asked = None
        window = self._window
        if window < self._ceiling and now >= self._narrow_until:
            self._window = min(window + 1.0 / window, self._ceiling)

    def refused(self, now: float) -> None:
        """A connection failed while others were of use: there are too many of them, for a while."""
        self._window = max(self._window - 1.0, 1.0)
        self._narrow_until = now + NARROW

    def unreachable(self, now: float, reason: str) -> None:
        """A connection failed while there was no other: nobody is there."""
        if self._paused_until > now:
            return  # it was on its way before, and tells nothing new
        shape = self.shape
        length = min(shape.first_pause * 2.0**self._pauses, shape.longest_pause) * (0.9 + 0.2 * self._random())
        self._pauses = min(self._pauses + 1, 10)
        since = now if self._dead is None else self._dead.since
        self._dead = Spell(SiteCondition.PAUSED, reason, since, now + length)
        self._window = max(self._window - 1.0, 1.0)
        self._pause_until(now + length)

    def _revive(self, now: float) -> None:
        self._dead = None
        self._pauses = 0
        self._paused_until = _NEVER if self._asked is None else self._asked.until
        self._probing = self._paused_until > now
        self._window = max(self._window, float(min(self.shape.start, self._ceiling)))

    # --- what was asked for ---

    def pause(self, now: float, seconds: float, reason: str) -> None:
        """Start nothing for so long.  Of several the longest counts, whatever succeeds meanwhile."""
        self._ask(Spell(SiteCondition.PAUSED, reason, now, now + seconds), now)

    def slow(self, now: float, seconds: float, factor: float, reason: str) -> None:
        """Divide rates and connections for so long.  Of several the longest and the strongest count.

        Where the shape has no rate, what went lately is divided instead.
        """
        self._slow(now, Spell(SiteCondition.SLOWED, reason, now, now + seconds), factor)
        if self._message_pace is None:
            self._message_pace = _measured(self._message_meter, now)
            _divide(self._message_pace, self._factor, now)
        if self._connection_pace is None:
            self._connection_pace = _measured(self._connection_meter, now)
            _divide(self._connection_pace, self._factor, now)

    def restore(self, condition: SiteCondition, reason: str, since: float, until: float, now: float) -> None:
        """Go on with what :meth:`states` told before a restart.

        A pause is taken up where it was, so that a site that stays dead is not tried more often than before.  A site
        that was slowed has its connections divided, and the rates that its shape has.  Where it has none, nothing is
        known yet that could be divided: that is left to the next :meth:`slow`.
        """
        if until <= now:
            return
        if condition is SiteCondition.SLOWED:
            self._slow(now, Spell(condition, reason, since, until), _RESTORED)
        else:
            self._ask(Spell(condition, reason, since, until), now)
            # Pauses that double add up to this.
            self._pauses = max(self._pauses, min(round(log2(max(until - since, 0.0) / self.shape.first_pause + 1)), 10))

    def states(self, now: float) -> Sequence[Spell]:
        """What is out of the ordinary: at most one pause, the longest, and at most one slowing down."""
        self._refresh(now)
        pauses = [each for each in (self._asked, self._dead) if each is not None and each.until > now]
        longest = [max(pauses, key=lambda each: each.until)] if pauses else []
        return [*longest, *([] if self._slowed is None else [self._slowed])]

    def _ask(self, spell: Spell, now: float) -> None:
        asked = self._asked
        if asked is not None and asked.until > now:
            if spell.until <= asked.until:
                return
            spell = spell._replace(since=min(asked.since, spell.since))
        self._asked = spell
        self._pause_until(spell.until)

    def _pause_until(self, until: float) -> None:
        self._paused_until = max(self._paused_until, until)
        self._probing = True

    # --- slowed down ---

    def _slow(self, now: float, spell: Spell, factor: float) -> None:
        """Divide the connections, and the rates that there are."""
        self._refresh(now)
        slowed = self._slowed
        if slowed is None:
            self._slowed = spell
            self._ceiling = int(self._window)
        elif spell.until > slowed.until:
            self._slowed = spell._replace(since=min(spell.since, slowed.since))
        if factor > self._factor:
            more = factor / self._factor
            self._factor = factor
            self._ceiling = max(int(self._ceiling / more), 1)
            self._window = min(self._window, float(self._ceiling))
            for pace in (self._message_pace, self._connection_pace):
                if pace is not None:
                    _divide(pace, more, now)

    def _refresh(self, now: float) -> None:
        """Notice that slowing down is over."""
        if self._slowed is None or now < self._slowed.until:
            return
        self._slowed = None
        self._factor = 1.0
        self._ceiling = self.shape.connections
        self._message_pace = _restored(self._message_pace, self.shape.message_rate)
        self._connection_pace = _restored(self._connection_pace, self.shape.connection_rate)


def _measured(meter: Meter, now: float) -> Pace:
    return Pace(Rate(meter.rate(now) or _SANE, 1.0))


def _divide(pace: Pace, factor: float, now: float) -> None:
    pace.set_interval(max(pace.interval, min(pace.interval * factor, _SLOWEST)))
    pace.due = max(pace.due, now + pace.tolerance)  # whoever is to go slowly does not begin with a burst


def _restored(pace: Pace | None, rate: Rate | None) -> Pace | None:
    if pace is None or rate is None:
        return None
    pace.set_interval(rate.seconds / rate.count)
    return pace
