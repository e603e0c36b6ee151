import os
from base64 import encodebytes
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.pem import read_pair
from smtpeter.auth.tls import ServerTls
from smtpeter.errors import ConfigError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def make(directory, key, algorithm):
    """A certificate signed by its own key."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.example.com")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=90))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return write(directory, builder.sign(key, algorithm).public_bytes(Encoding.PEM), private)


def write(directory, certificate, private):
    paths = directory / "fullchain.pem", directory / "privkey.pem"
    for path, content in zip(paths, (certificate, private), strict=True):
        path.write_bytes(content)
        path.chmod(0o600)
    return paths


@pytest.fixture
def files(tmp_path):
    return ensure_certificate(tmp_path / "tls", "mail.example.com", NOW.timestamp())


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), hashes.SHA256()),
        (ed25519.Ed25519PrivateKey.generate(), None),
    ],
    ids=["rsa", "ed25519"],
)
def test_other_kinds_of_keys_are_used(tmp_path, key, algorithm):
    paths = make(tmp_path, key, algorithm)
    assert read_pair(*paths).expires == (NOW + timedelta(days=90)).timestamp()
    ServerTls(*paths, lambda: 0.0)


def test_what_openssl_finds_too_weak_is_refused_with_its_reason(tmp_path):
    paths = make(tmp_path, rsa.generate_private_key(65537, 1024), hashes.SHA256())
    with pytest.raises(ConfigError, match=r"fullchain.pem is refused by OpenSSL: ee key too small"):
        ServerTls(*paths, lambda: 0.0)


def test_a_damaged_key_is_refused(tmp_path):
    key = rsa.generate_private_key(65537, 2048)
    certificate, private_key = make(tmp_path, key, hashes.SHA256())
    numbers, octets = key.private_numbers(), key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for number in (numbers.d, numbers.p):
        whole = number.to_bytes((number.bit_length() + 7) // 8)
        assert whole in octets
        octets = octets.replace(whole, (number ^ 2).to_bytes(len(whole)))
    private_key.write_text(f"-----BEGIN PRIVATE KEY-----\n{encodebytes(octets).decode()}-----END PRIVATE KEY-----\n")
    with pytest.raises(ConfigError, match="damaged"):
        read_pair(certificate, private_key)


def test_one_file_may_hold_everything(tmp_path, files):
    both = tmp_path / "all.pem"
    parts = (files.private_key, files.certificate, files.authority)
    both.write_bytes(b"".join(b"a comment\n" + part.read_bytes() for part in parts))
    both.chmod(0o600)
    pair = read_pair(both, both)
    assert len(pair.chain) == 2
    ServerTls(both, both, lambda: 0.0)


def test_the_key_is_never_shown(files):
    pair = read_pair(files.certificate, files.private_key)
    assert "mail.example.com" in repr(pair) and "Key" not in repr(pair)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_what_is_closed_to_us_is_told_with_who_we_are(files):
    files.private_key.chmod(0)
    with pytest.raises(ConfigError, match=r"privkey.pem cannot be read by the user "):
        read_pair(files.certificate, files.private_key)
