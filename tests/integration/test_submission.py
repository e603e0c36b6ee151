"""Mail comes in on every port, is kept, and is shown again: a real server in capture mode, real clients."""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

from tests.integration.gateway import Gateway, queued_id, send, wait_for
from tests.integration.tools import tool

CONTENT = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Hello\r\n\r\n..dots\r\n.\r\nfine\r\n"


@pytest.fixture(params=["smtp", "alternative", "mx", "smtps"])
def port(request, gateway):
    return getattr(gateway, request.param)


def test_a_message_is_taken_on_every_port_and_comes_out_as_it_went_in(gateway, port):
    with gateway.connect(gateway.login, port) as client:
        id = send(client, "a@example.com", ["b@example.net"], CONTENT)
    raw = gateway.raw(id)
    trace, _, rest = raw.partition(b"From: a@example.com")
    assert b"From: a@example.com" + rest == CONTENT
    assert re.match(rb"Received: from \S+ \(\[127\.0\.0\.1\]\)\r\n\tby localhost with ESMTPSA \(TLSv1\.3 ", trace)
    assert b"for <b@example.net>" in trace and f"<{id}@localhost>".encode() in trace
    shown = wait_for(lambda: (m := gateway.json("message", "show", id))["state"] == "delivered" and m)
    assert [event["event"] for event in shown["events"]] == ["attempt", "delivery"]
    assert shown["subject"] == "Hello" and shown["account"] == "owner@example.com" and shown["attempts"] == 1
    assert shown["envelope"] == "a@example.com" and shown["recipient"] == "b@example.net"


def test_ehlo_before_and_after_tls(gateway):
    with smtplib.SMTP("localhost", gateway.smtp) as client:
        client.ehlo()
        before = set(client.esmtp_features)
        client.starttls(context=gateway.trust())
        client.ehlo()
        after = set(client.esmtp_features)
    common = {"pipelining", "size", "8bitmime", "enhancedstatuscodes", "dsn", "smtputf8"}
    assert before == common | {"starttls"}
    assert after == common | {"auth"}


def test_mail_without_tls_or_without_login_is_refused(gateway):
    with smtplib.SMTP("localhost", gateway.smtp) as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@example.com>")[0] == 530
        assert client.docmd("AUTH PLAIN AGEAYg==")[0] == 538
        client.starttls(context=gateway.trust())
        client.ehlo()
        assert client.docmd("MAIL FROM:<a@example.com>") == (530, b"5.7.0 Authentication required")
        with pytest.raises(smtplib.SMTPAuthenticationError, match="535"):
            client.login(gateway.login[0], "wrong")
    with smtplib.SMTP("localhost", gateway.mx) as client:
        client.ehlo()
        assert client.mail("a@example.com")[0] == 250
        assert client.rcpt("b@example.net")[0] == 530


def test_the_account_s_own_password_works_and_spaces_do_not_count(gateway):
    account = gateway.json("account", "add", "person@example.com")
    for password in (account["password"], account["password"].replace(" ", "")):
        with gateway.connect(("person@example.com", password)) as client:
            send(client, "person@example.com", ["b@example.net"], CONTENT)
    with gateway.connect((gateway.login[0], gateway.login[1].replace(" ", ""))) as client:
        client.noop()


def test_what_is_added_works_at_once_and_what_is_revoked_ends_within_a_second(gateway):
    login = gateway.json("login", "add", "--account", "owner@example.com", "--name", "short-lived")
    client = gateway.connect((login["username"], login["password"]))
    send(client, "a@example.com", ["b@example.net"], CONTENT)
    gateway.run("login", "revoke", login["username"])
    time.sleep(1.0)
    code, reply = client.mail("a@example.com")
    assert code == 550 and b"5.7.1" in reply
    with pytest.raises(smtplib.SMTPAuthenticationError):
        gateway.connect((login["username"], login["password"]))


def test_a_pending_account_is_told_whom_to_ask_and_sends_once_approved(gateway):
    account = gateway.json("account", "add", "new@example.com", "--pending")
    client = gateway.connect((account["email"], account["password"]))
    code, reply = client.mail("new@example.com")
    assert code == 550 and b"postmaster@localhost" in reply
    gateway.run("account", "approve", "new@example.com")
    send(client, "new@example.com", ["b@example.net"], CONTENT)
    gateway.run("account", "suspend", "new@example.com")
    time.sleep(1.0)
    assert client.mail("new@example.com")[0] == 550


def test_several_recipients_have_ids_of_their_own(gateway):
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["b@example.net", "c@example.net", "d@example.org"], CONTENT)
    shown = gateway.json("message", "show", id)
    assert shown["id"] == id and [m["id"] for m in shown["messages"]] == [f"{id}-1", f"{id}-2", f"{id}-3"]
    assert b"for <" not in gateway.raw(f"{id}-2").partition(b"From: a@")[0]
    listed = gateway.json("message", "list", "--recipient", "d@example.org")
    assert [row["id"] for row in listed] == [f"{id}-3"] and listed[0]["submission"] == id


def test_tags_and_bcc(gateway):
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["b@example.net"], b"X-SMTPeter-Tags: one, two\r\nBcc: x@y.z\r\n" + CONTENT)
    assert gateway.json("message", "list", "--tag", "two")[0]["id"] == id
    assert gateway.json("message", "show", id)["tags"] == ["one", "two"]
    assert b"x@y.z" not in gateway.raw(id) and b"X-SMTPeter" not in gateway.raw(id)


