"""Many sessions at once: memory stays bounded, and a normal client is served as if it were alone."""

from __future__ import annotations

import threading
import time

import pytest

from tests.integration.crowd import Trickle, allow_files, connect, hear, log_in, resident, send
from tests.integration.gateway import Gateway

MESSAGE = b"Subject: normal\r\n\r\nnormal\r\n"
SOON = 5.0
"""Seconds.  On a machine that does nothing else it is a tenth of one."""


@pytest.fixture
def gateway(tmp_path):
    allow_files(4096)
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"', "[limits]\nconnections = 600")
    gateway.login = gateway.add_login()
    gateway.start()
    for session in [log_in(gateway, number, gateway.trust()) for number in range(20)]:
        send(session, MESSAGE)
        session.close()
    yield gateway
    gateway.end()


def serves_a_normal_client(gateway):
    began = time.monotonic()
    session = log_in(gateway, 10_000, gateway.trust())
    reply, _ = send(session, MESSAGE)
    session.close()
    return reply.startswith(b"250") and time.monotonic() - began < SOON


def test_idle_sessions_take_little_memory_and_no_time(gateway):
    before, context = resident(gateway.process), gateway.trust()
    sessions = [log_in(gateway, number, context) for number in range(200)]
    assert (resident(gateway.process) - before) / len(sessions) < 60 * 1024
    assert serves_a_normal_client(gateway)
    assert send(sessions[100], MESSAGE)[0].startswith(b"250")
    for session in sessions:
        session.close()


def test_attack_slowloris_an_octet_a_second_gains_nothing(gateway):
    before, context = resident(gateway.process), gateway.trust()
    trickle = Trickle([log_in(gateway, number, context) for number in range(50)])
    try:
        for _ in range(4):
            assert serves_a_normal_client(gateway)
            time.sleep(1.0)
    finally:
        trickle.stop()
    assert resident(gateway.process) - before < 20_000_000


def test_attack_half_handshakes_fill_no_door_for_long(gateway):
    before = resident(gateway.process)
    connections = [connect(gateway, number) for number in range(600)]
    time.sleep(12.0)  # the time that a handshake may take is over
    assert serves_a_normal_client(gateway)
    assert resident(gateway.process) - before < 60_000_000
    for connection in connections:
        connection.close()


def test_attack_more_connections_than_there_may_be_hear_421(gateway):
    context = gateway.trust()
    sessions = [log_in(gateway, number, context) for number in range(580)]
    late = [connect(gateway, number, port=gateway.smtp) for number in range(580, 640)]
    greetings = [hear(connection)[:9] for connection in late]
    assert greetings == [b"220 local"] * 20 + [b"421 4.7.0"] * 40
    late.append(connect(gateway, 700, context=context))
    assert hear(late[-1]).startswith(b"421 4.7.0")
    assert send(sessions[0], MESSAGE)[0].startswith(b"250")
    for session in [*sessions, *late]:
        session.close()
    time.sleep(1.0)
    assert serves_a_normal_client(gateway)


def test_parallel_uploads_are_not_kept_in_memory(gateway):
    content = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * (5_000_000 // 72)
    context, before = gateway.trust(), resident(gateway.process)
    sessions = [log_in(gateway, number, context) for number in range(30)]
    replies, peak = [], before
    threads = [
        threading.Thread(target=lambda session=session: replies.append(send(session, content, pieces=20)[0]))
        for session in sessions
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert serves_a_normal_client(gateway)
        peak = max(peak, resident(gateway.process))
        time.sleep(0.1)
    assert [reply[:3] for reply in replies] == [b"250"] * 30
    assert peak - before < 75_000_000  # half of what was on its way
