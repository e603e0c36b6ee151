"""Postfix with us as its relayhost, configured as ``etc/postfix-relayhost.cf`` says."""

from __future__ import annotations

import json
import re
import shutil
import smtplib
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from bench.postfix import Instance
from smtpeter.auth.certificate import ensure_certificate
from tests.integration.gateway import Gateway, free_ports, wait_for
from tests.integration.receiver import Receiver
from tests.integration.tools import postfix

EXAMPLE = Path(__file__).resolve().parents[2] / "etc" / "postfix-relayhost.cf"
CONTENT = (
    b"From: a@example.com\r\nDate: Sat, 21 Nov 2026 14:00:00 +0000\r\nMessage-ID: <1@example.com>\r\n"
    b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n..dots\r\n.\r\n" + b"x" * 998 + b"\r\n.\r\n.end\r\n"
)
# Nothing here waits for minutes, and "localhost" is in no DNS.
QUICK = """
smtp_host_lookup = native
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
smtpd_relay_restrictions = permit_mynetworks, reject
mynetworks = 127.0.0.0/8
smtp_tls_loglevel = 2
smtputf8_autodetect_classes = all
"""


class Server(Gateway):
    """It is up when it answers, even if it says that it takes no mail."""

    def _is_up(self):
        return self.process.poll() is None and self.health() is not None


class Relaying(Instance):
    """Takes mail from this machine and hands it to the server, by the lines of the example."""

    def __init__(self, directory, gateway, login, authority, **changes):
        (port,) = free_ports(1)
        passwords = directory / "sasl_passwd"
        passwords.write_text(f"[localhost]:{gateway.smtp}  {login[0]}:{login[1]}\n")
        passwords.chmod(0o600)
        subprocess.run([shutil.which("postmap", path="/usr/sbin"), passwords], check=True)
        lines = EXAMPLE.read_text()
        for documented, ours in {
            "[mail.example.com]:587": f"[localhost]:{gateway.smtp}",
            "/etc/postfix/sasl_passwd": str(passwords),
            "/etc/ssl/certs/ca-certificates.crt": str(authority),
        }.items():
            assert documented in lines
            lines = lines.replace(documented, ours)
        lines += QUICK + "".join(f"{name} = {value}\n" for name, value in changes.items())
        super().__init__(directory / "postfix", port, lines)

    def submit(self, sender, recipients, content=CONTENT, mail_options=(), rcpt_options=()):
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            client.sendmail(sender, recipients, content, mail_options, rcpt_options)

    def waiting(self):
        """What is in its queue: an object for each message."""
        listed = subprocess.run(["postqueue", "-c", self.config, "-j"], capture_output=True, check=True, text=True)
        return [json.loads(line) for line in listed.stdout.splitlines()]

    def logged(self, pattern):
        return re.findall(pattern, self.log.read_text())

    def wait_for_line(self, pattern, times=1):
        end = time.monotonic() + 60
        while len(self.logged(pattern)) < times:
            assert time.monotonic() < end, self.log.read_text()[-5000:]
            time.sleep(0.1)

    def wait_until_empty(self):
        end = time.monotonic() + 90
        while self.waiting():
            assert time.monotonic() < end, self.log.read_text()[-5000:]
            time.sleep(0.2)