def test_bare_newlines_are_refused_after_the_whole_message(gateway):
    with gateway.connect(gateway.login) as client:
        for bad in (b"a\nb", b"a\rb", b"a\0b", b"\n.\r\nMAIL FROM:<evil@example.com>"):
            client.mail("a@example.com")
            client.rcpt("b@example.net")
            assert client.docmd("DATA")[0] == 354
            client.send(b"Subject: x\r\n\r\n" + bad + b"\r\n.\r\n")
            assert client.getreply()[0] == 550
        assert client.noop()[0] == 250


def test_a_pipelined_group_in_one_segment(gateway):
    with gateway.connect(gateway.login) as client:
        client.send(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<bad\r\nDATA\r\n")
        assert [client.getreply()[0] for _ in range(4)] == [250, 250, 501, 354]
        client.send(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\nNOOP\r\n")
        assert [client.getreply()[0] for _ in range(2)] == [250, 250]


def test_starttls_injection_is_not_obeyed(gateway):
    with socket.create_connection(("127.0.0.1", gateway.smtp)) as connection:
        stream = connection.makefile("rb")
        stream.readline()
        connection.sendall(b"EHLO x\r\nSTARTTLS\r\nEHLO injected\r\n")
        assert stream.read().rpartition(b"\r\n421 ")[1]


def test_old_tls_is_refused(gateway):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        smtplib.SMTP_SSL("localhost", gateway.smtps, context=context)


@pytest.mark.parametrize("size", [40_000, 2_000_000])
def test_larger_messages_come_out_as_they_went_in(gateway, size):
    content = b"Subject: large\r\n\r\n" + b"".join(b"%060d\r\n" % n for n in range(size // 62))
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["b@example.net"], content)
    assert gateway.raw(id).endswith(content)


def test_a_message_that_is_too_large_is_refused(gateway):
    with gateway.connect(gateway.login) as client:
        assert client.mail("a@example.com", ["SIZE=50000001"])[0] == 552


def test_internationalised_mail(gateway):
    with gateway.connect(gateway.login) as client:
        client.ehlo()
        code, _ = client.mail("jürgen@example.com", ["SMTPUTF8"])
        client.send("RCPT TO:<ñandú@exämple.net>\r\n".encode())
        assert (code, client.getreply()[0]) == (250, 250)
        id = queued_id(client.data("Subject: Grüße\r\n\r\nhallo\r\n".encode())[1])
    shown = gateway.json("message", "show", id)
    assert shown["recipient"] == "ñandú@exämple.net" and shown["subject"] == "Grüße"
    assert b"with UTF8SMTPSA" in gateway.raw(id)


def test_the_server_survives_a_restart_with_all_it_has(gateway):
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["b@example.net"], CONTENT)
    gateway.stop()
    assert gateway.raw(id).endswith(CONTENT)
    gateway.start()
    assert gateway.raw(id).endswith(CONTENT)
    with gateway.connect(gateway.login) as client:
        send(client, "a@example.com", ["b@example.net"], CONTENT)


def test_a_second_server_on_the_same_store_is_refused(gateway):
    other = Gateway(gateway.directory / "other", 'mode = "capture"')
    other.config.write_text(
        other.config.read_text().replace(str(other.directory / "data"), str(gateway.directory / "data"))
    )
    with pytest.raises(AssertionError):
        other.start()
    assert other.process.wait(10) != 0
    assert "smtpeter.db" in other.log.read_text() and "Traceback" not in other.log.read_text()


def test_queue_pause_and_resume(gateway):
    assert gateway.json("queue", "pause") == {"paused": True}
    time.sleep(1.0)
    with gateway.connect(gateway.login) as client:
        id = send(client, "a@example.com", ["paused@example.net"], CONTENT)
    time.sleep(0.5)
    assert gateway.json("message", "show", id)["state"] == "due"
    gateway.run("queue", "resume")
    wait_for(lambda: gateway.json("message", "show", id)["state"] == "delivered")


def test_metrics_tell_what_was_taken(gateway):
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.http}/metrics") as answer:
        text = answer.read().decode()
    assert re.search(r'smtpeter_submissions_total\{channel="smtp"\} [1-9]', text)


def test_no_secret_is_in_the_log(gateway):
    log = gateway.log.read_text()
    assert "session" in log
    assert gateway.login[1] not in log and gateway.login[1].replace(" ", "") not in log


@pytest.mark.parametrize("options", [["--tls", "-p", "smtp"], ["--tls-on-connect", "-p", "smtps"]])
def test_swaks(gateway, options):
    swaks = tool("swaks")
    options = [str(getattr(gateway, option, option)) for option in options]
    username, password = gateway.login
    result = subprocess.run(
        [swaks, "--server", "127.0.0.1", *options, "--auth", "LOGIN", "--auth-user", username,
         "--auth-password", password, "--from", "a@example.com", "--to", "b@example.net", "--pipeline"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result
    id = queued_id(re.search(r"250 2\.0\.0 (Ok, queued as \S+)", result.stdout)[1])
    assert b"X-Mailer: swaks" in gateway.raw(id)


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_curl(gateway, scheme, tmp_path):
    curl = tool("curl")
    message = tmp_path / "message.eml"
    message.write_bytes(CONTENT)
    username, password = gateway.login
    before = len(gateway.json("message", "list", "--recipient", f"{scheme}@curl.example", "--limit", "1000"))
    result = subprocess.run(
        [curl, "-sS", "--ssl-reqd", "--cacert", gateway.directory / "data" / "tls" / "ca.pem", "--user",
         f"{username}:{password}", "--mail-from", "a@example.com", "--mail-rcpt", f"{scheme}@curl.example",
         "--upload-file", message, f"{scheme}://localhost:{getattr(gateway, scheme)}"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 0, result
    rows = gateway.json("message", "list", "--recipient", f"{scheme}@curl.example", "--limit", "1000")
    assert len(rows) == before + 1
