"""Too many open files, in the process and in the whole system: nothing spins, and who is there is served."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.strace import injected
from tests.integration.tools import tool

CONTENT = b"Subject: x\r\n\r\nx\r\n"
CPU_LIMIT = 0.5
SPAN = 3.0


def cpu(process):
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rests(gateway):
    """Whether the server uses little CPU, and writes little to its log."""
    used, written, began = cpu(gateway.process), gateway.log.stat().st_size, time.monotonic()
    time.sleep(SPAN)
    share = (cpu(gateway.process) - used) / (time.monotonic() - began)
    return share < CPU_LIMIT and gateway.log.stat().st_size - written < 50_000


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    gateway.login = gateway.add_login()
    yield gateway
    gateway.end()


def test_a_process_without_files_left_serves_who_is_there(gateway):
    gateway.start(tool("prlimit"), "--nofile=60:60")
    with gateway.connect(gateway.login) as client:
        crowd = [socket.create_connection(("127.0.0.1", gateway.smtp)) for _ in range(100)]
        time.sleep(1)
        assert rests(gateway)
        send(client, "a@example.com", ["b@example.net"], CONTENT)
        for each in crowd:
            each.close()
        wait_for(lambda: gateway.health() == 200)
        with gateway.connect(gateway.login) as another:
            send(another, "a@example.com", ["b@example.net"], CONTENT * 50_000)
        send(client, "a@example.com", ["b@example.net"], CONTENT * 50_000)


@pytest.mark.parametrize("error", ["ENFILE", "ENOMEM", "ENOBUFS"])
def test_a_system_without_files_left_is_not_asked_without_rest(gateway, error):
    gateway.start()
    with gateway.connect(gateway.login) as client:
        with injected(gateway.process.pid, f"accept4:error={error}"):
            waiting = socket.create_connection(("127.0.0.1", gateway.smtp), timeout=20)
            time.sleep(0.5)
            assert rests(gateway)
            send(client, "a@example.com", ["b@example.net"], CONTENT)
        assert waiting.recv(100).startswith(b"220 ")
        waiting.close()
