"""How we stand with some hosts of a site: from which of our addresses we may send there now, and what their answers
mean for that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel

from smtpeter.delivery.limits import Source
from smtpeter.delivery.shaping import Action, Reaction
from smtpeter.delivery.sources import reaches
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.route import Route

BARRED = 60.0  # seconds for which hosts whose TLS is not as it has to be are not asked again

Judge = Callable[[Outcome], Outcome]
React = Callable[[Outcome, str], Reaction | None]

_PAUSED = Outcome(OutcomeKind.NOT_TRIED, 0, "4.4.5", "Nothing is sent to this site now")


class Standing:
    """What a pool of connections knows of those whom it sends to.

    ``sources`` are in the order of preference: the first that is not paused is used.  ``judge`` tells whose trouble an
    outcome is, ``react`` what a site's answer asks for.  ``on_change`` is called when something was slowed, paused or
    resumed.

    ``reason`` is why nothing is sent, while nothing is.  ``is_strict`` tells whether TLS has to be better than it has
    to be for others.
    """

    _log = Logger()

    def __init__(
        self,
        site: str,
        route: Route,
        sources: Sequence[Source],
        *,
        judge: Judge,
        react: React,
        timers: IReactorTime,
        on_change: Callable[[], None],
    ) -> None:
        self.reason = _PAUSED
        self.is_strict = False
        self._site = site
        self._sources = sources
        self._reaching = _reaching(sources, route)
        self._judge = judge
        self._react = react
        self._timers = timers
        self._on_change = on_change
        self._barred_until = 0.0

    # --- whether, and from where ---

    def follow(self, route: Route) -> None:
        """The hosts have other addresses now."""
        self._reaching = _reaching(self._sources, route)

    def source(self) -> Source | None:
        """The one to send from now; None: all are paused."""
        now = self._timers.seconds()
        for source in self._reaching:
            if not source.paused(now):
                return source
        return None

    @property
    def is_barred(self) -> bool:
        """Whether TLS was not as it has to be not long ago, at one of them at least: no connections are opened.  It is
        nothing to those that can do without."""
        return self._timers.seconds() < self._barred_until

    def pause(self) -> float:
        """Seconds for which nothing is sent there; 0.0: it is not paused."""
        now = self._timers.seconds()
        return min(source.paused(now) for source in self._reaching)

    def resume(self) -> None:
        """As if nothing had been."""
        self._barred_until = 0.0
        self.forgive()
        for source in self._sources:
            source.throttle.resume()
            source.reach.resume()
        self._on_change()

    def forgive(self) -> None:
        """They are there."""
        if not self.is_barred:
            self.reason = _PAUSED

    # --- what they say ---

    def judge(self, outcomes: Mapping[int, Outcome], source: Source) -> dict[int, Outcome]:
        """Outcomes with their reasons told, and what the site asks for done."""
        judged: dict[int, Outcome] = {}
        known: dict[Outcome, Outcome] = {}  # most recipients of a transaction share theirs
        for number, outcome in outcomes.items():
            if outcome.kind is OutcomeKind.DELIVERED or outcome.kind is OutcomeKind.NOT_TRIED:
                judged[number] = outcome
                continue
            plain = outcome._replace(dialogue="")
            if plain not in known:
                known[plain] = self._judge(plain)
                self._obey(plain, source)
            judged[number] = known[plain]._replace(dialogue=outcome.dialogue)
        return judged

    def note_trouble(self, outcome: Outcome, source: Source, is_last: bool) -> bool:
        """A connection was of no use; ``is_last``: there is no other.  Answers whether they seem to be gone: while
        there are other connections, those were only too many."""
        outcome = self._judge(outcome)
        now = self._timers.seconds()
        self.reason = outcome
        if source.paused(now):
            return False
        if self.is_strict and _is_tls_trouble(outcome):
            self._barred_until = now + BARRED
            return False
        if is_last:
            source.reach.unreachable(now, outcome.text)
        else:
            source.throttle.refused(now)
        self._obey(outcome, source)
        pause = source.paused(now)
        if pause:
            self._log.emit(
                # A relay that refuses us as we are configured needs somebody to look at it.
                LogLevel.error if outcome.kind is OutcomeKind.HOLD else LogLevel.warn,
                "site trouble: site={site} host={host} stage={stage} code={code} text={text} pause={pause:.0f}",
                event="relay",
                site=self._site,
                host=outcome.remote_mta or "-",
                stage=outcome.stage,
                code=outcome.code,
                text=outcome.text,
                pause=pause,
            )
            self._on_change()
        return is_last

    def _obey(self, outcome: Outcome, source: Source) -> None:
        reaction = self._react(outcome, self._site)
        if reaction is None:
            return
        now, seconds, reason = self._timers.seconds(), reaction.seconds, reaction.reason
        sources = [source] if reaction.action is not Action.PAUSE_SITE else self._sources
        for each in sources:
            if reaction.action is Action.SLOW:
                each.throttle.slow(now, seconds, reaction.factor, reason)
            else:
                each.throttle.pause(now, seconds, reason)
        self.reason = outcome._replace(kind=OutcomeKind.DEFERRED, dialogue="")
        self._log.warn(
            "site: site={site} source={source} {reaction} for {seconds:.0f} s: {reason} ({said})",
            event="site",
            site=self._site,
            source=source.address.address or "-",
            reaction=reaction.action.value,
            seconds=seconds,
            reason=reason,
            said=outcome.text,
        )
        self._on_change()


def _is_tls_trouble(outcome: Outcome) -> bool:
    """Whether a host may be there and well, but for its TLS."""
    if outcome.code == 421:
        return False
    return outcome.stage in ("starttls", "tls") or (outcome.stage == "hello" and outcome.enhanced == "4.7.4")


def _reaching(sources: Sequence[Source], route: Route) -> Sequence[Source]:
    """Those from which some of the targets can be reached; all, where that is none: trying tells why."""
    reaching = [each for each in sources if any(reaches(each.address, target) for target in route.targets)]
    return reaching or sources
