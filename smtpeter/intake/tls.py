"""TLS under a session, with few calls: what a turn of the session says goes out as one write, its goodbye included.

Twisted's own layer serves any protocol at any point of a handshake, and pays for it at each event with calls that find
nothing to do.  A session that writes nothing before the handshake, and once for each group of commands, needs less.
``bench/README.md`` has the measurement.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    ISSLTransport,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.eager import EagerTransport

READ_SIZE = 32 * 1024
"""Octets that are read at once, and that may wait to be sent before we answer no more."""

RECORD = 16 * 1024
"""Octets of content in a TLS record, at the most (RFC 8446 section 5.1)."""


@implementer(ISSLTransport)
class TlsLayer(Protocol):
    """The server's side of TLS: the protocol of a socket, and the transport of ``session``.

    The session is an ``IHandshakeListener``, and writes nothing before it was told of the handshake.  At the end we say
    goodbye (RFC 8446 section 6.1) and close the socket once the client did too, if the layer ``waits``; how long to
    wait for that is the session's business.
    """

    disconnecting = False

    def __init__(self, creator: IOpenSSLServerConnectionCreator, session: Any, waits: bool = True) -> None:
        self._creator = creator
        self._session = session
        self._waits = waits
        self._established = self._in_turn = self._unsent = self._produced = self._over = False
        self._reason: Failure | None = None

    def __getattr__(self, name: str) -> Any:
        # Who is there, how the socket behaves, whether it is read: all that has nothing to do with TLS.
        return getattr(self.transport, name)

    # --- the protocol of the socket ---

    def makeConnection(self, transport: Any) -> None:
        # The creator is promised Twisted's layer, to keep beside the connection; ours has no use for it.
        self._connection = self._creator.serverConnectionForTLS(cast(Any, self))
        self._connection.set_accept_state()
        transport.bufferSize = READ_SIZE
        super().makeConnection(EagerTransport(transport))
        self._session.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._in_turn = True
        try:
            self._connection.bio_write(data)
            if self._established or self._shake_hands():
                self._deliver()
        except SSL.ZeroReturnError:
            self._say_goodbye()
            self._end()
        except SSL.Error:
            self._reason = Failure()
            self._unsent = True  # the alert that says why
            self._end()
        finally:
            self._in_turn = False
        self._flush()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._over = True
        self.connected = 0
        self._session.connectionLost(self._reason or reason)
        self._session = None  # it knows us as we know it

    def _shake_hands(self) -> bool:
        """Go on with the handshake; answers whether it is complete."""
        self._unsent = True
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        self._established = True
        cast(IHandshakeListener, self._session).handshakeCompleted()
        return True

    def _deliver(self) -> None:
        while not self._over:
            try:
                octets = self._connection.recv(RECORD)
            except SSL.WantReadError:
                return
            self._session.dataReceived(octets)

    def _end(self) -> None:
        self._flush()
        self._over = True
        self.unregisterProducer()  # a transport with a producer waits for it before it closes
        cast(ITCPTransport, self.transport).loseConnection()

    def _flush(self) -> None:
        """Send what OpenSSL has for the client.

        An answer to its change of keys may wait for our next write, before which it has to go (RFC 8446, 4.6.3).
        """
        while self._unsent and self.connected:
            try:
                octets = self._connection.bio_read(2 * RECORD)
            except SSL.WantReadError:
                octets = b""
            self._unsent = len(octets) == 2 * RECORD
            if octets:
                cast(ITCPTransport, self.transport).write(octets)

    # --- the transport of the session ---

    def getPeerCertificate(self) -> Any:
        """The client's, None where it showed none."""
        return self._connection.get_peer_certificate()

    def getHandle(self) -> SSL.Connection:
        """The connection of OpenSSL, which tells version and cipher."""
        return self._connection

    def write(self, data: bytes) -> None:
        if self._over or (self.disconnecting and not self._produced):
            return
        self._unsent = True
        try:
            for start in range(0, len(data), RECORD):
                self._connection.send(data[start : start + RECORD])
        except SSL.Error:
            self._reason = Failure()
            self.abortConnection()
        if not self._in_turn:
            self._flush()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self.disconnecting or not self.connected:
            return
        self.disconnecting = True
        if not self._established:
            self.abortConnection()
        elif not self._produced:
            self._say_goodbye()

    def abortConnection(self) -> None:
        self._over = self.disconnecting = True
        self._unsent = False
        cast(ITCPTransport, self.transport).abortConnection()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """Let it be paused while answers pile up; only producers that push are known here."""
        self._produced = True
        cast(Any, self.transport).registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._produced = False
        cast(Any, self.transport).unregisterProducer()
        if self.disconnecting and not self._over:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        self._unsent = True
        try:
            self._connection.shutdown()
        except SSL.Error:
            self._over = True
        if not self._waits:
            self._end()
        elif not self._in_turn:
            self._flush()


class TlsFactory(Factory):
    """Puts TLS under the sessions that another factory makes."""

    noisy = False

    def __init__(self, creator: IOpenSSLServerConnectionCreator, sessions: Factory, waits: bool = True) -> None:
        self._creator = creator
        self._sessions = sessions
        self._waits = waits

    def buildProtocol(self, addr: IAddress | None) -> TlsLayer | None:
        session = self._sessions.buildProtocol(addr)
        return None if session is None else TlsLayer(self._creator, session, self._waits)
