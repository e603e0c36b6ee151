"""AUTH in all its forms (RFC 4954)."""

from __future__ import annotations

from base64 import b64encode

import pytest

from smtpeter.smtp.events import AuthEvent
from smtpeter.smtp.sasl import Credentials
from tests.fakes.smtp_session import LIMITS, LOGIN, ScriptedSession, codes, ready


def hello(**how: object) -> ScriptedSession:
    scripted = ScriptedSession(**how)  # type: ignore[arg-type]
    scripted.send(b"EHLO client.test\r\n")
    scripted.events.clear()
    return scripted


def line(octets: bytes) -> bytes:
    return b64encode(octets) + b"\r\n"


GOOD = b"\0user\0secret"
ACCEPTED = b"235 2.7.0 Authentication successful\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        [b"AUTH PLAIN " + line(GOOD)],
        [b"auth plain " + line(GOOD)],
        [b"AUTH  PLAIN  " + line(GOOD)],
        [b"AUTH PLAIN\r\n", line(GOOD)],
        [b"AUTH PLAIN " + line(b"user" + GOOD)],
        [b"AUTH LOGIN\r\n", line(b"user"), line(b"secret")],
        [b"AUTH login\r\n", line(b"user"), line(b"secret")],
        [b"AUTH LOGIN " + line(b"user"), line(b"secret")],
        [b"AUTH LOGIN\r\n" + line(b"user") + line(b"secret")],
    ],
)
def test_good_credentials(pieces):
    scripted = hello()
    output = [scripted.send(piece) for piece in pieces]
    assert output[-1].endswith(ACCEPTED)
    assert scripted.session.authenticated
    assert scripted.events == [AuthEvent(Credentials("user", "secret"))]


def test_the_challenges_to_the_letter():
    scripted = hello()
    assert scripted.send(b"AUTH PLAIN\r\n") == b"334 \r\n"
    scripted.send(b"*\r\n")
    assert scripted.send(b"AUTH LOGIN\r\n") == b"334 VXNlcm5hbWU6\r\n"
    assert scripted.send(line(b"user")) == b"334 UGFzc3dvcmQ6\r\n"
    scripted.send(b"*\r\n")
    assert scripted.send(b"AUTH LOGIN " + line(b"user")) == b"334 UGFzc3dvcmQ6\r\n"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"AUTH\r\n", "501 5.5.4"),
        (b"AUTH  \r\n", "501 5.5.4"),
        (b"AUTH CRAM-MD5\r\n", "504 5.5.4"),
        (b"AUTH XOAUTH2 abc\r\n", "504 5.5.4"),
        (b"AUTH \xc3\xa9\r\n", "504 5.5.4"),
        (b"AUTH PLAIN =\r\n", "501 5.5.2"),
        (b"AUTH PLAIN *\r\n", "501 5.7.0"),
        (b"AUTH PLAIN !!!!\r\n", "501 5.5.2"),
        (b"AUTH PLAIN AHVzZXIAc2VjcmV\r\n", "501 5.5.2"),
        (b"AUTH PLAIN AHVzZXIA c2VjcmV0\r\n", "501 5.5.2"),
        (b"AUTH PLAIN \xc3\xa9\r\n", "501 5.5.2"),
        (b"AUTH PLAIN YQ==YQ==\r\n", "501 5.5.2"),
        (b"AUTH PLAIN " + line(b""), "334"),
        (b"AUTH PLAIN " + line(b"user"), "501 5.5.2"),
        (b"AUTH PLAIN " + line(b"user\0secret"), "501 5.5.2"),
        (b"AUTH PLAIN " + line(b"\0user\0sec\0ret"), "501 5.5.2"),
        (b"AUTH PLAIN " + line(b"\0us\xffer\0secret"), "501 5.5.2"),
        (b"AUTH PLAIN " + line(b"\0user\0wrong"), "535 5.7.8"),
        (b"AUTH PLAIN " + line(b"other\0user\0secret"), "535 5.7.8"),
        (b"AUTH PLAIN " + line(b"\0\0"), "535 5.7.8"),
        (b"AUTH LOGIN !!!!\r\n", "501 5.5.2"),
        (b"AUTH LOGIN " + line(b"\xff"), "501 5.5.2"),
        (b"AUTH LOGIN " + line(b"us\0er"), "501 5.5.2"),
        (b"AUTH LOGIN =\r\n", "334"),
    ],
)
def test_the_auth_command(sent, expected):
    scripted = hello()
    assert codes(scripted.send(sent)) == [expected]
    assert not scripted.session.authenticated


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"*\r\n", "501 5.7.0"),
        (b"!!!!\r\n", "501 5.5.2"),
        (b"\r\n", "501 5.5.2"),
        (b"\xff\r\n", "500 5.5.2"),
        (b"AHVz\n", "500 5.5.2"),
        (line(b"\0user\0wrong"), "535 5.7.8"),
        (b"A" * 12287 + b"\r\n", "500 5.5.6"),
        (b"A" * 50000 + b"\r\n", "500 5.5.6"),
    ],
)
def test_a_failed_response_ends_the_exchange(sent, expected):
    scripted = hello()
    scripted.send(b"AUTH PLAIN\r\n")
    assert codes(scripted.send(sent)) == [expected]
    assert codes(scripted.send(b"NOOP\r\n")) == ["250 2.0.0"]
    assert scripted.send(LOGIN) == ACCEPTED


