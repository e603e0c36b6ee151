"""Ports that are bound before there is what serves them."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IAddress, ILoggingContext, ITransport
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer


@implementer(ILoggingContext)
class LateFactory(Factory):
    """Lets a port be bound while we have the privileges for it; ``inner`` makes the protocols once it is there.

    Whoever comes before that is told ``early`` and sent away.  ``asked`` counts the connections that were made.
    """

    noisy = False

    def __init__(self, name: str, early: bytes = b"") -> None:
        self.inner: Any = None
        self.asked = 0
        self._name = name
        self._early = early

    def logPrefix(self) -> str:
        """What Twisted logs about the port begins with this."""
        return f"listen.{self._name}"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        self.asked += 1
        if self.inner is not None:
            return self.inner.buildProtocol(addr)
        return _Early(self._early) if self._early else None


class _Early(Protocol):
    def __init__(self, line: bytes) -> None:
        self._line = line

    def connectionMade(self) -> None:
        transport = cast(ITransport, self.transport)
        transport.write(self._line)
        transport.loseConnection()
