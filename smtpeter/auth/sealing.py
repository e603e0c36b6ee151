"""DKIM private keys at rest: encrypted under a master key, each for the one name that it signs for."""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from smtpeter.auth.keys import KeyRing
from smtpeter.errors import SmtpeterError

_PURPOSE = "dkim"
_NONCE = 12  # octets: what AES-GCM wants (NIST SP 800-38D section 5.2.1.1)


class Unsealable(SmtpeterError):
    """A private key cannot be decrypted; the text tells why, for the log."""


def seal(ring: KeyRing, name: str, private: bytes) -> tuple[bytes, str]:
    """A private key encrypted (AES-256-GCM) under the current master key, and that one's id.

    ``name`` is that of the key's record in the DNS: under another name it cannot be unsealed, so that whoever can write
    to the store cannot have one domain signed with the key of another.
    """
    nonce = os.urandom(_NONCE)
    cipher = AESGCM(ring.derive(_PURPOSE))
    return nonce + cipher.encrypt(nonce, private, name.encode("ascii")), ring.current


def unseal(ring: KeyRing, name: str, sealed: bytes, key_id: str) -> bytes:
    """The private key.

    :raises Unsealable: where it was changed, or was sealed for another name, or under a master key that is gone.
    """
    try:
        cipher = AESGCM(ring.derive(_PURPOSE, key_id))
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], name.encode("ascii"))
    except KeyError:
        raise Unsealable(f"the keys file has no key {key_id!r}, with which it was encrypted") from None
    except (InvalidTag, ValueError):
        raise Unsealable("it is damaged, or not the key of this name") from None
