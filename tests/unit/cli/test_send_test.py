import smtplib
import ssl
from unittest.mock import Mock

import pytest

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.keys import load_or_create
from smtpeter.auth.secrets import hash_login
from smtpeter.cli import send_test
from smtpeter.cli.installation import result_of
from smtpeter.clock import WallClock
from smtpeter.model.account import AccountState, CredentialKind
from smtpeter.model.listing import Filter, Verb
from tests.unit.cli.conftest import EMAIL, START

TO = "bob@example.net"
LISTEN = '[listen]\nsmtp = ["tcp:2525"]\nsmtps = ["tcp:4650:interface=127.0.0.1"]\n'


class Server:
    """Our own server as smtplib shows it: takes the message, and puts it in the queue at once."""

    def __init__(self, gateway, certificate):
        self.gateway = gateway
        self.sock = Mock(spec=ssl.SSLSocket)
        self.sock.getpeercert.return_value = certificate
        self.rcpt_reply = (250, b"2.1.5 Ok")
        self.steps = []

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def login(self, username, password):
        with self.gateway.open() as store:
            login = result_of(store.accounts.credential(CredentialKind.LOGIN, username))
        keys = load_or_create(self.gateway.data_dir / "keys.toml")
        assert login.secret_hash == hash_login(keys, login.key_id, username, password)
        self.account = login.account
        self.steps.append("login")

    def mail(self, sender):
        self.steps.append(f"mail {sender}")
        return 250, b"2.1.0 Ok"

    def rcpt(self, recipient):
        self.steps.append(f"rcpt {recipient}")
        return self.rcpt_reply

    def data(self, octets):
        id = self.gateway.enqueue(TO, account=self.account.number, data=octets)
        with self.gateway.open() as store:
            result_of(store.queue.apply(Filter(submission=id), Verb.HOLD, START, 1))
        return 250, f"2.0.0 Ok, queued as {id}".encode()


@pytest.fixture
def server(gateway, monkeypatch):
    """What answers at smtps; the test's own account may submit."""
    gateway.configure(LISTEN)
    gateway.add_account(admin=True)
    ensure_certificate(gateway.data_dir / "tls", "mail.example.com", WallClock().time())
    pem = (gateway.data_dir / "tls" / "fullchain.pem").read_text("ascii")
    server = Server(gateway, ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 25].strip() + "\n"))

    def connect(host, port, timeout, context):
        assert (host, port) == ("127.0.0.1", 4650)
        return server

    monkeypatch.setattr(smtplib, "SMTP_SSL", connect)
    return server


def logins(gateway):
    return gateway.json("login", "list")


def test_it_goes_the_whole_way_and_shows_what_happened(gateway, server):
    result = gateway.run("send-test", TO, "--wait", "0")
    assert server.steps == ["login", f"mail {EMAIL}", f"rcpt {TO}"]
    assert f"recipient  {TO}" in result.stdout
    assert "attempt" in result.stdout
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)  # held is not delivered
    assert "is held" in result.stderr
    assert [bool(login["revoked"]) for login in logins(gateway)] == [True]


def test_the_sender_and_the_account_can_be_chosen(gateway, server):
    gateway.add_account("second@example.com")
    gateway.run("send-test", TO, "--wait", "0", "--account", "second@example.com", "--from", "x@example.org")
    assert server.steps[1] == "mail x@example.org"
    assert server.account.email == "second@example.com"


def test_without_an_administrator_the_first_account_that_may_send_submits(gateway):
    gateway.add_account("pending@example.com", state=AccountState.PENDING)
    gateway.add_account("plain@example.com")
    with gateway.open() as store:
        assert send_test._submitter(store, None) == "plain@example.com"
    gateway.add_account("zoe@example.com", admin=True)
    with gateway.open() as store:
        assert send_test._submitter(store, None) == "zoe@example.com"


def test_what_is_refused_is_told_in_one_line_and_the_login_ends(gateway, server):
    server.rcpt_reply = (550, b"5.7.1 Not \x1b[2Jyou\nnever")
    refused = gateway.refused("send-test", TO)
    assert refused == "smtpeter: the server refused the message: 550 5.7.1 Not \\x1b[2Jyou never\n"
    assert [bool(login["revoked"]) for login in logins(gateway)] == [True]


def test_attack_somebody_else_listens_on_our_port_and_gets_no_password(gateway, server):
    server.sock.getpeercert.return_value = b"another certificate"
    assert "is not this server" in gateway.refused("send-test", TO)
    assert server.steps == []


def test_no_server_is_listening(gateway, server, monkeypatch):
    def refuse(*arguments, **options):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(smtplib, "SMTP_SSL", refuse)
    monkeypatch.setattr(smtplib, "SMTP", refuse)
    assert "is it running?" in gateway.refused("send-test", TO)


def test_no_server_was_ever_started_here(gateway):
    gateway.add_account(admin=True)
    assert "is the server running?" in gateway.refused("send-test", TO)


@pytest.mark.parametrize("error", [smtplib.SMTPServerDisconnected("gone"), ssl.SSLError("bad"), TimeoutError("slow")])
def test_a_broken_connection_is_one_line(gateway, server, monkeypatch, error):
    monkeypatch.setattr(send_test, "_connect", Mock(side_effect=error))
    assert "broke off" in gateway.refused("send-test", TO)


def test_somebody_has_to_submit_it(gateway):
    assert "--account" in gateway.refused("send-test", TO)
    gateway.add_account("pending@example.com", admin=True, state=AccountState.PENDING)
    assert "--account" in gateway.refused("send-test", TO)
    assert EMAIL in gateway.refused("send-test", TO, "--account", EMAIL)
