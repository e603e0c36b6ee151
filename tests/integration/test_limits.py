"""What a client hears of limits, over real sockets and real TLS."""

from __future__ import annotations

import smtplib
import socket
import time

import pytest

from tests.integration.gateway import Gateway, send, wait_for

PER_ADDRESS = 3


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(
        tmp_path_factory.mktemp("limits"), 'mode = "capture"', f"[limits]\nconnections_per_address = {PER_ADDRESS}"
    )
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


@pytest.mark.parametrize("port", ["smtp", "smtps"])
def test_one_connection_too_many_is_told_so(gateway, port):
    held = [socket.create_connection(("127.0.0.1", gateway.smtp)) for _ in range(PER_ADDRESS)]
    try:
        for each in held:
            assert each.recv(100).startswith(b"220 ")
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            if port == "smtps":
                smtplib.SMTP_SSL("localhost", gateway.smtps, timeout=30, context=gateway.trust())
            else:
                smtplib.SMTP("localhost", gateway.smtp, timeout=30)
        assert (caught.value.smtp_code, caught.value.smtp_error[:5]) == (421, b"4.7.0")
    finally:
        for each in held:
            each.close()
    client = wait_for(lambda: came_in(gateway))
    send(client, "a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    client.quit()


def came_in(gateway):
    try:
        return gateway.connect(gateway.login)
    except smtplib.SMTPConnectError:
        return None


def test_attack_guesses_from_one_address_keep_nobody_out_who_is_elsewhere(gateway):
    seconds = []
    for number in range(8):
        client = smtplib.SMTP_SSL(
            "localhost", gateway.smtps, timeout=60, context=gateway.trust(), source_address=("127.66.0.1", 0)
        )
        client.ehlo()
        began = time.monotonic()
        code, _ = client.docmd("AUTH PLAIN", "AGEAYg==" if number % 2 else "AGIAYg==")
        seconds.append(time.monotonic() - began)
        assert code == 535
        client.close()
    assert seconds[-1] > 3.0
    began = time.monotonic()
    client = gateway.connect(gateway.login)
    assert time.monotonic() - began < 3.0
    send(client, "a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nhello\r\n")
    client.quit()
    assert "guesses" in gateway.log.read_text() or "failed logins again and again" in gateway.log.read_text()