@pytest.mark.parametrize("after", [1, 2])
@pytest.mark.parametrize(("sent", "expected"), [(b"*\r\n", "501 5.7.0"), (b"?\r\n", "501 5.5.2")])
def test_a_failed_response_ends_the_login_exchange_at_each_step(after, sent, expected):
    scripted = hello()
    scripted.send(*[b"AUTH LOGIN\r\n", line(b"user")][:after])
    assert codes(scripted.send(sent)) == [expected]
    assert codes(scripted.send(b"NOOP\r\n")) == ["250 2.0.0"]


def test_commands_within_an_exchange_are_responses():
    scripted = hello()
    scripted.send(b"AUTH LOGIN\r\n")
    assert codes(scripted.send(b"QUIT\r\n")) == ["334"]
    assert scripted.closed is None


def test_an_auth_line_may_be_longer_than_others_and_has_its_own_limit():
    password = b"x" * 9000
    scripted = hello()
    scripted.send(b"AUTH PLAIN " + line(b"\0user\0" + password))
    assert scripted.events == [AuthEvent(Credentials("user", password.decode()))]
    longest = b"AUTH PLAIN " + b"A" * (12288 - 13) + b"\r\n"
    assert len(longest) == 12288
    assert not codes(hello().send(longest))[0].startswith("500")
    assert codes(hello().send(b"AUTH PLAIN A" + longest[11:])) == ["500 5.5.6"]


def test_empty_and_utf8_credentials_reach_the_host_as_they_are():
    scripted = hello(withheld=(AuthEvent,))
    scripted.send(b"AUTH PLAIN " + line("\0ünï\0pässwörd ".encode()))
    assert scripted.events == [AuthEvent(Credentials("ünï", "pässwörd "))]
    scripted = hello()
    scripted.send(b"AUTH LOGIN =\r\n", b"\r\n")
    assert scripted.events == [AuthEvent(Credentials("", ""))]


def test_once_only():
    assert codes(ready().send(LOGIN)) == ["503 5.5.1"]


def test_failures_end_the_session():
    scripted = hello()
    bad = b"AUTH PLAIN " + line(b"\0user\0wrong")
    assert codes(scripted.send(bad, bad)) == ["535 5.7.8"] * 2
    assert codes(scripted.send(bad)) == ["535 5.7.8", "421 4.7.0"]
    assert scripted.closed == "too many failed authentications"
    assert scripted.send(LOGIN) == b""


def test_a_foreign_authorization_id_counts_as_a_failure():
    scripted = hello()
    assert codes(scripted.send(*[b"AUTH PLAIN " + line(b"boss\0user\0secret")] * 3))[-1] == "421 4.7.0"
    assert [event for event in scripted.events if isinstance(event, AuthEvent)] == []


def test_guesses_pipelined_behind_the_last_failure_are_not_tried():
    scripted = hello()
    scripted.send(b"".join(b"AUTH PLAIN " + line(b"\0user\0%d" % n) for n in range(10)))
    assert len([event for event in scripted.events if isinstance(event, AuthEvent)]) == 3


def test_what_is_not_a_535_does_not_count_as_a_failure():
    scripted = hello(limits=LIMITS._replace(auth_failures=1))
    scripted.send(b"AUTH PLAIN\r\n*\r\nAUTH PLAIN !\r\nAUTH NTLM\r\nAUTH\r\nAUTH PLAIN =\r\n")
    assert scripted.send(LOGIN) == ACCEPTED


def test_pipelined_commands_wait_for_the_authentication():
    scripted = hello(withheld=(AuthEvent,))
    assert scripted.send(LOGIN + b"NOOP\r\n") == b""
    assert scripted.send(b"NOOP\r\n") == b""


def test_authentication_survives_another_ehlo():
    scripted = ready()
    scripted.send(b"EHLO again.test\r\n")
    assert codes(scripted.send(b"MAIL FROM:<a@a.test>\r\n")) == ["250 2.1.0"]


def test_secrets_do_not_show_in_reprs():
    assert "secret" not in repr(AuthEvent(Credentials("user", "secret")))
