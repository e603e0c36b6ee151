"""TLS under a session, against OpenSSL as Python's ssl module has it."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.tls import ServerTls
from smtpeter.intake.tls import READ_SIZE, TlsFactory


class Socket(StringTransport):
    """Takes everything at once, as sockets nearly always do, and remembers how it was given."""

    dataBuffer, _tempDataLen = b"", 0
    connected = True
    lost = aborted = False
    producer_known = False

    def __init__(self):
        super().__init__()
        self.writes = []

    def writeSomeData(self, data):
        self.writes.append(bytes(data))
        return len(data)

    def setTcpNoDelay(self, enabled):
        self.nodelay = enabled

    def registerProducer(self, producer, streaming):
        self.producer_known = True

    def unregisterProducer(self):
        self.producer_known = False

    def loseConnection(self):
        self.lost = True

    def abortConnection(self):
        self.aborted = True


@implementer(IHandshakeListener)
class Session(Protocol):
    """Greets, and answers each piece with what it was, in capitals; says goodbye to ``quit``."""

    reason = None

    def __init__(self):
        self.heard = b""
        self.handshakes = 0

    def connectionMade(self):
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self):
        self.handshakes += 1
        self.transport.write(b"hello")

    def dataReceived(self, data):
        self.heard += data
        self.transport.write(data.upper())
        if data == b"quit":
            self.transport.unregisterProducer()
            self.transport.loseConnection()
        if data == b"abort":
            self.transport.abortConnection()

    def connectionLost(self, reason):
        self.reason = reason


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return ensure_certificate(tmp_path_factory.mktemp("tls") / "files", "mail.example.com", time.time())


class Client:
    """A client, the layer and a session, without sockets; ``size`` cuts what the client sends."""

    def __init__(self, files, size=None, newest=ssl.TLSVersion.TLSv1_3, ciphers="ECDHE+AESGCM"):
        self.size = size
        context = ssl.create_default_context(cafile=str(files.authority))
        context.maximum_version = newest
        context.set_ciphers(ciphers)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="mail.example.com")
        creator = ServerTls(files.certificate, files.private_key, Clock().seconds)
        self.layer = TlsFactory(creator, Factory.forProtocol(Session)).buildProtocol(None)
        self.session = self.layer._session
        self.socket = Socket()
        self.layer.makeConnection(self.socket)

    def send(self):
        data = self.outgoing.read()
        size = self.size or len(data) or 1
        for start in range(0, len(data), size):
            self.layer.dataReceived(data[start : start + size])
        for octets in self.socket.writes:
            self.incoming.write(octets)
        writes, self.socket.writes = self.socket.writes, []
        return writes

    def shake_hands(self):
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.send()
        return self.send()

    def read(self):
        got = b""
        with suppress(ssl.SSLWantReadError):
            while octets := self.tls.read(65536):
                got += octets
        return got

    def say(self, data):
        for start in range(0, len(data), 65536):
            self.tls.write(data[start : start + 65536])
        self.send()
        return self.read()


@pytest.fixture
def client(files):
    client = Client(files)
    client.shake_hands()
    assert client.read() == b"hello"
    return client


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [None, 1, 7])
def test_content_goes_both_ways_however_the_octets_are_cut(files, size, newest):
    client = Client(files, size, newest)
    client.shake_hands()
    assert client.read() == b"hello"
    assert client.say(b"some words") == b"SOME WORDS"
    assert client.session.handshakes == 1


def test_many_records_at_once_and_as_many_back(client):
    data = b"x" * 200_000
    assert client.say(data) == data.upper()
    assert client.session.heard == data


def test_the_greeting_goes_with_the_end_of_the_handshake_in_one_write(files):
    assert len(Client(files).shake_hands()) == 1


def test_the_last_answer_and_the_goodbye_are_one_write(client):
    client.tls.write(b"quit")
    assert len(client.send()) == 1
    assert client.tls.read(100) == b"QUIT"
    assert client.tls.read(100) == b"", "the end, as TLS tells it"
    assert not client.socket.lost, "the client did not say goodbye yet"
    client.tls.unwrap()
    client.send()
    assert client.socket.lost and not client.socket.aborted


def test_a_client_that_says_goodbye_first_gets_ours(client):
    with pytest.raises(ssl.SSLWantReadError):
        client.tls.unwrap()
    assert len(client.send()) == 1
    client.tls.unwrap()
    assert client.socket.lost and not client.socket.producer_known


def test_nothing_is_written_after_the_end(client):
    client.say(b"quit")
    client.session.transport.write(b"more")
    assert client.socket.writes == []


def test_with_a_producer_the_goodbye_waits_for_it(client):
    transport = client.session.transport
    transport.loseConnection()
    transport.write(b"last")
    transport.unregisterProducer()
    client.send()
    assert client.tls.read(100) == b"last"
    assert client.tls.read(100) == b""


def test_what_comes_after_an_abort_is_not_delivered(client):
    client.tls.write(b"abort")
    client.tls.write(b"more")
    client.send()
    assert client.session.heard == b"abort"
    assert client.socket.aborted and not client.socket.lost
    client.tls.write(b"even more")
    client.send()
    assert client.session.heard == b"abort"


def test_who_has_no_cipher_in_common_is_told_by_an_alert(files):
    client = Client(files, newest=ssl.TLSVersion.TLSv1_2, ciphers="AES128-SHA")
    with pytest.raises(ssl.SSLError, match="alert handshake failure"):
        client.shake_hands()
    assert client.socket.lost


def test_who_speaks_without_tls_is_sent_away(files):
    client = Client(files)
    client.layer.dataReceived(b"EHLO client.example.com\r\n")
    assert client.socket.lost
    client.layer.dataReceived(b"EHLO client.example.com\r\n")
    client.layer.connectionLost(Failure(ConnectionDone()))
    assert client.session.reason.check(SSL.Error) and client.session.heard == b""


def test_attack_broken_records_end_the_connection(client):
    client.tls.write(b"words")
    record = bytearray(client.outgoing.read())
    record[-1] ^= 1
    client.layer.dataReceived(bytes(record))
    assert client.socket.lost and client.session.heard == b""
    client.layer.connectionLost(Failure(ConnectionDone()))
    assert client.session.reason.check(SSL.Error)


def test_the_end_before_the_handshake_cuts_the_connection(files):
    client = Client(files)
    client.session.transport.loseConnection()
    assert client.socket.aborted


def test_a_session_that_speaks_too_early_is_cut(files):
    client = Client(files)
    client.session.transport.write(b"hello")
    assert client.socket.aborted


def test_what_concerns_the_socket_is_passed_on(files):
    client = Client(files)
    transport = client.session.transport
    transport.setTcpNoDelay(True)
    assert client.socket.nodelay
    assert client.socket.bufferSize == READ_SIZE
    transport.pauseProducing()
    assert client.socket.producerState == "paused"
    assert ITCPTransport.providedBy(transport)
    with pytest.raises(AttributeError):
        _ = transport.no_such_thing


def test_a_lost_connection_is_told_with_its_reason(client):
    client.layer.connectionLost(Failure(ConnectionDone()))
    assert client.session.reason.check(ConnectionDone)
    client.session.transport.write(b"too late")
    client.session.transport.loseConnection()
    assert client.socket.writes == []
