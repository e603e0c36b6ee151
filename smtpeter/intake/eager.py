"""A transport that sends at once what can be sent at once.

Twisted's TCP transport keeps what is written, asks to be told when the socket can take it, sends it in the reactor's
next round, and asks not to be told any more: two system calls and an event for each group of replies, though the socket
could nearly always have taken it on the spot.  ``bench/README.md`` has the measurement.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ITCPTransport
from zope.interface import implementer

READ_SIZE = 32 * 1024
"""Octets that are read at once, and that may wait to be sent before we answer no more."""


@implementer(ITCPTransport)
class EagerTransport:
    """Stands before a TCP transport; all but :meth:`write` goes straight to it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send now; what the socket does not take now is left to the transport, and so is what comes after that."""
        transport = self._transport
        # There is no public way to ask a transport whether it has something left to send.
        if transport.dataBuffer or transport._tempDataLen or transport.disconnecting or not transport.connected:
            transport.write(data)
            return
        sent = transport.writeSomeData(data)
        if not isinstance(sent, int):
            transport.write(data)  # the connection is lost; the transport finds out in its own way
        elif sent < len(data):
            transport.write(data[sent:])
