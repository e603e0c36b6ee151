"""Mail goes out through a relay that is not ours, and every recipient ends as the relay decided."""

from __future__ import annotations

import email
import ssl
import time
from urllib.parse import quote

import pytest

from smtpeter.auth.certificate import ensure_certificate
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import RELAY_PASSWORD, RELAY_USER, Receiver

CONTENT = b"From: a@example.com\r\nSubject: On its way\r\n\r\n.one dot\r\n..two dots\r\nfine\r\n"
QUICK = 'retry = ["1s"]\nexpire = "1h"'


def relaying(tmp_path, port, *, scheme="smtp", credentials="", extra=QUICK, environment=None):
    relay = f'mode = "relay"\nrelay = "{scheme}://{credentials}localhost:{port}"\n{extra}'
    return Gateway(tmp_path / "gateway", relay, environment=environment)


@pytest.fixture
def gateway(tmp_path, receiver):
    gateway = relaying(tmp_path, receiver.port)
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


def states(gateway, id):
    shown = gateway.json("message", "show", id)
    return {m["recipient"]: m["state"] for m in shown.get("messages", [shown])}


def test_every_recipient_has_an_outcome_of_its_own(gateway, receiver):
    recipients = ["good@example.net", "hard@example.net", "soft@example.org", "also-good@example.com"]
    with gateway.connect(gateway.login) as client:
        id = send(client, "sender@example.com", recipients, CONTENT, ["ENVID=env+2Bid", "RET=HDRS"])
    expected = dict.fromkeys(recipients, "delivered") | {"hard@example.net": "failed"}
    wait_for(lambda: states(gateway, id) == expected, message=str(states(gateway, id)))
    for recipient in recipients:
        copies = receiver.got(recipient)
        assert len(copies) == (recipient != "hard@example.net")
        assert all(copy.endswith(CONTENT) for copy in copies)
    shown = {m["recipient"]: m for m in gateway.json("message", "show", id)["messages"]}
    assert [e["event"] for e in shown["soft@example.org"]["events"]] == ["attempt", "deferral", "deferral", "delivery"]
    failure = shown["hard@example.net"]["events"][-1]
    assert failure["event"] == "failure" and failure["code"] in (550, "550") and failure["type"] == "failed"

    [notice] = wait_for(lambda: receiver.got("sender@example.com"))
    report = email.message_from_bytes(notice)
    assert report.get_content_type() == "multipart/report" and report["Auto-Submitted"]
    text = notice.decode()
    assert "Final-Recipient: rfc822; hard@example.net" in text and "Status: 5.1.1" in text
    assert "Original-Envelope-Id: env+id" in text and "good@example.net\r\nAction" not in text
    [(path, _, _)] = [m for m in receiver.messages if "sender@example.com" in m[1]]
    assert path in ("", "<>", None)  # aiosmtpd writes the null path as it came