@pytest.fixture
def directory():
    """Postfix's own user cannot look into pytest's directories."""
    postfix()
    path = Path(tempfile.mkdtemp(prefix="smtpeter-postfix-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def gateway(tmp_path):
    gateway = Server(tmp_path / "gateway", 'mode = "capture"', "[limits]\nmessage_size = 2000000\nrecipients = 5\n")
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


@pytest.fixture
def instance(directory, gateway):
    shutil.copy(gateway.directory / "data" / "tls" / "ca.pem", directory / "ca.pem")
    instance = Relaying(directory, gateway, gateway.login, directory / "ca.pem")
    instance.start()
    yield instance
    instance.stop()


def kept(gateway, **filters):
    options = [part for name, value in filters.items() for part in (f"--{name}", value)]
    return gateway.json("message", "list", "--limit", "1000", *options)


def test_its_queue_empties_and_nothing_is_changed_but_trace_fields(gateway, instance):
    recipients = [f"{n}@example.net" for n in range(20)]
    for number in range(5):
        instance.submit(f"{number}@example.com", recipients[number * 4 : number * 4 + 4])
    instance.wait_until_empty()
    rows = kept(gateway)
    assert sorted(row["recipient"] for row in rows) == sorted(recipients)
    assert {row["envelope"] for row in rows} == {f"{n}@example.com" for n in range(5)}
    assert {row["subject"] for row in rows} == {"Grüße"}
    raw = gateway.raw(rows[0]["id"])
    ours, theirs, rest = raw.split(b"Received: ")[1:][0], *raw.split(b"Received: ")[2].partition(b"From: a@")[::2]
    assert b"with ESMTPSA (TLSv1.3 " in ours and b"by localhost (Postfix) with ESMTP id" in theirs
    assert b"From: a@" + rest == CONTENT
    # checked as the example asks for, and one session of TLS for several messages
    assert instance.logged("Verified TLS connection established to localhost") and not instance.logged("status=def")


def test_a_tls_session_is_resumed(gateway, instance):
    instance.submit("a@example.com", ["b@example.net"])
    instance.wait_for_line("status=sent")
    time.sleep(3)  # longer than Postfix keeps a connection that is not in demand
    instance.submit("a@example.com", ["c@example.net"])
    instance.wait_for_line("status=sent", 2)
    assert instance.logged("Reusing old session|re-using session")


def test_utf_8_is_passed_on(gateway, instance):
    with smtplib.SMTP("127.0.0.1", instance.port, timeout=30) as client:
        client.ehlo()
        client.send("MAIL FROM:<jürgen@example.com> SMTPUTF8\r\n".encode())
        assert client.getreply()[0] == 250
        client.send("RCPT TO:<ñandú@example.net>\r\n".encode())
        assert client.getreply()[0] == 250
        assert client.data("Subject: Grüße\r\n\r\n你好\r\n".encode())[0] == 250
    instance.wait_until_empty()
    (row,) = kept(gateway)
    assert (row["envelope"], row["recipient"], row["subject"]) == ("jürgen@example.com", "ñandú@example.net", "Grüße")


def test_what_is_asked_to_be_told_is_passed_on(directory, tmp_path):
    """RFC 3461 over three hops: the last one refuses, and our report says what the first was told."""
    (port,) = free_ports(1)
    receiver = Receiver(port).start()
    gateway = Gateway(tmp_path / "gateway", f'mode = "relay"\nrelay = "smtp://127.0.0.1:{port}"')
    login = gateway.add_login()
    gateway.start()
    shutil.copy(gateway.directory / "data" / "tls" / "ca.pem", directory / "ca.pem")
    instance = Relaying(directory, gateway, login, directory / "ca.pem")
    instance.start()
    try:
        options = ["NOTIFY=FAILURE", "ORCPT=rfc822;first@example.org"]
        instance.submit("a@example.com", ["hard@example.net"], CONTENT, ["RET=HDRS", "ENVID=QQ314159"], options)
        (report,) = wait_for(lambda: receiver.got("a@example.com"), 60)
    finally:
        instance.stop()
        gateway.end()
        receiver.stop()
    assert b"Original-Envelope-Id: QQ314159\r\n" in report and b"Content-Type: text/rfc822-headers" in report
    assert b"Original-Recipient: rfc822; first@example.org\r\n" in report


def test_more_recipients_than_we_take_at_once_arrive_all_the_same(gateway, instance):
    """452 4.5.3 is no refusal: Postfix sends to the others later."""
    recipients = [f"{n}@example.net" for n in range(12)]
    instance.submit("a@example.com", recipients)
    instance.wait_until_empty()
    assert sorted(row["recipient"] for row in kept(gateway)) == sorted(recipients)


def test_mail_waits_in_its_queue_while_we_are_down_and_while_our_disk_is_full(gateway, instance):
    gateway.stop()
    instance.submit("a@example.com", ["down@example.net"])
    instance.wait_for_line("status=deferred.*Connection refused")
    usual = gateway.config.read_text()
    gateway.config.write_text(usual + 'free_space = "8000000GB"\n')
    gateway.start()
    assert gateway.health() == 503
    instance.submit("a@example.com", ["full@example.net"])
    instance.wait_for_line(r"status=deferred .*452 4\.3\.1")
    assert len(instance.waiting()) == 2 and not kept(gateway)
    gateway.stop()
    gateway.config.write_text(usual)
    gateway.start()
    instance.wait_until_empty()
    assert sorted(row["recipient"] for row in kept(gateway)) == ["down@example.net", "full@example.net"]
    assert not instance.logged("status=bounced")


@pytest.mark.parametrize(
    ("recipient", "content", "reason"),
    [
        ("x" * 65 + "@example.net", CONTENT, "501 5.1.3"),
        ("b@example.net", b"X-SMTPeter-MaxDeliverTime: soon\r\n" + CONTENT, "554 5.6.0"),
        ("b@example.net", CONTENT + b"y" * 70 + b"\r\n" + (b"z" * 70 + b"\r\n") * 30000, "message size"),
    ],
    ids=["recipient", "content", "size"],
)
def test_what_we_refuse_for_good_is_bounced_to_its_sender(gateway, instance, recipient, content, reason):
    instance.submit("a@example.com", [recipient], content)
    instance.wait_for_line("status=bounced")
    instance.wait_until_empty()
    (row,) = kept(gateway)
    assert row["envelope"] == "" and row["recipient"] == "a@example.com"
    report = gateway.raw(row["id"])
    assert b"Action: failed" in report and reason.encode() in report.replace(b"\r\n    ", b" ")


def test_a_wrong_password_and_a_foreign_authority_defer_and_send_nothing(directory, gateway, tmp_path):
    other = ensure_certificate(tmp_path / "other", "localhost", time.time()).authority
    ours = gateway.directory / "data" / "tls" / "ca.pem"
    for name, login, authority, complaint in (
        ("password", (gateway.login[0], "wrong"), ours, r"SASL authentication failed.*535 5\.7\.8"),
        ("authority", gateway.login, other, "Server certificate not (?:trusted|verified)"),
    ):
        (directory / name).mkdir(mode=0o755)
        shutil.copy(authority, directory / name / "ca.pem")
        instance = Relaying(directory / name, gateway, login, directory / name / "ca.pem")
        instance.start()
        try:
            instance.submit("a@example.com", ["b@example.net"])
            instance.wait_for_line(f"status=deferred .*{complaint}")
            assert len(instance.waiting()) == 1
        finally:
            instance.stop()
    assert not kept(gateway)
