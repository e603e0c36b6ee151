"""Reports to senders."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, maybeDeferred

from smtpeter.delivery.notify import FULL_LIMIT, LONG, Notifier, action_of
from smtpeter.delivery.retry import (
    CAPTURED,
    Conclusion,
    RetryPolicy,
    conclude,
    conclude_overdue,
    conclude_waiting,
)
from smtpeter.errors import ContentCorrupt, Refusal, StorageUnavailable
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import IncomingMessage, MessagePolicy
from smtpeter.mime.header import read_header
from smtpeter.mime.trace import Origin
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind, RecipientState, Settlement
from smtpeter.model.ids import parse_id
from smtpeter.model.submission import Submission
from tests.fakes.intake import FakeContentStore, FakeSubmitter
from tests.fakes.jobs import CONTENT, NOW, make_content, make_job, make_recipient
from tests.fakes.status_reports import Group, read_date, read_status

POLICY = RetryPolicy((60.0,))
NO_SUCH_USER = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no such user", remote_mta="mx.example.net")


def never_asked(id: str) -> Any:
    raise AssertionError("what came in is the job's own content")


def make_notifier(store: Any = None, **options: Any) -> Notifier:
    given = {
        "hostname": "gate.example",
        "content": store or FakeContentStore(),
        "entropy": lambda size: b"\x07" * size,
        "lifetime": 1000.0,
        "in_thread": maybeDeferred,
        "submission": never_asked,
    }
    return Notifier(**given | options)


def tell(job: Job, conclusions: Sequence[Conclusion], now: float = NOW, store: Any = None, **options: Any) -> Any:
    """What is made of conclusions."""
    results: list[Any] = []
    reported = make_notifier(store, **options).report(job, conclusions, now)
    Deferred.fromCoroutine(reported).addBoth(results.append)
    (result,) = results
    if isinstance(result, Submission | None):
        return result
    raise result.value


def report(job: Job, outcome: Outcome = NO_SUCH_USER, store: Any = None) -> Submission | None:
    """What is made of a job whose recipients all have one outcome."""
    outcomes = {recipient.number: outcome for recipient in job.recipients}
    found: Submission | None = tell(job, conclude(job, outcomes, NOW + 60, POLICY, 0.5), NOW + 60, store)
    return found


def statuses(submission: Submission | None) -> list[Group]:
    """What it tells of each recipient, by a strict reader."""
    assert submission is not None and submission.content.data is not None
    boundary = parts(submission)[0].get_boundary()
    machine = submission.content.data.split(f"\r\n--{boundary}".encode())[2]
    return read_status(machine.split(b"\r\n\r\n", 1)[1])[1]


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
    (status,) = statuses(tell(job, conclude_overdue(job, NOW)))
    assert (status["Action"], status["Status"]) == ("failed", "4.4.7")
    assert "Last-Attempt-Date" not in status
    assert status["Diagnostic-Code"] == "x-smtpeter; The time for delivery was over"


# --- delays -----------------------------------------------------------------------------------------------------------

FULL_MAILBOX = Outcome(OutcomeKind.DEFERRED, 452, "4.2.2", "mailbox full", remote_mta="mx.example.net")
SITE_PAUSED = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "No host of example.net answers", stage="connect")
WAITED = NOW + POLICY.delay_notice


def delayed_job(**changes: Any) -> Job:
    return make_job(recipients=(make_recipient(1, notify="DELAY"),), **changes)


def test_who_asked_to_be_told_of_a_delay_is_told_when_it_is_one() -> None:
    job = delayed_job(ret="FULL")
    assert tell(job, conclude(job, {1: FULL_MAILBOX}, WAITED - 1, POLICY, 0.5), WAITED - 1) is None
    submission = tell(job, conclude(job, {1: FULL_MAILBOX}, WAITED, POLICY, 0.5), WAITED)
    (status,) = statuses(submission)
    assert (status["Action"], status["Status"]) == ("delayed", "4.2.2")
    assert read_date(status["Will-Retry-Until"]).timestamp() == job.expires
    assert read_date(status["Last-Attempt-Date"]).timestamp() == WAITED
    assert submission.subject == parts(submission)[0]["Subject"] == "Your message is delayed"
    assert submission.envelope.reverse_path == ""
    assert parts(submission)[-1].get_content_type() == "text/rfc822-headers", "RFC 3461 section 4.3: only of failures"


def test_a_delay_is_told_once() -> None:
    (recipient,) = delayed_job().recipients
    job = make_job(recipients=(recipient._replace(delay_told=True),))
    assert tell(job, conclude(job, {1: FULL_MAILBOX}, WAITED + 60, POLICY, 0.5), WAITED + 60) is None


@pytest.mark.parametrize("notify", [None, "NEVER", "FAILURE", "SUCCESS,FAILURE"])
def test_who_did_not_ask_is_told_of_no_delay(notify: str | None) -> None:
    job = make_job(recipients=with_notify(notify))
    assert tell(job, conclude(job, {1: FULL_MAILBOX}, WAITED, POLICY, 0.5), WAITED) is None


def test_a_delay_behind_a_site_that_is_paused_tells_why_and_of_no_attempt() -> None:
    job = delayed_job()
    (status,) = statuses(tell(job, conclude_waiting(job, SITE_PAUSED, WAITED, POLICY), WAITED))
    assert (status["Action"], status["Status"]) == ("delayed", "4.4.1")
    assert status["Diagnostic-Code"] == "x-smtpeter; No host of example.net answers"
    assert "Last-Attempt-Date" not in status


def test_a_time_that_is_over_by_a_clock_that_was_set_is_not_told() -> None:
    job = delayed_job()
    conclusions = conclude_waiting(job._replace(expires=job.expires * 2), SITE_PAUSED, job.expires + 1, POLICY)
    (status,) = statuses(tell(job, conclusions, job.expires + 1))
    assert status["Action"] == "delayed" and "Will-Retry-Until" not in status


# --- successes --------------------------------------------------------------------------------------------------------

DELIVERED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "queued as 17", remote_mta="mx.example.net")


def test_what_goes_where_nobody_will_tell_more_is_relayed() -> None:
    submission = report(make_job(recipients=with_notify("SUCCESS"), ret="FULL"), DELIVERED)
    (status,) = statuses(submission)
    assert (status["Action"], status["Status"], status["Remote-MTA"]) == ("relayed", "2.0.0", "dns; mx.example.net")
    assert status["Diagnostic-Code"] == "smtp; 250 2.0.0 queued as 17"
    assert submission is not None and submission.subject == "Your message was passed on"
    assert parts(submission)[-1].get_content_type() == "text/rfc822-headers"


def test_a_receiver_that_offered_dsn_tells_of_success_itself() -> None:
    assert report(make_job(recipients=with_notify("SUCCESS")), DELIVERED._replace(notifies=True)) is None


def test_captured_mail_is_delivered() -> None:
    (status,) = statuses(report(make_job(recipients=with_notify("SUCCESS")), CAPTURED))
    assert (status["Action"], status["Status"]) == ("delivered", "2.0.0")
    assert "Remote-MTA" not in status


@pytest.mark.parametrize("notify", [None, "NEVER", "FAILURE", "DELAY", "FAILURE,DELAY"])
@pytest.mark.parametrize("outcome", [DELIVERED, CAPTURED])
def test_who_did_not_ask_is_told_of_no_success(notify: str | None, outcome: Outcome) -> None:
    assert report(make_job(recipients=with_notify(notify)), outcome) is None


# --- together ---------------------------------------------------------------------------------------------------------


def test_one_report_tells_all_that_became_of_a_message() -> None:
    job = make_job(recipients=with_notify(*["SUCCESS,FAILURE,DELAY"] * 3, "NEVER"), ret="FULL")
    outcomes = {1: DELIVERED, 2: FULL_MAILBOX, 3: NO_SUCH_USER, 4: NO_SUCH_USER}
    submission = tell(job, conclude(job, outcomes, WAITED, POLICY, 0.5), WAITED)
    assert [(status["Final-Recipient"][8:], status["Action"]) for status in statuses(submission)] == [
        ("r3@example.net", "failed"), ("r2@example.net", "delayed"), ("r1@example.net", "relayed"),
    ]  # fmt: skip
    assert submission.subject == "Your message could not be delivered to all recipients"
    assert parts(submission)[-1].get_content_type() == "message/rfc822", "for there is a failure"


@given(
    st.sampled_from([None, "NEVER", "FAILURE", "SUCCESS", "DELAY", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY"]),
    st.sampled_from(OutcomeKind),
    st.sampled_from([0, 250, 452, 550]),
    st.booleans(),
    st.booleans(),
    st.floats(0, 2 * 86400),
)
def test_nobody_is_told_what_he_did_not_ask_for(
    notify: str | None, kind: OutcomeKind, code: int, notifies: bool, told: bool, seconds: float
) -> None:
    job = make_job(recipients=(make_recipient(1, notify=notify, delay_told=told),))
    (conclusion,) = conclude(job, {1: Outcome(kind, code, notifies=notifies)}, NOW + seconds, POLICY, 0.5)
    action = action_of(conclusion)
    wanted = (notify or "FAILURE").split(",")
    condition = {"failed": "FAILURE", "delayed": "DELAY", "relayed": "SUCCESS", "delivered": "SUCCESS"}
    assert action is None or condition[action] in wanted
    submission = tell(job, [conclusion], NOW + seconds)
    assert (submission is None) == (action is None)
    if action is not None:
        assert [status["Action"] for status in statuses(submission)] == [action]
    assert tell(job._replace(reverse_path=""), [conclusion], NOW + seconds) is None


# --- loops ------------------------------------------------------------------------------------------------------------


def job_of(submission: Submission) -> Job:
    """What delivery sees of a report that is to be delivered."""
    (to,) = submission.envelope.recipients
    return make_job(
        submission=submission.id,
        reverse_path=submission.envelope.reverse_path,
        ret=submission.envelope.ret,
        content=submission.content,
        recipients=(LeasedRecipient(1, submission.id, to.address, to.domain, to.notify, to.orcpt, 0, False),),
    )


@pytest.mark.parametrize("sender", ["sender@example.org", "postmaster@gate.example"])
@pytest.mark.parametrize("outcome", [NO_SUCH_USER, DELIVERED, FULL_MAILBOX, CAPTURED])
def test_a_report_breeds_no_report_wherever_it_goes(sender: str, outcome: Outcome) -> None:
    """Even to our own postmaster, and whatever becomes of it."""
    first = report(make_job(reverse_path=sender))
    assert first is not None
    job = job_of(first)
    assert (job.reverse_path, job.recipients[0].notify) == ("", "NEVER")
    for now in (NOW, WAITED, job.expires + 1):
        assert tell(job, conclude(job, {1: outcome}, now, POLICY, 0.5), now) is None
        assert tell(job, conclude_waiting(job, SITE_PAUSED, now, POLICY), now) is None
        assert tell(job._replace(reverse_path=sender), conclude(job, {1: outcome}, now, POLICY, 0.5), now) is None


def test_a_report_that_is_sent_back_to_us_for_ever_is_refused() -> None:
    """It begins without any Received, gets one each time, and none is ever lost."""
    submission = report(make_job(ret="FULL", data=b"Received: x\r\n" * 40 + CONTENT))
    assert submission is not None
    policy = MessagePolicy("gate.example", header_size=65536, received_fields=50, expire=3600.0)
    octets = submission.content.data or b""
    for hops in range(100):
        assert read_header(octets[: octets.index(b"\r\n\r\n") + 2]).received == hops
        incoming = IncomingMessage(
            f"id{hops}", NOW, submission.envelope, Origin("relay", "192.0.2.25", "ESMTPSA", ""), FakeSubmitter(),
            FakeContentStore().spool(), policy, HeaderRoom(),
        )  # fmt: skip
        incoming.write(octets)
        try:
            taken: list[Submission] = []
            incoming.finish().addCallback(taken.append)
        except Refusal as refusal:
            assert (str(refusal.reply)[:9], hops) == ("554 5.4.6", 51)
            return
        octets = taken[0].content.data or b""
    pytest.fail("it went round and round")


def test_a_message_that_is_itself_automatic_is_reported_to_whom_it_names() -> None:
    data = b"Auto-Submitted: auto-generated\r\n" + CONTENT
    assert report(make_job(data=data)) is not None
    assert report(make_job(data=data, reverse_path="")) is None


def test_a_recipient_that_is_held_or_given_back_is_told_of_to_nobody() -> None:
    recipient = make_recipient(1, notify="SUCCESS,FAILURE,DELAY")
    for kind in (OutcomeKind.HOLD, OutcomeKind.NOT_TRIED):
        (conclusion,) = conclude(make_job(recipients=(recipient,)), {1: Outcome(kind)}, WAITED, POLICY, 0.5)
        assert action_of(conclusion) is None
    cancelled = Settlement(1, RecipientState.CANCELLED, 0, NOW, None)
    assert action_of(Conclusion(recipient, NO_SUCH_USER, cancelled)) is None


# --- what comes back, and where it is kept ----------------------------------------------------------------------------


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

    made = make_content(b"Subject: x\r\n\r\nhttps://gate.example/t/x/xxxx\r\n")._replace(prepared=True)
    job = make_job(content=made, ret="FULL")
    submission = tell(job, conclude_overdue(job, NOW), submission=taken_in)
    assert asked == [job.submission]
    assert b"https://shop.example/" in submission.content.data and b"xxxx" not in submission.content.data


def test_storage_trouble_is_for_the_caller() -> None:
    store = FakeContentStore()
    store.trouble = StorageUnavailable("disk")
    with pytest.raises(StorageUnavailable):
        report(make_job(), store=store)


def test_a_spool_that_makes_us_wait() -> None:
    store = FakeContentStore()
    store.slow = True
    job = make_job()
    results: list[Any] = []
    reported = make_notifier(store).report(job, conclude(job, {1: NO_SUCH_USER}, NOW, POLICY, 0.5), NOW)
    Deferred.fromCoroutine(reported).addCallback(results.append)
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
    outcomes = {recipient.number: NO_SUCH_USER for recipient in job.recipients}
    results: list[Any] = []
    reported = make_notifier(in_thread=in_thread).report(job, conclude(job, outcomes, NOW, POLICY, 0.5), NOW)
    Deferred.fromCoroutine(reported).addCallback(results.append)
    assert not results
    waiting.callback(asked[0]())
    assert results[0].content.data.count(b"Final-Recipient:") == LONG + 1
