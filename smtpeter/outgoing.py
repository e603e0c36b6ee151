"""How delivery is put together: ways, paces, connections, and what carries mail over them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from zope.interface import implementer

from smtpeter.delivery.agent import DeliveryAgent
from smtpeter.delivery.capture import CaptureAgent
from smtpeter.delivery.classify import Classifier
from smtpeter.delivery.connection import ConnectionSettings
from smtpeter.delivery.form import FormMaker
from smtpeter.delivery.limits import Allotment, SiteLimits, Source
from smtpeter.delivery.machine import is_own_address, usable_families
from smtpeter.delivery.nameservers import NameServers
from smtpeter.delivery.networks import Networks
from smtpeter.delivery.opening import CONNECT_TIMEOUT, BrokenTls, Opener
from smtpeter.delivery.places import Places
from smtpeter.delivery.pool import Common, MarkInDoubt, Pool
from smtpeter.delivery.resolver import Resolver
from smtpeter.delivery.route import RelayRoute, Security, parse_relay_route
from smtpeter.delivery.router import Relays, Router
from smtpeter.delivery.shaping import Shaping
from smtpeter.delivery.sites import SiteBook
from smtpeter.delivery.sources import order_sources
from smtpeter.delivery.throttle import Shape, Throttle
from smtpeter.delivery.tls import ClientTls
from smtpeter.delivery.waiting import Memory
from smtpeter.interfaces import IDeliveryAgent, IFeatureCatalog, IRouter
from smtpeter.locations import find_domain, version_of
from smtpeter.model.delivery import Job, Outcome
from smtpeter.model.route import Route, Target, TlsPolicy
from smtpeter.settings import Settings, SourceAddress
from smtpeter.smtp.client_events import ClientProfile

MEMORY = 100_000_000  # octets of content: two of the largest messages that we take by default
RELAY_PAUSES = (1.0, 60.0)  # seconds: whoever runs a relay of his own wants it used as soon as it is back

_STRICTNESS = {policy: number for number, policy in enumerate(TlsPolicy)}
_RELAY_POLICY = {
    Security.CLEAR: TlsPolicy.NONE,
    Security.STARTTLS: TlsPolicy.REQUIRE,
    Security.TLS: TlsPolicy.NONE,  # it is there before the first word
}


class Outgoing:
    """Everything that carries mail away; made once.

    ``listening`` tells the addresses and ports at which this server listens itself.  ``in_thread`` calls what takes too
    long for the reactor's thread, ``in_dns_thread`` what waits for name servers.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        reactor: Any,
        shaping: Shaping,
        classifier: Classifier,
        forms: FormMaker,
        book: SiteBook,
        catalog: IFeatureCatalog,
        mark: MarkInDoubt,
        listening: Callable[[], Sequence[tuple[str, int]]],
        in_dns_thread: Callable[..., Deferred[Any]],
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._shaping = shaping
        self._book = book
        self._catalog = catalog
        self._listening = listening
        self._in_dns_thread = in_dns_thread
        self._tls = ClientTls()
        self._broken_tls = BrokenTls(reactor)
        self._relays = _read_relays(settings)
        self._places = Places(lambda: settings.delivery.connections)
        self._common = Common(
            timers=reactor,
            forms=forms,
            memory=Memory(MEMORY),
            places=self._places,
            judge=classifier.classify,
            react=shaping.react,
            mark=mark if settings.delivery.in_doubt == "hold" else None,
        )
        self.agent: IDeliveryAgent = self._agent()

    def connections(self) -> Mapping[str, int]:
        """How many there are, or are being made, to all sites; and how many there may be beside them."""
        taken = self._places.taken
        return {"taken": taken, "free": max(0, self._settings.delivery.connections - taken)}

    def _agent(self) -> IDeliveryAgent:
        if self._settings.delivery.mode == "capture":
            return CaptureAgent()
        agent = DeliveryAgent(
            router=self._router(),
            timers=self._reactor,
            make_limits=self._limits,
            make_sources=self._sources,
            make_pool=self._pool,
            policy=self._policy,
            least_policy=self._least_policy(),
        )
        self._book.resume = agent.resume
        return agent

    # --- ways ---

    def _router(self) -> IRouter:
        delivery = self._settings.delivery
        table = {domain: _way(key, self._relays) for domain, key in delivery.relays.items()}
        if delivery.mode == "relay":
            return Relays(OneWay(_way(delivery.relay, self._relays)), table)
        name_servers = NameServers(delivery.resolver)
        sources = [source.address for source in delivery.addresses]
        router = Router(
            Resolver(self._reactor, self._in_dns_thread, name_servers.look_up).ask,
            Networks(delivery.allow_networks, is_own_address, self._listening),
            port=delivery.port,
            own_names=(self._settings.hostname,),
            families=partial(usable_families, sources),
            seconds=self._reactor.seconds,
            random=random.random,
            provider=self._shaping.site,
        )
        return Relays(router, table)

    def _policy(self, job: Job, domain: str) -> TlsPolicy:
        """The strictest of what the domain and the message are to have.  How relays are spoken to is told by their URL,
        unless somebody asks for more."""
        delivery = self._settings.delivery
        by_relay = delivery.mode == "relay" or find_domain(delivery.relays, domain) is not None
        usual = TlsPolicy.MAY if by_relay else delivery.tls
        asked = find_domain(delivery.tls_domains, domain) or usual
        if job.options:
            for _, feature in self._catalog.securing(dict(job.options)):
                asked = max(asked, feature.tls_policy(dict(job.options)), key=_STRICTNESS.__getitem__)
        return asked

    def _least_policy(self) -> TlsPolicy:
        """No mail is encrypted less strictly.  Trouble with anything better is none for all mail to a host."""
        delivery = self._settings.delivery
        usual = [] if delivery.mode == "relay" else [delivery.tls]
        by_relay = [TlsPolicy.MAY] if delivery.mode == "relay" or delivery.relays else []
        return min([*usual, *by_relay, *delivery.tls_domains.values()], key=_STRICTNESS.__getitem__)

    # --- connections ---

    def _limits(self, route: Route) -> SiteLimits:
        """Our addresses for a site, each with its pace there."""
        allotments = [
            Allotment(address, self._throttle(route, route.site, address))
            for address in order_sources(route.site, self._settings.delivery.addresses)
        ]
        return SiteLimits(route.site, allotments)

    def _sources(self, route: Route, limits: SiteLimits) -> Sequence[Source]:
        """The same for some hosts of a site: whether they are there at all is told of them alone."""
        if route.group == route.site:
            return [Source(allotment) for allotment in limits.allotments]
        return [
            Source(allotment, self._throttle(route, route.group, allotment.address)) for allotment in limits.allotments
        ]

    def _throttle(self, route: Route, name: str, address: SourceAddress) -> Throttle:
        throttle = Throttle(self._shape(route), random.random)
        self._book.restore(name, address.address, throttle)
        return throttle

    def _shape(self, route: Route) -> Shape:
        shape = self._shaping.shape([target.host for target in route.targets], route.site)
        if not route.relay:
            return shape
        first, longest = RELAY_PAUSES
        return shape._replace(start=shape.connections, first_pause=first, longest_pause=longest)

    def _pool(
        self,
        route: Route,
        policy: TlsPolicy,
        limits: SiteLimits,
        sources: Sequence[Source],
        on_room: Callable[[], None],
    ) -> Pool:
        shape = sources[0].throttle.shape
        profile = partial(self._profile, shape, self._relays[route.relay] if route.relay else None)
        opener = Opener(route, policy, self._connect, profile, self._broken_tls)
        on_change = partial(self._note, route.group, limits, sources)
        return Pool(self._common, limits, shape, sources, opener, on_room, on_change)

    def _note(self, group: str, limits: SiteLimits, sources: Sequence[Source]) -> None:
        """Something was slowed, paused or resumed there."""
        self._book.changed((limits.site, each.address.address, each.throttle) for each in sources)
        self._book.changed((group, each.address.address, each.reach) for each in sources)

    def _connect(self, target: Target, source: SourceAddress) -> IStreamClientEndpoint:
        bind = (source.address, 0) if source.address else None
        if not target.address:
            return HostnameEndpoint(self._reactor, target.host, target.port, CONNECT_TIMEOUT, bind)
        make = TCP6ClientEndpoint if version_of(target.address) == 6 else TCP4ClientEndpoint
        endpoint: IStreamClientEndpoint = make(self._reactor, target.address, target.port, CONNECT_TIMEOUT, bind)
        return endpoint

    def _profile(
        self, shape: Shape, relay: RelayRoute | None, target: Target, source: SourceAddress, policy: TlsPolicy
    ) -> ConnectionSettings:
        tls_first, username, password = False, "", ""
        if relay is not None:
            tls_first = relay.security is Security.TLS
            least = _RELAY_POLICY[relay.security]
            # What a message asks for holds here too; that relays are spoken to in clear is for their operator to say.
            asked = policy if policy in (TlsPolicy.ENCRYPT, TlsPolicy.REQUIRE) and not tls_first else TlsPolicy.NONE
            policy = max(least, asked, key=_STRICTNESS.__getitem__)
            username, password = relay.username, relay.password
        verified = tls_first or policy is TlsPolicy.REQUIRE
        return ConnectionSettings(
            profile=ClientProfile(
                hostname=source.hostname or self._settings.hostname,
                remote_mta=target.host,
                tls=policy,
                username=username,
                password=password,
                relay=relay is not None,
            ),
            timers=self._reactor,
            # A literal is [192.0.2.1] for people; certificates have the address as it is.
            tls=partial(
                self._tls.verified if verified else self._tls.unverified,
                target.address if target.host.startswith("[") else target.host,
            ),
            tls_first=tls_first,
            verified=verified,
            idle=shape.idle,
        )


