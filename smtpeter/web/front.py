"""The first to read what comes over HTTP: answers what is simple at once and leaves the rest to twisted.web."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IHandshakeListener, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from smtpeter.interfaces import IClock
from smtpeter.locations import Network, network_of
from smtpeter.web.clients import is_within
from smtpeter.web.lean import HARD, LeanRequest, read_request, write_answer
from smtpeter.web.rest.carrier import ALWAYS, Carrier
from smtpeter.web.rest.values import Response
from smtpeter.web.tracking import Answer, Tracking

TIMEOUT = 60.0
"""Seconds for a request to come, all of it, since the one before."""

TURN = 50
"""Requests of one connection that are answered before others have their turn."""

BREATHER = 0.05
"""Seconds for which a connection is not read while more comes than can be recorded."""

READ_SIZE = 16 * 1024
CONNECTIONS = 5000
CONNECTIONS_PER_ADDRESS = 200


class FrontFactory(Factory):
    """Makes a :class:`Front` for each connection, with ``site`` behind it.

    ``eager`` may wrap a TCP transport into one that sends at once.  ``trusted_proxies`` may have as many connections as
    there are; every other address has its limit.  While ``is_behind`` says so, requests wait.
    """

    noisy = False

    def __init__(
        self,
        site: Site,
        tracking: Tracking,
        clock: IClock,
        timers: Any,
        trusted_proxies: Sequence[Network] = (),
        eager: Callable[[Any], Any] = lambda transport: transport,
        is_behind: Callable[[], bool] = lambda: False,
    ) -> None:
        self.site = site
        self.tracking = tracking
        self.timers = timers
        self.eager = eager
        self.is_behind = is_behind
        self.carrier: Carrier = cast(Any, site).carrier
        self._clock = clock
        self._trusted = trusted_proxies
        self._connections: Counter[str] = Counter()
        self._total = 0
        self._second = -1
        self._date = b""

    def buildProtocol(self, addr: IAddress | None) -> Front | None:
        host = getattr(addr, "host", "")
        peer = network_of(host)
        full = self._connections[peer] >= CONNECTIONS_PER_ADDRESS and not is_within(host, self._trusted)
        if full or self._total >= CONNECTIONS:
            return None
        return Front(self, addr, peer)

    def made(self, peer: str) -> None:
        """A connection began."""
        self._connections[peer] += 1
        self._total += 1

    def lost(self, peer: str) -> None:
        """A connection ended."""
        self._connections[peer] -= 1
        self._total -= 1
        if self._connections[peer] <= 0:
            del self._connections[peer]

    def date(self) -> bytes:
        """Now, as ``Date`` has it."""
        second = int(self._clock.time())
        if second != self._second:
            self._second = second
            self._date = formatdate(second, usegmt=True).encode("ascii")
        return self._date


@implementer(IHandshakeListener, IPushProducer)
class Front(Protocol):
    """One connection.

    Requests are answered in the order in which they came.  The first that is not simple, and all that follow it, go to
    twisted.web: what was not answered here is given to it as if it had just come.
    """

    _log = Logger()

    def __init__(self, factory: FrontFactory, address: IAddress | None, counted_as: str) -> None:
        self._front = factory
        self._address = address
        self._counted_as = counted_as
        self._peer = getattr(address, "host", "")
        self._unread = b""
        self._channel: Any = None
        self._choked = False
        self._later: IDelayedCall | None = None
        self._asking: Deferred[Any] | None = None
        self._is_paused = False
        self._over = False

    # --- the connection ---

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._front.made(self._counted_as)
        self._secure = ISSLTransport.providedBy(transport)
        if not self._secure:
            transport.bufferSize = READ_SIZE
        self._out = transport if self._secure else self._front.eager(transport)
        if hasattr(transport, "setTcpNoDelay"):
            transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._timeout = self._front.timers.callLater(TIMEOUT, self._too_late)

    def handshakeCompleted(self) -> None:
        """Requests may come now; nothing is written before."""

    def dataReceived(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.dataReceived(data)
            return
        self._unread = self._unread + data if self._unread else data
        if self._asking is not None:
            self._stop_reading()
        elif self._later is None and not self._choked and not self._over:
            self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self._front.lost(self._counted_as)
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._end_timeout()
        if self._asking is not None:
            self._asking.cancel()
        if self._channel is not None:
            self._channel.connectionLost(reason)

    def _end_timeout(self) -> None:
        if self._timeout.active():
            self._timeout.cancel()

    def _too_late(self) -> None:
        if self._asking is not None:  # it is us who take that long
            self._timeout = self._front.timers.callLater(TIMEOUT, self._too_late)
            return
        self._abort()

    def _abort(self) -> None:
        self._over = True
        transport: Any = self.transport
        transport.abortConnection()

    # --- requests ---

    def _work(self) -> None:
        """Answer what can be answered, with one write."""
        behind = self._front.is_behind()
        octets, start = self._unread, 0
        answers: list[bytes] = []
        request: object = None
        while start < len(octets) and len(answers) < TURN:
            request = read_request(octets, start)
            if not isinstance(request, LeanRequest):
                break
            if behind and request.method != b"POST":
                break
            start = request.end
            if request.method == b"POST":
                break
            answers.append(self._answer(request))
            if request.close:
                break
        self._unread = octets[start:]
        if answers:
            self._timeout.reset(TIMEOUT)
            self._out.write(b"".join(answers))
        if isinstance(request, LeanRequest):
            if request.method == b"POST":
                self._ask(request)
            elif behind:
                self._timeout.reset(TIMEOUT)  # it is us who let it wait
                self._pause(BREATHER)
            elif request.close:
                self._close()
            elif self._unread:
                self._pause(0)
        elif request is HARD and not self._choked:
            self._hand_over()

    def _answer(self, request: LeanRequest) -> bytes:
        method, target, fields, close, _, _ = request
        answer = self._front.tracking.answer(method, target, fields, self._peer, self._secure)
        return write_answer(answer, self._front.date(), method, close)

    def _ask(self, request: LeanRequest) -> None:
        """Have it answered by the API; nothing that follows is looked at before."""
        method, target, fields, close, _, body = request
        carrier = self._front.carrier
        asking = carrier.answer(carrier.describe(method, target, fields, self._peer, self._secure, body))
        self._asking = asking
        asking.addCallbacks(self._answered, self._not_answered, (close,))

    def _answered(self, response: Response, close: bool) -> None:
        self._asking = None
        status, kind, body, fields = response
        assert isinstance(body, bytes), "what is fetched piece by piece has other routes"
        answer = Answer(status, ((b"Content-Type", kind), *ALWAYS, *fields), body)
        self._timeout.reset(TIMEOUT)
        self._out.write(write_answer(answer, self._front.date(), b"POST", close))
        if close:
            self._close()
        elif (self._is_paused or self._unread) and not self._choked:
            self._pause(0)  # others have their turn, and then it is read again

    def _not_answered(self, failure: Failure) -> None:
        """It is a bug, or the client is gone."""
        self._asking = None
        if not self._over:
            self._log.failure("a request has no answer", failure)
            self._abort()

    def _close(self) -> None:
        self._over = True
        transport: Any = self.transport
        transport.unregisterProducer()
        transport.loseConnection()

    def _hand_over(self) -> None:
        transport: Any = self.transport
        self._end_timeout()
        transport.unregisterProducer()
        unread, self._unread = self._unread, b""
        self._channel = self._front.site.buildProtocol(self._address)
        self._channel.makeConnection(transport)
        self._channel.dataReceived(unread)

    # --- not more at once than others, and the client, can bear ---

    def _pause(self, seconds: float) -> None:
        """Read nothing and answer nothing for a while; others have their turn."""
        self._stop_reading()
        if not self._choked:
            self._later = self._front.timers.callLater(seconds, self._go_on)

    def _stop_reading(self) -> None:
        self._is_paused = True
        transport: Any = self.transport
        transport.pauseProducing()

    def _go_on(self) -> None:
        self._later = None
        self._is_paused = False
        if not self._over:
            transport: Any = self.transport
            transport.resumeProducing()
            self._work()

    def pauseProducing(self) -> None:
        """The client does not fetch what it asked for: nothing more is read until it does."""
        self._choked = True
        if self._later is not None:
            self._later.cancel()
            self._later = None
        self._stop_reading()

    def resumeProducing(self) -> None:
        """The client fetched it."""
        self._choked = False
        if self._asking is None:
            self._go_on()

    def stopProducing(self) -> None:
        """Nothing is to be done: the connection is lost anyway."""
