"""How a connection to a site comes about: its hosts in their order, the addresses of each side by side."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import groupby
from typing import Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from smtpeter.delivery.connection import Connection, ConnectionSettings
from smtpeter.delivery.sources import reaches
from smtpeter.model.delivery import FailureKind, Outcome, OutcomeKind
from smtpeter.model.reply import clean_text
from smtpeter.model.route import Route, Target, TlsPolicy
from smtpeter.settings import SourceAddress

CONNECT_TIMEOUT = 30.0
STAGGER = 1.0  # seconds after which the next address of the same host is tried beside the one before
HOSTS = 8  # that are tried for one connection
UNREACHABLE = 300.0  # seconds for which an address that could not be reached is tried last
BROKEN_TLS = 3600.0  # seconds for which a host whose TLS failed is spoken to in clear, where that is allowed
REMEMBERED = 10_000  # hosts with broken TLS

_UNREACHED = Outcome(
    OutcomeKind.DEFERRED, 0, "4.4.4", "None of our addresses reaches any of its hosts", stage="connect",
    failure=FailureKind.CONFIGURATION,
)  # fmt: skip
_STOPPING = Outcome(OutcomeKind.NOT_TRIED, 0, "4.3.2", "The server is stopping")

Connect = Callable[[Target, SourceAddress], IStreamClientEndpoint]
Profile = Callable[[Target, SourceAddress, TlsPolicy], ConnectionSettings]


class BrokenTls:
    """Hosts whose TLS failed not long ago."""

    def __init__(self, timers: IReactorTime) -> None:
        self._timers = timers
        self._until: dict[str, float] = {}

    def note(self, host: str) -> None:
        """It failed."""
        if len(self._until) >= REMEMBERED:
            del self._until[next(iter(self._until))]
        self._until[host] = self._timers.seconds() + BROKEN_TLS

    def __contains__(self, host: str) -> bool:
        until = self._until.get(host)
        if until is not None and until <= self._timers.seconds():
            del self._until[host]
            until = None
        return until is not None


class Opener:
    """What the connections to one site have in common.

    ``connect`` makes the endpoint of a target, ``profile`` the settings of a connection to it.  ``policy`` is never
    gone below: only with MAY a host whose TLS is broken is spoken to in clear.
    """

    def __init__(
        self, route: Route, policy: TlsPolicy, connect: Connect, profile: Profile, broken_tls: BrokenTls
    ) -> None:
        self.route = route
        self.connect = connect
        self._policy = policy
        self._profile = profile
        self._broken_tls = broken_tls
        self._unreachable: dict[str, float] = {}

    def hosts(self, source: SourceAddress, now: float) -> list[list[Target]]:
        """The hosts in the order in which they are to be tried, each with its addresses that can be reached."""
        reached = [target for target in self.route.targets if reaches(source, target)]
        hosts = [list(targets) for _, targets in groupby(reached, lambda target: target.host)]
        if self._unreachable:
            self._unreachable = {address: until for address, until in self._unreachable.items() if until > now}
            for targets in hosts:
                targets.sort(key=lambda target: target.address in self._unreachable)
            hosts.sort(key=lambda targets: targets[0].address in self._unreachable)
        return hosts[:HOSTS]

    def note_unreachable(self, target: Target, now: float) -> None:
        """No connection to this one."""
        if len(self.route.targets) > 1:
            self._unreachable[target.address] = now + UNREACHABLE

    def settings(self, target: Target, source: SourceAddress) -> ConnectionSettings:
        """For a connection to this target now."""
        return self._profile(target, source, self._policy_for(target.host))

    def gives_up_tls(self, target: Target) -> bool:
        """TLS with this host failed: whether it may be spoken to in clear instead."""
        if self.route.relay or self._policy_for(target.host) is not TlsPolicy.MAY:
            return False
        self._broken_tls.note(target.host)
        return True

    def _policy_for(self, host: str) -> TlsPolicy:
        return TlsPolicy.NONE if self._policy is TlsPolicy.MAY and host in self._broken_tls else self._policy


class OpeningOwner(Protocol):
    """Whoever wants a connection.  Of ``opened`` and ``not_opened`` one is called."""

    def opened(self, opening: Opening, connection: Connection) -> None:
        """A connection is ready for mail."""

    def not_opened(self, opening: Opening, outcome: Outcome) -> None:
        """There is none, and that is what it means for a recipient."""

    def connection_made(self, opening: Opening, connection: Connection) -> None:
        """A connection exists; it may never be ready."""

    def connection_gone(self, connection: Connection) -> None:
        """It takes no more work."""

    def connection_closed(self, connection: Connection) -> None:
        """It is closed."""


class Opening:
    """One connection in the making.  It stands between the connection and its owner for as long as that lives."""

    def __init__(self, opener: Opener, source: SourceAddress, owner: OpeningOwner, timers: IReactorTime) -> None:
        self.source = source
        self._opener = opener
        self._owner = owner
        self._timers = timers
        self._hosts: deque[list[Target]] = deque()
        self._targets: deque[Target] = deque()
        self._attempts: dict[Deferred[object], Target] = {}
        self._stagger: IDelayedCall | None = None
        self._connection: Connection | None = None
        self._target: Target | None = None
        self._outcome = _UNREACHED
        self._over = False

    def start(self) -> None:
        """Begin with the first host."""
        self._hosts.extend(self._opener.hosts(self.source, self._timers.seconds()))
        self._next_host()

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._hosts.clear()
        self._outcome = _STOPPING
        connection = self._connection
        if connection is not None:
            connection.abort("stopping")
        else:
            self._give_up_attempts()
            self._end(_STOPPING)

    # --- the addresses of one host ---

    def _next_host(self) -> None:
        if not self._hosts:
            self._end(self._outcome)
            return
        self._connection = self._target = None
        self._targets = deque(self._hosts.popleft())
        self._try_next()

    def _try_next(self) -> None:
        self._stagger = None
        if self._over or self._connection is not None:
            return
        if not self._targets:
            if not self._attempts:
                self._next_host()
            return
        target = self._targets.popleft()
        endpoint = self._opener.connect(target, self.source)
        attempt: Deferred[object] = endpoint.connect(_Connections(self, target))  # type: ignore[assignment]
        self._attempts[attempt] = target
        attempt.addTimeout(CONNECT_TIMEOUT, self._timers)
        attempt.addBoth(self._connected, attempt)
        if attempt in self._attempts and self._targets:
            self._stagger = self._timers.callLater(STAGGER, self._try_next)

    def make(self, target: Target) -> Connection | None:
        """The protocol for a connection that was made; None where there is one already."""
        if self._over or self._connection is not None:
            return None
        self._target = target
        connection = self._connection = Connection(self._opener.settings(target, self.source), self)
        self._owner.connection_made(self, connection)
        return connection

    def _connected(self, result: object, attempt: Deferred[object]) -> None:
        target = self._attempts.pop(attempt, None)
        if target is None or self._over:
            return
        if not isinstance(result, Failure):
            self._give_up_attempts()
            return
        if self._connection is not None:
            return
        why = "it took too long" if result.check(TimeoutError) else result.getErrorMessage()
        where = f"{target.host} [{target.address}]" if target.address not in ("", target.host) else target.host
        enhanced = "4.4.3" if result.check(DNSLookupError) else "4.4.1"
        text = clean_text(f"No connection to {where}: {why}")
        self._outcome = Outcome(
            OutcomeKind.DEFERRED, 0, enhanced, text, self.source.address, target.address, target.host, "connect",
            failure=FailureKind.NETWORK,
        )  # fmt: skip
        self._opener.note_unreachable(target, self._timers.seconds())
        if self._stagger is not None:
            self._stagger.cancel()
        self._try_next()

    def _give_up_attempts(self) -> None:
        if self._stagger is not None:
            self._stagger.cancel()
            self._stagger = None
        self._targets.clear()
        attempts, self._attempts = self._attempts, {}
        for attempt in attempts:
            attempt.cancel()

    # --- see smtpeter.delivery.connection.ConnectionOwner ---

    def connection_ready(self, connection: Connection) -> None:
        """It waits for its first message."""
        self._over = True
        self._owner.opened(self, connection)

    def connection_unusable(self, connection: Connection, outcome: Outcome) -> None:
        """The host does not want us, or cannot: perhaps the next one does."""
        self._outcome = outcome
        target = self._target
        if outcome.kind is not OutcomeKind.DEFERRED or target is None:
            self._end(outcome)
            return
        tls_failed = outcome.stage in ("starttls", "tls") and outcome.code != 421
        if tls_failed and self._opener.gives_up_tls(target):
            self._hosts.appendleft([target])
        self._next_host()

    def connection_gone(self, connection: Connection) -> None:
        """It takes no more work."""
        self._owner.connection_gone(connection)

    def connection_closed(self, connection: Connection) -> None:
        """It is closed."""
        self._owner.connection_closed(connection)

    def _end(self, outcome: Outcome) -> None:
        if not self._over:
            self._over = True
            self._owner.not_opened(self, outcome)


class _Connections(Factory):
    """Makes the connection that an endpoint asks for."""

    noisy = False

    def __init__(self, opening: Opening, target: Target) -> None:
        self._opening = opening
        self._target = target

    def buildProtocol(self, address: IAddress | None) -> Connection | None:
        return self._opening.make(self._target)
