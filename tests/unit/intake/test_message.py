"""A message on its way in."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs

from smtpeter.errors import Refusal, StorageFull
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import IncomingMessage, MessagePolicy
from smtpeter.mime.trace import Origin
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.submission import Content
from tests.fakes.intake import FakeSubmitter

NOW = 1_700_000_000.0
POLICY = MessagePolicy("mx.test", header_size=300, received_fields=3, expire=3600.0)
ORIGIN = Origin("client.test", "192.0.2.1", "ESMTPSA", "TLSv1.3 AES")
COMPLETE = b"Message-ID: <m@x>\r\nDate: today\r\nSubject: hi\r\n"


class Spool:
    def __init__(self, answer=None):
        self.chunks = []
        self.answer = answer
        self.aborts = 0

    def write(self, chunk):
        self.chunks.append(chunk)
        return self.answer

    def finish(self):
        return succeed(Content(len(self.data), hashlib.sha256(self.data).digest(), self.data))

    def abort(self):
        self.aborts += 1

    @property
    def data(self):
        return b"".join(self.chunks)


def begin(*recipients, spool=None):
    envelope = Envelope("s@x", tuple(Recipient(each, each.partition("@")[2]) for each in recipients or ("a@y",)))
    spool = spool or Spool()
    return IncomingMessage("id1", NOW, envelope, ORIGIN, FakeSubmitter(), spool, POLICY, HeaderRoom()), spool


def take(content):
    message, spool = begin()
    message.write(content)
    results = []
    message.finish().addCallback(results.append)
    return results[0], spool.data


def test_a_complete_message_gets_trace_fields_on_top_and_nothing_else():
    submission, data = take(COMPLETE + b"\r\nhello\r\n")
    assert data.startswith(b"Received: from client.test") and data.endswith(b"\r\n" + COMPLETE + b"\r\nhello\r\n")
    assert data.count(b"Date:") == data.count(b"Message-ID:") == 1
    assert (submission.id, submission.message_id, submission.subject) == ("id1", "<m@x>", "hi")
    assert (submission.time, submission.due, submission.expires) == (NOW, NOW, NOW + 3600)
    assert submission.content.digest == hashlib.sha256(data).digest()


def test_what_is_missing_is_added_and_known_to_the_submission():
    submission, data = take(b"Subject: hi\r\n\r\nhello\r\n")
    assert b"Message-ID: <id1@mx.test>\r\n" in data and b"\r\nDate: Tue, 14 Nov 2023" in data
    assert submission.message_id == "<id1@mx.test>"


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"", b"\r\n\r\n"),
        (b"\r\nhello\r\n", b"\r\n\r\nhello\r\n"),
        (b"no field\r\n", b"\r\n\r\nno field\r\n"),
        (b"Subject: only\r\n", b"Subject: only\r\n"),
    ],
)
def test_messages_without_header_or_without_body_stay_what_they_are(content, end):
    _, data = take(content)
    assert data.startswith(b"Received: ") and data.endswith(end)


def test_every_split_of_a_message_gives_the_same_octets():
    content = b"X-SMTPeter-Tags: a\r\nBcc: z@z\r\nSubject: one\r\n two\r\n\r\nbody\r\n"
    whole = take(content)
    for cut in range(len(content)):
        message, spool = begin()
        for piece in (content[:cut], content[cut:]):
            message.write(piece)
        message.finish()
        assert spool.data == whole[1]
    assert whole[0].tags == ("a",) and whole[0].subject == "one two" and b"z@z" not in whole[1]


@given(st.binary(max_size=400), st.integers(1, 50))
def test_whatever_comes_is_stored_under_its_trace_fields_or_refused(content, step):
    message, spool = begin()
    for start in range(0, len(content), step):
        message.write(content[start : start + step])
    try:
        message.finish()
    except Refusal as refusal:
        assert refusal.reply.code == 554 and spool.aborts == 1
    else:
        assert spool.data.startswith(b"Received: from client.test")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"X: " + b"a" * 300 + b"\r\n\r\nhello\r\n", "5.6.0"),
        (b"X: " + b"a" * 300 + b"\r\n", "5.6.0"),
        (b"Received: x\r\n" * 4 + b"\r\n", "5.4.6"),
        (b"X-SMTPeter-Tags: a b\r\n\r\n", "5.6.0"),
    ],
)
def test_an_unfit_message_is_swallowed_and_refused_at_its_end(content, code):
    message, spool = begin()
    for start in range(0, len(content), 7):
        assert message.write(content[start : start + 7]) is None
    assert message.write(b"more\r\n" * 1000) is None
    assert spool.chunks == []
    with pytest.raises(Refusal) as caught:
        message.finish()
    assert caught.value.reply.enhanced == code and spool.aborts == 1


def test_a_header_of_exactly_the_limit_is_taken_and_one_octet_more_is_not():
    take(b"X: " + b"a" * 295 + b"\r\n" + b"\r\nhello\r\n")
    with pytest.raises(Refusal):
        take(b"X: " + b"a" * 296 + b"\r\n" + b"\r\nhello\r\n")


def test_one_recipient_is_named_and_several_are_not():
    for recipients, named in ((("a@y",), True), (("a@y", "b@y"), False)):
        message, spool = begin(*recipients)
        message.write(COMPLETE + b"\r\n")
        assert (b"for <a@y>" in spool.data) is named


def test_a_spool_that_asks_to_wait_is_waited_for():
    wait = Deferred()
    message, _ = begin(spool=Spool(wait))
    assert message.write(b"Subject: x") is None
    assert message.write(b"\r\n\r\nhello") is wait
    assert message.write(b"more") is wait


def test_a_write_that_fails_with_the_last_octets_is_told_once():
    spool = Spool(fail(StorageFull("full")))
    spool.finish = lambda: fail(StorageFull("full"))
    message, _ = begin(spool=spool)
    message.write(b"Subject: no end")
    results = []
    with capturedLogs() as events:
        message.finish().addBoth(results.append)
        spool.answer = None  # an error that nobody heard of would be logged now
    assert results[0].check(StorageFull) and events == []


def test_giving_up_gives_up_the_spool():
    message, spool = begin()
    message.write(b"Subject: x\r\n\r\nhello")
    message.abort()
    assert spool.aborts == 1


def test_a_message_for_a_later_time_is_tried_from_then_on():
    submission, _ = take(b"X-SMTPeter-Send_At: 2023-12-01 00:00:00\r\n\r\nhello\r\n")
    assert submission.time == NOW and submission.due == 1_701_388_800.0
    assert submission.expires == submission.due + 3600.0


def test_a_message_for_a_later_time_may_say_itself_when_it_expires():
    submission, _ = take(
        b"X-SMTPeter-Send_At: 2023-12-01 00:00:00\r\nX-SMTPeter-MaxDeliverTime: 2023-12-01 00:00:01\r\n\r\nhello\r\n"
    )
    assert submission.expires == submission.due + 1.0


def test_without_features_a_message_has_no_options():
    submission, data = take(b"X-SMTPeter-TrackClicks: true\r\n\r\nhello\r\n")
    assert (submission.options, submission.prepare) == ((), False) and b"X-SMTPeter" not in data