@implementer(IRouter)
class OneWay:
    """Everything goes the same way."""

    def __init__(self, route: Route) -> None:
        self._route = route

    def known(self, domain: str) -> Route | Outcome | None:
        """See :meth:`smtpeter.interfaces.IRouter.known`."""
        return self._route

    def route(self, domain: str) -> Deferred[Route | Outcome]:
        """See :meth:`smtpeter.interfaces.IRouter.route`."""
        return succeed(self._route)


def _read_relays(settings: Settings) -> Mapping[str, RelayRoute]:
    """The relays by their URLs, which hold passwords and are told to nobody."""
    delivery = settings.delivery
    urls = set(delivery.relays.values()) | ({delivery.relay} if delivery.mode == "relay" else set())
    return {url: parse_relay_route(url) for url in urls}


def _way(key: str, relays: Mapping[str, RelayRoute]) -> Route:
    """The way to a relay.  Who logs in otherwise, or encrypts otherwise, has connections of his own."""
    relay = relays[key]
    site = str(relay).partition("://")[2]
    is_shared = sum((each.host, each.port) == (relay.host, relay.port) for each in relays.values()) > 1
    own = f"{relay.security.value}://{relay.username}@{site}" if is_shared else ""
    return Route(site, (Target(relay.host, "", relay.port),), key, own)
