"""Ports: what is left of them once they are to be closed."""

from __future__ import annotations

from twisted.internet.abstract import FileDescriptor
from twisted.internet.task import Clock

from smtpeter.intake.late import LateFactory
from smtpeter.ports import Ports


class CannotAccept(FileDescriptor):
    """A port that is asked to accept and has no file left for it."""

    connected = True

    def doRead(self):
        pass

    def stopListening(self):
        self.connected = False


class Reactor(Clock):
    def __init__(self):
        super().__init__()
        self.port = CannotAccept(self)

    def listenTCP(self, number, factory, backlog, interface):
        return self.port

    def addReader(self, port):
        pass

    removeReader = addReader


def test_a_port_that_rests_does_not_go_on_once_all_are_closing():
    reactor = Reactor()
    ports = Ports(reactor)
    ports.listen("smtp", "tcp:2525", LateFactory("smtp"))
    reactor.port.doRead()
    assert len(reactor.getDelayedCalls()) == 1
    for close in ports.closing():
        close()
    assert reactor.getDelayedCalls() == []
