"""What was signed still verifies behind us, with every feature on: by OpenSSL (S/MIME) and GnuPG (PGP/MIME)."""

from __future__ import annotations

import email
import shutil
import subprocess
import tempfile

import pytest

from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.test_verbatim import ALL
from tests.integration.tools import tool

HTML = (
    "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n<style>p { color: red }</style>"
    '<p>Zwölf Boxkämpfer <a href="https://example.com/">jagen</a> Viktor</p>\r\n'
).encode()
FIELDS = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: signed\r\n"
OPTIONS = "".join(f"X-SMTPeter-{name}: true\r\n" for name in (*ALL, "TrackBounces")).encode()


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """Sends a message with every feature on through a server to a next hop, and gives what arrived, and its events."""
    from tests.integration.gateway import free_ports
    from tests.integration.receiver import Receiver

    receiver = Receiver(*free_ports(1)).start()
    relay = f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"'
    gateway = Gateway(tmp_path_factory.mktemp("signed"), relay)
    login = gateway.add_login()
    gateway.start()

    def pass_through(content):
        receiver.messages.clear()
        with gateway.connect(login) as client:
            id = send(client, "a@example.com", ["b@example.net"], OPTIONS + content, ("body=8bitmime",))
        wait_for(lambda: receiver.messages, 30)
        events = wait_for(lambda: [each for each in events_of(id) if each["event"] == "prepared"], 30)
        return receiver.messages[0][2], events[0]

    def events_of(id):
        return gateway.json("message", "show", id)["events"]

    yield pass_through
    gateway.end()
    receiver.stop()


def run(*command, content=b""):
    return subprocess.run(list(map(str, command)), input=content, capture_output=True, timeout=60, check=True).stdout


def test_a_message_that_is_not_signed_is_changed(through):
    arrived, prepared = through(FIELDS + b"MIME-Version: 1.0\r\n" + HTML)
    assert b"/t/trackclicks/" in email.message_from_bytes(arrived).get_payload(decode=True)
    assert prepared["features"] == "inlinecss;preventscam;trackclicks;trackopens"


@pytest.mark.parametrize("opaque", (False, True))
def test_s_mime_still_verifies(through, tmp_path, opaque):
    openssl = tool("openssl")
    key, certificate, message = tmp_path / "key.pem", tmp_path / "certificate.pem", tmp_path / "arrived.eml"
    run(
        openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
        "-subj", "/CN=A/emailAddress=a@example.com", "-addext", "extendedKeyUsage=emailProtection",
    )  # fmt: skip
    style = ("-nodetach",) if opaque else ()
    signed = run(openssl, "cms", "-sign", *style, "-signer", certificate, "-inkey", key, content=HTML)
    signed = b"\r\n".join(signed.replace(b"\r\n", b"\n").split(b"\n"))
    arrived, prepared = through(FIELDS + signed)
    message.write_bytes(arrived)
    assert run(openssl, "cms", "-verify", "-CAfile", certificate, "-in", message) == HTML
    assert prepared["not_tracked"] == "signed"


def test_pgp_still_verifies(through, tmp_path):
    gpg = tool("gpg")
    home = tempfile.mkdtemp(prefix="gpg-")  # its sockets want a short path
    options = ("--homedir", home, "--batch", "--passphrase", "", "--pinentry-mode", "loopback")
    try:
        run(gpg, *options, "--quick-generate-key", "a@example.com", "ed25519", "sign")
        signature = run(gpg, *options, "--armor", "--detach-sign", content=HTML)
        content = (
            FIELDS + b'MIME-Version: 1.0\r\nContent-Type: multipart/signed; micalg=pgp-sha512; boundary=b;\r\n'
            b' protocol="application/pgp-signature"\r\n\r\n--b\r\n' + HTML
            + b"\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\n" + signature.replace(b"\n", b"\r\n")
            + b"\r\n--b--\r\n"
        )  # fmt: skip
        arrived, prepared = through(content)
        parts = arrived.split(b"--b\r\n")
        signed, signature = parts[1].removesuffix(b"\r\n"), parts[2].split(b"\r\n\r\n", 1)[1]
        assert signed == HTML
        file = tmp_path / "signature"
        file.write_bytes(signature)
        run(gpg, *options, "--verify", file, "-", content=signed)
        assert prepared["not_tracked"] == "signed"
    finally:
        gpgconf = shutil.which("gpgconf")
        if gpgconf:
            subprocess.run([gpgconf, "--homedir", home, "--kill", "all"], check=False)
        shutil.rmtree(home, ignore_errors=True)
