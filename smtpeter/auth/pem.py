"""A certificate and its private key, as they are read from PEM files."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from smtpeter.errors import ConfigError
from smtpeter.ownership import user_name


class Pair(NamedTuple):
    """A certificate with the chain behind it, and the private key that belongs to it."""

    chain: tuple[x509.Certificate, ...]
    private_key: Any

    @property
    def expires(self) -> float:
        """When the certificate ends (seconds since the epoch)."""
        return self.chain[0].not_valid_after_utc.timestamp()

    def __repr__(self) -> str:
        return f"Pair({self.chain[0].subject.rfc4514_string()})"


def read_pair(certificate: Path, private_key: Path) -> Pair:
    """Read both files.

    A group may read the key (such as Debian's ssl-cert); nobody else may.

    :raises ConfigError: in one line, where they cannot be used, or do not belong together.
    """
    content, _ = _read("tls.certificate", certificate)
    try:
        chain = tuple(x509.load_pem_x509_certificates(content))
        public_key = chain[0].public_key()
    except (ValueError, IndexError, UnsupportedAlgorithm):
        raise ConfigError(f"tls.certificate: {certificate} is not a certificate in PEM") from None
    content, mode = _read("tls.private_key", private_key)
    if mode & 0o027:
        raise ConfigError(
            f"tls.private_key: {private_key} can be reached by all users or written by a group: chmod 640 {private_key}"
        )
    try:
        # The check that is left out takes a quarter of a second for a long key, and a renewal is read in the reactor.
        key = load_pem_private_key(content, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigError(f"tls.private_key: {private_key} is not a private key in PEM without a password") from None
    if key.public_key() != public_key:
        raise ConfigError(f"tls.private_key: {private_key} does not belong to {certificate}")
    if isinstance(key, RSAPrivateKey) and not _signs(key):
        raise ConfigError(f"tls.private_key: {private_key} is damaged: what it signs is not valid")
    return Pair(chain, key)


def _signs(key: RSAPrivateKey) -> bool:
    """Whether the numbers of a key fit together, as far as TLS needs them."""
    try:
        key.public_key().verify(key.sign(b"", PKCS1v15(), SHA256()), b"", PKCS1v15(), SHA256())
    except (ValueError, InvalidSignature, InternalError):
        return False
    return True


def _read(name: str, path: Path) -> tuple[bytes, int]:
    try:
        with path.open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except PermissionError:
        raise ConfigError(f"{name}: {path} cannot be read by the user {user_name(os.geteuid())}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {path} cannot be read: {error.strerror}") from None
