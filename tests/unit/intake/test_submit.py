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
from smtpeter.model.submission import Content, Submission
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
