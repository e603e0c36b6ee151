"""A certificate of our own, for the time until there is a real one.

A local authority signs one certificate and its key is thrown away, so that whoever chooses to trust ``ca.pem`` trusts
this certificate and nothing else, ever.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from smtpeter.auth.private_files import make_directory, write_file

_LIFETIME = timedelta(days=365)
_REMAINING = timedelta(days=30)
_BACKDATED = timedelta(hours=1)
_LOOPBACK = (ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1"))


class CertificateFiles(NamedTuple):
    """PEM files: the authority, the certificate alone (who trusts the authority has it), and its private key."""

    authority: Path
    certificate: Path
    private_key: Path


def ensure_certificate(directory: Path, hostname: str, now: float) -> CertificateFiles:
    """The certificate for ``hostname`` and loopback in ``directory``, made anew where it is missing, for another host,
    damaged, or valid for less than 30 days after ``now`` (seconds since the epoch).

    :raises OSError: where it cannot be written.
    """
    files = CertificateFiles(directory / "ca.pem", directory / "fullchain.pem", directory / "privkey.pem")
    if not _is_usable(files, hostname, _time(now)):
        make_directory(directory)
        _write(files, hostname, _time(now))
    return files


def _is_usable(files: CertificateFiles, hostname: str, now: datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificates(files.certificate.read_bytes())[0]
        private_key = serialization.load_pem_private_key(files.private_key.read_bytes(), None)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(files.authority.read_bytes()))
    except (OSError, ValueError, TypeError, IndexError, x509.ExtensionNotFound, InvalidSignature):
        return False
    return (
        certificate.public_key() == private_key.public_key()
        and hostname in names.get_values_for_type(x509.DNSName)
        and certificate.not_valid_before_utc <= now
        and now + _REMAINING < certificate.not_valid_after_utc
    )


def _write(files: CertificateFiles, hostname: str, now: datetime) -> None:
    authority_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = _make_authority(authority_key, hostname, now)
    leaf = _make_leaf(leaf_key, hostname, now, authority, authority_key)
    pem = serialization.Encoding.PEM
    private = leaf_key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_file(files.private_key, private)
    write_file(files.certificate, leaf.public_bytes(pem), 0o644)
    write_file(files.authority, authority.public_bytes(pem), 0o644)


def _make_authority(key: ec.EllipticCurvePrivateKey, hostname: str, now: datetime) -> x509.Certificate:
    name = _name("smtpeter local authority", hostname)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )


def _make_leaf(
    key: ec.EllipticCurvePrivateKey,
    hostname: str,
    now: datetime,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    names = [x509.DNSName(name) for name in dict.fromkeys((hostname, "localhost"))]
    return (
        _builder(_name("smtpeter", hostname), authority.subject, key.public_key(), now)
        .add_extension(
            x509.SubjectAlternativeName([*names, *(x509.IPAddress(address) for address in _LOOPBACK)]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, now: datetime
) -> x509.CertificateBuilder:
    start = now - _BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + _LIFETIME)
    )


def _name(organisation: str, hostname: str) -> x509.Name:
    """A common name holds 64 characters at most: where the host's is longer, its end is left out; the names that
    count are in the subject's alternative names."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64]),
        ]
    )


def _key_usage(*, key_cert_sign: bool = False, digital_signature: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)
