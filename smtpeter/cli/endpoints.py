"""Where endpoint descriptions would listen, found out without listening there."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory

from smtpeter.errors import ConfigError


class _Rehearsal:
    """Stands in for the reactor: is told where to listen, and only notes it."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []

    def listenTCP(self, port: int, factory: Factory, backlog: int = 50, interface: str = "") -> None:
        self.addresses.append((interface, port))

    def listenSSL(self, port: int, factory: Factory, context: Any, backlog: int = 50, interface: str = "") -> None:
        self.addresses.append((interface, port))

    def listenUNIX(self, address: str, factory: Factory, *arguments: Any, **options: Any) -> None:
        pass


def tcp_addresses(description: str) -> list[tuple[str, int]]:
    """The interface (empty: all of IPv4) and port of a description; none where it is not of TCP.

    :raises ConfigError: where it is no endpoint description; the text follows the description's name.
    """
    if description.startswith("systemd:"):
        return []  # only systemd knows, and only tells the server
    rehearsal = _Rehearsal()
    try:
        serverFromString(rehearsal, description).listen(Factory()).addErrback(lambda failure: None)
    except Exception as error:  # each kind of endpoint complains in its own way
        raise ConfigError(f"{description!r} is not an endpoint description: {error}") from None
    for _, port in rehearsal.addresses:
        if not 0 <= port <= 65535:
            raise ConfigError(f"{description!r} has a port that is none (0 to 65535)")
    return rehearsal.addresses


def bind_error(interface: str, port: int) -> int:
    """The errno with which binding fails now; 0 where it would work."""
    family = socket.AF_INET6 if ":" in interface else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((interface, port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def loopback_of(interface: str) -> str:
    """The address by which this machine itself reaches what listens on an interface."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(interface, interface)
