"""The server's SMTP protocol on a transport in memory, made quickly and many times."""

from __future__ import annotations

import dataclasses
import re

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import LogLevel, globalLogBeginner, globalLogPublisher
from twisted.python.failure import Failure

from smtpeter.intake.smtp import SmtpProtocol
from tests.fakes.smtp_connection import Connection, Handle

_LOST = Failure(ConnectionDone())
_REPLY = re.compile(rb"(?m)^([2-5][0-9][0-9]) (?:([245]\.[0-9]+\.[0-9]+) )?")


class Peer:
    host = "192.168.1.1"


class Transport:
    """Keeps what is written; cuts nothing by itself.  ``tls``: it was asked to start it."""

    _peer = Peer()
    _handle = Handle()

    def __init__(self):
        self.written = []
        self.disconnecting = self.aborted = self.tls = self.paused = False

    def write(self, octets):
        self.written.append(octets)

    def getPeer(self):
        return self._peer

    def getHandle(self):
        return self._handle

    def setTcpNoDelay(self, enabled):
        pass

    def registerProducer(self, producer, streaming):
        pass

    def unregisterProducer(self):
        pass

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def loseConnection(self):
        self.disconnecting = True

    def abortConnection(self):
        self.disconnecting = self.aborted = True

    def startTLS(self, context, normal=True):
        self.tls = True


class Host:
    """What all connections share: alice with the password ``secret`` may log in, and content stays in memory."""

    def __init__(self, limits=None, policy=None):
        fakes = Connection()
        fakes.lose()
        self.clock, self.directory, self.intake, self.content = (
            fakes.clock, fakes.directory, fakes.intake, fakes.content,
        )  # fmt: skip
        self.sessions = fakes.sessions
        self.door = dataclasses.replace(
            fakes.door, limits=limits or fakes.door.limits, policy=policy or fakes.door.policy
        )

    def forget(self):
        """Let go of what was taken."""
        self.intake.submissions.clear()
        self.content.spools.clear()


class Wire:
    """One connection; its client waits for the greeting.  ``slow``: logins and commits wait for :meth:`settle`."""

    def __init__(self, host, *, encrypted=True, mx=False, slow=False):
        self.host = host
        self.slow = slow
        host.intake.hold = slow
        self.transport = Transport()
        self.protocol = SmtpProtocol(host.door, host.sessions, encrypted=encrypted, mx=mx)
        self.protocol.makeConnection(self.transport)
        if encrypted:
            self.protocol.handshakeCompleted()

    @property
    def closed(self):
        return self.transport.disconnecting

    @property
    def output(self):
        return b"".join(self.transport.written)

    def say(self, octets):
        """A piece of input, as a transport would hand it over."""
        if self.slow and self.host.directory.pending is None:
            self.host.directory.pending = Deferred()
        self.protocol.dataReceived(octets)

    def go_on(self):
        """Give the session the turns that it asked for."""
        self.host.clock.advance(0)

    def settle(self):
        """Let everything that waits come to its end."""
        host = self.host
        while True:
            before = len(self.transport.written)
            pending, host.directory.pending = host.directory.pending, None
            if pending is not None:
                pending.callback("alice")
            host.intake.commit()
            self.go_on()
            if len(self.transport.written) == before:
                return

    def secure(self):
        """TLS was asked for: it is there now."""
        self.transport.tls = False
        self.protocol.handshakeCompleted()

    def lose(self):
        if self.slow:
            self.settle()
        self.protocol.connectionLost(_LOST)


def replies(output):
    """Code and enhanced code of each reply, as ``250 2.1.0`` or, without an enhanced code, ``250``."""
    return [f"{code.decode()} {enhanced.decode()}".rstrip() for code, enhanced in _REPLY.findall(output)]


class Troubles:
    """What is logged as a failure or an error; everything else is thrown away."""

    def __init__(self):
        self.events = []

    def __call__(self, event):
        if "log_failure" in event or event["log_level"] in (LogLevel.error, LogLevel.critical):
            self.events.append(event)

    def __enter__(self):
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *exc):
        globalLogPublisher.removeObserver(self)


def log_to_nobody():
    """Without this Twisted keeps the last 65,536 events of a program that did not say where they go."""
    globalLogBeginner.beginLoggingTo([lambda event: None], redirectStandardIO=False, discardBuffer=True)
