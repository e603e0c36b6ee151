"""What one client may do before the session ends, or before it must wait for another transaction."""

from __future__ import annotations

from smtpeter.model.reply import Reply
from smtpeter.smtp.events import AuthEvent, MailEvent, RecipientEvent
from tests.fakes.smtp_session import LIMITS, ScriptedSession, codes, in_data, ready

MAIL = b"MAIL FROM:<a@a.test>\r\n"


def test_too_many_errors():
    scripted = ready()
    assert codes(scripted.send(b"FOO\r\n" * 19)) == ["500 5.5.1"] * 19
    assert scripted.closed is None
    assert codes(scripted.send(b"FOO\r\n")) == ["500 5.5.1", "421 4.7.0"]
    assert scripted.closed == "too many errors"
    assert scripted.send(b"NOOP\r\n") == b""


def test_what_is_pipelined_behind_the_last_error_is_not_answered():
    assert codes(ready().send(b"FOO\r\n" * 100)) == ["500 5.5.1"] * 20 + ["421 4.7.0"]


def test_every_kind_of_error_counts():
    for errors in (b"NOOP\n", b"\xff\r\n", b"x" * 20000 + b"\r\n", b"EHLO\r\n", b"RCPT\r\n", b"EXPN x\r\n"):
        assert codes(ready().send(errors * 20))[-1] == "421 4.7.0"


def test_refusals_of_the_host_count_as_errors():
    output = ready().send(MAIL + b"RCPT TO:<nobody@b.test>\r\n" * 30)
    assert codes(output) == ["250 2.1.0"] + ["550 5.1.1"] * 20 + ["421 4.7.0"]


def test_our_own_trouble_is_no_error_of_the_client():
    scripted = ready(withheld=(MailEvent,))
    for _ in range(40):
        scripted.send(MAIL)
        assert codes(scripted.answer(Reply(452, "4.3.1", "No room"))) == ["452 4.3.1"]
    assert scripted.closed is None


def test_unfit_messages_count_as_errors():
    transaction = MAIL + b"RCPT TO:<b@b.test>\r\nDATA\r\na\nb\r\n.\r\n"
    assert codes(ready(limits=LIMITS._replace(errors=2)).send(transaction * 3))[-2:] == ["550 5.5.2", "421 4.7.0"]


def test_errors_do_not_end_the_session_in_the_middle_of_a_message():
    scripted = in_data(limits=LIMITS._replace(errors=1))
    assert codes(scripted.send(b"a\nb\r\n")) == []
    assert codes(scripted.send(b".\r\n")) == ["550 5.5.2", "421 4.7.0"]


def test_too_many_recipients():
    scripted = ready()
    scripted.send(MAIL)
    assert codes(scripted.send(b"RCPT TO:<b@b.test>\r\n" * 5)) == ["250 2.1.5"] * 5
    assert codes(scripted.send(b"RCPT TO:<b@b.test>\r\n")) == ["452 4.5.3"]
    assert codes(scripted.send(b"DATA\r\nx\r\n.\r\n")) == ["354", "250 2.0.0"]
    assert len([event for event in scripted.events if isinstance(event, RecipientEvent)]) == 5


def test_refused_recipients_do_not_fill_the_transaction():
    scripted = ready()
    scripted.send(MAIL + b"RCPT TO:<nobody@b.test>\r\n" * 10)
    assert codes(scripted.send(b"RCPT TO:<b@b.test>\r\n" * 6))[-2:] == ["250 2.1.5", "452 4.5.3"]


def test_a_client_that_pipelines_far_too_many_recipients_still_gets_its_message_out():
    """452 tells it to send to the others later (RFC 5321 section 4.5.3.1.10); that is no misbehaviour."""
    output = ready().send(MAIL + b"RCPT TO:<b@b.test>\r\n" * 100 + b"DATA\r\nx\r\n.\r\n")
    assert codes(output) == ["250 2.1.0"] + ["250 2.1.5"] * 5 + ["452 4.5.3"] * 95 + ["354", "250 2.0.0"]


def test_commands_without_mail():
    scripted = ready()
    assert codes(scripted.send(b"NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n" * 24)).count("250 2.0.0") == 48
    assert scripted.closed is None
    # EHLO of the opening was one.
    assert codes(scripted.send(b"NOOP\r\n" * 4)) == ["250 2.0.0"] * 3 + ["421 4.7.0"]
    assert scripted.closed == "junk commands"


def test_endless_ehlo_is_junk_too():
    assert codes(ScriptedSession().send(b"EHLO client.test\r\n" * 101)) == ["250"] * 100 + ["421 4.7.0"]
    assert codes(ScriptedSession().send(b"HELO client.test\r\n" * 101)) == ["250"] * 100 + ["421 4.7.0"]


def test_logins_that_are_put_off_again_and_again_are_junk():
    scripted = ScriptedSession(limits=LIMITS._replace(junk_commands=4), withheld=(AuthEvent,))
    scripted.send(b"EHLO client.test\r\n")
    later = Reply(454, "4.7.0", "Later")
    for expected in ["454 4.7.0"] * 3 + ["421 4.7.0"]:
        scripted.send(b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n")
        assert codes(scripted.answer(later)) == [expected]
    assert scripted.closed == "junk commands"


def test_a_taken_message_starts_the_count_of_junk_again():
    scripted = ready()
    transaction = MAIL + b"RCPT TO:<b@b.test>\r\nDATA\r\nx\r\n.\r\n"
    scripted.send(b"NOOP\r\n" * 99 + transaction)
    assert codes(scripted.send(b"NOOP\r\n" * 100)) == ["250 2.0.0"] * 100
    assert codes(scripted.send(b"NOOP\r\n")) == ["421 4.7.0"]


def test_an_unfit_message_does_not_start_the_count_of_junk_again():
    scripted = ready()
    scripted.send(b"NOOP\r\n" * 99 + MAIL + b"RCPT TO:<b@b.test>\r\nDATA\r\na\nb\r\n.\r\n")
    assert codes(scripted.send(b"NOOP\r\n")) == ["421 4.7.0"]


def test_an_endless_line_is_not_kept():
    scripted = ready()
    for _ in range(100):
        assert scripted.send(b"x" * 10000) == b""
        assert scripted.session.pending <= 12288
    assert codes(scripted.send(b"\r\nNOOP\r\n")) == ["500 5.5.2", "250 2.0.0"]
