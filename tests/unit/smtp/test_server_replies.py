"""What a session answers: the exact code and enhanced code of every situation that concerns it alone."""

from __future__ import annotations

import pytest

from smtpeter.model.reply import Reply
from smtpeter.smtp.events import AuthEvent, DataEvent, EndEvent, MailEvent
from smtpeter.smtp.server import ServerSession
from tests.fakes.smtp_session import LIMITS, ScriptedSession, codes, in_data, ready

MAIL = b"MAIL FROM:<a@a.test>\r\n"
RCPT = b"RCPT TO:<b@b.test>\r\n"


def test_greeting():
    assert ScriptedSession().greeting == b"220 mx.test ESMTP smtpeter\r\n"


def test_the_keywords_before_tls_are_exactly_these():
    assert ScriptedSession(encrypted=False).send(b"EHLO client.test\r\n") == (
        b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-STARTTLS\r\n250-8BITMIME\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 SMTPUTF8\r\n"
    )


def test_the_keywords_after_tls_are_exactly_these():
    expected = (
        b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-AUTH PLAIN LOGIN\r\n250-8BITMIME\r\n"
        b"250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 SMTPUTF8\r\n"
    )
    assert ScriptedSession().send(b"EHLO client.test\r\n") == expected
    scripted = ScriptedSession(encrypted=False)
    scripted.send(b"EHLO client.test\r\n", b"STARTTLS\r\n")
    assert scripted.send(b"EHLO client.test\r\n") == expected


def test_helo_is_answered_without_keywords():
    assert ScriptedSession().send(b"HELO client.test\r\n") == b"250 mx.test\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"NOOP\r\n", "250 2.0.0"),
        (b"NOOP anything at all\r\n", "250 2.0.0"),
        (b"noop\r\n", "250 2.0.0"),
        (b"NOOP \r\n", "250 2.0.0"),
        (b"RSET\r\n", "250 2.0.0"),
        (b"RSET  \r\n", "250 2.0.0"),
        (b"RSET x\r\n", "501 5.5.4"),
        (b"HELP\r\n", "214 2.0.0"),
        (b"HELP MAIL\r\n", "214 2.0.0"),
        (b"VRFY alice\r\n", "252 2.0.0"),
        (b"VRFY\r\n", "501 5.5.4"),
        (b"QUIT\r\n", "221 2.0.0"),
        (b"quit  \r\n", "221 2.0.0"),
        (b"QUIT now\r\n", "221 2.0.0"),
        (b"EXPN list\r\n", "502 5.5.1"),
        (b"TURN\r\n", "502 5.5.1"),
        (b"ETRN a.test\r\n", "502 5.5.1"),
        (b"EHLO\r\n", "501 5.5.4"),
        (b"EHLO  \r\n", "501 5.5.4"),
        (b"HELO\r\n", "501 5.5.4"),
        (b"EHLO " + b"a" * 256 + b"\r\n", "501 5.5.4"),
        (b"EHLO a\x07b\r\n", "501 5.5.4"),
        (b"EHLO a\xc2\x85b\r\n", "501 5.5.4"),
        (b"EHLO [192.0.2.1]\r\n", "250"),
        (b"BDAT 5\r\n", "500 5.5.1"),
        (b"XYZZY\r\n", "500 5.5.1"),
        (b"\r\n", "500 5.5.1"),
        (b" NOOP\r\n", "500 5.5.1"),
        (b"NOOP\tx\r\n", "500 5.5.1"),
        (b"N\xc3\x96\xc3\x96P\r\n", "500 5.5.1"),
        (b"NOOP \xff\r\n", "500 5.5.2"),
        (b"\xff\xfe\r\n", "500 5.5.2"),
        (b"NOOP\n", "500 5.5.2"),
        (b"NOOP\r\r\n", "500 5.5.2"),
        (b"NO\0OP\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * 2041 + b"\r\n", "250 2.0.0"),
        (b"NOOP " + b"x" * 2042 + b"\r\n", "500 5.5.2"),
        (b"NOOP " + b"x" * 20000 + b"\r\n", "500 5.5.2"),
        (MAIL, "503 5.5.1"),
        (RCPT, "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
        (b"DATA x\r\n", "501 5.5.4"),
        (b"AUTH PLAIN\r\n", "503 5.5.1"),
        (b"STARTTLS\r\n", "554 5.5.1"),
        (b"STARTTLS x\r\n", "501 5.5.4"),
        (b"GET / HTTP/1.1\r\n", "221 2.7.0"),
        (b"POST / HTTP/1.1\r\n", "221 2.7.0"),
        (b"OPTIONS * HTTP/1.1\r\n", "221 2.7.0"),
    ],
)
def test_before_ehlo_over_tls(sent, expected):
    assert codes(ScriptedSession().send(sent)) == [expected]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (MAIL, "530 5.7.0"),
        (b"MAIL garbage\r\n", "530 5.7.0"),
        (RCPT, "503 5.5.1"),
        (b"DATA\r\n", "503 5.5.1"),
        (b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", "538 5.7.11"),
        (b"AUTH\r\n", "538 5.7.11"),
        (b"STARTTLS now\r\n", "501 5.5.4"),
        (b"STARTTLS\r\n", "220 2.0.0"),
        (b"starttls\r\n", "220 2.0.0"),
        (b"VRFY alice\r\n", "252 2.0.0"),
    ],
)
def test_without_tls(sent, expected):
    scripted = ScriptedSession(encrypted=False)
    scripted.send(b"EHLO client.test\r\n")
    assert codes(scripted.send(sent)) == [expected]


