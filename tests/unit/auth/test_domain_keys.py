"""DKIM keys made and read."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
)

from smtpeter.auth.domain_keys import make_keys, read_key, record_name, record_text
from smtpeter.auth.sealing import unseal
from smtpeter.errors import NotPossible
from smtpeter.model.domain import KeyAlgorithm
from tests.fakes.domains import NOW, RING, keys_of


def pem(key, form=PrivateFormat.PKCS8, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def rsa_key(bits: int):
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def opened(key, domain="own.example"):
    return load_der_private_key(unseal(RING, record_name(domain, key.selector), key.sealed, key.key_id), None)


def test_new_keys_are_rsa_2048_and_ed25519_under_readable_selectors() -> None:
    first, second = keys_of("own.example")
    assert (first.selector, first.algorithm) == ("s202311r", KeyAlgorithm.RSA)
    assert (second.selector, second.algorithm) == ("s202311e", KeyAlgorithm.ED25519)
    assert opened(first).key_size == 2048
    assert isinstance(opened(second), ed25519.Ed25519PrivateKey)


def test_a_selector_is_never_used_again() -> None:
    taken = ["s202311r", "s202311r2", "s202311e"]
    assert [key.selector for key in make_keys(RING, "own.example", NOW, taken)] == ["s202311r3", "s202311e2"]


def test_what_is_published_is_the_public_half() -> None:
    first, second = keys_of("own.example")
    assert load_der_public_key(base64.b64decode(first.public)) == opened(first).public_key()
    assert base64.b64decode(second.public) == opened(second).public_key().public_bytes_raw()
    assert record_text(first) == f"v=DKIM1; k=rsa; p={first.public}"
    assert record_text(second) == f"v=DKIM1; k=ed25519; p={second.public}"
    assert record_name("own.example", "s1") == "s1._domainkey.own.example"


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_an_rsa_key_is_read(form: PrivateFormat) -> None:
    private = rsa_key(2048)
    given = read_key(RING, "own.example", "mine", pem(private, form))
    assert (given.key.selector, given.key.algorithm, given.warning) == ("mine", KeyAlgorithm.RSA, "")
    assert opened(given.key).private_numbers() == private.private_numbers()


def test_an_ed25519_key_is_read() -> None:
    given = read_key(RING, "own.example", "a.b-1", pem(ed25519.Ed25519PrivateKey.generate()))
    assert (given.key.selector, given.key.algorithm, given.warning) == ("a.b-1", KeyAlgorithm.ED25519, "")


def test_a_short_rsa_key_is_taken_with_a_warning() -> None:
    given = read_key(RING, "own.example", "mine", pem(rsa_key(1024)))
    assert "1024 bits" in given.warning


def test_a_longer_rsa_key_is_taken_without_one() -> None:
    assert read_key(RING, "own.example", "mine", pem(rsa_key(3072))).warning == ""


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not a private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key in PEM"),
        (lambda: pem(rsa_key(1024), encryption=BestAvailableEncryption(b"x")), "without a password"),
        (lambda: pem(ec.generate_private_key(ec.SECP256R1())), "neither RSA nor Ed25519"),
        (lambda: pem(dsa.generate_private_key(1024)), "neither RSA nor Ed25519"),
        (lambda: pem(rsa_key(4160)), "4160 bits"),
    ],
)
def test_what_cannot_sign_is_refused(content, what: str) -> None:
    with pytest.raises(NotPossible, match=what):
        read_key(RING, "own.example", "mine", content if isinstance(content, bytes) else content())


def test_an_rsa_key_that_verifiers_do_not_take_is_refused() -> None:
    # A key of 512 bits, made elsewhere: the library does not make such any more.
    short = b"""-----BEGIN RSA PRIVATE KEY-----
MIIBOwIBAAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf9Cnzj4p4WGeKLs1Pt8Qu
KUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQJAIJLixBy2qpFoS4DSmoEm
o3qGy0t6z09AIJtH+5OeRV1be+N4cDYJKffGzDa88vQENZiRm0GRq6a+HPGQMd2k
TQIhAKMSvzIBnni7ot/OSie2TmJLY4SwTQAevXysE2RbFDYdAiEBCUEaRQnMnbp7
9mxDXDf6AU0cN/RPBjb9qSHDcWZHGzUCIG2Es59z8ugGrDY+pxLQnwfotadxd+Uy
v/Ow5T0q5gIJAiEAyS4RaI9YG8EWx/2w0T67ZUVAw8eOMB6BIUg0Xcu+3okCIBOs
/5OiPgoTdSy7bcF9IGpSE8ZgGKzgYQVZeN97YE00
-----END RSA PRIVATE KEY-----
"""
    with pytest.raises(NotPossible):
        read_key(RING, "own.example", "mine", short)


@pytest.mark.parametrize("selector", ["", "Mine", "a_b", "a..b", ".a", "a.", "-a", "a b", "a\n", "é", "a" * 101, "a;b"])
def test_attack_a_selector_that_is_no_name(selector: str) -> None:
    with pytest.raises(NotPossible, match="a selector is"):
        read_key(RING, "own.example", selector, b"")
