"""A transport that sends at once: nothing may be lost, doubled or overtaken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from zope.interface import directlyProvides, implementer

from smtpeter.eager import EagerTransport


class Reactor:
    def addWriter(self, descriptor):
        pass

    removeWriter = removeReader = addReader = addWriter


class Socket(FileDescriptor):
    """Twisted's own buffering over a socket that takes as much as ``room`` says at each turn."""

    def __init__(self, room=()):
        super().__init__(Reactor())
        self.connected = True
        self.sent = b""
        self.calls = 0
        self.room = list(room)
        self.lost = False

    def writeSomeData(self, data):
        self.calls += 1
        if self.lost:
            return ConnectionLost()
        taken = min(self.room.pop(0), len(data)) if self.room else len(data)
        self.sent += bytes(data[:taken])
        return taken


def test_what_fits_is_sent_in_one_call_and_nothing_is_left():
    socket = Socket()
    EagerTransport(socket).write(b"250 Ok\r\n")
    assert (socket.sent, socket.calls, socket.dataBuffer, socket._tempDataLen) == (b"250 Ok\r\n", 1, b"", 0)


def test_what_the_socket_does_not_take_is_left_to_the_transport():
    socket = Socket([3])
    EagerTransport(socket).write(b"250 Ok\r\n")
    assert socket.sent == b"250"
    socket.doWrite()
    assert socket.sent == b"250 Ok\r\n"


def test_nothing_overtakes_what_waits():
    socket = Socket([0])
    eager = EagerTransport(socket)
    eager.write(b"one ")
    eager.write(b"two ")
    assert socket.sent == b"" and socket.calls == 1
    socket.doWrite()
    eager.write(b"three")
    assert socket.sent == b"one two three"


@given(st.lists(st.binary(max_size=40), max_size=12), st.lists(st.integers(0, 30), max_size=40), st.data())
def test_every_order_of_writes_and_rounds_keeps_every_octet_in_order(pieces, room, data):
    socket = Socket(room)
    eager = EagerTransport(socket)
    for piece in pieces:
        eager.write(piece)
        if data.draw(st.booleans()):
            socket.doWrite()
    socket.room.clear()
    socket.doWrite()
    assert socket.sent == b"".join(pieces)


def test_a_lost_connection_is_left_to_the_transport_to_find():
    socket = Socket()
    socket.lost = True
    EagerTransport(socket).write(b"250 Ok\r\n")
    assert socket.sent == b"" and socket._tempDataLen == 8
    assert isinstance(socket.doWrite(), ConnectionLost)


@pytest.mark.parametrize("state", ["disconnecting", "disconnected"])
def test_a_connection_that_ends_is_not_written_to_directly(state):
    socket = Socket()
    if state == "disconnecting":
        socket.disconnecting = True
    else:
        socket.connected = False
    EagerTransport(socket).write(b"250 Ok\r\n")
    assert socket.calls == 0


@implementer(IPushProducer)
class Producer:
    paused = False

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def stopProducing(self):
        pass


def test_a_producer_is_told_when_the_socket_takes_no_more():
    socket, producer = Socket([0]), Producer()
    eager = EagerTransport(socket)
    eager.registerProducer(producer, True)
    eager.write(b"x" * (FileDescriptor.bufferSize + 1))
    assert producer.paused
    socket.doWrite()
    assert not producer.paused


def test_it_provides_what_the_transport_provides_and_passes_everything_else_on():
    socket = Socket()
    directlyProvides(socket, ITCPTransport)
    eager = EagerTransport(socket)
    assert ITCPTransport.providedBy(eager)
    assert eager.connected is True
    with pytest.raises(AttributeError):
        _ = eager.no_such_thing


def test_after_tls_has_begun_nothing_goes_past_it():
    socket = Socket()
    handed = []
    socket.startTLS = lambda options: handed.append(options)
    socket.write = handed.append  # which encrypts, from then on
    eager = EagerTransport(socket)
    eager.write(b"in clear")
    eager.startTLS("options")
    eager.write(b"secret")
    assert (socket.sent, handed) == (b"in clear", ["options", b"secret"])


def test_what_is_large_is_left_to_the_rounds_of_the_reactor():
    socket = Socket()
    eager = EagerTransport(socket)
    eager.write_in_turn(b"much")
    assert (socket.sent, socket.calls) == (b"", 0)
    socket.doWrite()
    assert socket.sent == b"much"
