"""Addresses that mail is never sent to because somebody's DNS says so: private networks, this machine, and the like."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from smtpeter.locations import Network

Address = IPv4Address | IPv6Address

# The IANA registries of special-purpose addresses (RFC 6890), with what belongs to them but stands elsewhere.
_SPECIAL = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # behind carriers' NAT
            "127.0.0.0/8",  # loopback
            "169.254.0.0/16",  # link-local, and where clouds tell machines their secrets
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays of old
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
_GLOBAL_6 = IPv6Network("2000::/3")  # all that is given out so far
_SPECIAL_6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: benchmarks, ORCHID, Teredo
            "2001:db8::/32",  # documentation
            "3fff::/20",  # documentation
        ),
    )
)
_MAPPED = IPv6Network("::ffff:0:0/96")
_TRANSLATED = IPv6Network("::ffff:0:0:0/96")  # SIIT, RFC 2765
_COMPATIBLE = IPv6Network("::/96")
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)  # bits 64 to 95, RFC 5214


class Verdict(Enum):
    """FIT: mail may be sent there.  PROHIBITED: not there.  OURS: it would come back to this server."""

    FIT = "fit"
    PROHIBITED = "prohibited"
    OURS = "ours"


class Networks:
    """Decides where mail may be sent.

    ``allowed`` are networks that may be used whatever they are.  ``is_own`` tells whether an address is this machine's.
    ``listening`` tells the addresses and ports at which this server listens itself: they are never fit, even where
    they are allowed; an unspecified address there (``0.0.0.0``, ``::`` or empty) stands for all that are ours.
    """

    def __init__(
        self,
        allowed: Iterable[Network],
        is_own: Callable[[Address], bool],
        listening: Callable[[], Collection[tuple[str, int]]],
    ) -> None:
        self._allowed = tuple(allowed)
        self._is_own = is_own
        self._listening = listening

    def judge(self, text: str, port: int) -> Verdict:
        """Whether mail may be sent to this IP address and port."""
        try:
            readings = list(_readings(ip_address(text)))
        except ValueError:
            return Verdict.PROHIBITED
        if any(self._listens_at(reading, port) for reading in readings):
            return Verdict.OURS
        verdicts = {self._judge(reading) for reading in readings}
        if Verdict.PROHIBITED in verdicts:
            return Verdict.PROHIBITED
        return Verdict.OURS if Verdict.OURS in verdicts else Verdict.FIT

    def _judge(self, address: Address) -> Verdict:
        if any(address in network for network in self._allowed):
            return Verdict.FIT
        if _is_special(address):
            # A private address may be one of this machine's own, and then the hosts behind it are of no use either.
            return Verdict.OURS if self._is_own(address) and not _is_here(address) else Verdict.PROHIBITED
        return Verdict.OURS if self._is_own(address) else Verdict.FIT

    def _listens_at(self, address: Address, port: int) -> bool:
        for host, number in self._listening():
            if number != port:
                continue
            try:
                bound = _plain(ip_address(host)) if host else IPv4Address(0)
            except ValueError:
                continue  # not an address: whatever it is, nobody connects to it with one
            if bound == address or address.is_unspecified:
                return True
            if bound.is_unspecified and (_is_here(address) or self._is_own(address)):
                return True
        return False


def _is_here(address: Address) -> bool:
    return address.is_loopback or address.is_unspecified


def _is_special(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return any(address in network for network in _SPECIAL)
    if address in _NAT64:
        return False  # what it holds decides
    return address not in _GLOBAL_6 or any(address in network for network in _SPECIAL_6)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _readings(address: Address) -> Iterator[Address]:
    """What an address means: itself, or the IPv4 address that it is another spelling of; and those that are in it."""
    if isinstance(address, IPv4Address):
        yield address
        return
    if address.scope_id is not None:
        raise ValueError("an address with a zone")
    number = int(address)
    if address in _MAPPED:
        yield IPv4Address(number & 0xFFFFFFFF)
        return
    yield address
    if address in _NAT64 or address in _TRANSLATED or (address in _COMPATIBLE and number > 1):
        yield IPv4Address(number & 0xFFFFFFFF)
    elif address in _6TO4:
        yield IPv4Address(number >> 80 & 0xFFFFFFFF)
    elif address in _TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFFFFFF)
        yield IPv4Address(~number & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(number & 0xFFFFFFFF)
