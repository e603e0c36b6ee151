"""A transport that sends at once what can be sent at once.

Twisted's TCP transport keeps what is written, asks to be told when the socket can take it, sends it in the reactor's
next round, and asks not to be told any more: two system calls and an event for each group of replies, though the socket
could nearly always have taken it on the spot.  ``bench/README.md`` has the measurement.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ITCPTransport
from zope.interface import implementer


@implementer(ITCPTransport)
class EagerTransport:
    """Stands before a TCP transport; all but :meth:`write` goes straight to it, and that too once there is TLS."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._encrypted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def startTLS(self, *arguments: Any) -> None:
        """See :class:`twisted.internet.interfaces.ITLSTransport`."""
        self._encrypted = True
        self._transport.startTLS(*arguments)

    def write_in_turn(self, data: bytes) -> None:
        """Leave it to the reactor's rounds: what is large is not to hold up others."""
        self._transport.write(data)

    def write(self, data: bytes) -> None:
        """Send now; what the socket does not take now is left to the transport, and so is what comes after that."""
        transport = self._transport
        # There is no public way to ask a transport whether it has something left to send.
        waits = transport.dataBuffer or transport._tempDataLen or transport.disconnecting or not transport.connected
        if waits or self._encrypted:
            transport.write(data)
            return
        sent = transport.writeSomeData(data)
        if not isinstance(sent, int):
            transport.write(data)  # the connection is lost; the transport finds out in its own way
        elif sent < len(data):
            transport.write(data[sent:])
