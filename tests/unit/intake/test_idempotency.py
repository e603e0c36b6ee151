"""A key that a message brings over SMTP, so that it may be handed over again."""

from __future__ import annotations

from smtpeter.model.submission import Idempotency, Taken
from tests.fakes.smtp_connection import MAIL, Connection

OLD = "0" * 25 + "1"


def send(connection, header=b""):
    assert connection.codes(MAIL) == [250, 250, 354]
    return connection.say(header + b"Subject: hi\r\n\r\nhello\r\n.\r\n")


def test_a_key_goes_with_the_submission_and_leaves_the_message():
    connection = Connection().log_in()
    reply = send(connection, b"X-SMTPeter-Idempotency-Key: Order 17\r\n")
    [submission] = connection.intake.submissions
    assert reply == b"250 2.0.0 Ok, queued as %s\r\n" % submission.id.encode()
    assert submission.idempotency == Idempotency("Order 17", None)
    assert b"rder 17" not in submission.content.data
    send(connection)
    assert connection.intake.submissions[-1].idempotency is None


def test_the_reply_tells_the_id_as_before():
    connection = Connection().log_in()
    connection.intake.taken = Taken(OLD, ((OLD, "b@y"),), again=True)
    assert send(connection, b"X-SMTPeter-Idempotency-Key: k\r\n") == b"250 2.0.0 Ok, queued as %s\r\n" % OLD.encode()


def test_a_key_that_cannot_be_is_refused_with_the_fields_name():
    connection = Connection().log_in()
    reply = send(connection, b"X-SMTPeter-Idempotency-Key: caf\xc3\xa9\r\n")
    assert reply == b"554 5.6.0 X-SMTPeter-Idempotency-Key: write 1 to 255 printable ASCII characters\r\n"
    assert connection.intake.submissions == []
