"""Strict checks of our own certificate, and sessions that are resumed: other people's libraries of TLS."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess

import pytest

from tests.integration.tools import tool


@pytest.fixture
def authority(gateway):
    return gateway.directory / "data" / "tls" / "ca.pem"


KINDS = pytest.mark.parametrize("tls_first", [False, True], ids=["STARTTLS", "TLS"])
VERSIONS = pytest.mark.parametrize("version", ["tls1_2", "tls1_3"])


def openssl(gateway, tls_first, *options):
    port = gateway.smtps if tls_first else gateway.smtp
    starttls = () if tls_first else ("-starttls", "smtp")
    command = [tool("openssl"), "s_client", "-connect", f"localhost:{port}", *starttls, "-ign_eof", *options]
    # Not "QUIT": s_client takes a line that begins with Q for itself.
    result = subprocess.run([*map(str, command)], input=b"quit\r\n", capture_output=True, timeout=60)
    return result.returncode, (result.stdout + result.stderr).decode("utf-8", "replace")


@KINDS
def test_openssl_verifies_strictly(gateway, authority, tls_first):
    code, shown = openssl(
        gateway, tls_first, "-x509_strict", "-purpose", "sslserver", "-verify_return_error",
        "-verify_hostname", "localhost", "-CAfile", authority,
    )  # fmt: skip
    assert code == 0 and "Verification: OK" in shown, shown


@KINDS
def test_gnutls_verifies(gateway, authority, tls_first):
    command = [tool("gnutls-cli"), f"--x509cafile={authority}", "--verify-hostname=localhost", "localhost"]
    if tls_first:
        command += [f"--port={gateway.smtps}"]
    else:
        command += [f"--port={gateway.smtp}", "--starttls-proto=smtp"]
    result = subprocess.run(command, input="QUIT\r\n", capture_output=True, text=True, timeout=60)
    assert result.returncode == 0 and "The certificate is trusted" in result.stdout, result


@KINDS
@VERSIONS
def test_openssl_resumes_a_session(gateway, authority, tls_first, version, tmp_path):
    ticket = tmp_path / "session.pem"
    openssl(gateway, tls_first, f"-{version}", "-CAfile", authority, "-sess_out", ticket)
    assert ticket.exists()
    _, shown = openssl(gateway, tls_first, f"-{version}", "-CAfile", authority, "-sess_in", ticket)
    assert re.search(r"^Reused, TLSv1\.[23]", shown, re.MULTILINE), shown


@KINDS
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_python_resumes_a_session_with_strict_checks(gateway, authority, tls_first, version):
    context = ssl.create_default_context(cafile=authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = context.maximum_version = version
    session = None
    for reused in (False, True):
        connection = socket.create_connection(("localhost", gateway.smtps if tls_first else gateway.smtp), 30)
        if not tls_first:
            plain = connection.makefile("rb")
            plain.readline()
            connection.sendall(b"EHLO x\r\n")
            while plain.readline()[3:4] == b"-":
                pass
            connection.sendall(b"STARTTLS\r\n")
            assert plain.readline().startswith(b"220 ")
        with context.wrap_socket(connection, server_hostname="localhost", session=session) as encrypted:
            encrypted.sendall(b"QUIT\r\n" if not tls_first else b"")
            encrypted.recv(1000)  # tickets of TLS 1.3 come after the handshake
            assert encrypted.session_reused is reused
            session = encrypted.session


@pytest.mark.parametrize("asked", ["k", "K"], ids=["its own keys", "ours too"])
def test_a_client_changes_keys_in_the_middle_of_a_session(gateway, asked):
    """RFC 8446 section 4.6.3: our answer to it goes before what we send next."""
    command = [tool("openssl"), "s_client", "-connect", f"localhost:{gateway.smtps}", "-tls1_3", "-crlf"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
    ) as client:

        def say(line, answer):
            client.stdin.write(line)
            shown = b""
            while answer not in shown:
                heard = client.stdout.read(4096)
                assert heard, shown
                shown += heard

        say(b"", b"220 ")
        say(b"EHLO client\n", b"SMTPUTF8")
        say(asked.encode() + b"\n", b"KEYUPDATE")
        for _ in range(3):
            say(b"NOOP\n", b"250 2.0.0 Ok")
        say(b"quit\n", b"221 2.0.0")
