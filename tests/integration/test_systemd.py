"""Sockets that systemd holds, and what systemd is told."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import subprocess
import sys

import pytest

from tests.integration.gateway import SCRIPTS, Gateway, send, wait_for

CONTENT = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\nHello\r\n"

# Hands sockets over as sd_listen_fds(3) tells: from descriptor 3 on, to the process that LISTEN_PID names.
HAND_OVER = """
import os, sys
count = int(os.environ["LISTEN_FDS"])
given = [os.dup(int(number)) for number in sys.argv[1 : 1 + count]]
for place, number in enumerate(given):
    os.dup2(number, 100 + place)
for place in range(count):
    os.dup2(100 + place, 3 + place)
os.closerange(3 + count, 200)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[1 + count], sys.argv[1 + count :])
"""


@pytest.fixture
def sockets():
    """What systemd listens on: IPv6, and IPv4 through it."""
    sockets = [socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) for _ in range(3)]
    yield sockets
    for each in sockets:
        each.close()


@pytest.fixture
def gateway(tmp_path, sockets):
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    text = gateway.config.read_text()
    for place, port in enumerate((gateway.smtp, gateway.smtps, gateway.http)):
        text = text.replace(f"tcp:{port}:interface=127.0.0.1", f"systemd:domain=INET6:index={place}")
    gateway.config.write_text(text)
    gateway.smtp, gateway.smtps, gateway.http = (each.getsockname()[1] for each in sockets)
    yield gateway
    gateway.end()


@pytest.fixture
def told(tmp_path):
    """Hears, in systemd's place, how the service is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(30)
        yield told


def command(gateway):
    return [SCRIPTS / "twistd", "-n", "--pidfile=", "smtpeter", "--config", gateway.config]


def test_sockets_are_taken_over_and_readiness_and_the_end_are_told(gateway, sockets, told):
    login = gateway.add_login()
    numbers = [each.fileno() for each in sockets]
    systemd = {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "x:x:x", "NOTIFY_SOCKET": told.getsockname()}
    with gateway.log.open("ab") as log:
        gateway.process = subprocess.Popen(
            [sys.executable, "-c", HAND_OVER, *map(str, numbers), *command(gateway)],
            cwd="/",
            env={**os.environ, **systemd},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
            start_new_session=True,
        )
    assert told.recv(100) == b"READY=1"
    wait_for(gateway._is_up)
    with gateway.connect(login) as client:
        id = send(client, "a@example.com", ["b@example.net"], CONTENT)
    with smtplib.SMTP("127.0.0.1", gateway.smtp, timeout=30) as client:
        client.starttls(context=gateway.trust())
        client.login(*login)
        over_ipv4 = send(client, "a@example.com", ["b@example.net"], CONTENT)
    assert gateway.raw(id)
    assert re.match(rb"Received: from \S+ \(\[127\.0\.0\.1\]\)", gateway.raw(over_ipv4))
    gateway.stop()
    assert told.recv(100) == b"STOPPING=1"


def test_a_socket_that_was_not_given_is_named(gateway):
    process = subprocess.run(command(gateway), cwd="/", capture_output=True, timeout=60, check=False)
    assert process.returncode == 1
    assert b'smtpeter: listen.smtp: "systemd:domain=INET6:index=0" names a socket that' in process.stderr
