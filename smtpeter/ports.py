"""The ports that are listened on: bound early, as long as there are privileges, and closed first."""

from __future__ import annotations

import re
import resource
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.python.failure import Failure

from smtpeter.errors import ConfigError
from smtpeter.intake.breath import Breath
from smtpeter.intake.late import LateFactory

OPEN_FILES = 65536
BACKLOG = 1024  # connections that may wait to be accepted; the kernel drops what comes beyond


class Ports:
    """All of them.  ``reactor`` is what endpoints are made with."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._ports: list[IListeningPort] = []
        self._breaths: list[Breath] = []

    def listen(self, name: str, description: str, factory: LateFactory) -> None:
        """Bind a port of the listener ``name`` (the key below ``[listen]``).

        :raises ConfigError: where that cannot be done.
        """
        where = f'listen.{name}: "{description}"'
        try:
            listening = serverFromString(self._reactor, _with_backlog(description)).listen(factory)
        except LookupError:
            raise ConfigError(
                f"{where} names a socket that systemd did not give: is its socket unit running?"
            ) from None
        except Exception as error:  # each kind of endpoint fails in its own way
            raise ConfigError(f"{where} is not an endpoint description: {error}") from None
        failures: list[Failure] = []
        listening.addCallbacks(self._bound, failures.append, (factory,))
        if failures:
            raise ConfigError(f"{where} cannot be listened on: {failures[0].value}")

    def _bound(self, port: IListeningPort, factory: LateFactory) -> None:
        self._ports.append(port)
        if isinstance(port, FileDescriptor):
            self._breaths.append(Breath(port, factory, self._reactor))

    def addresses(self) -> list[tuple[str, int]]:
        """The IP addresses and port numbers that are listened on."""
        hosts = [port.getHost() for port in self._ports]
        return [(host.host, host.port) for host in hosts if isinstance(host, IPv4Address | IPv6Address)]

    def closing(self) -> list[Callable[[], Any]]:
        """What has to be called to close each of them; each may give a Deferred."""
        for breath in self._breaths:
            breath.stop()
        return [port.stopListening for port in self._ports]


def _with_backlog(description: str) -> str:
    """An endpoint description with room for more than the 50 connections that Twisted lets wait."""
    parts = re.split(r"(?<!\\):", description)
    unnamed = [part for part in parts if "=" not in part]  # of TCP and Unix endpoints alike, the third is the backlog
    if parts[0].strip() not in ("tcp", "tcp6", "unix") or "backlog=" in description or len(unnamed) > 3:
        return description
    return f"{description}:backlog={BACKLOG}"


def raise_open_files() -> None:
    """Every session is a file: take as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
