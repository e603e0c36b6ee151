"""Who the client is, where proxies that we trust stand before us."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

from smtpeter.locations import Network

Fields = Sequence[tuple[bytes, bytes]]
"""Names in lower case, and values."""

_MOST_HOPS = 30
_HOP = re.compile(rb"\[([0-9A-Fa-f:.]++)\](?::[0-9]++)?|([0-9.]++)(?::[0-9]++)?|([0-9A-Fa-f:.]++)")


class Client(NamedTuple):
    """``address`` as text, empty where it is none of IP; ``secure``: whether it speaks TLS to us, or to our proxy."""

    address: str
    secure: bool


def client_of(peer: str, secure: bool, fields: Fields, trusted: Sequence[Network]) -> Client:
    """Who sent a request that came from ``peer``.

    Only what ``trusted`` proxies say counts.  Each proxy adds the address of whom it talked with to the right end of
    ``X-Forwarded-For``; from there we go on to the left as long as whoever wrote an entry is trusted.  What a client
    wrote itself stands further left, and is never reached.  ``X-Forwarded-Proto`` is the nearest proxy's: its last
    word counts.
    """
    if not trusted or not is_within(peer, trusted):
        return Client(peer, secure)
    address = peer
    for hop in reversed(_words(fields, b"x-forwarded-for")[-_MOST_HOPS:]):
        found = _address(hop)
        if not found:
            break
        address = found
        if not is_within(found, trusted):
            break
    proto = _words(fields, b"x-forwarded-proto")
    said = proto[-1].lower() if proto else b""
    return Client(address, said == b"https" if said in (b"https", b"http") else secure)


def is_within(address: str, networks: Sequence[Network]) -> bool:
    """Whether an address is in one of these networks; an IPv4 address written as IPv6 counts as what it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(plain in network for network in networks)


def _words(fields: Fields, name: bytes) -> list[bytes]:
    """The entries of all fields with this name, as if they were one (RFC 9110 section 5.3)."""
    return [word.strip() for field, value in fields if field == name for word in value.split(b",")]


def _address(hop: bytes) -> str:
    """The address in an entry, which may have a port; empty where there is none."""
    match = _HOP.fullmatch(hop)
    if match is None:
        return ""
    try:
        parsed = ipaddress.ip_address((match[1] or match[2] or match[3]).decode("ascii"))
    except ValueError:
        return ""
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
