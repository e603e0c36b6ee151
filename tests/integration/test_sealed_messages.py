"""What OpenSSL and GnuPG signed or encrypted is not touched, and can still be verified."""

from __future__ import annotations

import re
import subprocess

import pytest

from smtpeter.mime.editing import EditableMessage
from tests.integration.tools import tool

BODY = b'Content-Type: text/html; charset=utf-8\r\n\r\n<p>\xc3\xa9 <a href="https://x.example/">x</a></p>\r\n'
HEAD = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: x\r\n"


def run(*command, given=b""):
    done = subprocess.run(command, input=given, capture_output=True)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def crlf(octets):
    return re.sub(rb"\r?\n", b"\r\n", octets)


def rendered(content, closed):
    """What comes out after everything was tried that a feature may try."""
    message = EditableMessage(content)
    assert message.closed == closed
    assert (message.html, message.plain) == ((), ())
    message.add_field("X-Test", "added")
    result, slots = message.render()
    assert (result, slots) == (b"X-Test: added\r\n" + content, ())
    return result


@pytest.fixture(scope="module")
def openssl(tmp_path_factory):
    path = tool("openssl")
    directory = tmp_path_factory.mktemp("smime")
    key, certificate = str(directory / "key.pem"), str(directory / "certificate.pem")
    run(
        path, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out", certificate,
        "-subj", "/CN=a/emailAddress=a@example.com", "-addext", "keyUsage=digitalSignature,keyEncipherment",
    )  # fmt: skip
    return path, key, certificate


@pytest.mark.parametrize("opaque", [False, True])
def test_smime_signed(openssl, opaque):
    path, key, certificate = openssl
    options = ["-nodetach"] if opaque else []
    content = HEAD + crlf(
        run(path, "cms", "-sign", *options, "-crlfeol", "-signer", certificate, "-inkey", key, given=BODY)
    )
    result = rendered(content, "signed")
    verified = run(path, "cms", "-verify", "-CAfile", certificate, "-purpose", "any", "-crlfeol", given=result)
    assert crlf(verified) == BODY


def test_smime_encrypted(openssl):
    path, key, certificate = openssl
    content = HEAD + crlf(run(path, "cms", "-encrypt", "-aes256", certificate, given=BODY))
    result = rendered(content, "encrypted")
    assert crlf(run(path, "cms", "-decrypt", "-inkey", key, "-recip", certificate, given=result)) == BODY


def test_what_is_signed_stays_so_beside_what_is_edited(openssl):
    path, key, certificate = openssl
    signed = crlf(run(path, "cms", "-sign", "-crlfeol", "-signer", certificate, "-inkey", key, given=BODY))
    content = (
        HEAD + b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=list\r\n\r\n--list\r\n" + signed
        + b"\r\n--list\r\nContent-Type: text/plain\r\n\r\nfooter\r\n--list--\r\n"
    )  # fmt: skip
    message = EditableMessage(content)
    assert [leaf.octets for leaf in (*message.html, *message.plain)] == [b"footer"]
    message.plain[0].set_text("another footer")
    result, _ = message.render()
    part = result.partition(b"--list\r\n")[2].partition(b"\r\n--list\r\n")[0]
    assert part == signed
    run(path, "cms", "-verify", "-CAfile", certificate, "-purpose", "any", "-crlfeol", given=part)


@pytest.fixture(scope="module")
def gpg(tmp_path_factory):
    path = tool("gpg")
    home = tmp_path_factory.mktemp("gpg", numbered=True)
    home.chmod(0o700)
    command = [path, "--homedir", str(home), "--batch", "--quiet", "--yes", "--trust-model", "always"]
    run(*command, "--passphrase", "", "--quick-generate-key", "a@example.com", "default", "default", "1d")
    yield command
    subprocess.run([tool("gpgconf"), "--homedir", str(home), "--kill", "all"], capture_output=True)


def test_pgp_mime_signed(gpg, tmp_path):
    signature = crlf(run(*gpg, "--armor", "--detach-sign", given=BODY))
    content = (
        HEAD + b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=s; micalg=pgp-sha512;\r\n"
        b' protocol="application/pgp-signature"\r\n\r\n--s\r\n' + BODY + b"\r\n--s\r\n"
        b"Content-Type: application/pgp-signature\r\n\r\n" + signature + b"\r\n--s--\r\n"
    )  # fmt: skip
    result = rendered(content, "signed")
    signed, after = result.partition(b"--s\r\n")[2].split(b"\r\n--s\r\n")
    file = tmp_path / "signature.asc"
    file.write_bytes(after.partition(b"\r\n\r\n")[2].partition(b"\r\n--s--")[0])
    run(*gpg, "--verify", str(file), "-", given=signed)


def test_pgp_mime_encrypted(gpg):
    secret = crlf(run(*gpg, "--armor", "--encrypt", "-r", "a@example.com", given=BODY))
    content = (
        HEAD + b"MIME-Version: 1.0\r\nContent-Type: multipart/encrypted; boundary=s;\r\n"
        b' protocol="application/pgp-encrypted"\r\n\r\n--s\r\n'
        b"Content-Type: application/pgp-encrypted\r\n\r\nVersion: 1\r\n"
        b"\r\n--s\r\nContent-Type: application/octet-stream\r\n\r\n" + secret + b"\r\n--s--\r\n"
    )  # fmt: skip
    rendered(content, "encrypted")


@pytest.mark.parametrize("how", ["--clearsign", "--sign", "--encrypt"])
def test_inline_pgp(gpg, how):
    sealed = crlf(run(*gpg, "--armor", how, "-r", "a@example.com", given=b"See https://x.example/\r\n"))
    content = HEAD + b"\r\nHello\r\n" + sealed
    message = EditableMessage(content)
    assert (message.html, message.plain, message.closed) == ((), (), "")
    assert message.notes == ("a text/plain part is signed or encrypted with PGP",)
    assert message.render()[0] is content
    run(*gpg, "--decrypt", given=content.partition(b"Hello\r\n")[2])
