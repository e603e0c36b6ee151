"""Domains that accounts send from, and the keys that sign for them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class KeyAlgorithm(StrEnum):
    """What a DKIM key is; the values are those of its record's ``k=``."""

    RSA = "rsa"
    ED25519 = "ed25519"


class DomainKey(NamedTuple):
    """A DKIM key as it is kept.

    ``public`` is the record's ``p=``.  ``sealed`` is the private key (PKCS #8, DER), encrypted under the master key
    with the id ``key_id``: nothing else of it is ever stored or shown.
    """

    selector: str
    algorithm: KeyAlgorithm
    public: str
    sealed: bytes
    key_id: str


class SenderDomain(NamedTuple):
    """A domain, in A-labels and lower case, and whose it is.  ``created`` in seconds since the epoch."""

    domain: str
    account: int
    email: str
    created: float
    keys: tuple[DomainKey, ...]


class SigningKey(NamedTuple):
    """A DKIM key that can be signed with: ``private`` is PKCS #8 in DER.  Never log or store it.

    ``bits`` is how long an RSA key is; 0: it is none.
    """

    domain: str
    selector: str
    algorithm: KeyAlgorithm
    private: bytes
    bits: int = 0

    def __repr__(self) -> str:
        return f"SigningKey({self.selector}._domainkey.{self.domain})"
