"""A connection to a receiver: the client session on Twisted, with its timers and its back-pressure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITLSTransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.eager import EagerTransport
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.smtp.client import ClientSession
from smtpeter.smtp.client_events import (
    ClientProfile,
    CloseEvent,
    MarkEvent,
    ReadyEvent,
    ResultEvent,
    StartTlsEvent,
    UnusableEvent,
)
from smtpeter.smtp.transaction import Transaction

READ_SIZE = 8192  # octets that are read at once: replies are short
TICK = 5.0  # seconds between looks at the clock: no timer is moved for each message
CLOSE_TIMEOUT = 5.0  # seconds that a closing connection may take before it is cut
SLOWEST = 8000.0  # octets a second: content that goes out as slowly as this, on a line of 64 kbit/s, has its time

Done = Callable[[Mapping[int, Outcome]], None]
Mark = Callable[[], "Deferred[bool]"]


@dataclass(frozen=True)
class ConnectionSettings:
    """What all connections to one receiver share.  Times are in seconds.

    ``tls`` makes the options for TLS, ``verified`` tells that they verify the receiver's certificate; ``tls_first``:
    TLS comes before the greeting.
    ``idle``: how long a connection may wait for its next message; ``transaction_limit``: how long a transaction may
    take altogether, the time that a slow line needs for its content not counted.
    """

    profile: ClientProfile
    timers: IReactorTime
    tls: Callable[[], IOpenSSLClientConnectionCreator] | None = None
    tls_first: bool = False
    verified: bool = True
    idle: float = 30.0
    transaction_limit: float = 3600.0


class ConnectionOwner(Protocol):
    """Whoever has work for connections.  Of ``ready`` and ``unusable`` one is called, unless the connection was given
    up before; ``gone`` follows when it takes no (more) work, and ``closed`` when it is closed."""

    def connection_ready(self, connection: Connection) -> None:
        """It waits for its first message."""

    def connection_unusable(self, connection: Connection, outcome: Outcome) -> None:
        """It could not be opened, and that is what it means for a recipient."""

    def connection_gone(self, connection: Connection) -> None:
        """It takes no more work."""

    def connection_closed(self, connection: Connection) -> None:
        """It is closed."""


@implementer(IPushProducer, IHandshakeListener)
class Connection(protocol.Protocol):
    """Carries one transaction after the other."""

    def __init__(self, settings: ConnectionSettings, owner: ConnectionOwner) -> None:
        self._settings = settings
        self._owner = owner
        self._session = ClientSession(settings.profile)
        self._done: Done | None = None
        self._mark: Mark | None = None
        self._timer: IDelayedCall | None = None
        self._step = -1
        self._deadline: float | None = None
        self._last: float | None = None  # when the transaction must be over
        self._pumping = self._paused = self._producing = False
        self._connected = self._gone = self._lost = self._closing = False

    # --- for the owner ---

    @property
    def usable(self) -> bool:
        """Whether it can take a message now."""
        return self._session.ready and not self._gone

    @property
    def transactions(self) -> int:
        """How many messages it has taken."""
        return self._session.transactions

    @property
    def served(self) -> bool:
        """Whether the receiver has ever dealt with a message of ours, be it to refuse it."""
        return self._session.served

    @property
    def recipients_limit(self) -> int:
        """How many recipients the receiver takes in one transaction, as it said."""
        return self._session.recipients_limit

    @property
    def transactions_limit(self) -> int:
        """How many transactions it takes on one connection."""
        return self._session.transactions_limit

    def offers(self, keyword: str) -> bool:
        """Whether the receiver offered an extension; only when ``usable``."""
        return self._session.offers(keyword)

    @property
    def awaits_end(self) -> bool:
        """Whether a final dot was sent and is not answered: to close now would leave a message in doubt."""
        return self._session.stage == "end"

    def send(self, transaction: Transaction, done: Done, mark: Mark | None = None) -> None:
        """Carry out a transaction; only when ``usable``.  ``mark`` is asked before the final dot is sent."""
        self._done, self._mark = done, mark
        needed = self._settings.transaction_limit + len(transaction.content) / SLOWEST
        self._last = self._settings.timers.seconds() + needed
        self._session.begin(transaction)
        self._pump()

    def quit(self) -> None:
        """Close politely; only when ``usable``."""
        self._session.quit()
        self._be_gone()
        self._pump()

    def abort(self, why: str) -> None:
        """Close at once.  What was not sent to its end was not tried."""
        self._session.lost(why, OutcomeKind.NOT_TRIED)
        self._pump()
        self._cut()

    # --- for Twisted ---

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        self.transport = EagerTransport(transport)
        self._connected = True
        settings = self._settings
        local, remote = (getattr(address, "host", "") for address in (transport.getHost(), transport.getPeer()))
        self._session = ClientSession(settings.profile, local, remote, settings.timers.seconds)
        if settings.tls_first:
            self._start_tls()
        self._pump()
        self._tick()

    def handshakeCompleted(self) -> None:
        handle = cast(Any, self.transport).getHandle()
        how = f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"
        self._session.tls = f"{how}, verified" if self._settings.verified else how

    def dataReceived(self, data: bytes) -> None:
        self._session.receive(data)
        self._pump()

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self._lost = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if isinstance(reason.value, ConnectionClosed):
            self._session.lost("The connection was closed by the receiver, or broke")
        else:
            self._session.lost(f"TLS failed: {_explain_tls(reason.value)}", enhanced="4.7.5")
        self._pump()
        self._be_gone()
        self._owner.connection_closed(self)

    def pauseProducing(self) -> None:
        """The receiver is slower than we are."""
        self._paused = True

    def resumeProducing(self) -> None:
        """There is room for more content."""
        self._paused = False
        self._pump()

    def stopProducing(self) -> None:
        """The connection is going; ``connectionLost`` says the rest."""
        self._paused = True

    # --- between the two ---

    def _pump(self) -> None:
        """Send what there is to send and do what there is to do, until the receiver has to be waited for."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._write() | self._handle_event():
                pass
        finally:
            self._pumping = False
        session = self._session
        if session.steps != self._step:
            self._step = session.steps
            self._deadline = None
        if self._deadline is None:
            wait = self._settings.idle if session.ready else session.timeout
            self._deadline = None if wait is None else self._settings.timers.seconds() + wait

    def _write(self) -> bool:
        """Write what the session has; whether there was anything."""
        session = self._session
        if self._paused and session.sending:
            return False
        output = session.take_output()
        if not output or self._lost or self._closing:
            return False
        transport = cast(Any, self.transport)
        if session.sending and not self._producing:
            self._producing = True
            transport.registerProducer(self, True)
        if self._producing:
            transport.write_in_turn(output)
        else:
            transport.write(output)
        if self._producing and not session.sending:
            self._stop_producing()
        return True

    def _stop_producing(self) -> None:
        self._producing = self._paused = False
        if not self._lost:
            cast(Any, self.transport).unregisterProducer()

    def _handle_event(self) -> bool:
        event = self._session.next_event()
        if event is None:
            return False
        match event:
            case ResultEvent(outcomes):
                if self._producing:
                    self._stop_producing()
                done, self._done, self._last = self._done, None, None
                assert done is not None
                self._deadline = None
                done(outcomes)
            case ReadyEvent():
                self._deadline = None
                self._owner.connection_ready(self)
            case MarkEvent():
                self._ask_mark()
            case StartTlsEvent():
                self._start_tls()
                self._session.tls_started()
            case UnusableEvent(outcome):
                self._owner.connection_unusable(self, outcome)
            case CloseEvent():
                self._write()
                self._close()
        return True

    def _ask_mark(self) -> None:
        mark = self._mark
        assert mark is not None
        mark().addErrback(lambda failure: False).addCallback(self._marked)

    def _marked(self, ours: bool) -> None:
        self._session.marked(ours)
        self._pump()

    def _start_tls(self) -> None:
        assert self._settings.tls is not None
        cast(ITLSTransport, self.transport).startTLS(self._settings.tls())

    def _be_gone(self) -> None:
        if not self._gone:
            self._gone = True
            self._owner.connection_gone(self)

    def _close(self) -> None:
        self._be_gone()
        if self._closing or self._lost or not self._connected:
            return
        self._closing = True
        self._deadline = self._settings.timers.seconds() + CLOSE_TIMEOUT
        self._step = self._session.steps
        cast(ITCPTransport, self.transport).loseConnection()

    def _cut(self) -> None:
        if self._connected and not self._lost:
            self._closing = True
            cast(ITCPTransport, self.transport).abortConnection()

    def _tick(self) -> None:
        """Look at the clock.  A deadline that came nearer since is met too, as no step is shorter than a tick."""
        now = self._settings.timers.seconds()
        # To cut a receiver off that is about to answer the final dot would make a duplicate.
        last = self._last if not self.awaits_end else None
        left = min((deadline for deadline in (self._deadline, last) if deadline is not None), default=now + TICK) - now
        if left > 0:
            self._timer = self._settings.timers.callLater(min(left, TICK), self._tick)
            return
        if self._closing:
            self._cut()
        elif self._session.ready:
            self.quit()
            self._timer = self._settings.timers.callLater(TICK, self._tick)
        else:
            self._session.timed_out()
            self._pump()
            self._cut()


def _explain_tls(error: BaseException | None) -> str:
    """OpenSSL's errors are lists of triples whose last members are for people; others tell of names that differ."""
    reasons = error.args[0] if error is not None and error.args else ()
    if not isinstance(reasons, list | tuple):
        return str(error)
    texts = [reason[-1] if isinstance(reason, tuple) else "the certificate is for another host" for reason in reasons]
    return ", ".join(map(str, texts)) or "the connection broke"
