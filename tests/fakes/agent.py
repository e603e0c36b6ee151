"""An agent with its surroundings in memory, and time that stands until it is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from smtpeter.delivery.agent import DeliveryAgent
from smtpeter.delivery.classify import load
from smtpeter.delivery.connection import ConnectionSettings
from smtpeter.delivery.form import FormMaker, Impersonal
from smtpeter.delivery.limits import Allotment, SiteLimits, Source
from smtpeter.delivery.opening import BrokenTls, Opener
from smtpeter.delivery.places import Places
from smtpeter.delivery.pool import Common, Pool
from smtpeter.delivery.sources import ANY
from smtpeter.delivery.throttle import Shape, Throttle
from smtpeter.delivery.waiting import Memory
from smtpeter.model.delivery import Job, Lane, Outcome, OutcomeKind
from smtpeter.model.route import Route, Target, TlsPolicy
from smtpeter.outgoing import OneWay
from smtpeter.smtp.client_events import ClientProfile
from tests.fakes.jobs import make_job
from tests.fakes.receiver import FakeNetwork, FakeReceiver

CLASSIFIER = load()


class Contents:
    """Content comes with its job, unless ``answer`` says otherwise."""

    def __init__(self) -> None:
        self.answer: Callable[[], Deferred[bytes]] | None = None

    def read(self, submission: str, content: Any) -> Deferred[bytes]:
        return succeed(content.data) if self.answer is None else self.answer()


def build_agent(
    network: FakeNetwork,
    clock: Clock,
    *,
    contents: Any = None,
    profile: dict[str, Any] | None = None,
    router: Any = None,
    connections: int = 20,
    messages: int = 1000,
    memory: int = 100_000_000,
    places: int = 500,
    personalizer: Any = None,
    in_thread: Any = maybeDeferred,
    mark: Any = None,
    tls_first: bool = False,
    policy: TlsPolicy = TlsPolicy.NONE,
    policies: Any = None,
    sources: Any = (ANY,),
    shape: Shape | None = None,
    react: Any = lambda outcome, site: None,
    **options: Any,
) -> DeliveryAgent:
    """An agent whose connections all lead into one network; without a router everything goes to one relay."""
    shape = shape or Shape(
        "relay.example:25", connections, messages, start=connections, first_pause=1.0, longest_pause=60.0
    )
    common = Common(
        timers=clock,
        forms=FormMaker(contents or Contents(), personalizer or Impersonal(), in_thread),
        memory=Memory(memory),
        places=Places(lambda: places),
        judge=CLASSIFIER.classify,
        react=react,
        mark=mark,
    )
    broken_tls = BrokenTls(clock)

    def settings(target: Target, source: Any, policy: TlsPolicy) -> ConnectionSettings:
        made = {"tls": policy, "relay": True, **(profile or {})}
        return ConnectionSettings(
            ClientProfile(source.hostname or "gate.example", target.host, **made),
            clock,
            tls=lambda: "options",  # type: ignore[arg-type, return-value]
            tls_first=tls_first,
        )

    def make_limits(route: Route) -> SiteLimits:
        return SiteLimits(route.site, [Allotment(source, Throttle(shape)) for source in sources])

    def make_sources(route: Route, limits: SiteLimits) -> list[Source]:
        own = route.group != route.site
        return [Source(allotment, Throttle(shape) if own else None) for allotment in limits.allotments]

    def make_pool(
        route: Route, policy: TlsPolicy, limits: SiteLimits, sources: Any, on_room: Callable[[], None]
    ) -> Pool:
        opener = Opener(route, policy, network.endpoint, settings, broken_tls)
        return Pool(common, limits, shape, sources, opener, on_room, lambda: None)

    return DeliveryAgent(
        router=router or OneWay(Route("relay.example:25", (Target("relay.example", "", 25),), "relay")),
        timers=clock,
        make_limits=make_limits,
        make_sources=make_sources,
        make_pool=make_pool,
        policy=policies or (lambda job, domain: policy),
        least_policy=policy,
        **options,
    )


class Bench:
    """An agent with its surroundings."""

    def __init__(self, receivers: Any = FakeReceiver, profile: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.contents = Contents()
        self.network = FakeNetwork(receivers)
        self.agent = build_agent(self.network, self.clock, contents=self.contents, profile=profile, **options)

    def capacity(self) -> int:
        """How many recipients may be claimed for the relay now."""
        lane = Lane("example.net", 0)
        shares = dict(self.agent.plan([lane], 1000).shares)
        self.agent.exhausted([lane])
        return shares.get(lane, 0)

    def start(self, *jobs: Job) -> list[list[Any]]:
        """What each job has fired with so far."""
        results: list[list[Any]] = []
        for job in jobs or (make_job(),):
            fired: list[Any] = []
            self.agent.deliver(job).addBoth(fired.append)
            results.append(fired)
        self.network.move()
        return results

    def deliver(self, *jobs: Job) -> list[dict[int, Outcome]]:
        """Outcomes of jobs that all end without the clock."""
        results = self.start(*jobs)
        assert all(len(fired) == 1 for fired in results)
        return [dict(fired[0]) for fired in results]

    def advance(self, *seconds: float) -> None:
        for each in seconds:
            self.clock.advance(each)
            self.network.move()


def kinds(outcomes: dict[int, Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for _, outcome in sorted(outcomes.items())]
