"""Sender domains with keys, a store of them, and a DNS that has their records, for dkimpy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import dkim
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import Deferred, fail, succeed

from smtpeter.auth.domain_keys import make_keys, read_key, record_name, record_text
from smtpeter.auth.domains import SenderDomains
from smtpeter.auth.keys import KeyRing
from smtpeter.model.domain import DomainKey, SenderDomain

RING = KeyRing("1", {"1": b"k" * 32})
NOW = 1_700_000_000.0  # 2023-11-14
ACCOUNT = 7


@cache
def keys_of(domain: str) -> tuple[DomainKey, ...]:
    """The same each time, since an RSA key takes a while to make."""
    return make_keys(RING, domain, NOW)


@cache
def long_key(domain: str) -> DomainKey:
    """One that takes long to sign with."""
    private = generate_private_key(public_exponent=65537, key_size=3072)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return read_key(RING, domain, "long", pem).key


def make_domain(domain: str = "own.example", account: int = ACCOUNT, **changes: Any) -> SenderDomain:
    found = SenderDomain(domain, account, f"person-{account}@example.com", NOW, keys_of(domain))
    return found._replace(**changes)


def make_domains(*names: str, account: int = ACCOUNT) -> SenderDomains:
    return SenderDomains(RING, [make_domain(name, account) for name in names])


class FakeDomainStore:
    """As much of a store of domains as a server asks.  ``trouble`` is what it fails with while that is set."""

    def __init__(self, *kept: SenderDomain) -> None:
        self.kept = list(kept)
        self.trouble: Exception | None = None
        self.slow: Deferred[Any] | None = None
        self.asked = 0

    def domains(self, email: str | None = None) -> Deferred[list[SenderDomain]]:
        self.asked += 1
        if self.trouble is not None:
            return fail(self.trouble)
        return self.slow or succeed(list(self.kept))


def published(domains: Iterable[SenderDomain]) -> Callable[..., bytes | None]:
    """A look-up of TXT records, for dkimpy."""
    records = {
        f"{record_name(each.domain, key.selector)}.".encode(): record_text(key).encode()
        for each in domains
        for key in each.keys
    }
    return lambda name, timeout=5: records.get(name)


def signatures(octets: bytes) -> int:
    """How many of our signatures a message has on top."""
    count = 0
    while octets.startswith(b"DKIM-Signature: v=1; a="):
        end = octets.index(b"\r\n")
        while octets[end + 2 : end + 3] == b" ":
            end = octets.index(b"\r\n", end + 2)
        octets, count = octets[end + 2 :], count + 1
    return count


def verified(octets: bytes, *domains: SenderDomain, count: int = 2) -> bool:
    """Whether dkimpy finds the topmost so many signatures good."""
    return all(verified_one(octets, index, *domains) for index in range(count))


def verified_one(octets: bytes, index: int, *domains: SenderDomain) -> bool:
    """Whether it finds this one good, counted from the top."""
    try:
        return bool(dkim.DKIM(octets).verify(index, dnsfunc=published(domains or [make_domain()])))
    except dkim.DKIMException:
        return False