def test_the_reply_tells_what_is_missing():
    scripted = ScriptedSession(encrypted=False)
    scripted.send(b"EHLO client.test\r\n")
    assert scripted.send(MAIL) == b"530 5.7.0 Must issue a STARTTLS command first\r\n"
    scripted.send(b"STARTTLS\r\n", b"EHLO client.test\r\n")
    assert scripted.send(MAIL) == b"530 5.7.0 Authentication required\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (MAIL, ["250 2.1.0"]),
        (b"MAIL FROM:<>\r\n", ["250 2.1.0"]),
        (RCPT, ["503 5.5.1"]),
        (b"DATA\r\n", ["503 5.5.1"]),
        (MAIL + MAIL, ["250 2.1.0", "503 5.5.1"]),
        (MAIL + b"DATA\r\n", ["250 2.1.0", "503 5.5.1"]),
        (MAIL + b"RCPT TO:<nobody@b.test>\r\nDATA\r\n", ["250 2.1.0", "550 5.1.1", "554 5.5.1"]),
        (
            MAIL + b"RCPT TO:<>\r\nRSET\r\n" + MAIL + b"DATA\r\n",
            ["250 2.1.0", "501 5.1.3", "250 2.0.0", "250 2.1.0", "503 5.5.1"],
        ),
        (MAIL + b"RCPT TO:<nobody@b.test>\r\n" + RCPT + b"DATA\r\n", ["250 2.1.0", "550 5.1.1", "250 2.1.5", "354"]),
        (MAIL + RCPT + b"DATA x\r\n", ["250 2.1.0", "250 2.1.5", "501 5.5.4"]),
        (MAIL + b"AUTH PLAIN\r\n", ["250 2.1.0", "503 5.5.1"]),
        (MAIL + b"STARTTLS\r\n", ["250 2.1.0", "554 5.5.1"]),
        (MAIL + b"RSET\r\n" + RCPT, ["250 2.1.0", "250 2.0.0", "503 5.5.1"]),
        (MAIL + b"EHLO again.test\r\n" + RCPT, ["250 2.1.0", "250", "503 5.5.1"]),
        (MAIL + b"HELO again.test\r\n" + RCPT, ["250 2.1.0", "250", "503 5.5.1"]),
        (MAIL + b"EHLO\r\n" + RCPT, ["250 2.1.0", "501 5.5.4", "250 2.1.5"]),
        (
            MAIL + b"NOOP\r\nHELP\r\nVRFY b\r\n" + RCPT,
            ["250 2.1.0", "250 2.0.0", "214 2.0.0", "252 2.0.0", "250 2.1.5"],
        ),
        (MAIL + RCPT + b"DATA\r\nx\r\n.\r\n", ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"]),
        (MAIL + RCPT + b"DATA\r\nx\r\n.\r\n" + RCPT, ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "503 5.5.1"]),
        (b"AUTH PLAIN\r\n", ["503 5.5.1"]),
        (b"STARTTLS\r\n", ["554 5.5.1"]),
        (b"QUIT\r\nNOOP\r\n", ["221 2.0.0"]),
    ],
)
def test_once_authenticated(sent, expected):
    assert codes(ready().send(sent)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"Subject: x\r\n\r\nhello\r\n.\r\n", "250 2.0.0"),
        (b"a\nb\r\n.\r\n", "550 5.5.2"),
        (b"a\rb\r\n.\r\n", "550 5.5.2"),
        (b"a\0b\r\n.\r\n", "550 5.5.2"),
        (b"x" * 998 + b"\r\n.\r\n", "250 2.0.0"),
        (b"x" * 999 + b"\r\n.\r\n", "552 5.3.4"),
    ],
)
def test_the_end_of_a_message(body, expected):
    assert codes(in_data().send(body)) == [expected]


