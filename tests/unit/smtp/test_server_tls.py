"""STARTTLS: what is forgotten, and what an attacker may have put behind it (RFC 3207)."""

from __future__ import annotations

import pytest

from smtpeter.smtp.events import StartTlsEvent
from smtpeter.smtp.server import ServerSession
from tests.fakes.smtp_session import LIMITS, LOGIN, ScriptedSession, codes


def plain() -> ScriptedSession:
    scripted = ScriptedSession(encrypted=False)
    scripted.send(b"EHLO client.test\r\n")
    return scripted


def test_the_client_is_unknown_again_after_tls():
    scripted = plain()
    assert codes(scripted.send(b"STARTTLS\r\n")) == ["220 2.0.0"]
    assert scripted.session.encrypted and scripted.session.client_name == ""
    assert codes(scripted.send(LOGIN)) == ["503 5.5.1"]
    assert codes(scripted.send(b"MAIL FROM:<a@a.test>\r\n")) == ["503 5.5.1"]


def test_a_transaction_does_not_survive_tls():
    """Only the door for returned mail knows transactions without TLS, and it refuses STARTTLS within them."""
    scripted = ScriptedSession(encrypted=False, mx=True)
    scripted.send(b"EHLO client.test\r\nMAIL FROM:<>\r\nRSET\r\n", b"STARTTLS\r\n", b"EHLO client.test\r\n")
    assert codes(scripted.send(b"RCPT TO:<b@b.test>\r\n")) == ["503 5.5.1"]


def test_starttls_is_not_offered_nor_taken_twice():
    scripted = plain()
    scripted.send(b"STARTTLS\r\n")
    assert b"STARTTLS" not in scripted.send(b"EHLO client.test\r\n")
    assert codes(scripted.send(b"STARTTLS\r\n")) == ["554 5.5.1"]


def test_nothing_is_read_between_starttls_and_tls():
    session = ServerSession("mx.test", LIMITS, encrypted=False)
    session.greet()
    session.receive(b"EHLO client.test\r\n")
    assert session.next_event() is None
    session.receive(b"STARTTLS\r\n")
    assert session.next_event() == StartTlsEvent()
    session.take_output()
    session.receive(b"NOOP\r\n")
    assert session.next_event() is None and session.take_output() == b""


def test_what_came_in_clear_before_tls_is_never_obeyed_within_it():
    """The injection of CVE-2011-0411, in a segment of its own that comes before TLS does."""
    session = ServerSession("mx.test", LIMITS, encrypted=False)
    session.greet()
    session.receive(b"EHLO client.test\r\n")
    session.next_event()
    session.receive(b"STARTTLS\r\n")
    assert session.next_event() == StartTlsEvent()
    session.take_output()
    session.receive(b"EHLO evil.test\r\nNOO")
    session.tls_started()
    assert session.next_event() is None and session.take_output() == b""
    session.receive(b"NOOP\r\n")
    assert session.next_event() is None and codes(session.take_output()) == ["250 2.0.0"]
    assert session.client_name == ""


@pytest.mark.parametrize(
    "injected",
    [
        b"X",
        b"\r\n",
        b"\0",
        b"RSET\r\n",
        b"EHLO evil.test\r\n",
        LOGIN,
        b"EHLO evil.test\r\n" + LOGIN + b"MAIL FROM:<evil@a.test>\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a ClientHello that did not wait
    ],
)
def test_starttls_injection_ends_the_connection(injected):
    scripted = plain()
    output = scripted.send(b"STARTTLS\r\n" + injected)
    assert codes(output) == ["421 4.7.0"]
    assert scripted.closed == "starttls-injection"
    assert not any(isinstance(event, StartTlsEvent) for event in scripted.events)
    assert not scripted.session.encrypted
    assert scripted.send(b"NOOP\r\n") == b""


def test_starttls_injection_from_the_start_of_the_session():
    scripted = ScriptedSession(encrypted=False)
    output = scripted.send(b"EHLO client.test\r\nSTARTTLS\r\nNOOP\r\n")
    assert codes(output) == ["250", "421 4.7.0"]
    assert scripted.closed == "starttls-injection"


def test_starttls_refused_leaves_what_follows_alone():
    """A refused STARTTLS starts nothing: the pipelined rest is answered as always."""
    assert codes(plain().send(b"STARTTLS x\r\nNOOP\r\n")) == ["501 5.5.4", "250 2.0.0"]


def test_starttls_before_ehlo():
    assert codes(ScriptedSession(encrypted=False).send(b"STARTTLS\r\n")) == ["503 5.5.1"]
