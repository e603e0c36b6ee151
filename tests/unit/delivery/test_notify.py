"""Reports to senders."""

from __future__ import annotations

import email
import email.policy
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred

from smtpeter.delivery.notify import FULL_LIMIT, LONG, FailureNotifier
from smtpeter.delivery.retry import RetryPolicy, conclude, conclude_overdue, failures
from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.ids import parse_id
from smtpeter.model.submission import Submission
from tests.fakes.intake import FakeContentStore
from tests.fakes.jobs import CONTENT, NOW, make_content, make_job, make_recipient

POLICY = RetryPolicy((60.0,))
NO_SUCH_USER = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no such user", remote_mta="mx.example.net")


def never_asked(id: str) -> Any:
    raise AssertionError("what came in is the job's own content")


def report(job: Job, outcome: Outcome = NO_SUCH_USER, store: Any = None) -> Submission | None:
    """What is made of a job whose recipients all have one outcome."""
    notifier = FailureNotifier(
        hostname="gate.example",
        content=store or FakeContentStore(),
        entropy=lambda size: b"\x07" * size,
        lifetime=1000.0,
        in_thread=maybeDeferred,
        submission=never_asked,
    )
    outcomes = {recipient.number: outcome for recipient in job.recipients}
    failed = failures(conclude(job, outcomes, NOW + 60, POLICY, 0.5))
    results: list[Any] = []
    Deferred.fromCoroutine(notifier.report(job, failed, NOW + 60)).addBoth(results.append)
    (result,) = results
    if isinstance(result, Submission | None):
        return result
    raise result.value


def parts(submission: Submission | None) -> list[Any]:
    assert submission is not None and submission.content.data is not None
    message = email.message_from_bytes(submission.content.data, policy=email.policy.SMTP)
    assert message.get_content_type() == "multipart/report"
    return [message, *message.iter_parts()]  # type: ignore[attr-defined]


def with_notify(*notify: str | None) -> list[LeasedRecipient]:
    return [make_recipient(number, notify=each) for number, each in enumerate(notify, 1)]


def test_the_report_is_a_submission_of_its_own() -> None:
    submission = report(make_job())
    assert submission is not None
    assert parse_id(submission.id) == (submission.id, None)
    assert submission.envelope.reverse_path == ""
    (recipient,) = submission.envelope.recipients
    assert (recipient.address, recipient.domain, recipient.notify) == ("sender@example.org", "example.org", "NEVER")
    assert (submission.channel, submission.account, submission.login) == ("internal", 7, "")
    assert (submission.time, submission.due, submission.expires) == (NOW + 60, NOW + 60, NOW + 1060)
    assert submission.content.size == len(submission.content.data or b"")
    message = parts(submission)[0]
    assert message["Message-ID"] == submission.message_id == f"<{submission.id}@gate.example>"
    assert "sender@example.org" in message["To"]


def test_a_report_of_an_internationalised_recipient_reaches_a_sender_that_is_not() -> None:
    submission = report(make_job(recipients=(make_recipient(1, address="ñandú@example.net"),)))
    assert submission is not None
    assert not submission.envelope.smtputf8
    assert submission.content.data is not None and submission.content.data.isascii()


def test_one_report_tells_of_all_recipients_that_failed() -> None:
    job = make_job(3)
    text = (report(job) or pytest.fail()).content.data
    for number in (1, 2, 3):
        assert f"r{number}@example.net".encode() in (text or b"")
    assert (text or b"").count(b"Final-Recipient:") == 3
    assert b"550 5.1.1 no such user" in (text or b"")
    assert b"mx.example.net" in (text or b"")


def test_only_those_who_want_it_are_reported() -> None:
    recipients = with_notify(None, "NEVER", "FAILURE", "SUCCESS,FAILURE,DELAY", "SUCCESS", "DELAY")
    submission = report(make_job(recipients=recipients))
    text = (submission or pytest.fail()).content.data or b""
    assert [number for number in range(1, 7) if f"r{number}@example.net".encode() in text] == [1, 3, 4]


@pytest.mark.parametrize("notify", ["NEVER", "SUCCESS", "DELAY", "SUCCESS,DELAY"])
def test_nothing_is_sent_where_nobody_wants_it(notify: str) -> None:
    assert report(make_job(recipients=with_notify(notify))) is None


def test_the_null_path_never_gets_a_report() -> None:
    assert report(make_job(reverse_path="")) is None


