"""The Twisted side of an SMTP session: waiting, back-pressure, timeouts, endings."""

from __future__ import annotations

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHandshakeListener, IPushProducer
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from smtpeter.errors import Refusal, StorageFull, StorageUnavailable
from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.listener import Sessions, SmtpFactory
from smtpeter.intake.smtp import CLOSE_TIMEOUT
from smtpeter.model.reply import Reply
from tests.fakes.smtp_connection import AUTH, BODY, MAIL, Connection, Handle, Transport


def test_a_message_goes_through_and_gets_its_trace_fields():
    connection = Connection().log_in()
    assert connection.codes(MAIL) == [250, 250, 354]
    reply = connection.say(BODY)
    [submission] = connection.intake.submissions
    assert reply == f"250 2.0.0 Ok, queued as {submission.id}\r\n".encode()
    assert submission.account == 7 and submission.login == "alice-login" and submission.channel == "smtp"
    assert submission.subject == "hi" and submission.expires == submission.time + 3600.0
    lines = submission.content.data.split(b"\r\n")
    assert lines[0] == b"Received: from client.test ([192.168.1.1])"
    assert lines[1] == b"\tby mx.test with ESMTPSA (TLSv1.3 AES)"
    assert lines[2] == b"\tid " + submission.id.encode()
    assert lines[3] == b"\tfor <b@example.net>;"
    assert lines[5] == f"Message-ID: <{submission.id}@mx.test>".encode()
    assert lines[6].startswith(b"Date: Tue, 14 Nov 2023 22:13:20 +0000")
    assert submission.content.data.endswith(b"+0000\r\nSubject: hi\r\n\r\nhello\r\n")


def test_the_250_waits_until_the_message_is_durable():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.codes(MAIL)
    assert connection.say(BODY + b"NOOP\r\n") == b""
    connection.intake.commit()
    assert connection.codes() == [250, 250]


@pytest.mark.parametrize(
    ("trouble", "code"), [(StorageUnavailable("disk"), 451), (StorageFull("disk"), 452), (RuntimeError("bug"), 451)]
)
def test_trouble_of_the_store_is_temporary_and_the_session_lives(trouble, code):
    connection = Connection().log_in()
    connection.intake.trouble = trouble
    assert connection.codes(MAIL + BODY) == [250, 250, 354, code]
    assert connection.content.spools[0].aborted
    connection.intake.trouble = None
    assert connection.codes(MAIL + BODY) == [250, 250, 354, 250]


def test_content_that_cannot_be_stored_is_refused_for_now():
    connection = Connection().log_in()
    connection.content.trouble = StorageUnavailable("fsync failed")
    assert connection.codes(MAIL + BODY) == [250, 250, 354, 451]
    assert connection.intake.submissions == []


def test_replies_stay_in_order_while_the_login_is_checked():
    connection = Connection()
    connection.heard()
    connection.directory.pending = Deferred()
    assert connection.codes(b"EHLO x\r\n" + AUTH + MAIL) == [250]
    connection.directory.pending.callback("alice")
    assert connection.codes() == [235, 250, 250, 354]


def test_a_wrong_password_and_a_store_that_is_down_are_told_apart():
    connection = Connection()
    connection.heard()
    assert connection.codes(b"EHLO x\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\n") == [250, 535]
    connection.directory.trouble = StorageUnavailable("down")
    assert connection.codes(AUTH) == [454]
    connection.directory.trouble = None
    assert connection.codes(AUTH) == [235]


def test_who_may_not_send_is_told_at_mail():
    connection = Connection().log_in()
    connection.directory.submitter.answer = Refusal(550, "5.7.1", "Ask postmaster@mx.test", "pending")
    assert connection.say(b"MAIL FROM:<a@example.com>\r\n") == b"550 5.7.1 Ask postmaster@mx.test\r\n"
    later = connection.directory.submitter.answer = Deferred()
    assert connection.codes(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n") == []
    later.errback(Refusal(550, "5.7.1", "Suspended", "suspended"))
    assert connection.codes() == [550, 503]
    later = connection.directory.submitter.answer = Deferred()
    assert connection.codes(MAIL) == []
    later.callback(None)
    assert connection.codes() == [250, 250, 354]


def test_a_closed_gate_refuses_mail_for_now():
    connection = Connection().log_in()
    connection.gate.refusal = Reply(452, "4.3.1", "No room")
    assert connection.say(b"MAIL FROM:<a@example.com>\r\n") == b"452 4.3.1 No room\r\n"
    connection.gate.refusal = None
    assert connection.codes(MAIL) == [250, 250, 354]


def test_starttls_forgets_everything_and_greets_only_once():
    connection = Connection(encrypted=False)
    assert connection.heard().startswith(b"220 mx.test ")
    assert connection.codes(b"EHLO one\r\nSTARTTLS\r\n") == [250, 220]
    assert connection.transport.tls
    connection.protocol.handshakeCompleted()
    assert connection.heard() == b""
    assert connection.codes(AUTH) == [503]
    assert connection.codes(b"EHLO two\r\n" + AUTH) == [250, 235]


def test_an_early_talker_gets_no_greeting(monkeypatch):
    monkeypatch.setattr(Handle, "early", b"EHLO client.test\r\n")
    connection = Connection(encrypted=False)
    assert connection.codes() == [554] and connection.transport.disconnecting


def test_starttls_injection_ends_the_connection():
    connection = Connection(encrypted=False)
    connection.heard()
    assert connection.codes(b"EHLO one\r\nSTARTTLS\r\nEHLO evil\r\n" + AUTH) == [250, 421]
    assert connection.transport.disconnecting and not connection.transport.tls


def test_the_door_for_returned_mail_lets_mail_begin_but_refuses_recipients_without_login():
    connection = Connection(encrypted=False, mx=True)
    connection.heard()
    assert connection.codes(b"EHLO x\r\n" + MAIL) == [250, 250, 530, 554]


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
    connection.clock.pump([200.0] * 10)
    assert not connection.transport.disconnecting
    connection.intake.commit()
    assert connection.codes() == [250]


def test_a_handshake_that_does_not_end_is_cut():
    connection = Connection(encrypted=False)
    connection.heard()
    connection.codes(b"EHLO x\r\nSTARTTLS\r\n")
    connection.clock.advance(10)
    assert connection.transport.aborted


def test_losing_the_connection_in_the_middle_of_a_message_leaves_nothing():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"Subject: x\r\n\r\nhalf of")
    connection.lose()
    assert connection.content.spools[0].aborted
    assert connection.intake.submissions == [] and len(connection.sessions) == 0
    assert connection.clock.getDelayedCalls() == []


