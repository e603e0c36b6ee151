"""Ports before there is what serves them, and ports that cannot accept."""

from __future__ import annotations

from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from smtpeter.intake.breath import AT_ONCE, PAUSE, Breath
from smtpeter.intake.late import LateFactory


def test_who_comes_too_early_is_told_and_sent_away():
    factory = LateFactory("smtp", b"421 later\r\n")
    transport = StringTransport()
    factory.buildProtocol(None).makeConnection(transport)
    assert transport.value() == b"421 later\r\n" and transport.disconnecting
    assert LateFactory("smtps").buildProtocol(None) is None


def test_then_it_is_served():
    factory = LateFactory("smtp", b"421 later\r\n")
    factory.inner = Factory.forProtocol(Protocol)
    assert type(factory.buildProtocol(None)) is Protocol
    assert factory.logPrefix() == "listen.smtp"


class Port:
    connected = True
    numberAccepts = 100

    def __init__(self, factory):
        self.factory = factory
        self.can = True
        self.reading = True
        self.tried = 0

    def doRead(self):
        self.tried += 1
        self.let_in = self.numberAccepts
        self.numberAccepts += 20
        if self.can:
            self.factory.buildProtocol(None)

    def stopReading(self):
        self.reading = False

    def startReading(self):
        self.reading = True


def test_a_port_that_cannot_accept_rests_before_it_tries_again():
    clock, factory = Clock(), LateFactory("smtp")
    port = Port(factory)
    Breath(port, factory, clock)
    port.doRead()
    assert port.reading and not clock.getDelayedCalls()
    port.can = False
    port.doRead()
    assert not port.reading and port.tried == 2
    clock.advance(PAUSE)
    assert port.reading
    port.can = True
    port.doRead()
    assert port.reading and not clock.getDelayedCalls()


def test_attack_a_crowd_is_let_in_a_few_at_a_time():
    factory = LateFactory("smtp")
    port = Port(factory)
    Breath(port, factory, Clock())
    for _ in range(3):
        port.doRead()
        assert port.let_in == AT_ONCE


def test_a_port_that_was_closed_meanwhile_stays_closed():
    clock, factory = Clock(), LateFactory("smtp")
    port = Port(factory)
    breath = Breath(port, factory, clock)
    port.can = False
    port.doRead()
    port.connected = False
    clock.advance(PAUSE)
    assert not port.reading
    port.doRead()
    assert not clock.getDelayedCalls()
    port.connected = True
    port.doRead()
    breath.stop()
    assert not clock.getDelayedCalls()
