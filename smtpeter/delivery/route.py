"""Where mail goes that goes to a relay."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from smtpeter.errors import ConfigError
from smtpeter.locations import parse_relay


class Security(Enum):
    """How a relay is reached; the values are the URL's schemes."""

    CLEAR = "smtp"
    STARTTLS = "smtp+starttls"
    TLS = "smtps"


class RelayRoute(NamedTuple):
    """A smarthost.  ``host`` is a name or an IP address; an empty ``username``: no authentication.

    With STARTTLS and TLS nothing is ever sent in clear; with CLEAR everything is, the password too.
    """

    host: str
    port: int
    security: Security
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return f"RelayRoute({self})"

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.security.value}://{host}:{self.port}"


def parse_relay_route(url: str) -> RelayRoute:
    """Read ``smtp://``, ``smtp+starttls://`` or ``smtps://``, then ``[user:password@]host[:port]``.

    User and password are percent-encoded; the ports are 25, 587 and 465 where none is named.

    :raises ConfigError: where it is none; the text does not repeat it, for it may hold a password.
    """
    try:
        relay = parse_relay(url)
    except ValueError as error:
        raise ConfigError(f"delivery.relay {error}") from None
    return RelayRoute(relay.host, relay.port, Security(relay.scheme), relay.username, relay.password)
