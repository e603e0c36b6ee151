"""Which addresses are this machine's, as the system knows them at that moment.  Nothing is sent."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from smtpeter.locations import version_of

_FOREIGN = {4: ("192.0.2.1", "198.51.100.254", "203.0.113.77"), 6: ("2001:db8::1", "2001:db8:ffff::fe", "3fff::1")}
"""For documentation: no machine has all of them."""

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_ABROAD = {4: "8.8.8.8", 6: "2001:4860:4860::8888"}


def is_own_address(address: IPv4Address | IPv6Address) -> bool:
    """Whether this machine has it: then a socket can be bound to it.

    Where the system binds to addresses that are not its own (``ip_nonlocal_bind``), those count that it would take
    as its own end of a connection to them.
    """
    text, version = str(address), address.version
    if address.is_multicast or text == "255.255.255.255":
        return False  # systems bind to these too
    if not _can_bind(text, version):
        return False
    if all(_can_bind(foreign, version) for foreign in _FOREIGN[version]):
        return _source_to(text, version) == text
    return True


def usable_families(sources: Iterable[str]) -> frozenset[int]:
    """4 and 6, as far as they can be used: those of the source addresses; without any, those that have a way out (both
    where none has, since that may change)."""
    versions = frozenset(map(version_of, sources))
    return (
        versions
        or frozenset(version for version, far in _ABROAD.items() if _source_to(far, version))
        or frozenset((4, 6))
    )


def _can_bind(address: str, version: int) -> bool:
    try:
        with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as udp:
            udp.bind((address, 0))
    except OSError:
        return False
    return True


def _source_to(address: str, version: int) -> str:
    """The address that a packet to this one would come from; empty where there is no way."""
    try:
        with socket.socket(_FAMILIES[version], socket.SOCK_DGRAM) as udp:
            udp.connect((address, 25))
            return str(udp.getsockname()[0])
    except OSError:
        return ""