def test_a_line_over_64_kib_is_swallowed_to_the_end_of_the_message_and_refused():
    """A server that falls back into command mode here runs the rest of the body as commands."""
    scripted = in_data(limits=LIMITS._replace(message_size=1_000_000))
    assert scripted.send(b"x" * 70000) == b""
    assert codes(scripted.send(b"\r\nRSET\r\nMAIL FROM:<evil@a.test>\r\n.\r\nNOOP\r\n")) == ["554 5.6.0", "250 2.0.0"]


@pytest.mark.parametrize(
    ("early", "reason", "code"),
    [(b"EHLO client.test\r\n", "early talker", "554 5.5.0"), (b"GET / HTTP/1.1\r\n", "HTTP", "221 2.7.0")],
)
def test_early_talker_is_turned_away(early, reason, code):
    session = ServerSession("mx.test", LIMITS, encrypted=False)
    session.receive(early)
    session.greet()
    event = session.next_event()
    assert event is not None and event.reason == reason  # type: ignore[union-attr]
    assert codes(session.take_output()) == [code]
    assert session.next_event() is None and session.take_output() == b""


@pytest.mark.parametrize(
    "reply", [Reply(454, "4.7.0", "Not now"), Reply(535, "5.7.8", "No"), Reply(432, "4.7.12", "Another password")]
)
def test_a_refused_authentication_is_passed_on_and_leaves_nothing(reply):
    scripted = ScriptedSession(withheld=(AuthEvent,))
    scripted.send(b"EHLO client.test\r\n", b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
    assert scripted.answer(reply) == reply.encode()
    assert not scripted.session.authenticated
    assert codes(scripted.send(MAIL)) == ["530 5.7.0"]


@pytest.mark.parametrize(
    "reply", [Reply(451, "4.3.0", "Later"), Reply(452, "4.3.1", "Full"), Reply(550, "5.7.1", "No")]
)
def test_a_refused_sender_leaves_no_transaction(reply):
    scripted = ready(withheld=(MailEvent,))
    scripted.send(MAIL)
    assert scripted.answer(reply) == reply.encode()
    assert codes(scripted.send(RCPT)) == ["503 5.5.1"]


def test_refused_data_leaves_the_transaction_and_command_mode():
    scripted = ready(withheld=(DataEvent,))
    scripted.send(MAIL + RCPT + b"DATA\r\n")
    assert codes(scripted.answer(Reply(451, "4.3.0", "Later"))) == ["451 4.3.0"]
    assert not scripted.session.receiving_data
    assert codes(scripted.send(RCPT)) == ["250 2.1.5"]


@pytest.mark.parametrize(
    "reply", [Reply(451, "4.3.0", "Later"), Reply(554, "5.4.6", "Loop"), Reply(250, "2.0.0", "Ok")]
)
def test_the_transaction_is_over_after_the_final_dot_whatever_the_answer(reply):
    scripted = ready(withheld=(EndEvent,))
    scripted.send(MAIL + RCPT + b"DATA\r\nx\r\n.\r\n")
    assert scripted.answer(reply) == reply.encode()
    assert codes(scripted.send(b"DATA\r\n" + MAIL)) == ["503 5.5.1", "250 2.1.0"]


def test_the_door_for_returned_mail_lets_anybody_say_mail_and_decides_at_rcpt():
    scripted = ScriptedSession(mx=True)
    scripted.send(b"EHLO client.test\r\n")
    assert codes(scripted.send(b"MAIL FROM:<>\r\n" + RCPT + b"DATA\r\n")) == ["250 2.1.0", "530 5.7.0", "554 5.5.1"]


def test_the_door_for_returned_mail_refuses_authentication_within_a_transaction():
    scripted = ScriptedSession(mx=True)
    scripted.send(b"EHLO client.test\r\n" + MAIL)
    assert codes(scripted.send(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")) == ["503 5.5.1"]
    scripted = ScriptedSession(mx=True, encrypted=False)
    scripted.send(b"EHLO client.test\r\n" + MAIL)
    assert codes(scripted.send(b"STARTTLS\r\n")) == ["503 5.5.1"]


def test_the_door_for_returned_mail_takes_submissions_too():
    assert codes(ready(mx=True).send(MAIL + RCPT + b"DATA\r\nx\r\n.\r\n"))[-1] == "250 2.0.0"
