import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from smtpeter.auth.certificate import ensure_certificate

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
DAY = 86400


@pytest.fixture
def files(tmp_path):
    return ensure_certificate(tmp_path / "tls", "mail.example.com", NOW)


def chain(files):
    """The certificate and the authority."""
    return [x509.load_pem_x509_certificate(path.read_bytes()) for path in (files.certificate, files.authority)]


def test_the_authority_is_not_sent_for_clients_that_trust_it_have_it(files):
    assert x509.load_pem_x509_certificates(files.certificate.read_bytes()) == chain(files)[:1]


@pytest.mark.parametrize("name", ["mail.example.com", "localhost", "127.0.0.1", "::1"])
def test_strict_verification_accepts_it_for_every_name(files, name):
    leaf, trusted = chain(files)
    subject = x509.DNSName(name) if name[0].isalpha() else x509.IPAddress(ip_address(name))
    policy = PolicyBuilder().store(Store([trusted])).time(datetime.fromtimestamp(NOW, UTC).replace(tzinfo=None))
    assert policy.build_server_verifier(subject).verify(leaf, []) == [leaf, trusted]


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_openssl_accepts_it_strictly(files):
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-attime", str(int(NOW)), "-CAfile"]
    command += [str(files.authority), "-verify_hostname", "mail.example.com", str(files.certificate)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_extensions_are_what_apple_and_python_ask_for(files):
    leaf, authority = chain(files)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc <= timedelta(days=365)

    def of(certificate, kind):
        return certificate.extensions.get_extension_for_class(kind)

    assert list(of(leaf, x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert of(leaf, x509.KeyUsage).critical and of(leaf, x509.KeyUsage).value.digital_signature
    assert of(leaf, x509.BasicConstraints).value.ca is False
    assert of(authority, x509.BasicConstraints).critical and of(authority, x509.BasicConstraints).value.path_length == 0
    assert of(authority, x509.KeyUsage).critical and of(authority, x509.KeyUsage).value.key_cert_sign
    identifier = of(authority, x509.SubjectKeyIdentifier).value.digest
    assert of(leaf, x509.AuthorityKeyIdentifier).value.key_identifier == identifier
    assert isinstance(leaf.public_key(), ec.EllipticCurvePublicKey)


def test_private_key_is_ours_alone_and_the_authority_s_is_thrown_away(files):
    assert files.private_key.stat().st_mode & 0o777 == 0o600
    assert files.private_key.parent.stat().st_mode & 0o777 == 0o700
    assert sorted(path.name for path in files.authority.parent.iterdir()) == ["ca.pem", "fullchain.pem", "privkey.pem"]
    assert load_pem_private_key(files.private_key.read_bytes(), None).public_key() == chain(files)[0].public_key()


def test_kept_while_it_is_good(files):
    before = [path.read_bytes() for path in files]
    assert ensure_certificate(files.authority.parent, "mail.example.com", NOW + 300 * DAY) == files
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize(
    ("hostname", "days"), [("mail.example.com", 370), ("mail.example.com", -2), ("other.example", 0)]
)
def test_made_anew_before_it_expires_and_for_another_host(files, hostname, days):
    before = files.certificate.read_bytes()
    ensure_certificate(files.authority.parent, hostname, NOW + days * DAY)
    assert files.certificate.read_bytes() != before
    assert x509.DNSName(hostname) in list(
        chain(files)[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    )


def test_made_anew_where_a_crash_left_a_part(files, tmp_path):
    directory = files.authority.parent
    other = ensure_certificate(tmp_path / "other", "mail.example.com", NOW)
    for damage in (
        files.private_key.unlink,
        files.authority.unlink,
        lambda: files.certificate.write_bytes(b""),
        lambda: files.private_key.write_bytes(b"not PEM"),
        lambda: shutil.copy(other.private_key, files.private_key),
        lambda: shutil.copy(other.authority, files.authority),
        lambda: files.authority.write_bytes(b"not PEM"),
    ):
        damage()
        ensure_certificate(directory, "mail.example.com", NOW)
        assert load_pem_private_key(files.private_key.read_bytes(), None).public_key() == chain(files)[0].public_key()
        chain(files)[0].verify_directly_issued_by(chain(files)[1])


def test_a_long_host_name_fits(tmp_path):
    hostname = ".".join(["a" * 63] * 3) + ".example"
    (leaf, _) = chain(ensure_certificate(tmp_path, hostname, NOW))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [hostname, "localhost"]
