"""The Twisted side of an SMTP session: waiting, back-pressure, deadlines, endings."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from smtpeter.errors import StorageFull, StorageUnavailable
from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.listener import Sessions, SmtpFactory
from smtpeter.intake.smtp import CLOSE_TIMEOUT
from smtpeter.model.reply import Reply
from tests.fakes.smtp_connection import AUTH, BODY, MAIL, Connection, Transport


def test_a_slow_store_makes_the_client_wait():
    connection = Connection().log_in()
    connection.content.slow = True
    connection.codes(MAIL)
    connection.say(b"Subject: x\r\n\r\n" + b"a" * 100 + b"\r\n")
    assert connection.transport.producerState == "paused"
    connection.say(b"more\r\n.\r\n")
    assert connection.intake.submissions == []
    connection.content.slow = False
    connection.content.waiting.callback(None)
    assert connection.transport.producerState == "producing"
    assert connection.codes() == [250]
    assert connection.intake.submissions[0].content.data.endswith(b"a\r\nmore\r\n")


def test_commands_that_pile_up_make_the_client_wait():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.say((MAIL + BODY) * 1000)
    assert connection.transport.producerState == "paused"
    connection.intake.hold = False
    connection.intake.commit()
    assert connection.transport.producerState == "paused"
    connection.clock.pump([0] * 1000)
    assert connection.transport.producerState == "producing"
    assert len(connection.intake.submissions) == 1001


def test_a_silent_client_is_told_and_then_cut():
    connection = Connection().log_in()
    connection.clock.advance(299)
    assert connection.codes(b"NOOP\r\n") == [250]
    connection.clock.advance(299)
    assert connection.heard() == b""
    connection.clock.advance(2)
    assert connection.codes() == [421]
    assert connection.transport.disconnecting and not connection.transport.aborted
    connection.clock.advance(CLOSE_TIMEOUT)
    assert connection.transport.aborted


def test_a_client_is_not_blamed_for_our_own_slowness():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.clock.pump([1.0] * 44)
    assert not connection.transport.disconnecting
    connection.intake.commit()
    assert connection.codes() == [250]


def test_a_client_is_answered_before_it_gives_up():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.clock.advance(17)
    connection.say(MAIL + BODY)
    connection.clock.pump([0.5] * 89)
    assert connection.heard() == b""
    connection.clock.advance(0.5)
    assert connection.heard() == b"451 4.4.5 The message could not be stored in time; try again later\r\n"
    # What the store does meanwhile is not aborted by us; the session goes on and its deadlines hold.
    assert not connection.content.spools[0].aborted
    connection.intake.commit()
    assert connection.heard() == b""
    connection.intake.hold = False
    assert connection.codes(MAIL + BODY)[-1] == 250
    connection.clock.pump([30.0] * 11)
    assert connection.codes() == [421]


def test_content_that_is_not_on_the_disk_in_time_is_given_up():
    connection = Connection().log_in()
    connection.content.finished = Deferred()
    connection.say(MAIL + BODY)
    connection.clock.pump([0.5] * 90)
    assert connection.heard().startswith(b"451 4.4.5 ")
    assert connection.content.spools[0].aborted and connection.intake.submissions == []


def test_a_client_that_is_cut_while_it_waits_is_not_answered():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.protocol.turn_away(Reply(421, "4.3.2", "Bye"))
    connection.clock.pump([0.5] * 90)
    heard = connection.heard()
    assert heard.startswith(b"451 4.4.5 ") and b"421 4.3.2" in heard
    connection.clock.advance(CLOSE_TIMEOUT)
    assert connection.transport.aborted


def test_a_handshake_that_does_not_end_is_cut():
    connection = Connection(encrypted=False)
    connection.heard()
    connection.codes(b"EHLO x\r\nSTARTTLS\r\n")
    connection.clock.advance(10)
    assert connection.transport.aborted


# --- how long a client may take ---


def test_attack_a_command_that_trickles_in_for_ever_is_cut():
    connection = Connection().log_in()
    for _ in range(30):
        assert connection.heard() == b""
        connection.say(b"N")
        connection.clock.advance(9.9)
    assert not connection.transport.disconnecting
    connection.say(b"O")
    connection.clock.advance(9.9)
    assert connection.codes() == [421]
    assert connection.transport.disconnecting


def test_attack_a_line_without_an_end_gains_no_time():
    connection = Connection().log_in()
    for _ in range(301):
        connection.say(b"x" * 12289)
        connection.clock.advance(1)
    assert connection.transport.disconnecting


def test_commands_may_follow_each_other_for_ever():
    connection = Connection().log_in()
    for _ in range(20):
        connection.clock.advance(250)
        assert connection.codes(MAIL + BODY) == [250, 250, 354, 250]


def test_attack_a_message_that_trickles_in_is_cut_once_the_grace_is_over():
    connection = Connection().log_in()
    connection.clock.advance(47)
    connection.codes(MAIL)
    for _ in range(29):
        connection.say(b"a" * 499)
        connection.clock.advance(1)
    assert not connection.transport.disconnecting
    connection.clock.advance(1)
    assert connection.heard().startswith(b"421 4.4.2 ")
    assert connection.transport.disconnecting
    connection.lose()
    assert connection.content.spools[0].aborted and connection.intake.submissions == []


def test_a_message_that_is_slow_but_not_too_slow_is_taken():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"Subject: hi\r\n\r\n")
    for _ in range(600):
        connection.say(b"a" * 499 + b"\r\n")
        connection.clock.advance(1)
    assert connection.codes(b".\r\n") == [250]


def test_a_message_found_unfit_is_still_counted_while_the_rest_comes():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"bare\nnewline\r\n")
    for _ in range(60):
        connection.say(b"a" * 998 + b"\r\n")
        connection.clock.advance(1)
    assert connection.codes(b".\r\n") == [550]


def test_without_a_data_rate_only_silence_ends_a_message():
    connection = Connection(timeouts=Timeouts(300.0, 10.0, 0)).log_in()
    connection.codes(MAIL)
    for _ in range(100):
        connection.clock.advance(299)
        connection.say(b"a")
    connection.clock.advance(299)
    assert not connection.transport.disconnecting
    connection.clock.advance(1)
    assert connection.transport.disconnecting


def test_a_fast_message_that_stops_is_cut_after_the_command_timeout():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"Subject: hi\r\n\r\n" + (b"a" * 998 + b"\r\n") * 900)
    connection.clock.pump([10] * 29)
    assert not connection.transport.disconnecting
    connection.clock.advance(10)
    assert connection.transport.disconnecting


def test_a_client_is_not_blamed_in_data_for_a_store_that_is_slow():
    connection = Connection().log_in()
    connection.content.slow = True
    connection.codes(MAIL)
    connection.say(b"Subject: x\r\n\r\n" + b"a" * 100 + b"\r\n")
    connection.clock.pump([100] * 10)
    connection.clock.advance(15)
    connection.content.slow = False
    connection.content.waiting.callback(None)
    connection.clock.advance(29)
    assert connection.codes(b".\r\n") == [250]


def test_attack_a_handshake_that_trickles_in_is_cut_all_the_same():
    connection = Connection(handshake=False)
    connection.clock.advance(9)
    assert not connection.transport.aborted
    connection.clock.advance(1)
    assert connection.transport.aborted


# --- when hardly any places are left ---


def test_under_stress_a_silent_client_has_ten_seconds():
    sessions = Sessions(1, 1)
    connection = Connection(sessions=sessions).log_in()
    connection.clock.advance(9)
    assert connection.codes(b"NOOP\r\n") == [250]
    connection.clock.advance(9.9)
    assert connection.heard() == b""
    connection.clock.advance(0.2)
    assert connection.heard().startswith(b"421 4.4.2 ") and connection.transport.disconnecting


def test_stress_reaches_those_who_were_silent_before():
    sessions = Sessions(2, 2)
    connection = Connection(sessions=sessions).log_in()
    connection.clock.advance(100)
    assert connection.heard() == b""
    Connection(sessions=sessions)
    connection.clock.advance(10)
    assert connection.codes() == [421]


def test_under_stress_a_message_may_not_pause_for_long():
    connection = Connection(sessions=Sessions(1, 1)).log_in()
    connection.codes(MAIL)
    for _ in range(3):
        connection.say(b"a" * 10_000 + b"\r\n")
        connection.clock.advance(9)
    assert not connection.transport.disconnecting
    connection.clock.advance(1.1)
    assert connection.codes() == [421]


# --- a client that does not read ---


def test_attack_a_client_that_does_not_read_its_answers_is_not_listened_to():
    connection = Connection().log_in()
    connection.protocol.pauseProducing()  # what a transport does that is full
    assert connection.transport.producerState == "paused"
    assert connection.codes(b"NOOP\r\nNOOP\r\n") == []
    connection.protocol.resumeProducing()
    assert connection.transport.producerState == "producing"
    assert connection.codes() == [250, 250]
    connection.protocol.pauseProducing()
    connection.clock.advance(300)
    assert connection.transport.disconnecting


def test_the_transport_tells_the_session_when_it_is_full():
    connection = Connection()
    assert connection.transport.producer is connection.protocol and connection.transport.streaming
    connection.say(b"QUIT\r\n")
    assert connection.transport.producer is None  # or the connection would never close


# --- endings ---


def test_a_connection_that_is_closed_by_us_reads_on_for_the_goodbye_of_tls():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.say(b"NOOP\r\n" * 20000)
    assert connection.transport.producerState == "paused"
    connection.protocol.turn_away(Reply(421, "4.3.2", "Stopping"))
    connection.intake.commit()
    assert connection.codes() == [250, 421]
    assert connection.transport.disconnecting and connection.transport.producerState == "producing"
    connection.say(b"NOOP\r\n" * 20000)
    assert connection.heard() == b"" and connection.transport.producerState == "producing"


def test_a_message_that_is_refused_at_its_end_does_not_keep_a_stopping_session_alive():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"bare\nnewline\r\n")
    connection.sessions.stop()
    assert not connection.transport.disconnecting
    assert connection.codes(b".\r\n" + MAIL) == [550, 421]
    assert connection.transport.disconnecting


def test_a_login_that_is_checked_while_the_server_stops_is_answered_and_nothing_more():
    connection = Connection()
    connection.heard()
    connection.directory.pending = Deferred()
    connection.codes(b"EHLO x\r\n" + AUTH + MAIL)
    connection.sessions.stop()
    connection.directory.pending.callback("alice")
    assert connection.codes() == [235, 421]
    assert connection.content.spools == []


def test_a_client_that_vanishes_while_its_content_is_made_durable_gets_nothing_queued():
    """RFC 5321 section 4.1.1.10: it will come again with a message that it got no answer for."""
    connection = Connection().log_in()
    finished = connection.content.finished = Deferred()
    connection.say(MAIL + BODY)
    connection.lose()
    finished.callback(None)
    assert connection.intake.submissions == [] and connection.content.spools[0].aborted


def test_a_client_that_vanishes_while_its_login_is_checked_is_forgotten():
    connection = Connection()
    connection.heard()
    connection.directory.pending = Deferred()
    connection.codes(b"EHLO x\r\n" + AUTH)
    connection.lose()
    connection.directory.pending.callback("alice")
    assert connection.heard() == b"" and connection.clock.getDelayedCalls() == []


def test_a_client_that_vanishes_while_the_store_is_slow_leaves_nothing():
    connection = Connection().log_in()
    connection.content.slow = True
    connection.codes(MAIL)
    connection.say(b"Subject: x\r\n\r\nhello\r\n")
    connection.lose()
    connection.content.waiting.errback(StorageUnavailable("given up"))
    assert connection.content.spools[0].aborted and connection.heard() == b""


def test_content_that_cannot_be_written_is_told_at_the_end():
    connection = Connection().log_in()
    connection.content.slow = True
    connection.codes(MAIL)
    connection.say(b"Subject: x\r\n\r\nhello\r\n")
    connection.content.slow = False
    connection.content.trouble = StorageFull("full")
    connection.content.waiting.errback(StorageFull("full"))
    assert connection.transport.producerState == "producing"
    assert connection.codes(b".\r\n") == [452]
    assert connection.content.spools[0].aborted


def test_a_login_meets_no_code_that_auth_does_not_know():
    connection = Connection()
    connection.heard()
    assert connection.codes(b"EHLO x\r\n") == [250]
    for trouble in (StorageFull("full"), StorageUnavailable("down"), RuntimeError("bug")):
        connection.directory.trouble = trouble
        assert connection.codes(AUTH) == [454]


def test_a_bug_of_ours_ends_the_session_with_a_temporary_answer():
    connection = Connection().log_in()
    connection.door.content.spool = None
    assert connection.codes(MAIL) == [250, 250, 421]
    assert connection.transport.disconnecting


@pytest.mark.parametrize(
    ("how", "end"),
    [
        (lambda connection: None, "connection lost"),
        (lambda connection: connection.say(b"QUIT\r\n"), "quit"),
        (lambda connection: connection.clock.advance(300), "nothing was heard for too long"),
    ],
)
def test_the_log_says_how_a_session_ended(how, end):
    connection = Connection().log_in()
    how(connection)
    with capturedLogs() as events:
        connection.lose()
    [event] = [event for event in events if event.get("event") == "session"]
    assert event["end"].endswith(end) and event["login"] == "alice-login"


def test_a_handshake_that_failed_is_one_quiet_line_of_the_log():
    connection = Connection(handshake=False)
    with capturedLogs() as events:
        connection.lose()
    [event] = events
    assert event["log_level"].name == "info" and "log_failure" not in event
    assert event["end"] == "TLS handshake failed"


def test_a_client_over_a_unix_socket_has_no_address():
    connection = Connection()
    transport = Transport(peerAddress=UNIXAddress(b"/run/x"))
    protocol = SmtpFactory(connection.door, connection.sessions).buildProtocol(None)
    protocol.makeConnection(transport)
    assert protocol.peer == "local" and transport.value().startswith(b"220 ")


def test_the_door_can_be_verified():
    assert verifyObject(IPushProducer, Connection().protocol)
    assert verifyObject(IHandshakeListener, Connection().protocol)


@pytest.mark.parametrize(("host", "peer"), [("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")])
def test_an_address_of_ipv4_is_one_on_a_socket_for_both_too(host, peer):
    connection = Connection()
    protocol = SmtpFactory(connection.door, connection.sessions).buildProtocol(None)
    protocol.makeConnection(Transport(peerAddress=IPv6Address("TCP", host, 4000)))
    assert protocol.peer == peer
