"""What has ended, on its way to the store, and the reports that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed

from smtpeter.batches import FIRST_WAIT, GATHER, LONGEST_WAIT
from smtpeter.delivery.notify import Notifier
from smtpeter.delivery.retry import RetryPolicy, conclude, conclude_overdue, conclude_waiting
from smtpeter.delivery.settling import REPORTS, Ended, Settler
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.model.delivery import Job, Outcome, OutcomeKind, SettledJob
from smtpeter.model.submission import Submission
from tests.fakes.clock import TurnClock
from tests.fakes.intake import FakeContentStore, FakeMetrics
from tests.fakes.jobs import NOW, make_job, make_recipient

POLICY = RetryPolicy((60.0,))
DELIVERED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "ok")
FAILED = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no such user")
DEFERRED = Outcome(OutcomeKind.DEFERRED, 452, "4.2.2", "full")
ALL = "SUCCESS,FAILURE,DELAY"


class Queue:
    """Keeps what is settled.  ``answers`` are given first: a failure, or a Deferred to wait for."""

    def __init__(self) -> None:
        self.calls: list[list[SettledJob]] = []
        self.settled: list[SettledJob] = []
        self.answers: list[Any] = []
        self.damaged: set[int] = set()

    def settle(self, jobs: Sequence[SettledJob]) -> Deferred[int]:
        self.calls.append(list(jobs))
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Deferred):
                return answer.addCallback(lambda _: self._keep(jobs))
            return fail(answer)
        if self.damaged & {settlement.number for job in jobs for settlement in job.settlements}:
            return fail(StoreDamaged("a bad page"))
        return succeed(self._keep(jobs))

    def _keep(self, jobs: Sequence[SettledJob]) -> int:
        self.settled += jobs
        return sum(len(job.settlements) for job in jobs)

    @property
    def reports(self) -> list[Submission]:
        return [report for job in self.settled for report in job.notifications]


class Bench:
    def __init__(self) -> None:
        self.clock = TurnClock()
        self.queue = Queue()
        self.content = FakeContentStore()
        self.entropy = 0
        self.more_due = 0
        self.settler = Settler(
            queue=self.queue,  # type: ignore[arg-type]
            notifier=Notifier(
                hostname="gate.example",
                content=self.content,
                entropy=self._entropy,
                lifetime=1000.0,
                in_thread=maybeDeferred,
                submission=lambda id: pytest.fail("not asked"),
            ),
            clock=self,  # type: ignore[arg-type]
            timers=self.clock,
            metrics=FakeMetrics(),
            more_due=self._more_due,
        )

    def _entropy(self, size: int) -> bytes:
        self.entropy += 1
        return self.entropy.to_bytes(size, "big")

    def _more_due(self) -> None:
        self.more_due += 1

    def time(self) -> float:
        return NOW + self.clock.seconds()

    def end(self, job: Job, outcome: Outcome, now: float = NOW) -> None:
        outcomes = {recipient.number: outcome for recipient in job.recipients}
        self.settler.add(Ended(job, conclude(job, outcomes, now, POLICY, 0.5)))


def part(*numbers: int, notify: str | None = None, **changes: Any) -> Job:
    return make_job(recipients=tuple(make_recipient(number, notify=notify) for number in numbers), **changes)


def told(report: Submission) -> list[int]:
    data = report.content.data or b""
    return [number for number in range(1, 10) if f"Final-Recipient: rfc822; r{number}@".encode() in data]


def test_parts_of_a_job_that_end_together_share_a_report_of_several_actions() -> None:
    bench = Bench()
    bench.end(part(1, 2, notify=ALL), FAILED)
    bench.end(part(3, notify=ALL), DELIVERED)
    bench.end(part(4, notify=ALL), DEFERRED, NOW + POLICY.delay_notice)
    bench.end(part(5), DELIVERED)
    bench.clock.advance(GATHER)
    (job,) = bench.queue.settled
    assert [settlement.number for settlement in job.settlements] == [1, 2, 3, 4, 5]
    (report,) = job.notifications
    assert told(report) == [1, 2, 3, 4]
    data = report.content.data or b""
    assert [data.count(b"Action: " + action) for action in (b"failed", b"delayed", b"relayed")] == [2, 1, 1]
    assert bench.settler.unsettled == 0 and bench.more_due == 1


def test_nothing_waits_for_a_report_that_could_be_shared() -> None:
    bench = Bench()
    bench.end(part(1), FAILED)
    bench.clock.advance(GATHER)
    bench.end(part(2), FAILED)
    bench.clock.advance(GATHER)
    assert [told(report) for report in bench.queue.reports] == [[1], [2]]


def test_what_ends_while_the_store_writes_shares_the_next_report() -> None:
    bench = Bench()
    slow: Deferred[None] = Deferred()
    bench.queue.answers = [slow]
    bench.end(part(1), FAILED)
    bench.clock.advance(GATHER)
    for number in (2, 3, 4):
        bench.end(part(number), FAILED)
        bench.clock.advance(1)
    slow.callback(None)
    bench.clock.advance(GATHER)
    assert [told(report) for report in bench.queue.reports] == [[1], [2, 3, 4]]


def test_different_messages_have_reports_of_their_own() -> None:
    bench = Bench()
    bench.end(part(1), FAILED)
    bench.end(part(2, submission="s2"), FAILED)
    bench.clock.advance(GATHER)
    assert len(bench.queue.calls) == 1
    assert [(job.submission, [told(report) for report in job.notifications]) for job in bench.queue.settled] == [
        ("s1", [[1]]), ("s2", [[2]]),
    ]  # fmt: skip


def test_a_lease_that_was_lost_takes_no_other_s_report_with_it() -> None:
    """The store makes no report of a job of which it settles nothing."""
    bench = Bench()
    bench.end(part(1, lease=1), FAILED)
    bench.end(part(2, lease=2), FAILED)
    bench.clock.advance(GATHER)
    assert [(job.lease, [told(report) for report in job.notifications]) for job in bench.queue.settled] == [
        (1, [[1]]), (2, [[2]]),
    ]  # fmt: skip


def test_a_thousand_failures_make_one_report() -> None:
    bench = Bench()
    for first in range(1, 1001, 10):
        bench.end(part(*range(first, first + 10)), FAILED)
    bench.clock.advance(GATHER)
    (report,) = bench.queue.reports
    assert (report.content.data or b"").count(b"Final-Recipient:") == 1000


@pytest.mark.parametrize(("outcome", "notify"), [(DELIVERED, None), (DEFERRED, None), (FAILED, "NEVER")])
def test_where_nothing_is_to_be_told_no_report_is_thought_of(outcome: Outcome, notify: str | None) -> None:
    bench = Bench()
    bench.end(part(1, notify=notify), outcome)
    bench.clock.advance(GATHER)
    assert bench.queue.settled[0].notifications == ()
    assert not bench.content.spools and not bench.entropy


def test_a_report_is_made_once_however_often_its_outcome_is_written() -> None:
    bench = Bench()
    bench.queue.answers = [StorageUnavailable("disk"), StorageUnavailable("disk")]
    bench.end(part(1), FAILED)
    bench.clock.advance(GATHER)
    bench.end(part(2), FAILED)
    bench.clock.advance(FIRST_WAIT)
    bench.clock.advance(2 * FIRST_WAIT)
    (job,) = bench.queue.settled
    assert [told(report) for report in job.notifications] == [[1], [2]], "the first was made before the other ended"
    first = {report.id for call in bench.queue.calls for job in call for report in job.notifications}
    assert len(first) == 2
    assert len(bench.content.spools) == 2


def test_parts_that_have_to_be_written_singly_are_reported_once() -> None:
    bench = Bench()
    bench.queue.damaged = {2}
    for number in (1, 2, 3):
        bench.end(part(number), FAILED)
    bench.clock.advance(GATHER)
    assert [[settlement.number for settlement in job.settlements] for job in bench.queue.settled] == [[1], [3]]
    (report,) = bench.queue.reports
    assert told(report) == [1, 2, 3]
    assert bench.settler.unsettled == 1
    bench.queue.damaged = set()
    bench.clock.advance(LONGEST_WAIT)
    bench.clock.advance(GATHER)
    assert bench.settler.unsettled == 0
    assert bench.queue.reports == [report]


def test_a_report_that_cannot_be_kept_now_holds_up_its_own_message_only() -> None:
    bench = Bench()
    bench.content.trouble = StorageUnavailable("disk")
    bench.end(part(1), FAILED)
    bench.end(part(2), DELIVERED)
    bench.end(part(1, submission="s2"), DELIVERED)
    bench.clock.advance(GATHER)
    assert [job.submission for job in bench.queue.settled] == ["s2"]
    assert bench.settler.unsettled == 2
    bench.content.trouble = None
    bench.clock.advance(FIRST_WAIT)
    assert [job.submission for job in bench.queue.settled] == ["s2", "s1"]
    assert [told(report) for report in bench.queue.reports] == [[1]]


def test_an_outcome_is_written_though_no_report_can_be_made() -> None:
    bench = Bench()
    bench.content.trouble = ValueError("a bug")
    bench.end(part(1), FAILED)
    bench.clock.advance(GATHER)
    (job,) = bench.queue.settled
    assert (len(job.settlements), job.notifications) == (1, ())


def test_what_waits_for_a_paused_site_is_told_of_the_delay_and_looked_at_again() -> None:
    bench = Bench()
    job = part(1, 2, notify="DELAY")
    bench.settler.add(Ended(job, conclude_waiting(job, DEFERRED, NOW + POLICY.delay_notice, POLICY)))
    bench.clock.advance(GATHER)
    (settled,) = bench.queue.settled
    assert [settlement.delay_told for settlement in settled.settlements] == [True, True]
    assert [told(report) for report in settled.notifications] == [[1, 2]]
    assert bench.more_due == 1


def test_a_report_that_expires_is_written_down_and_reported_to_nobody() -> None:
    bench = Bench()
    job = part(1, notify="NEVER", reverse_path="")
    bench.settler.add(Ended(job, conclude_overdue(job, NOW)))
    bench.clock.advance(GATHER)
    (settled,) = bench.queue.settled
    assert settled.settlements[0].event is not None and settled.notifications == ()


def test_very_many_reports_do_not_hold_up_the_reactor() -> None:
    bench = Bench()
    for number in range(3 * REPORTS):
        bench.end(part(1, submission=f"s{number}"), FAILED)
        bench.end(part(1, submission=f"d{number}"), DELIVERED)
    made = []
    bench.clock.advance(GATHER)
    while not bench.queue.settled:
        made.append(len(bench.content.spools))
        bench.clock.advance(0.0)
    assert made == [REPORTS, 2 * REPORTS, 3 * REPORTS]
    assert (len(bench.queue.settled), len(bench.queue.reports)) == (6 * REPORTS, 3 * REPORTS)