def test_a_refusal_after_data_fails_all_and_the_null_path_gets_no_report(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        refused = send(client, "refused@example.com", ["x@example.net", "y@example.net"], CONTENT)
        client.mail("")
        client.rcpt("hard@example.org")
        null = client.data(CONTENT)[1].decode().rpartition(" ")[2]
    wait_for(lambda: set(states(gateway, refused).values()) == {"failed"})
    wait_for(lambda: set(states(gateway, null).values()) == {"failed"})
    wait_for(lambda: receiver.got("refused@example.com"))
    time.sleep(1.0)
    assert len(receiver.messages) == 1


def test_notify_never_is_obeyed(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        id = send(client, "sender@example.com", ["hard@example.net"], CONTENT, rcpt_options=["NOTIFY=NEVER"])
    wait_for(lambda: set(states(gateway, id).values()) == {"failed"})
    time.sleep(1.0)
    assert receiver.messages == []


def test_connections_are_used_again(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        ids = [send(client, "a@example.com", [f"user{n}@example.net"], CONTENT) for n in range(40)]
    wait_for(lambda: len(receiver.messages) == 40)
    wait_for(lambda: states(gateway, ids[-1]) == {"user39@example.net": "delivered"})
    assert receiver.connections <= 20


def test_a_relay_that_is_away_and_comes_back(tmp_path):
    [port] = free_ports(1)
    gateway = relaying(tmp_path, port)
    gateway.login = gateway.add_login()
    gateway.start()
    try:
        with gateway.connect(gateway.login) as client:
            id = send(client, "a@example.com", ["late@example.net"], CONTENT)
        time.sleep(2.0)
        assert states(gateway, id) == {"late@example.net": "due"}
        receiver = Receiver(port).start()
        try:
            wait_for(lambda: receiver.got("late@example.net"), timeout=30)
            wait_for(lambda: states(gateway, id) == {"late@example.net": "delivered"})
        finally:
            receiver.stop()
    finally:
        gateway.end()


def test_what_cannot_be_delivered_in_time_expires_with_a_report(tmp_path, receiver):
    gateway = relaying(tmp_path, receiver.port, extra='retry = ["1s"]\nexpire = "2s"')
    gateway.login = gateway.add_login()
    gateway.start()
    try:
        receiver.asked["soft@example.net"] = -1000
        with gateway.connect(gateway.login) as client:
            id = send(client, "sender@example.com", ["soft@example.net"], CONTENT)
        wait_for(lambda: states(gateway, id) == {"soft@example.net": "expired"})
        assert gateway.json("message", "show", id)["events"][-1]["type"] == "expired"
        wait_for(lambda: receiver.got("sender@example.com"))
    finally:
        gateway.end()


@pytest.mark.parametrize("scheme", ["smtp+starttls", "smtps"])
@pytest.mark.parametrize("trusted", [True, False])
def test_tls_and_login_at_the_relay(tmp_path, scheme, trusted):
    files = ensure_certificate(tmp_path / "relay-tls", "localhost", time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    receiver = Receiver(*free_ports(1), tls=context, tls_first=scheme == "smtps", auth=True).start()
    gateway = relaying(
        tmp_path,
        receiver.port,
        scheme=scheme,
        credentials=f"{RELAY_USER}:{quote(RELAY_PASSWORD, safe='')}@",
        environment={"SSL_CERT_FILE": str(files.authority)} if trusted else {},
    )
    gateway.login = gateway.add_login()
    gateway.start()
    try:
        with gateway.connect(gateway.login) as client:
            id = send(client, "a@example.com", ["b@example.net"], CONTENT)
        if trusted:
            wait_for(lambda: receiver.got("b@example.net"))
        else:
            wait_for(lambda: gateway.json("message", "show", id)["attempts"] >= 1)
            # Perhaps it is being tried again by now.
            assert states(gateway, id)["b@example.net"] in ("due", "leased") and receiver.messages == []
        assert RELAY_PASSWORD not in gateway.log.read_text()
    finally:
        gateway.end()
        receiver.stop()


def test_hold_release_cancel_and_retry(tmp_path, receiver):
    gateway = relaying(tmp_path, receiver.port, extra='retry = ["1h"]')
    gateway.login = gateway.add_login()
    gateway.start()
    try:
        with gateway.connect(gateway.login) as client:
            id = send(client, "a@example.com", ["soft@example.net", "soft-too@example.org"], CONTENT)
        wait_for(lambda: [row["attempts"] for row in gateway.json("queue", "list")] == [1, 1])
        assert gateway.json("queue", "hold", "--domain", "example.net", "--yes") == {"count": 1}
        assert states(gateway, id) == {"soft@example.net": "held", "soft-too@example.org": "due"}
        assert gateway.json("queue", "cancel", "--domain", "example.org", "--yes") == {"count": 1}
        assert gateway.json("queue", "release", "--yes") == {"count": 1}
        wait_for(lambda: gateway.json("message", "show", f"{id}-1")["attempts"] == 2)
        assert gateway.json("queue", "retry", "--yes") == {"count": 1}
        wait_for(lambda: states(gateway, id) == {"soft@example.net": "delivered", "soft-too@example.org": "cancelled"})
    finally:
        gateway.end()
