"""What the store, and so an operator, knows of sites that are slowed or paused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from smtpeter.delivery.throttle import Throttle
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, ISiteStore
from smtpeter.model.route import SiteCondition, SiteState

SOON = 1.0  # seconds from a change to its being written
REST = 20.0  # after a write there is none for so many times as long as it took: the store has other things to do
LONGEST_REST = 30.0  # seconds
AGAIN = 30.0  # seconds between looks for what is over
TOGETHER = 200  # sites that are looked at in one turn of the reactor

Pace = tuple[str, str, Throttle]
"""A site, or some hosts of one; our address; and how fast that goes."""
UNCERTAIN = 3600.0  # at most so many seconds of a pause are left where the clock was set back since it began
LONGEST = 86400.0  # and never more than so many: what is over is found out by trying


class SiteBook:
    """Writes what is out of the ordinary, remembers it over a restart, and passes on what operators say.

    It knows those alone of which it was told, and no longer than there is something to them: there may be very many
    others.  ``resume`` is asked to forget what was with a site.  What is written is wall time, which may be set at any
    moment; what goes on goes by the timers.
    """

    _log = Logger()

    def __init__(self, store: ISiteStore, clock: IClock, timers: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._timers = timers
        self.resume: Callable[[str], None] = lambda site: None
        self._before: dict[tuple[str, str], list[SiteState]] = {}  # in the timers' seconds
        self._unusual: dict[tuple[str, str], Throttle] = {}
        self._counts = dict.fromkeys(SiteCondition, 0)
        self._is_written = False  # whether there is anything in the store
        self._timer: IDelayedCall | None = None
        self._rested = float("-inf")  # when there may be another write, in the timers' seconds
        self._writing = False
        self._running = True

    def recall(self, states: Iterable[SiteState]) -> None:
        """What was written before the start, perhaps by a clock that was wrong, or before one that is."""
        now, time = self._timers.seconds(), self._clock.time()
        for state in states:
            self._is_written = True
            if not state.resumed:
                until = now + _left(state, time)
                since = until - (state.until - state.since)
                self._before.setdefault((state.site, state.source), []).append(state._replace(since=since, until=until))
        if self._is_written:
            self.changed()

    def restore(self, site: str, source: str, throttle: Throttle) -> None:
        """A site was just made known: go on as before the start."""
        now = self._timers.seconds()
        for state in self._before.pop((site, source), ()):
            throttle.restore(state.condition, state.reason, state.since, state.until, now)
            self._unusual[site, source] = throttle

    def changed(self, paces: Iterable[Pace] = ()) -> None:
        """Some of these were slowed, paused or resumed."""
        self._unusual.update(((site, source), throttle) for site, source, throttle in paces)
        self._write_in(SOON)

    def generation_changed(self) -> None:
        """Perhaps an operator has said something."""
        self._spawn(self._read())

    def counts(self) -> Mapping[str, int]:
        """How many sites are slowed, and how many are paused, as was seen when it was last looked."""
        return {condition.value: count for condition, count in self._counts.items()}

    def stop(self) -> None:
        """Write nothing more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _offset(self) -> float:
        """What is to be added to the timers' seconds to have wall time."""
        return self._clock.time() - self._timers.seconds()

    # --- written ---

    def _write_in(self, seconds: float) -> None:
        """Or when the store has rested from the last time, if that is later."""
        if not self._running:
            return
        seconds = max(seconds, self._rested - self._timers.seconds())
        if self._timer is not None:
            if self._timer.getTime() <= self._timers.seconds() + seconds:
                return
            self._timer.cancel()
        self._timer = self._timers.callLater(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        if self._writing:
            self._write_in(SOON)
        else:
            self._spawn(self._write())

    async def _write(self) -> None:
        self._writing = True
        try:
            states = await self._look()
            if not self._running:
                return
            if states or self._is_written:
                self._is_written = True
                began = self._timers.seconds()
                await self._store.write(states)
                self._rest(self._timers.seconds() - began)
                self._is_written = bool(states)
            if states:
                self._write_in(AGAIN)
        except StorageUnavailable:
            self._write_in(SOON)
        finally:
            self._writing = False

    def _rest(self, took: float) -> None:
        """All of them are written each time, which takes long where they are very many."""
        self._rested = self._timers.seconds() + min(REST * took, LONGEST_REST)
        if self._timer is not None and self._timer.getTime() < self._rested:
            self._timer.reset(self._rested - self._timers.seconds())

    async def _look(self) -> list[SiteState]:
        """All that is out of the ordinary, some of it in each turn of the reactor."""
        states: list[SiteState] = []
        sites: dict[SiteCondition, set[str]] = {condition: set() for condition in SiteCondition}
        for number, found in enumerate(self._found(), 1):
            states += found
            for state in found:
                sites[state.condition].add(state.site)
            if number % TOGETHER == 0:
                await deferLater(self._timers, 0.0)
        self._counts = {condition: len(names) for condition, names in sites.items()}
        return states

    def _found(self) -> Iterator[Sequence[SiteState]]:
        """What is out of the ordinary at each site; those that are as usual again are known no more."""
        for (site, source), throttle in list(self._unusual.items()):
            offset, spells = self._offset(), throttle.states(self._timers.seconds())
            if not spells and self._unusual.get((site, source)) is throttle:
                del self._unusual[site, source]
            yield [
                SiteState(site, source, spell.condition, spell.reason, spell.since + offset, spell.until + offset)
                for spell in spells
            ]
        # Sites that nobody has sent to since the start are as they were.
        for states in list(self._before.values()):
            now, offset = self._timers.seconds(), self._offset()
            yield [
                state._replace(since=state.since + offset, until=state.until + offset)
                for state in states
                if state.until > now
            ]

    # --- read ---

    async def _read(self) -> None:
        try:
            states = await self._store.states()
        except StorageUnavailable:
            return
        for site in {state.site for state in states if state.resumed}:
            for key in [key for key in self._before if key[0] == site]:
                del self._before[key]
            self._log.info("site: site={site} is resumed by an operator", event="site", site=site)
            self.resume(site)
            self.changed()

    def _spawn(self, coroutine: object) -> None:
        Deferred.fromCoroutine(coroutine).addErrback(  # type: ignore[arg-type]
            lambda failure: self._log.failure("what is known of sites was not written or read", failure)
        )


def _left(state: SiteState, time: float) -> float:
    """How many seconds of it are left, as far as the clock can be believed."""
    if time < state.since:
        return min(state.until - state.since, UNCERTAIN)
    return min(state.until - time, LONGEST)
