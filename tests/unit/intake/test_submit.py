"""The one door into the queue."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from smtpeter.errors import StorageUnavailable
from smtpeter.intake.submit import Intake
from smtpeter.interfaces import ISubmissionIntake
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.submission import Content, Submission, Taken
from tests.fakes.intake import FakeMetrics

RECIPIENTS = tuple(
    Recipient(f"{name}@{domain}", domain) for name, domain in (("a", "x.org"), ("b", "x.org"), ("c", "y"))
)
SUBMISSION = Submission(
    "id", 1, "login", "smtp", Envelope("s@example.com", RECIPIENTS), Content(1, b"", b"x"), 1.0, 1.0, 2.0, "", "<m@x>"
)


class Queue:
    def __init__(self, answer):
        self.answer = answer
        self.submissions = []

    def enqueue(self, submission):
        self.submissions.append(submission)
        return self.answer


def results_of(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


def test_delivery_is_woken_and_counted_once_the_store_has_it_and_not_before():
    woken, metrics, answer = [], FakeMetrics(), Deferred()
    intake = Intake(Queue(answer), woken.append, metrics)
    assert verifyObject(ISubmissionIntake, intake)
    results = results_of(intake.submit(SUBMISSION))
    assert woken == [] and metrics.counts == {} and results == []
    answer.callback(None)
    assert woken == [{"x.org", "y"}] and results == [None]
    assert metrics.counts == {("submissions", "smtp"): 1, ("recipients", "smtp"): 3}


OLD, NEW = "0" * 25 + "1", "0" * 25 + "2"


def taken_by(answer, **fields):
    """What is told of a submission with the id NEW, who is woken and what is counted."""
    woken, metrics, told = [], FakeMetrics(), []
    intake = Intake(Queue(succeed(answer)), woken.append, metrics, lambda: told.append("prepare"))
    assert results_of(intake.submit(SUBMISSION._replace(id=NEW, **fields))) == [answer]
    return woken, told, metrics.counts


def test_what_was_taken_before_wakes_nobody_and_is_not_counted():
    answer = Taken(OLD, tuple((f"{OLD}-{n}", each.address) for n, each in enumerate(RECIPIENTS, 1)), again=True)
    assert taken_by(answer) == ([], [], {})
    assert taken_by(answer, prepare=True) == ([], [], {})


def test_of_what_was_taken_in_part_only_the_new_recipients_count():
    answer = Taken(NEW, ((f"{OLD}-3", "a@x.org"), (f"{OLD}-1", "b@x.org"), (NEW, "c@y")))
    counts = {("submissions", "smtp"): 1, ("recipients", "smtp"): 1}
    assert taken_by(answer) == ([{"y"}], [], counts)
    assert taken_by(answer, prepare=True) == ([], ["prepare"], counts)


def test_a_recipient_that_is_named_twice_is_counted_once_where_it_is_taken_once():
    answer = Taken(NEW, ((NEW, "a@x.org"), (NEW, "a@x.org"), (f"{OLD}-1", "c@y")))
    assert taken_by(answer) == ([{"x.org"}], [], {("submissions", "smtp"): 1, ("recipients", "smtp"): 1})


def test_what_was_all_taken_under_its_key_is_told_and_counted():
    answer = Taken(NEW, tuple((f"{NEW}-{n}", each.address) for n, each in enumerate(RECIPIENTS, 1)))
    assert taken_by(answer) == ([{"x.org", "y"}], [], {("submissions", "smtp"): 1, ("recipients", "smtp"): 3})


def test_what_the_store_does_not_take_wakes_nobody():
    woken, metrics = [], FakeMetrics()
    results = results_of(Intake(Queue(fail(StorageUnavailable("down"))), woken.append, metrics).submit(SUBMISSION))
    assert results[0].check(StorageUnavailable) and woken == [] and metrics.counts == {}


@pytest.mark.parametrize("where", ["metrics", "wake"])
def test_trouble_after_the_commit_is_never_told_as_if_the_message_were_not_taken(where):
    def broken(*arguments, **labels):
        raise RuntimeError("a bug")

    metrics = FakeMetrics()
    if where == "metrics":
        metrics.count = broken
    with capturedLogs() as events:
        results = results_of(Intake(Queue(succeed(None)), broken, metrics).submit(SUBMISSION))
    assert results == [None]
    assert events[0]["log_failure"].check(RuntimeError)
