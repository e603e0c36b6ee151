"""Carries jobs to where they go: a pool of connections for each site, made when mail for it comes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.delivery.limits import SiteLimits, Source
from smtpeter.delivery.plan import Parked, Plan, Turns
from smtpeter.delivery.pool import STOPPING, Pool
from smtpeter.interfaces import IDeliveryAgent, IRouter
from smtpeter.model.delivery import Job, Lane, LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.route import Route, TlsPolicy

BUSY = 15.0  # seconds for which the store need not tell again of lanes that are known to wait for room
UNROUTED = 30.0  # seconds for which lanes without a way are left alone
SOME = 20  # recipients of such a lane that are told so at once
AT_LEAST = 20  # recipients for a group at once, so that a connection is worth its while; others wait for the next claim
LOOK = 500  # groups that are looked at in one plan
TOGETHER = 500  # lanes that are looked through together for what is overdue
UNUSED = 600.0  # seconds after which a group that nobody used is forgotten

_CHANGED = Outcome(OutcomeKind.NOT_TRIED, 0, "4.4.0", "The way to this domain has just changed")
_NO_ROOM = Outcome(OutcomeKind.DEFERRED, 0, "4.4.5", "The receiving site takes no more now")

MakeLimits = Callable[[Route], SiteLimits]
MakeSources = Callable[[Route, SiteLimits], Sequence[Source]]
MakePool = Callable[[Route, TlsPolicy, SiteLimits, Sequence[Source], Callable[[], None]], Pool]
PolicyFor = Callable[[Job, str], TlsPolicy]


class _Group:
    """The same hosts: pools of connections to them, by TLS policy, and the lanes that have something due there."""

    def __init__(self, name: str, limits: SiteLimits, sources: Sequence[Source]) -> None:
        self.name = name
        self.limits = limits
        self.sources = sources
        self.pools: dict[TlsPolicy, Pool] = {}
        self.turns = Turns()
        self.used = 0.0

    @property
    def is_unused(self) -> bool:
        """Whether nothing goes there, nor waits for it."""
        return not self.turns and all(pool.is_unused for pool in self.pools.values())

    def is_remarkable(self, now: float) -> bool:
        """Whether it is slowed or paused from any of our addresses, which nobody would know any more without it."""
        return any(each.states(now) for source in self.sources for each in (source.throttle, source.reach))


@implementer(IDeliveryAgent)
class DeliveryAgent:
    """See :class:`smtpeter.interfaces.IDeliveryAgent`.

    ``make_limits`` tells what a site takes, ``make_sources`` how some hosts of it are reached, ``make_pool`` makes
    connections to these under a policy.  ``policy`` tells how strictly mail of a job to a domain is to be encrypted,
    ``least_policy`` how strictly all mail is.  ``stop_timeout`` is how long (seconds) stopping waits for answers to
    final dots, and half of it for all else that is under way.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        router: IRouter,
        timers: IReactorTime,
        make_limits: MakeLimits,
        make_sources: MakeSources,
        make_pool: MakePool,
        policy: PolicyFor = lambda job, domain: TlsPolicy.MAY,
        least_policy: TlsPolicy = TlsPolicy.MAY,
        stop_timeout: float = 20.0,
    ) -> None:
        self._router = router
        self._timers = timers
        self._make_limits = make_limits
        self._make_sources = make_sources
        self._make_pool = make_pool
        self._policy = policy
        self._least_policy = least_policy
        self._stop_timeout = stop_timeout
        self._limits: WeakValueDictionary[str, SiteLimits] = WeakValueDictionary()
        self._groups: dict[str, _Group] = {}
        self._resting: dict[str, _Group] = {}  # those that have no room for what is due
        self._wanting: dict[str, _Group] = {}  # those that may have, in their turn
        self._routing: dict[str, set[Lane]] = {}  # lanes by domains whose way is being looked for
        self._unrouted: dict[Lane, Outcome] = {}  # lanes to which there is no way now
        self._where: dict[Lane, _Group] = {}  # in whose turns a lane is
        self._unpark: dict[str, list[Lane]] = {}
        self._call: Callable[[], None] = lambda: None
        self._stopped: Deferred[None] | None = None

    # --- what may go next ---

    def on_room(self, call: Callable[[], None]) -> None:
        """See the interface."""
        self._call = call

    def plan(self, lanes: Sequence[Lane], limit: int, crowded: bool = False) -> Plan:
        """See the interface."""
        if self._stopped is not None:
            return Plan((), ())
        shares: list[tuple[Lane, int]] = []
        parked: list[Parked] = []
        told: dict[str, list[Lane]] = {}
        unknown: list[Lane] = []
        for lane in lanes:
            found = self._router.known(lane.domain)
            if found is None:
                unknown.append(lane)
                self._look_for(lane)
            elif isinstance(found, Route):
                told.setdefault(self._add(lane, found).name, []).append(lane)
            elif limit > 0:
                self._leave(lane)
                shares.append((lane, min(SOME, limit)))
                limit -= SOME
                if found.kind is OutcomeKind.DEFERRED:
                    self._unrouted[lane] = found
                    unknown.append(lane)
        if unknown:
            parked.append(Parked("", unknown, UNROUTED))
        shares += self._share(limit)
        for name, those in told.items():
            if crowded or name in self._resting:
                parked.append(self._park(self._groups[name], those))
        for name, those in self._unpark.items():
            parked.append(Parked(name, those, 0.0))
        self._unpark = {}
        return Plan(shares, parked)

    def _share(self, limit: int) -> list[tuple[Lane, int]]:
        """Divide what may be claimed among those that wait."""
        shares: list[tuple[Lane, int]] = []
        names = list(islice(self._wanting, LOOK))
        for position, name in enumerate(names):
            if limit <= 0:
                break
            group = self._wanting[name]
            room = self._room(group)
            if not room:
                del self._wanting[name]
                self._rest(group)
                continue
            part = min(room, max(AT_LEAST, -(-limit // (len(names) - position))))
            if part <= limit or not shares:  # the last, who gets less than his part, is first the next time
                self._wanting[name] = self._wanting.pop(name)
            given = group.turns.share(min(part, limit))
            limit -= sum(count for _, count in given)
            shares += given
        if limit > 0 and len(self._wanting) > len(names):
            self._call()  # others may have room for the rest
        return shares

    def exhausted(self, lanes: Collection[Lane]) -> None:
        """See the interface."""
        now = self._timers.seconds()
        for lane in lanes:
            self._unrouted.pop(lane, None)
            group = self._where.get(lane)
            if group is not None and self._leave(lane) > now:
                self._unpark.setdefault(group.name, []).append(lane)

    def waiting(self) -> Iterator[tuple[list[Lane], Outcome, bool]]:
        """See the interface.  Whoever takes his time to go through it is told of what waited when he came to a site."""
        for group in list(self._resting.values()):
            reason = next((pool.standing.reason for pool in group.pools.values() if pool.standing.pause()), None)
            for lanes in _parts(group.turns.lanes()):
                yield lanes, (reason or _NO_ROOM)._replace(kind=OutcomeKind.DEFERRED), reason is not None
        unrouted: dict[Outcome, list[Lane]] = {}
        for lane, outcome in list(self._unrouted.items()):
            if isinstance(self._router.known(lane.domain), Outcome):
                unrouted.setdefault(outcome, []).append(lane)
            else:
                del self._unrouted[lane]
        for outcome, those in unrouted.items():
            for lanes in _parts(those):
                yield lanes, outcome, True

    def _add(self, lane: Lane, route: Route) -> _Group:
        """It has something due, which goes this way."""
        group = self._group(route)
        if self._where.get(lane) is not group:
            self._leave(lane)
            self._where[lane] = group
        group.turns.add(lane)
        if group.name not in self._resting:
            self._wanting[group.name] = group
        return group

    def _leave(self, lane: Lane) -> float:
        """It waits with nobody now.  Answers until when the store leaves it alone."""
        group = self._where.pop(lane, None)
        if group is None:
            return 0.0
        group.turns.remove(lane)
        if not group.turns:
            self._wanting.pop(group.name, None)
            self._resting.pop(group.name, None)
        return group.turns.parked.pop(lane, 0.0)

    def _group(self, route: Route) -> _Group:
        name = route.group
        group = self._groups.get(name)
        if group is None:
            self._forget_unused()
            limits = self._limits.get(route.site)
            if limits is None:
                limits = self._limits[route.site] = self._make_limits(route)
            group = self._groups[name] = _Group(name, limits, self._make_sources(route, limits))
            self._pool(group, route, self._least_policy)  # it may have been paused before we were started
        return group

    def _pool(self, group: _Group, route: Route, policy: TlsPolicy) -> Pool:
        pool = group.pools.get(policy)
        if pool is None:
            on_room = partial(self._room_again, group)
            pool = group.pools[policy] = self._make_pool(route, policy, group.limits, group.sources, on_room)
            is_more = policy is not self._least_policy
            pool.standing.is_strict = is_more and policy in (TlsPolicy.ENCRYPT, TlsPolicy.REQUIRE)
        elif pool.route is not route:
            pool.route = route
        return pool

    def _room(self, group: _Group) -> int:
        """How much may be claimed: what the fullest pool has room for, as nobody knows yet for which it is."""
        return min(pool.room() for pool in group.pools.values())

    def _rest(self, group: _Group) -> None:
        """It has no room, and is not looked at before it tells of some."""
        self._resting[group.name] = group
        for pool in group.pools.values():
            if not pool.room():
                pool.want_room()

    def _room_again(self, group: _Group) -> None:
        if self._resting.get(group.name) is group:
            del self._resting[group.name]
            self._wanting[group.name] = group
            self._call()

    def _park(self, group: _Group, lanes: Sequence[Lane]) -> Parked:
        now = self._timers.seconds()
        pause = max(pool.standing.pause() for pool in group.pools.values())
        seconds = max(BUSY, pause)
        group.turns.parked.update(dict.fromkeys(lanes, now + seconds))
        as_a_whole = all(allotment.throttle.paused(now) for allotment in group.limits.allotments)
        return Parked(group.name if pause and not as_a_whole else group.limits.site, lanes, seconds)

    def _look_for(self, lane: Lane) -> None:
        waiting = self._routing.get(lane.domain)
        if waiting is not None:
            waiting.add(lane)
            return
        self._routing[lane.domain] = {lane}
        self._router.route(lane.domain).addBoth(self._routed, lane.domain)

    def _routed(self, found: object, domain: str) -> None:
        """They were parked while they had no way: the store would tell of them late."""
        lanes = self._routing.pop(domain)
        if isinstance(found, Failure):
            self._log.failure("the way to {domain} was not looked for", found, domain=domain)
            return
        if isinstance(found, Route):
            for lane in lanes:
                self._add(lane, found).turns.parked[lane] = self._timers.seconds() + UNROUTED
        else:
            self._unpark.setdefault("", []).extend(lanes)
        self._call()

    # --- jobs ---

    def parts(self, job: Job) -> Sequence[Job]:
        """See the interface."""
        if len(job.recipients) == 1:
            return (job,)
        ways: dict[tuple[str, TlsPolicy], list[LeasedRecipient]] = {}
        by_domain: dict[str, tuple[str, TlsPolicy]] = {}
        for recipient in job.recipients:
            domain = recipient.domain
            way = by_domain.get(domain)
            if way is None:
                found = self._router.known(domain)
                group = found.group if isinstance(found, Route) else f"@{domain}"
                way = by_domain[domain] = (group, self._policy(job, domain))
            ways.setdefault(way, []).append(recipient)
        if len(ways) == 1:
            return (job,)
        return [job._replace(recipients=tuple(recipients)) for recipients in ways.values()]

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        """See the interface."""
        found = self._router.known(job.recipients[0].domain)
        first, *others = self.parts(job)
        if others:  # the way of some has changed since they were put together
            left = dict.fromkeys([each.number for part in others for each in part.recipients], _CHANGED)
            return self.deliver(first).addCallback(lambda outcomes: {**left, **outcomes})
        if found is not None:
            return self._deliver(found, job)
        return self._router.route(job.recipients[0].domain).addCallback(self._deliver, job)

    def _deliver(self, found: Route | Outcome, job: Job) -> Deferred[Mapping[int, Outcome]]:
        if self._stopped is not None:
            found = STOPPING
        if isinstance(found, Outcome):
            return succeed(dict.fromkeys([recipient.number for recipient in job.recipients], found))
        group = self._group(found)
        group.used = self._timers.seconds()
        return self._pool(group, found, self._policy(job, job.recipients[0].domain)).deliver(job)

    # --- pools ---

    def pools(self) -> Iterator[Pool]:
        """All of them."""
        for group in self._groups.values():
            yield from group.pools.values()

    def resume(self, name: str) -> None:
        """Treat a site, or some hosts of one, as if nothing had been."""
        for group in list(self._groups.values()):
            if name in (group.name, group.limits.site):
                for pool in group.pools.values():
                    pool.resume()

    def _forget_unused(self) -> None:
        """Called when a group is made, so that there are never many more than are used."""
        if len(self._groups) % 100:
            return
        now = self._timers.seconds()
        for name, group in list(self._groups.items()):
            if group.used < now - UNUSED and group.is_unused and not group.is_remarkable(now):
                del self._groups[name]

    # --- the end ---

    def stop(self) -> Deferred[None]:
        """See the interface."""
        if self._stopped is None:
            stopped = self._stopped = Deferred()
            timeouts = [
                self._timers.callLater(seconds, self._abort, in_doubt)
                for seconds, in_doubt in ((self._stop_timeout / 2, False), (self._stop_timeout, True))
            ]

            def ended(results: object) -> None:
                for timeout in timeouts:
                    if timeout.active():
                        timeout.cancel()
                stopped.callback(None)

            DeferredList([pool.stop() for pool in list(self.pools())]).addCallback(ended)
        return self._stopped

    def _abort(self, in_doubt: bool) -> None:
        for pool in list(self.pools()):
            pool.abort(in_doubt)


def _parts(lanes: list[Lane]) -> Iterator[list[Lane]]:
    for begin in range(0, len(lanes), TOGETHER):
        yield lanes[begin : begin + TOGETHER]
