"""Replies in order, whoever is slow, and the same session however the octets are cut (RFC 2920)."""

from __future__ import annotations

import pytest

from smtpeter.model.reply import Reply
from smtpeter.smtp.answers import RECIPIENT_OK, SENDER_OK, START_DATA
from smtpeter.smtp.events import (
    AuthEvent,
    CloseEvent,
    ContentEvent,
    DataEvent,
    EndEvent,
    MailEvent,
    RecipientEvent,
    StartTlsEvent,
)
from tests.fakes.smtp_session import LOGIN, QUEUED, ScriptedSession, codes, in_data, ready

GROUP = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nRCPT TO:<c@c.test>\r\nDATA\r\n"


def test_nothing_is_looked_at_before_the_answer_is_given():
    scripted = ready(withheld=(MailEvent, RecipientEvent, DataEvent, EndEvent))
    assert scripted.send(GROUP + b"hello\r\n.\r\nNOOP\r\nQUIT\r\n") == b""
    assert [type(event) for event in scripted.events] == [MailEvent]
    assert scripted.answer(SENDER_OK) == SENDER_OK.encode()
    assert scripted.answer(Reply(550, "5.1.1", "No")) == b"550 5.1.1 No\r\n"
    assert scripted.answer(RECIPIENT_OK) == RECIPIENT_OK.encode()
    assert [recipient.address for recipient in scripted.events[-1].envelope.recipients] == ["c@c.test"]
    assert scripted.answer(START_DATA) == START_DATA.encode()
    assert scripted.events[-2:] == [ContentEvent(b"hello\r\n"), EndEvent(None)]
    assert codes(scripted.answer(QUEUED)) == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]
    assert scripted.closed == "quit"


def test_octets_that_come_while_an_answer_is_owed_wait():
    scripted = ready(withheld=(MailEvent,))
    scripted.send(b"MAIL FROM:<a@a.test>\r\n")
    for octet in b"RCPT TO:<b@b.test>\r\nNOOP\r\n":
        assert scripted.send(bytes([octet])) == b""
    assert scripted.session.pending == len(b"RCPT TO:<b@b.test>\r\nNOOP\r\n")
    assert codes(scripted.answer(SENDER_OK)) == ["250 2.1.0", "250 2.1.5", "250 2.0.0"]
    assert scripted.session.pending == 0


def test_commands_behind_a_message_wait_for_its_answer():
    scripted = in_data(withheld=(EndEvent,))
    assert scripted.send(b"hello\r\n.\r\nNOOP\r\n") == b""
    assert not scripted.session.receiving_data
    assert codes(scripted.answer(QUEUED)) == ["250 2.0.0", "250 2.0.0"]


def test_two_messages_in_one_segment():
    scripted = ready()
    output = scripted.send(b"".join((GROUP, b"one\r\n.\r\n", GROUP, b"two\r\n.\r\n", b"QUIT\r\n")))
    transaction = ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354", "250 2.0.0"]
    assert codes(output) == [*transaction, *transaction, "221 2.0.0"]
    assert [event.octets for event in scripted.events if isinstance(event, ContentEvent)] == [b"one\r\n", b"two\r\n"]


SCRIPTS = {
    "submission": (
        True,
        b"EHLO client.test\r\n"
        + LOGIN
        + GROUP
        + b"Subject: x\r\n\r\n..dot\r\n.\xc3\xa9\r\n.\r\nNOOP\r\nQUIT\r\nNOOP\r\n",
    ),
    "login": (True, b"EHLO client.test\r\nAUTH LOGIN\r\ndXNlcg==\r\nc2VjcmV0\r\nMAIL FROM:<>\r\nRSET\r\nQUIT\r\n"),
    "cancelled": (True, b"HELO client.test\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN AGEAYg==\r\n" + LOGIN + b"NOOP\r\n"),
    "unfit": (
        True,
        b"EHLO client.test\r\n" + LOGIN + GROUP + b"a\n.\n\r.\r\n.\nMAIL\r\n.\r\n" + GROUP + b".\r\nQUIT\r\n",
    ),
    "too large": (True, b"EHLO c\r\n" + LOGIN + GROUP + b"x\r\n" * 350 + b".\r\nRSET\r\n"),
    "nonsense": (
        True,
        b"\r\nFOO\r\nNOOP\n\0\r\n\xff\r\nMAIL\r\nRCPT\r\nDATA\r\n" + b"x" * 100 + b"\r\nGET / HTTP/1.1\r\nQUIT\r\n",
    ),
    "clear": (False, b"EHLO client.test\r\nMAIL FROM:<a@a.test>\r\n" + LOGIN + b"VRFY x\r\nQUIT\r\n"),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_cuts_change_nothing(name):
    encrypted, script = SCRIPTS[name]
    whole = ScriptedSession(encrypted=encrypted)
    output = whole.send(script)
    assert whole.closed or name in ("cancelled", "too large")
    bytewise = ScriptedSession(encrypted=encrypted)
    assert bytewise.send(*(bytes([octet]) for octet in script)) == output
    assert bytewise.events == whole.events
    for position in range(len(script) + 1):
        cut = ScriptedSession(encrypted=encrypted)
        assert cut.send(script[:position], script[position:]) == output, position
        assert cut.events == whole.events, position


def test_cuts_change_nothing_around_starttls():
    before, after = (
        b"NOOP\r\nEHLO client.test\r\nSTARTTLS\r\n",
        b"EHLO client.test\r\n" + LOGIN + GROUP + b"x\r\n.\r\nQUIT\r\n",
    )
    whole = ScriptedSession(encrypted=False)
    output = whole.send(before, after)
    assert StartTlsEvent() in whole.events and whole.closed == "quit"
    for first in range(len(before)):
        cut = ScriptedSession(encrypted=False)
        assert cut.send(before[:first], before[first:], after) == output
        assert cut.events == whole.events
    for second in range(len(after)):
        cut = ScriptedSession(encrypted=False)
        assert cut.send(before, after[:second], after[second:]) == output
        assert cut.events == whole.events


def test_what_the_events_of_a_whole_session_say():
    scripted = ScriptedSession()
    scripted.send(SCRIPTS["submission"][1])
    assert [type(event) for event in scripted.events] == [
        AuthEvent,
        MailEvent,
        RecipientEvent,
        RecipientEvent,
        DataEvent,
        ContentEvent,
        EndEvent,
        CloseEvent,
    ]
    assert scripted.events[5] == ContentEvent(b"Subject: x\r\n\r\n.dot\r\n\xc3\xa9\r\n")


def test_an_answer_that_nobody_waits_for_is_a_bug():
    with pytest.raises(AssertionError):
        ready().session.reply(SENDER_OK)
