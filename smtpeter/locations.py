"""Where things are on the network, as people write it: host names, addresses, networks, servers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

T = TypeVar("T")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*", re.ASCII)
_NETLOC = re.compile(r"[A-Za-z0-9._:\[\]-]+")
_RELAY_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


def is_host_name(text: str) -> bool:
    """Whether this is a name by RFC 1123 section 2.1, and no dotted number."""
    return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdecimal()


def parse_host_name(value: object) -> str:
    """A host's name in lower case.

    :raises ValueError: where it is none.
    """
    if not isinstance(value, str) or not is_host_name(value):
        raise ValueError('is not a host name (try "mail.example.com")')
    return value.lower()


def parse_address(value: object) -> str:
    """An IP address in its usual spelling.

    :raises ValueError: where it is none.
    """
    if not isinstance(value, str) or not is_address(value):
        raise ValueError('is not an IP address (try "192.0.2.1" or "2001:db8::1")')
    return str(ipaddress.ip_address(value))


def parse_network(value: object) -> Network:
    """A network, or one address as a network of its own.

    :raises ValueError: where it is neither.
    """
    try:
        if isinstance(value, str):
            return ipaddress.ip_network(value)
    except ValueError:
        pass
    raise ValueError('is not a network (try "10.0.0.0/8" or "::1")')


def network_of(address: str) -> str:
    """Whom limits by address count as one: an IPv4 address, or the /64 network of an IPv6 address.

    Whoever has one IPv6 address has all those of its network.  What is no IP address stays as it is.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))


def version_of(address: str) -> int:
    """4 or 6, of an IP address."""
    return 6 if ":" in address else 4


def is_loopback(address: str) -> bool:
    """Whether an IP address is this machine's own."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def parse_resolver(value: object) -> str:
    """``"system"``, or a name server's address and port.

    :raises ValueError: where it is neither.
    """
    if isinstance(value, str):
        host, _, port = value.rpartition(":")
        if value == "system" or (_is_port(port) and is_address(host.removeprefix("[").removesuffix("]"))):
            return value
    raise ValueError('is not a resolver (try "system" or "127.0.0.1:53")')


def parse_web_url(value: object) -> str:
    """The URL of a whole web server, without a slash at its end.

    :raises ValueError: where it is none, or has a path, a query, a user, or characters that no host has: it is written
        into mail, in any charset.
    """
    try:
        parts = urlsplit(value if isinstance(value, str) and value.isprintable() else "")
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if (
        not usable
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or not _NETLOC.fullmatch(parts.netloc)
    ):
        raise ValueError('is not the URL of a web server (try "https://mail.example.com")')
    return f"{parts.scheme}://{parts.netloc}"


def find_domain(table: Mapping[str, T], domain: str) -> T | None:
    """What a table says of a domain: by its name, or else by the nearest ``*.parent``."""
    found = table.get(domain)
    while found is None and domain:
        domain = domain.partition(".")[2]
        found = table.get(f"*.{domain}")
    return found


class Relay(NamedTuple):
    """A smarthost; ``scheme`` is ``smtp``, ``smtp+starttls`` or ``smtps``, the user may be empty."""

    scheme: str
    host: str
    port: int
    username: str
    password: str

    def __repr__(self) -> str:
        return f"Relay({self.scheme}://{self.host}:{self.port})"


def parse_relay(value: object) -> Relay:
    """A smarthost from its URL.

    :raises ValueError: where it is none; the text does not repeat it, for it may hold a password.
    """
    try:
        parts = urlsplit(value if isinstance(value, str) and value.isprintable() else "")
        port = parts.port
    except ValueError:
        raise ValueError(
            "is not a URL (is each of / ? # @ : in its password written as %2F %3F %23 %40 %3A?)"
        ) from None
    if parts.scheme not in _RELAY_PORTS:
        raise ValueError('has to begin with "smtp://", "smtp+starttls://" or "smtps://"')
    if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError('has to look like "smtp+starttls://user:secret@host:587"')
    if bool(parts.username) != bool(parts.password):
        raise ValueError("has to have both a user and a password, or neither")
    # Names that only a local resolver knows, such as those of containers, may have underscores.
    if not is_host_name(parts.hostname.replace("_", "-")) and not is_address(parts.hostname):
        raise ValueError("names a host that is neither a host name nor an IP address")
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    if not f"{username}{password}".isprintable():
        raise ValueError("has a control character in its user or password")
    return Relay(parts.scheme, parts.hostname, port or _RELAY_PORTS[parts.scheme], username, password)


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 5 and 0 < int(text) < 65536
