"""Other people's programs, as they are, against a real server: what they send is what is kept, octet by octet."""

from __future__ import annotations

import email
import email.policy
import re
import time
from email.message import EmailMessage

import pytest

from smtpeter.auth.certificate import ensure_certificate
from tests.integration.foreign import CLIENTS, DSN, Door, Nodemailer
from tests.integration.gateway import Gateway, free_ports, wait_for
from tests.integration.receiver import Receiver

HEAD = b"From: a@example.com\r\nDate: Sat, 21 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.com>\r\nSubject: x\r\n"
DOTS = b"..\r\n.\r\n...three\r\n\r\n.\r\n"
LONG = b"x" * 998 + b"\r\n" + b"." * 998 + b"\r\n"  # as long as SMTP allows: longer ones are re-encoded


def message_with_attachment():
    message = EmailMessage(policy=email.policy.SMTP.clone(cte_type="8bit"))
    message["From"] = "Jürgen <a@example.com>"
    message["Date"] = "Sat, 21 Nov 2026 14:00:00 +0000"
    message["Message-ID"] = "<2@example.com>"
    message["Subject"] = "Grüße aus Köln – 你好"
    message.set_content("Schöne Grüße\n你好\n", cte="8bit")
    message.add_attachment(bytes(range(256)) * 20, "application", "octet-stream", filename="Übersicht.bin")
    return bytes(message)


