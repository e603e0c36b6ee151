"""A client that sends very many commands at once, and the others."""

from __future__ import annotations

from smtpeter.model.reply import Reply
from tests.fakes.smtp_connection import Connection

FLOOD = b"RCPT TO:<b@example.net>\r\n" * 150  # those over the limit are no errors


def flooding():
    connection = Connection().log_in()
    connection.say(b"MAIL FROM:<a@example.com>\r\n")
    connection.protocol.dataReceived(FLOOD + b"VRFY x\r\n")
    return connection


def test_others_have_their_turn_while_a_flood_of_commands_is_answered():
    connection = flooding()
    first = connection.codes()
    assert 0 < len(first) <= 50
    assert connection.transport.producerState == "paused", "and no more of it is read meanwhile"
    connection.clock.advance(0)
    answers = first + connection.codes()
    assert len(answers) == 151 and answers[-1] == 252
    assert connection.transport.producerState == "producing"


def test_what_comes_in_before_the_next_turn_waits_for_it():
    connection = flooding()
    connection.heard()
    assert connection.say(b"NOOP\r\n") == b""
    connection.clock.advance(0)
    assert connection.codes()[-2:] == [252, 250]


def test_a_client_that_goes_before_its_next_turn_leaves_nothing():
    connection = flooding()
    connection.lose()
    assert connection.clock.getDelayedCalls() == []


def test_a_session_that_is_turned_away_before_its_next_turn_ends():
    connection = flooding()
    connection.heard()
    connection.protocol.turn_away(Reply(421, "4.3.2", "Stopping"))
    connection.clock.advance(0)
    assert connection.codes() == [421]
    assert connection.transport.disconnecting
