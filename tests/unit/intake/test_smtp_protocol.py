"""The Twisted side of an SMTP session: what is asked and answered."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from smtpeter.errors import Refusal, StorageFull, StorageUnavailable
from smtpeter.intake.listener import Sessions
from smtpeter.model.reply import Reply
from tests.fakes.smtp_connection import AUTH, BODY, MAIL, Connection, Handle


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
    assert submission.options == (("trackopens", "false"),) and not submission.prepare
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