CONTENTS = {
    "odd": message_with_attachment() + DOTS + LONG + b".end\r\n",
    "large": HEAD + b"\r\n" + b"".join(b"%070d\r\n" % n for n in range(3_000_000 // 72)),
}


def door_of(gateway, tls_first):
    port = gateway.smtps if tls_first else gateway.smtp
    return Door(port, tls_first, gateway.directory / "data" / "tls" / "ca.pem", *gateway.login)


@pytest.fixture(params=[False, True], ids=["STARTTLS", "TLS"])
def door(request, gateway):
    return door_of(gateway, request.param)


def clients(ability=None):
    able = [client for client in CLIENTS if ability is None or getattr(client, ability)]
    return pytest.mark.parametrize("client", able, ids=lambda client: type(client).__name__)


@pytest.fixture
def message(tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(HEAD + b"\r\n" + DOTS + b".end\r\n")
    return path


def only_traced(raw, content):
    """Whether these octets are the content, and above it only our own trace field."""
    return raw.endswith(content) and re.fullmatch(
        rb"Received: from .+\r\n(\t.+\r\n)+", raw.removesuffix(content)
    )  # fmt: skip


@clients()
@pytest.mark.parametrize("content", CONTENTS)
def test_what_was_sent_is_what_is_kept(gateway, door, client, content, tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(CONTENTS[content])
    sent = client.send(door, "a@example.com", ["b@example.net"], path)
    assert sent.code == 0, sent.shown
    (id,) = sent.ids
    raw = gateway.raw(id)
    assert only_traced(raw, CONTENTS[content]), raw[:3000]
    assert b"with ESMTPSA (TLSv1.3 TLS_" in raw


@clients()
def test_a_wrong_password_is_shown_as_such(door, client, message):
    sent = client.send(door._replace(password="wrong"), "a@example.com", ["b@example.net"], message)
    assert sent.code != 0 and "535" in sent.shown and not sent.ids, sent.shown


@clients()
def test_an_authority_that_is_not_ours_is_noticed_before_the_password_is_sent(gateway, door, client, message, tmp_path):
    other = ensure_certificate(tmp_path / "other", "localhost", time.time()).authority
    logged = gateway.log.stat().st_size
    sent = client.send(door._replace(authority=other), "a@example.com", ["b@example.net"], message)
    assert sent.code != 0 and re.search("certificate|verif", sent.shown, re.IGNORECASE), sent.shown
    (session,) = wait_for(lambda: re.findall("session: .*", gateway.log.read_text()[logged:]))
    assert "login=-" in session and "messages=0" in session


@clients()
def test_several_recipients(gateway, door, client, message):
    recipients = ["b@example.net", "c@example.net", "d.d+tag@sub.example.org"]
    sent = client.send(door, "a@example.com", recipients, message)
    assert sent.code == 0, sent.shown
    shown = gateway.json("message", "show", *sent.ids)
    assert [each["recipient"] for each in shown["messages"]] == recipients
    assert {each["envelope"] for each in shown["messages"]} == {"a@example.com"}


@clients("skips_bad")
def test_a_bad_recipient_is_refused_and_the_others_get_the_message(gateway, door, client, message):
    bad = "x" * 65 + "@example.net"
    sent = client.send(door, "a@example.com", ["b@example.net", bad, "c@example.net"], message, skip_bad=True)
    assert sent.code == 0, sent.shown
    shown = gateway.json("message", "show", *sent.ids)
    assert [each["recipient"] for each in shown["messages"]] == ["b@example.net", "c@example.net"]


@clients()
def test_where_every_recipient_is_refused_the_reason_is_shown(door, client, message):
    sent = client.send(door, "a@example.com", ["x" * 65 + "@example.net"], message)
    assert sent.code != 0 and "5.1.3" in sent.shown and not sent.ids, sent.shown


@clients("several")
def test_several_messages_over_one_connection(gateway, door, client, tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.eml")
        paths[-1].write_bytes(HEAD + b"\r\nnumber %d\r\n" % number)
    logged = gateway.log.stat().st_size
    sent = client.send(door, "a@example.com", ["b@example.net"], *paths)
    assert sent.code == 0, sent.shown
    assert len(set(sent.ids)) == 3 and only_traced(gateway.raw(sent.ids[2]), paths[2].read_bytes())
    (session,) = wait_for(lambda: re.findall("session: .*", gateway.log.read_text()[logged:]))
    assert "messages=3" in session


@clients("utf8")
def test_addresses_and_headers_in_utf_8(gateway, door, client, tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(HEAD.replace(b"Subject: x", "Subject: Grüße".encode()) + "\r\n你好\r\n".encode())
    sent = client.send(door, "jürgen@example.com", ["ñandú@example.net"], path, utf8=True)
    assert sent.code == 0, sent.shown
    shown = gateway.json("message", "show", *sent.ids)
    assert (shown["envelope"], shown["recipient"], shown["subject"]) == (
        "jürgen@example.com",
        "ñandú@example.net",
        "Grüße",
    )
    raw = gateway.raw(shown["id"])
    assert only_traced(raw, path.read_bytes()) and b"with UTF8SMTPSA" in raw


def test_a_message_that_nodemailer_composed_can_be_read(gateway, door):
    compose = {"from": "Jürgen <a@example.com>", "to": "b@example.net", "subject": "Grüße 你好", "text": "Schöne Grüße",
               "html": "<p>Schöne Grüße</p>"}  # fmt: skip
    sent = Nodemailer().send(door, "a@example.com", ["b@example.net"], compose=compose)
    assert sent.code == 0, sent.shown
    message = email.message_from_bytes(gateway.raw(*sent.ids), policy=email.policy.default)
    assert message["Subject"] == compose["subject"] and message["From"] == compose["from"]
    assert message.get_body(("plain",)).get_content().strip() == compose["text"]
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == bytes(range(256)) and attachment.get_filename() == "octets.bin"


# --- what clients ask to be told (RFC 3461) ---


@pytest.fixture(scope="module")
def relaying(tmp_path_factory):
    (port,) = free_ports(1)
    receiver = Receiver(port).start()
    gateway = Gateway(tmp_path_factory.mktemp("relaying"), f'mode = "relay"\nrelay = "smtp://127.0.0.1:{port}"')
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway, receiver
    gateway.end()
    receiver.stop()


@clients("dsn")
def test_a_report_says_what_the_client_asked_for(relaying, client, message):
    gateway, receiver = relaying
    sender = f"{type(client).__name__.lower()}@example.com"
    sent = client.send(door_of(gateway, True), sender, ["hard@example.net"], message, dsn=True)
    assert sent.code == 0, sent.shown
    (report,) = wait_for(lambda: receiver.got(sender))
    assert b"Action: failed\r\n" in report and b"Content-Type: text/rfc822-headers" in report
    if type(client).__name__ != "Msmtp":  # which tells neither
        assert b"Original-Envelope-Id: %s\r\n" % DSN["envid"].encode() in report
        assert b"Original-Recipient: %s\r\n" % DSN["orcpt"].replace(";", "; ").encode() in report
