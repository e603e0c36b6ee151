"""Mail for a relay that takes less than we do arrives all the same, and says the same."""

from __future__ import annotations

import email
import email.policy

import pytest

from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver

PLAIN = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\r\n" * 20
HTML = f"<p>{'Ein Absatz ohne Zeilenende, wie ihn Programme schreiben. ' * 40}</p>\r\n"
PICTURE = bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"") * 20
LARGE = ("Ein großer Anhang in klaren Worten.\r\n" * 10_000).encode()


def compose(*leaves):
    """A message in 8bit with these leaves: (type, octets)."""
    content = (
        b"From: a@example.com\r\nSubject: less\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    )
    for type, octets in leaves:
        head = f"--b\r\nContent-Type: {type}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        content += head.encode() + octets + b"\r\n"
    return content + b"--b--\r\n"


CONTENT = compose(
    ("text/plain; charset=utf-8", PLAIN.encode()),
    ("text/html; charset=utf-8", HTML.encode()),
    ("image/png", PICTURE),
    ("text/x-notes; charset=utf-8", LARGE),
)


@pytest.fixture
def receiver():
    receiver = Receiver(*free_ports(1), lacks=("8BITMIME", "SMTPUTF8", "DSN")).start()
    yield receiver
    receiver.stop()


@pytest.fixture
def gateway(tmp_path, receiver):
    gateway = Gateway(
        tmp_path / "gateway",
        f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"\nretry = ["1s"]\nexpire = "1h"',
    )
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


def leaves(content):
    parts = email.message_from_bytes(content).walk()
    return [(part.get_content_type(), part.get_payload(decode=True)) for part in parts if not part.is_multipart()]


def longest(content):
    return max(map(len, content.split(b"\r\n")))


def events(gateway, id):
    return gateway.json("message", "show", id)["events"]


def test_a_relay_without_8bitmime_gets_what_was_sent_in_7_bits(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["b@example.net"], CONTENT, ["BODY=8BITMIME"])
    [copy] = wait_for(lambda: receiver.got("b@example.net"))
    assert copy.isascii() and longest(copy) <= 998
    assert leaves(copy) == leaves(CONTENT)
    wait_for(lambda: events(gateway, id)[-1].get("converted") == "7bit")
    assert gateway.raw(id) == copy
    [(_, _, options)] = receiver.options
    assert f"SIZE={len(copy)}" in options and not any(option.startswith("BODY") for option in options)


def test_a_relay_with_8bitmime_gets_the_octets_but_no_long_line(gateway, receiver):
    receiver.lacks = ()
    short = compose(("text/plain; charset=utf-8", PLAIN.encode()))
    with gateway.connect(gateway.login) as client:
        send(client, "a@example.com", ["short@example.net"], short)
        id = send(client, "a@example.com", ["long@example.net"], CONTENT)
    [copy] = wait_for(lambda: receiver.got("short@example.net"))
    assert copy.endswith(short)
    [copy] = wait_for(lambda: receiver.got("long@example.net"))
    assert longest(copy) <= 998 and leaves(copy) == leaves(CONTENT)
    assert gateway.raw(id) == copy
    # The leaves without long lines are as they were: not so in the relay that knows less.
    assert PLAIN.encode() in copy and LARGE in copy


def test_a_relay_that_changes_gets_what_it_takes_now(gateway, receiver):
    content = compose(("text/plain; charset=utf-8", PLAIN.encode()))
    receiver.lacks = ()
    with gateway.connect(gateway.login) as client:
        send(client, "a@example.com", ["soft@example.net"], content)
        wait_for(lambda: receiver.asked["soft@example.net"] == 1)
        receiver.lacks = ("8BITMIME",)
        receiver.hang_up()
        wait_for(lambda: receiver.got("soft@example.net"))
    [copy] = receiver.got("soft@example.net")
    assert copy.isascii() and leaves(copy) == leaves(content)


def test_what_cannot_be_converted_fails_and_is_told_to_its_sender(gateway, receiver):
    body = b"--b\r\n\r\ncaf\xc3\xa9\r\n--b\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
    signed = b'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=b\r\n\r\n' + body
    with gateway.connect(gateway.login) as client:
        id = send(client, "sender@example.com", ["b@example.net"], signed)
    [notice] = wait_for(lambda: receiver.got("sender@example.com"))
    assert b"Status: 5.6.3" in notice and notice.isascii()
    assert events(gateway, id)[-1]["status"] == "5.6.3"
    assert receiver.got("b@example.net") == []


def test_an_internationalized_domain_is_written_in_ascii_for_a_relay_without_smtputf8(gateway, receiver):
    content = b"Subject: x\r\n\r\nhello\r\n"
    with gateway.connect(gateway.login) as client:
        client.command_encoding = "utf-8"
        send(client, "a@example.com", ["b@b\u00fccher.example"], content, ["SMTPUTF8"])
        failed = send(client, "a@example.com", ["j\u00f6rg@example.net"], content, ["SMTPUTF8"])
    wait_for(lambda: receiver.got("b@xn--bcher-kva.example"))
    wait_for(lambda: events(gateway, failed)[-1]["status"] == "5.6.7")


def test_a_message_over_the_relays_limit_fails_without_being_sent(gateway, receiver):
    receiver.size = 100_000
    with gateway.connect(gateway.login) as client:
        id = send(client, "sender@example.com", ["b@example.net"], CONTENT)
    wait_for(lambda: events(gateway, id)[-1]["status"] == "5.3.4")
    assert receiver.got("b@example.net") == [] and receiver.asked["b@example.net"] == 0
