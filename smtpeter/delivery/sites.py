"""What the store, and so an operator, knows of sites that are slowed or paused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from smtpeter.delivery.throttle import Throttle
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, ISiteStore
from smtpeter.model.route import SiteCondition, SiteState

SOON = 1.0  # seconds from a change to its being written
AGAIN = 30.0  # seconds between looks for what is over


class SiteBook:
    """Writes what is out of the ordinary, remembers it over a restart, and passes on what operators say.

    ``paces`` tells all that are known now: a site, the source address, the pace.  ``resume`` is asked to forget what
    was with a site.
    """

    _log = Logger()

    def __init__(self, store: ISiteStore, clock: IClock, timers: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._timers = timers
        self.paces: Callable[[], Iterable[tuple[str, str, Throttle]]] = lambda: ()
        self.resume: Callable[[str], None] = lambda site: None
        self._before: dict[tuple[str, str], list[SiteState]] = {}
        self._written: list[SiteState] = []
        self._timer: IDelayedCall | None = None
        self._running = True

    def recall(self, states: Iterable[SiteState]) -> None:
        """What was written before the start."""
        for state in states:
            self._written.append(state)
            self._before.setdefault((state.site, state.source), []).append(state)

    def restore(self, site: str, source: str, throttle: Throttle) -> None:
        """A site was just made known: go on as before the start."""
        now, offset = self._timers.seconds(), self._offset()
        for state in self._before.pop((site, source), ()):
            if not state.resumed:
                throttle.restore(state.condition, state.reason, state.since - offset, state.until - offset, now)

    def changed(self) -> None:
        """Something was slowed, paused or resumed."""
        if not self._running:
            return
        if self._timer is not None:
            if self._timer.getTime() <= self._timers.seconds() + SOON:
                return
            self._timer.cancel()
        self._timer = self._timers.callLater(SOON, self._write)

    def generation_changed(self) -> None:
        """Perhaps an operator has said something."""
        self._spawn(self._read())

    def counts(self) -> Mapping[str, int]:
        """How many sites are slowed, and how many are paused, as was written last."""
        now = self._clock.time()
        return {
            condition.value: len(
                {each.site for each in self._written if each.condition is condition and each.until > now}
            )
            for condition in SiteCondition
        }

    def stop(self) -> None:
        """Write nothing more."""
        self._running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _offset(self) -> float:
        """What is to be added to the timers' seconds to have wall time."""
        return self._clock.time() - self._timers.seconds()

    def _states(self) -> list[SiteState]:
        now, offset = self._timers.seconds(), self._offset()
        known = [
            SiteState(
                name,
                source,
                spell.condition,
                spell.reason,
                spell.since + offset,
                spell.until + offset,
            )
            for name, source, throttle in self.paces()
            for spell in throttle.states(now)
        ]
        # Sites that nobody has sent to since the start are as they were.
        known += [state for states in self._before.values() for state in states if state.until > now + offset]
        return known

    def _write(self) -> None:
        self._timer = None
        states = self._states()
        if states or self._written:
            self._written = states
            self._spawn(self._write_states(states))
        if states and self._running:
            self._timer = self._timers.callLater(AGAIN, self._write)

    async def _write_states(self, states: list[SiteState]) -> None:
        try:
            await self._store.write(states)
        except StorageUnavailable:
            self.changed()

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
