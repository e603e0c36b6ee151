"""A receiver of mail in memory, that says what its script tells it to."""

from __future__ import annotations

from collections import deque
from inspect import signature

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, NoProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

DROP = "DROP"
BUFFER = 65536  # octets that wait in a transport before it asks for no more
EHLO = "250-relay.example\r\n250-PIPELINING\r\n250-SIZE 50000000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8"


ANSWERS = {
    "greeting": "220 relay.example ESMTP",
    "ehlo": EHLO,
    "helo": "250 relay.example",
    "starttls": "220 2.0.0 go on",
    "auth": "235 2.7.0 welcome",
    "response": "334 ",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 go ahead",
    "end": "250 2.0.0 Ok, queued as 17",
    "rset": "250 2.0.0 Ok",
    "quit": "221 2.0.0 Bye",
}


class FakeReceiver:
    """Each keyword is the answer to a command: a text, a list of texts (one for each time, the last repeats), octets as
    they are, None for silence from then on, or DROP for a connection that breaks.

    ``commands`` are the lines that came in, ``messages`` the contents with their dots unstuffed, each as
    (reverse-path, recipients, content).  ``reading`` is how many octets it takes at a time, None: all.
    """

    reading = None

    def __init__(self, **script):
        assert not script.keys() - ANSWERS.keys()
        self._script = {
            name: deque(answer if isinstance(answer, list) else [answer])
            for name, answer in {**ANSWERS, **script}.items()
        }
        self.commands = []
        self.messages = []
        self.dropped = self._hung = False
        self._buffer = b""
        self._in_data = False
        self._mail, self._accepted = "", []

    def greet(self):
        return self._answer("greeting")

    def receive(self, octets):
        """Take octets; answers the octets to send."""
        self._buffer += octets
        output = b""
        while not self.dropped:
            if self._in_data:
                end = 0 if self._buffer.startswith(b".\r\n") else self._buffer.find(b"\r\n.\r\n") + 2
                if end == 1:
                    return output
                content = self._buffer[:end].replace(b"\r\n.", b"\r\n")
                content = content[1:] if content.startswith(b".") else content
                self._buffer = self._buffer[end + 3 :]
                self._in_data = False
                self.messages.append((self._mail, tuple(self._accepted), content))
                output += self._answer("end")
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                return output
            self._buffer = rest
            output += self._command(line.decode())
        return output

    def _command(self, line):
        self.commands.append(line)
        verb = line.partition(" ")[0].lower()
        if verb not in self._script:
            verb = "response"
        if verb == "mail":
            self._mail, self._accepted = line[11:].partition(">")[0], []
        answer = self._answer(verb)
        if verb == "rcpt" and answer.startswith(b"2"):
            self._accepted.append(line[9:].partition(">")[0])
        if verb == "data" and answer.startswith(b"3"):
            self._in_data = True
        return answer

    def _answer(self, name):
        answers = self._script[name]
        answer = answers[0] if len(answers) == 1 else answers.popleft()
        if answer == DROP:
            self.dropped = True
        if answer is None:
            self._hung = True
        return b"" if self._hung or self.dropped else self._say(answer)

    def _say(self, answer):
        return answer if isinstance(answer, bytes) else answer.encode() + b"\r\n"


class FakeWire:
    """The transport of one connection to a receiver; nothing moves before :meth:`FakeNetwork.move`."""

    dataBuffer, _tempDataLen, disconnecting, connected = b"", 1, False, True  # as if something was always left to send

    def __init__(self, receiver):
        self.receiver = receiver
        self.protocol = None
        self.producer = None
        self.tls = None
        self.lost = False
        self.closing = False
        self.aborted = False
        self.no_delay = False
        self.full = False
        self.writes = []
        self._outgoing = b""
        self._incoming = b""

    # what a protocol sees

    def write(self, octets):
        assert not self.lost
        self.writes.append(len(octets))
        self._outgoing += octets
        if self.producer is not None and len(self._outgoing) > BUFFER:
            self.full = True
            self.producer.pauseProducing()

    def setTcpNoDelay(self, enabled):
        self.no_delay = enabled

    def getHost(self):
        return IPv4Address("TCP", "192.0.2.1", 40000)

    def getPeer(self):
        return IPv4Address("TCP", "192.0.2.25", 25)

    def startTLS(self, options):
        self.tls = options

    def registerProducer(self, producer, streaming):
        assert streaming and self.producer is None
        self.producer = producer

    def unregisterProducer(self):
        self.producer = None

    def loseConnection(self):
        self.closing = True

    def abortConnection(self):
        self.closing = self.aborted = True
        self._outgoing = b""

    # what a network does

    def push(self, octets):
        """The receiver says something, whether it was asked or not."""
        if not self.lost:
            self._incoming += octets

    def connect(self, protocol):
        self.protocol = protocol
        protocol.makeConnection(self)
        self._incoming += self.receiver.greet()

    def move(self):
        """Carry what is on its way; whether anything was."""
        if self.lost:
            return False
        size = self.receiver.reading if self.receiver.reading is not None else len(self._outgoing)
        outgoing, self._outgoing = self._outgoing[:size], self._outgoing[size:]
        if outgoing:
            self._incoming += self.receiver.receive(outgoing)
        if self.full and not self._outgoing and self.producer is not None:
            self.full = False
            self.producer.resumeProducing()
        incoming, self._incoming = self._incoming, b""
        if incoming:
            self.protocol.dataReceived(incoming)
        if (self.closing or self.receiver.dropped) and not self._outgoing:
            self.lose(ConnectionDone() if not self.aborted else ConnectionLost())
            return True
        return bool(outgoing or incoming)

    def lose(self, error):
        self.lost = True
        self.protocol.connectionLost(Failure(error))


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """One target of a network."""

    def __init__(self, network, target):
        self._network = network
        self._target = target

    def connect(self, factory):
        return self._network.connect(factory, self._target)


@implementer(IStreamClientEndpoint)
class FakeNetwork:
    """An endpoint.  ``receivers`` makes the receiver of each connection, or raises, or answers None for silence.  Where
    it has a parameter ``target``, it is told which.  ``targets`` are those that were tried."""

    def __init__(self, receivers):
        self._receivers = receivers
        self.wires = []
        self.targets = []
        self.tried = 0

    def endpoint(self, target, source):
        return _Endpoint(self, target)

    def connect(self, factory, target=None):
        self.tried += 1
        self.targets.append(target)
        try:
            wants_target = "target" in signature(self._receivers).parameters
            receiver = self._receivers(target) if wants_target else self._receivers()
        except Exception as error:
            return fail(error)
        if receiver is None:
            return Deferred()
        wire = receiver.wire = FakeWire(receiver)
        self.wires.append(wire)
        protocol = factory.buildProtocol(wire.getPeer())
        if protocol is None:
            return fail(NoProtocol())
        wire.connect(protocol)
        return succeed(protocol)

    def move(self):
        """Let everything that is on its way arrive."""
        while sum([wire.move() and wire.receiver.reading is None for wire in self.wires]):
            pass

    @property
    def open(self):
        return sum(not wire.lost for wire in self.wires)

    @property
    def messages(self):
        return [message for wire in self.wires for message in wire.receiver.messages]