@pytest.mark.parametrize(
    ("ret", "size", "full"),
    [(None, 0, False), ("HDRS", 0, False), ("FULL", 0, True), ("FULL", FULL_LIMIT, False)],
)
def test_ret_decides_what_is_returned(ret: str | None, size: int, full: bool) -> None:
    data = CONTENT + b"line\r\n" * (size // 6 + 1)
    returned = parts(report(make_job(ret=ret, data=data)))[-1]
    assert returned.get_content_type() == ("message/rfc822" if full else "text/rfc822-headers")
    assert ("line" in returned.as_string()) == full
    assert "Subject: hello" in returned.as_string()


def test_an_expired_message_says_so() -> None:
    job = make_job(expires=NOW + 1)
    text = (report(job, Outcome(OutcomeKind.DEFERRED, 450, "4.2.0", "greylisted")) or pytest.fail()).content.data or b""
    assert b"450 4.2.0 greylisted" in text
    assert b"Status: 4.2.0" in text
    assert b"Action: failed" in text


def test_a_message_that_was_never_tried_has_no_last_attempt() -> None:
    job = make_job()
    store = FakeContentStore()
    notifier = FailureNotifier(
        hostname="gate.example",
        content=store,
        entropy=lambda size: b"\x07" * size,
        lifetime=1.0,
        in_thread=maybeDeferred,
        submission=never_asked,
    )
    results: list[Any] = []
    Deferred.fromCoroutine(notifier.report(job, conclude_overdue(job, NOW), NOW)).addCallback(results.append)
    assert b"Last-Attempt-Date" not in results[0].content.data


def test_a_sender_in_utf_8() -> None:
    submission = report(make_job(reverse_path="jörg@exämple.org", smtputf8=True))
    assert submission is not None
    assert submission.envelope.smtputf8
    assert submission.envelope.recipients[0].domain == "xn--exmple-cua.org"
    assert submission.envelope.body == "8BITMIME"


@pytest.mark.parametrize("error", [KeyError("gone"), ContentCorrupt("bad"), StorageUnavailable("a bad sector")])
def test_a_message_that_cannot_be_read_is_reported_all_the_same(error: Exception) -> None:
    class Lost(FakeContentStore):
        def read(self, submission: str, content: Any) -> Any:
            return fail(error)

    assert report(make_job(ret="FULL"), store=Lost()) is not None


def test_a_sender_gets_back_what_he_sent_and_not_what_features_made_of_it() -> None:
    """That has slots in it which are nobody's."""
    sent = make_content(b"Subject: x\r\n\r\nhttps://shop.example/\r\n")
    asked = []

    async def taken_in(id: str) -> Any:
        asked.append(id)
        return SimpleNamespace(content=sent)

    notifier = FailureNotifier(
        hostname="gate.example",
        content=FakeContentStore(),
        entropy=lambda size: b"\x07" * size,
        lifetime=1.0,
        in_thread=maybeDeferred,
        submission=taken_in,
    )
    made = make_content(b"Subject: x\r\n\r\nhttps://gate.example/t/x/xxxx\r\n")._replace(prepared=True)
    job = make_job(content=made, ret="FULL")
    results: list[Any] = []
    Deferred.fromCoroutine(notifier.report(job, conclude_overdue(job, NOW), NOW)).addCallback(results.append)
    assert asked == [job.submission]
    assert b"https://shop.example/" in results[0].content.data and b"xxxx" not in results[0].content.data


def test_storage_trouble_is_for_the_caller() -> None:
    store = FakeContentStore()
    store.trouble = StorageUnavailable("disk")
    with pytest.raises(StorageUnavailable):
        report(make_job(), store=store)


def test_a_spool_that_makes_us_wait() -> None:
    store = FakeContentStore()
    store.slow = True
    notifier = FailureNotifier(
        hostname="gate.example",
        content=store,
        entropy=lambda size: b"\x07" * size,
        lifetime=1.0,
        in_thread=maybeDeferred,
        submission=never_asked,
    )
    job = make_job()
    failed = failures(conclude(job, {1: NO_SUCH_USER}, NOW, POLICY, 0.5))
    results: list[Any] = []
    Deferred.fromCoroutine(notifier.report(job, failed, NOW)).addCallback(results.append)
    assert not results
    store.waiting.callback(None)
    assert results[0].content.data


def test_a_report_of_many_recipients_is_composed_elsewhere() -> None:
    waiting: Deferred[bytes] = Deferred()
    asked: list[Any] = []

    def in_thread(compose: Any) -> Deferred[bytes]:
        asked.append(compose)
        return waiting

    job = make_job(recipients=tuple(make_recipient(number) for number in range(1, LONG + 2)))
    notifier = FailureNotifier(
        hostname="gate.example",
        content=FakeContentStore(),
        entropy=lambda size: b"\x07" * size,
        lifetime=1.0,
        in_thread=in_thread,
        submission=never_asked,
    )
    outcomes = {recipient.number: NO_SUCH_USER for recipient in job.recipients}
    results: list[Any] = []
    report = notifier.report(job, failures(conclude(job, outcomes, NOW, POLICY, 0.5)), NOW)
    Deferred.fromCoroutine(report).addCallback(results.append)
    assert not results
    waiting.callback(asked[0]())
    assert results[0].content.data.count(b"Final-Recipient:") == LONG + 1
