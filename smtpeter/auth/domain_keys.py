"""DKIM keys of sender domains: made or read, named, and told to the world (RFC 6376, RFC 8301, RFC 8463)."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import chain, count
from typing import NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from smtpeter.auth.keys import KeyRing
from smtpeter.auth.sealing import seal
from smtpeter.errors import NotPossible
from smtpeter.model.domain import DomainKey, KeyAlgorithm

RSA_BITS = 2048
_RSA_LEAST, _RSA_MOST = 1024, 4096  # what verifiers have to be able to check (RFC 8301 section 3.2)
_LETTERS = {KeyAlgorithm.RSA: "r", KeyAlgorithm.ED25519: "e"}
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_SELECTOR_LIMIT = 100


class GivenKey(NamedTuple):
    """A key that somebody brought; ``warning`` is a sentence, empty where there is nothing to be said about it."""

    key: DomainKey
    warning: str


def record_name(domain: str, selector: str) -> str:
    """Where a key is published (RFC 6376 section 3.6.2.1)."""
    return f"{selector}._domainkey.{domain}"


def record_text(key: DomainKey) -> str:
    """What is published there (RFC 6376 section 3.6.1)."""
    return f"v=DKIM1; k={key.algorithm}; p={key.public}"


def make_keys(ring: KeyRing, domain: str, now: float, taken: Collection[str] = ()) -> tuple[DomainKey, DomainKey]:
    """New keys, one of each algorithm: RSA for all verifiers, Ed25519 for those that know it.

    ``now`` (seconds since the epoch) is in the names of their selectors; those in ``taken`` are not used again.
    """
    keys = (
        (KeyAlgorithm.RSA, generate_private_key(public_exponent=65537, key_size=RSA_BITS)),
        (KeyAlgorithm.ED25519, Ed25519PrivateKey.generate()),
    )
    rsa, ed25519 = (_sealed(ring, domain, _new_selector(now, algorithm, taken), key) for algorithm, key in keys)
    return rsa, ed25519


def read_key(ring: KeyRing, domain: str, selector: str, pem: bytes) -> GivenKey:
    """A key from a PEM file.

    :raises NotPossible: where it is none that can be signed with, or the selector is no name; nothing of the file is in
        the text.
    """
    if not _SELECTOR.fullmatch(selector) or len(selector) > _SELECTOR_LIMIT:
        raise NotPossible("a selector is small letters, digits and hyphens, such as s202601r")
    try:
        private = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise NotPossible("the file is not a private key in PEM without a password") from None
    if isinstance(private, Ed25519PrivateKey):
        return GivenKey(_sealed(ring, domain, selector, private), "")
    if not isinstance(private, RSAPrivateKey):
        raise NotPossible("the key is neither RSA nor Ed25519: DKIM knows no other")
    bits = private.key_size
    if not _RSA_LEAST <= bits <= _RSA_MOST:
        raise NotPossible(f"the RSA key has {bits} bits: DKIM takes {_RSA_LEAST} to {_RSA_MOST}, and wants {RSA_BITS}")
    warning = f"the RSA key has {bits} bits only: make one of {RSA_BITS} soon" if bits < RSA_BITS else ""
    return GivenKey(_sealed(ring, domain, selector, private), warning)


def _new_selector(now: float, algorithm: KeyAlgorithm, taken: Collection[str]) -> str:
    """``s202601r``, ``s202601e``; ``s202601r2`` where there is one of that month already."""
    name = f"s{datetime.fromtimestamp(now, UTC):%Y%m}{_LETTERS[algorithm]}"
    return next(each for each in chain((name,), (f"{name}{number}" for number in count(2))) if each not in taken)


def _sealed(ring: KeyRing, domain: str, selector: str, private: RSAPrivateKey | Ed25519PrivateKey) -> DomainKey:
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    sealed, key_id = seal(ring, record_name(domain, selector), der)
    algorithm = KeyAlgorithm.RSA if isinstance(private, RSAPrivateKey) else KeyAlgorithm.ED25519
    return DomainKey(selector, algorithm, _published(private.public_key()), sealed, key_id)


def _published(public: RSAPublicKey | Ed25519PublicKey) -> str:
    """A record's ``p=``.  For RSA it is what everybody publishes, and erratum 3017 of RFC 6376 has."""
    if isinstance(public, Ed25519PublicKey):
        octets = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    else:
        octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(octets).decode("ascii")
