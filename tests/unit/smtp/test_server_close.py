"""Endings from our side, and that nothing happens behind them."""

from __future__ import annotations

import pytest

from smtpeter.model.reply import Reply
from smtpeter.smtp.events import CloseEvent, ContentEvent, EndEvent, MailEvent
from tests.fakes.smtp_session import ScriptedSession, in_data, ready

STOPPING = Reply(421, "4.3.2", "mx.test Stopping")
LATE = b"NOOP\r\nMAIL FROM:<a@a.test>\r\n.\r\n"


def dead(scripted: ScriptedSession) -> bool:
    session = scripted.session
    session.receive(LATE)
    return (
        session.next_event() is None
        and session.take_output() == b""
        and session.pending == 0
        and not session.receiving_data
    )


@pytest.mark.parametrize("opening", [b"", b"NOO", b"EHLO client.test\r\n", b"EHLO client.test\r\nAUTH PLAIN\r\n"])
def test_close_between_commands(opening):
    scripted = ScriptedSession()
    scripted.send(opening)
    assert scripted.session.close(STOPPING, "stopping") == CloseEvent("stopping")
    assert scripted.session.take_output() == STOPPING.encode()
    assert dead(scripted)


def test_close_while_an_answer_is_owed():
    scripted = ready(withheld=(MailEvent,))
    scripted.send(b"MAIL FROM:<a@a.test>\r\nNOOP\r\n")
    scripted.session.close(STOPPING, "stopping")
    assert scripted.session.take_output() == STOPPING.encode()
    assert dead(scripted)


def test_close_in_the_middle_of_a_message():
    scripted = in_data()
    scripted.send(b"Subject: x\r\n")
    scripted.session.close(Reply(421, "4.4.2", "mx.test Timeout"), "timeout")
    assert scripted.session.take_output() == b"421 4.4.2 mx.test Timeout\r\n"
    assert dead(scripted)


def test_close_between_content_and_end_does_not_let_the_end_through():
    """A host that hears of the end after it said 421 would take a message that the client sends again."""
    scripted = in_data()
    scripted.session.receive(b"x\r\n.\r\n")
    assert scripted.session.next_event() == ContentEvent(b"x\r\n")
    scripted.session.close(STOPPING, "stopping")
    assert scripted.session.take_output() == STOPPING.encode()
    assert dead(scripted)


def test_a_message_is_being_received_until_its_end_was_told():
    """So a host that must wait before it can store the last octets does not hang up on a whole message."""
    scripted = in_data()
    scripted.session.receive(b"x\r\n.\r\n")
    assert scripted.session.next_event() == ContentEvent(b"x\r\n")
    assert scripted.session.receiving_data
    assert scripted.session.next_event() == EndEvent(None)
    assert not scripted.session.receiving_data


def test_only_the_first_ending_is_said():
    scripted = ready()
    scripted.session.close(STOPPING, "stopping")
    scripted.session.close(Reply(421, "4.4.2", "mx.test Timeout"), "timeout")
    assert scripted.session.take_output() == STOPPING.encode()


@pytest.mark.parametrize(
    "ending", [b"QUIT\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"FOO\r\n" * 20, b"NOOP\r\n" * 101]
)
def test_endings_that_the_client_brings_about(ending):
    scripted = ready()
    scripted.send(ending + LATE)
    assert scripted.closed
    assert [type(event) for event in scripted.events] == [CloseEvent]
    assert dead(scripted)