def test_losing_the_connection_while_the_commit_is_under_way_is_harmless():
    connection = Connection().log_in()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    connection.lose()
    connection.intake.commit()
    assert connection.heard() == b""


def test_too_many_connections_are_turned_away():
    sessions = Sessions(2, 1)
    first = Connection(encrypted=False, sessions=sessions)
    assert first.codes() == [220]
    second = Connection(encrypted=False, sessions=sessions)
    assert second.codes() == [421] and second.transport.disconnecting
    second.lose()
    first.lose()
    assert Connection(encrypted=False, sessions=sessions).codes() == [220]


def test_stopping_lets_a_message_finish_and_ends_idle_sessions():
    connection = Connection().log_in()
    idle = Connection(sessions=connection.sessions)
    idle.heard()
    connection.intake.hold = True
    connection.say(MAIL + BODY)
    stopped = connection.sessions.stop()
    assert idle.codes() == [421] and idle.transport.disconnecting
    assert not connection.transport.disconnecting
    connection.intake.commit()
    assert connection.codes() == [250, 421]
    assert not stopped.called
    idle.lose()
    connection.lose()
    assert stopped.called


@pytest.mark.parametrize(
    ("header", "reply"),
    [
        (b"X-SMTPeter-Tags: a b\r\n", b"554 5.6.0 X-SMTPeter-Tags"),
        (b"X-SMTPeter-MaxDeliverTime: tomorrow\r\n", b"554 5.6.0 X-SMTPeter-MaxDeliverTime"),
        (b"X-SMTPeter-MaxDeliverTime: 2001-01-01 00:00:00\r\n", b"554 5.6.0 X-SMTPeter-MaxDeliverTime"),
        (b"X-SMTPeter-TrackClicks: perhaps\r\n", b"554 5.6.0 X-SMTPeter-trackclicks"),
        (b"x-smtpeter-inlinizecss:\r\n", b"554 5.6.0 X-SMTPeter-inlinizecss"),
        (b"X-SMTPeter-Images: hosted\r\n", b"554 5.6.0 X-SMTPeter-images"),
        (b"Received: x\r\n" * 6, b"554 5.4.6 Too many hops"),
        (b"X: " + b"a" * 70 + b"\r\n" + b"Y: z\r\n" * 200, b"554 5.6.0 The header is larger"),
    ],
)
def test_a_header_that_cannot_be_taken_is_refused_at_the_end(header, reply):
    connection = Connection().log_in()
    connection.codes(MAIL)
    assert connection.say(header + b"\r\nhello\r\n.\r\n").startswith(reply)
    assert connection.intake.submissions == []
    assert connection.codes(MAIL + BODY) == [250, 250, 354, 250]


def test_control_fields_and_bcc_are_obeyed_and_removed():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(
        b"Bcc: hidden@example.org,\r\n more@example.org\r\nX-SMTPeter-Tags: one , two,one\r\n"
        b"X-SMTPeter-MaxDeliverTime: 2023-11-14 22:15:00\r\nX-SMTPeter-Whatever: x\r\nX-SMTPeter-TrackOpens: OFF\r\n"
        b"X-SMTPeter-Images: default\r\nSubject: =?utf-8?q?h=C3=A9?=\r\n"
        b"\r\nBcc: stays\r\n.\r\n"
    )
    [submission] = connection.intake.submissions
    assert submission.tags == ("one", "two") and submission.subject == "hé"
    assert submission.expires == connection.wall.now + 100
    assert submission.content.data.endswith(b"+0000\r\nSubject: =?utf-8?q?h=C3=A9?=\r\n\r\nBcc: stays\r\n")


def test_a_body_without_header_gets_an_empty_line_before_it():
    connection = Connection().log_in()
    connection.codes(MAIL)
    connection.say(b"just text\r\n.\r\n")
    assert connection.intake.submissions[0].content.data.endswith(b"+0000\r\n\r\njust text\r\n")


def test_recipients_are_not_named_in_received_when_there_are_several():
    connection = Connection().log_in()
    connection.codes(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\nRCPT TO:<c@example.net>\r\nDATA\r\n")
    connection.say(BODY)
    assert b"for <" not in connection.intake.submissions[0].content.data


def test_every_cut_of_a_whole_session_gives_the_same_message():
    stream = b"EHLO client.test\r\n" + AUTH + MAIL + BODY + b"QUIT\r\n"
    for cut in range(1, len(stream)):
        connection = Connection()
        connection.heard()
        connection.say(stream[:cut])
        if not connection.transport.disconnecting:
            connection.say(stream[cut:])
        [submission] = connection.intake.submissions
        assert submission.content.data.endswith(b"Subject: hi\r\n\r\nhello\r\n")
        assert connection.transport.disconnecting


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
