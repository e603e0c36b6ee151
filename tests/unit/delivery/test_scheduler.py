"""The scheduler over a queue in memory and a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.scheduler import Scheduler
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import Job, Outcome, OutcomeKind, RecipientState
from smtpeter.model.event import EventKind
from tests.fakes.intake import FakeMetrics
from tests.fakes.jobs import NOW, FakeQueue, make_job, make_recipient

DELIVERED = Outcome(OutcomeKind.DELIVERED, 250, "2.0.0", "ok", remote_mta="relay.example")
DEFERRED = Outcome(OutcomeKind.DEFERRED, 450, "4.2.0", "later")
FAILED = Outcome(OutcomeKind.FAILED, 550, "5.1.1", "no")


@implementer(IDeliveryAgent)
class FakeAgent:
    """Answers at once with ``outcome``; where that is None, when told to."""

    def __init__(self) -> None:
        self.outcome: Outcome | None = DELIVERED
        self.places = 10
        self.jobs: list[Job] = []
        self.open: list[tuple[Job, Deferred[Mapping[int, Outcome]]]] = []
        self.most = 0
        self.stopping = False
        self.stopped: Deferred[None] = Deferred()

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        self.jobs.append(job)
        if self.outcome is not None:
            return succeed({recipient.number: self.outcome for recipient in job.recipients})
        deferred: Deferred[Mapping[int, Outcome]] = Deferred()
        self.open.append((job, deferred))
        self.most = max(self.most, len(self.open))
        return deferred

    def finish(self, outcome: Outcome = DELIVERED) -> None:
        job, deferred = self.open.pop(0)
        if self.stopping and not self.open:
            self.stopped.callback(None)
        deferred.callback({recipient.number: outcome for recipient in job.recipients})

    def capacity(self) -> int:
        return 0 if self.stopping else max(0, self.places - len(self.open))

    def stop(self) -> Deferred[None]:
        self.stopping = True
        return self.stopped if self.open else succeed(None)


class FakeNotifier:
    def __init__(self) -> None:
        self.reports: list[tuple[str, list[int]]] = []
        self.trouble: Exception | None = None

    async def report(self, job: Job, failed: Any, now: float) -> Any:
        if self.trouble is not None:
            raise self.trouble
        self.reports.append((job.submission, [conclusion.recipient.number for conclusion in failed]))
        return f"report of {job.submission}"


class Bench:
    """A scheduler with its surroundings; wall time goes with the clock, plus ``jump``."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.jump = 0.0
        self.queue = FakeQueue()
        self.agent = FakeAgent()
        self.notifier = FakeNotifier()
        self.metrics = FakeMetrics()
        self.scheduler = Scheduler(
            queue=self.queue,
            agent=self.agent,
            notifier=self.notifier,  # type: ignore[arg-type]
            clock=self,  # type: ignore[arg-type]
            timers=self.clock,
            metrics=self.metrics,
            policy=RetryPolicy((60.0, 300.0)),
            random=lambda: 0.5,
            **options,
        )

    def time(self) -> float:
        return NOW + self.jump + self.clock.seconds()

    def start(self) -> Bench:
        self.scheduler.startService()
        return self.run(0.1)

    def run(self, seconds: float) -> Bench:
        self.clock.pump([0.01] * round(seconds * 100))
        return self

    def states(self, *submissions: str) -> list[RecipientState | None]:
        outcomes = [self.queue.outcome(submission) for submission in submissions]
        return [outcome and outcome.state for outcome in outcomes]


@pytest.fixture
def log() -> Any:
    """The events that were logged, by their names."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    yield lambda name: [event for event in events if event.get("event") == name]
    globalLogPublisher.removeObserver(events.append)


def test_what_is_due_is_delivered_and_settled() -> None:
    bench = Bench()
    bench.queue.add(make_job(2), make_job(submission="s2"))
    bench.start()
    assert bench.states("s1", "s2") == [RecipientState.DELIVERED] * 2
    assert bench.queue.settle_calls == 1
    assert bench.queue.claims == [400]
    assert bench.metrics.counts[("deliveries", "delivered")] == 3


def test_mail_that_comes_in_wakes_it() -> None:
    bench = Bench(poll=1000.0).start()
    bench.queue.add(make_job())
    bench.scheduler.wake({"example.net"})
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_waking_while_it_claims_is_not_lost() -> None:
    bench = Bench(poll=1000.0).start()
    answer: Deferred[Any] = Deferred()
    bench.queue.due_domains = lambda now, limit: answer  # type: ignore[method-assign]
    bench.scheduler.wake({"example.net"})
    bench.run(0.1)
    del bench.queue.due_domains
    bench.queue.add(make_job())
    bench.scheduler.wake({"example.net"})
    answer.callback(([], None))
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_without_being_woken_it_looks_every_few_seconds() -> None:
    bench = Bench(poll=5.0).start()
    bench.queue.add(make_job())
    bench.run(4.5)
    assert bench.states("s1") == [None]
    bench.run(1.0)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_it_sleeps_until_the_next_is_due() -> None:
    bench = Bench(poll=1000.0)
    bench.queue.add(make_job(), due=NOW + 3.0)
    bench.start().run(2.5)
    assert bench.states("s1") == [None]
    bench.run(0.5)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_what_was_deferred_comes_again() -> None:
    bench = Bench()
    bench.agent.outcome = DEFERRED
    bench.queue.add(make_job())
    bench.start()
    settlement = bench.queue.outcome("s1")
    assert settlement is not None and settlement.event is not None
    assert (settlement.state, settlement.attempts) == (RecipientState.DUE, 1)
    assert settlement.event.kind is EventKind.DEFERRAL
    bench.agent.outcome = DELIVERED
    bench.run(59)
    assert len(bench.agent.jobs) == 1
    bench.run(2)
    assert [job.recipients[0].attempts for job in bench.agent.jobs] == [0, 1]
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_the_agent_never_has_more_than_it_has_places() -> None:
    bench = Bench(in_flight=40)
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(100)))
    bench.start()
    assert len(bench.agent.open) == bench.agent.most == 10
    assert sum(bench.queue.claims) == 40
    while bench.agent.open:
        bench.agent.finish()
        bench.run(0.02)
    assert bench.agent.most == 10
    assert len(bench.queue.settled) == 100
    assert len(bench.queue.claims) < 10


def test_ends_are_settled_together_and_one_settle_at_a_time() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(6)))
    bench.start()
    settle, waiting = bench.queue.settle, []

    def slow(jobs: Any) -> Deferred[int]:
        waiting.append((jobs, Deferred()))
        return waiting[-1][1]  # type: ignore[no-any-return]

    bench.queue.settle = slow  # type: ignore[method-assign]
    for _ in range(2):
        bench.agent.finish()
    bench.run(0.1)
    for _ in range(4):
        bench.agent.finish()
    bench.run(1.0)
    assert [len(jobs) for jobs, _ in waiting] == [2]
    settle(waiting[0][0]).chainDeferred(waiting[0][1])
    bench.run(0.1)
    assert [len(jobs) for jobs, _ in waiting] == [2, 4]


def test_failures_are_reported_once_with_their_outcomes() -> None:
    bench = Bench()
    bench.agent.outcome = FAILED
    bench.queue.add(make_job(3))
    bench.start()
    assert bench.notifier.reports == [("s1", [1, 2, 3])]
    assert bench.queue.settled[0].notifications == ("report of s1",)


def test_a_report_that_cannot_be_made_does_not_hold_up_the_outcome() -> None:
    bench = Bench()
    bench.agent.outcome = FAILED
    bench.notifier.trouble = ValueError("a bug")
    bench.queue.add(make_job())
    bench.start()
    assert bench.states("s1") == [RecipientState.FAILED]


def test_a_message_past_its_sender_s_limit_is_not_attempted() -> None:
    bench = Bench()
    bench.queue.add(make_job(2, expires=NOW - 1))
    bench.start()
    assert not bench.agent.jobs
    assert bench.states("s1") == [RecipientState.EXPIRED]
    assert bench.notifier.reports == [("s1", [1, 2])]


def test_an_agent_that_raises_loses_no_job() -> None:
    bench = Bench()

    def broken(job: Job) -> Any:
        raise ValueError("a bug")

    bench.agent.deliver = broken  # type: ignore[method-assign]
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    assert bench.states("s1", "s2") == [RecipientState.DUE] * 2


def test_a_job_that_ends_without_outcomes_is_tried_again() -> None:
    bench = Bench()
    bench.agent.deliver = lambda job: fail(ValueError("a bug"))  # type: ignore[method-assign]
    bench.queue.add(make_job())
    bench.start()
    assert bench.states("s1") == [RecipientState.DUE]


# --- an agent that takes nothing ---


def test_nothing_is_claimed_for_an_agent_without_places() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.queue.add(make_job())
    bench.start().run(3)
    assert not bench.queue.claims
    bench.agent.places = 1
    bench.run(1.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_waking_all_the_time_does_not_put_off_the_next_look() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.queue.add(make_job())
    bench.start()
    for number in range(20):
        bench.agent.places = int(number >= 5)
        bench.scheduler.wake(())
        bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_an_agent_in_trouble_tells_everything_that_was_claimed_why() -> None:
    bench = Bench(in_flight=50)
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(50)))
    bench.start()
    bench.agent.places, bench.agent.outcome = 0, DEFERRED
    while bench.agent.open:
        bench.agent.finish(DEFERRED)
    bench.run(0.1)
    assert len(bench.queue.settled) == 50


# --- pause ---


def test_a_paused_queue_is_left_alone_and_resumed() -> None:
    bench = Bench()
    bench.queue.is_paused = True
    bench.queue.add(make_job())
    bench.start().run(20)
    assert not bench.queue.claims
    bench.queue.is_paused = False
    bench.scheduler.generation_changed()
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_a_pause_gives_back_what_has_not_started() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(15)))
    bench.start()
    bench.queue.is_paused = True
    bench.scheduler.generation_changed()
    bench.run(0.1)
    assert len(bench.queue.released) == 5
    while bench.agent.open:
        bench.agent.finish()
    bench.run(1)
    assert len(bench.agent.jobs) == len(bench.queue.settled) == 10


# --- storage trouble ---


def test_outcomes_wait_for_the_store_and_none_is_lost(log: Any) -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    bench.queue.trouble = StorageUnavailable("disk")
    bench.agent.finish()
    bench.run(3)
    bench.agent.finish()
    bench.run(10)
    assert not bench.queue.settled
    assert len([event for event in log("storage") if "outcomes wait" in event["log_format"]]) == 1
    bench.queue.trouble = None
    bench.run(31)
    assert bench.states("s1", "s2") == [RecipientState.DELIVERED] * 2


def test_reports_wait_for_the_store_too() -> None:
    bench = Bench()
    bench.agent.outcome = FAILED
    bench.notifier.trouble = StorageUnavailable("disk")
    bench.queue.add(make_job())
    bench.start().run(2)
    assert not bench.queue.settled
    bench.notifier.trouble = None
    bench.run(10)
    assert bench.queue.settled[0].notifications == ("report of s1",)


def test_a_report_that_cannot_be_kept_holds_up_no_other_outcome() -> None:
    bench = Bench()
    bench.agent.outcome = FAILED
    bench.notifier.trouble = StorageUnavailable("disk")
    bench.queue.add(make_job())
    bench.start()
    bench.agent.outcome = DELIVERED
    bench.queue.add(make_job(submission="s2"))
    bench.run(10)
    assert bench.states("s1", "s2") == [None, RecipientState.DELIVERED]
    bench.notifier.trouble = None
    bench.run(31)
    assert bench.states("s1") == [RecipientState.FAILED]


def test_what_cannot_be_released_now_is_given_back_later() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.agent.places = 1
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    bench.queue.is_paused = True
    bench.scheduler.generation_changed()
    assert bench.queue.released == ["s2"]

    bench = Bench()
    bench.agent.outcome = None
    bench.agent.places = 1
    bench.queue.add(make_job(), make_job(submission="s2", recipients=[make_recipient(attempts=2)]))
    bench.start()
    bench.queue.is_paused = True
    paused = bench.queue.paused
    bench.queue.paused = lambda: succeed(True)  # type: ignore[method-assign]
    bench.queue.trouble = StorageUnavailable("disk")
    bench.scheduler.generation_changed()
    bench.queue.paused = paused  # type: ignore[method-assign]
    bench.queue.trouble = None
    bench.run(5)
    assert [job.submission for _, job in bench.queue.waiting] == ["s2"]
    assert bench.queue.waiting[0][1].recipients[0].attempts == 2


def test_a_lease_that_nobody_has_ends() -> None:
    bench = Bench(lease=900.0)
    bench.agent.outcome = None
    bench.agent.places = 1
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    assert [job.submission for job in bench.agent.jobs] == ["s1"]
    bench.queue.forget(make_job(submission="s3"), lease_until=NOW + 20)
    leases = {submission: job.lease for submission, job in bench.queue.leased.items()}
    bench.run(40)
    assert bench.queue.leased["s3"].lease > leases["s3"]
    # Those in hand are ours however long it takes, and whatever the clock says.
    bench.jump = 100_000.0
    bench.run(40)
    assert {"s1": leases["s1"], "s2": leases["s2"]}.items() <= {
        submission: job.lease for submission, job in bench.queue.leased.items()
    }.items()


def test_outcomes_that_wait_for_the_store_keep_their_leases() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(make_job())
    bench.start()
    settle, bench.queue.settle = bench.queue.settle, lambda jobs: fail(StorageUnavailable("disk"))  # type: ignore
    bench.agent.finish()
    bench.jump = 100_000.0
    bench.run(40)
    bench.queue.settle = settle  # type: ignore[method-assign]
    bench.run(31)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_claiming_goes_on_when_the_store_is_back(log: Any) -> None:
    bench = Bench()
    bench.queue.trouble = StorageUnavailable("disk")
    bench.queue.add(make_job())
    bench.start().run(10)
    assert len(log("storage")) == 1
    bench.queue.trouble = None
    bench.run(2.5)
    assert bench.states("s1") == [RecipientState.DELIVERED]
    assert len(log("storage")) == 2


def test_one_job_that_cannot_be_written_does_not_hold_up_the_others() -> None:
    bench = Bench()
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(5)))
    settle = bench.queue.settle

    def poisoned(jobs: Any) -> Deferred[int]:
        return fail(ValueError("bad row")) if any(job.submission == "s2" for job in jobs) else settle(jobs)

    bench.queue.settle = poisoned  # type: ignore[method-assign]
    bench.start().run(5)
    assert sorted(job.submission for job in bench.queue.settled) == ["s0", "s1", "s3", "s4"]
    # It is put aside: what ends later is written at once.
    bench.queue.add(make_job(submission="later"))
    bench.scheduler.wake(["example.net"])
    bench.run(0.5)
    assert bench.states("later") == [RecipientState.DELIVERED]
    bench.queue.settle = settle  # type: ignore[method-assign]
    bench.run(31)
    assert bench.states("s2") == [RecipientState.DELIVERED]


def test_an_outcome_whose_rows_are_damaged_is_put_aside_with_its_lease(log: Any) -> None:
    bench = Bench()
    bench.queue.add(make_job(submission="s1"), make_job(submission="s2"))
    settle = bench.queue.settle

    def damaged(jobs: Any) -> Deferred[int]:
        return fail(StoreDamaged("page 7")) if any(job.submission == "s2" for job in jobs) else settle(jobs)

    bench.queue.settle = damaged  # type: ignore[method-assign]
    bench.start()
    bench.jump = 100_000.0  # its lease would be over
    bench.run(70)
    assert bench.states("s1", "s2") == [RecipientState.DELIVERED, None]
    assert [event["submission"] for event in log("damage")] == ["s2"] * 3
    assert len(bench.agent.jobs) == 2
    # Nobody waits for it at the end.
    assert stop(bench) == [None]
    assert not bench.clock.getDelayedCalls()


def test_no_more_is_claimed_than_can_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.delivery.scheduler.UNSETTLED", 10)
    bench = Bench(in_flight=5)
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(40)))
    settle, bench.queue.settle = bench.queue.settle, lambda jobs: fail(StorageUnavailable("disk"))  # type: ignore
    bench.start().run(20)
    assert len(bench.agent.jobs) <= 10 + 5
    bench.queue.settle = settle  # type: ignore[method-assign]
    bench.run(40)
    assert len(bench.queue.settled) == 40


def test_fenced_outcomes_are_told(log: Any) -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(make_job(2))
    bench.start()
    bench.queue.leased.clear()
    bench.agent.finish()
    bench.run(1)
    assert [event["recipients"] for event in log("fenced")] == [2]
    assert bench.metrics.counts[("settlements_fenced",)] == 2


# --- long jobs, and the clock ---


def test_the_lease_of_a_long_job_is_renewed() -> None:
    bench = Bench(lease=90.0)
    bench.agent.outcome = None
    bench.queue.add(make_job())
    bench.start().run(100)
    assert len(bench.queue.renewed) == 3
    submission, lease, until = bench.queue.renewed[-1]
    assert (submission, lease) == ("s1", 1)
    assert until > bench.time() + 60


@pytest.mark.parametrize("jump", [3600.0, -3600.0])
def test_a_clock_that_is_set_is_told(log: Any, jump: float) -> None:
    bench = Bench().start()
    bench.run(31)
    assert not log("clock")
    bench.jump = jump
    bench.run(31)
    assert [round(event["seconds"]) for event in log("clock")] == [jump]


def test_a_clock_that_jumps_ahead_by_days_expires_nothing_untried() -> None:
    bench = Bench()
    bench.queue.add(make_job(recipients=[make_recipient(attempts=4)]))
    bench.jump = 5 * 86400.0
    bench.start()
    assert bench.states("s1") == [RecipientState.DELIVERED]


# --- stopping ---


def stop(bench: Bench) -> list[None]:
    stopped: list[None] = []
    bench.scheduler.stopService().addCallback(stopped.append)
    return stopped


def test_stopping_settles_what_is_under_way_and_gives_back_the_rest() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(12)))
    bench.start()
    stopped = stop(bench)
    assert sorted(bench.queue.released) == ["s10", "s11"]
    bench.run(1)
    assert not stopped
    while bench.agent.open:
        bench.agent.finish()
    bench.run(0.1)
    assert stopped == [None]
    assert len(bench.queue.settled) == 10
    assert not bench.queue.leased
    assert not bench.clock.getDelayedCalls()


def test_stopping_gives_back_what_is_being_claimed() -> None:
    bench = Bench()
    claim, answer = bench.queue.claim_due, Deferred()

    def slow(*arguments: Any) -> Deferred[Any]:
        claim(*arguments).chainDeferred(answer) if bench.clock.seconds() > 1 else bench.clock.callLater(
            1, lambda: claim(*arguments).chainDeferred(answer)
        )
        return answer

    bench.queue.claim_due = slow  # type: ignore[method-assign]
    bench.queue.add(make_job())
    bench.start()
    stopped = stop(bench)
    bench.run(0.5)
    assert not stopped
    bench.run(1)
    assert stopped == [None]
    assert bench.queue.released == ["s1"]


def test_stopping_does_not_wait_for_ever() -> None:
    bench = Bench(stop_timeout=25.0)
    bench.agent.outcome = None
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    bench.agent.finish()
    bench.queue.trouble = StorageUnavailable("disk")
    stopped = stop(bench)
    bench.run(24)
    assert not stopped
    bench.run(12)
    assert stopped == [None]


def test_stopping_writes_outcomes_that_wait_for_a_store_that_is_well_again() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(make_job())
    bench.start()
    bench.queue.trouble = StorageUnavailable("disk")
    bench.agent.finish()
    bench.run(20)
    stopped = stop(bench)
    bench.run(3)
    bench.queue.trouble = None
    bench.run(1.1)
    assert stopped == [None]
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_stopping_before_anything_happened() -> None:
    bench = Bench().start()
    assert stop(bench) == [None]
    assert not bench.clock.getDelayedCalls()


# --- the log ---


def test_each_attempt_of_each_recipient_is_one_line(log: Any) -> None:
    bench = Bench()
    bench.queue.add(make_job(recipients=[make_recipient(1, attempts=3), make_recipient(2)]))
    bench.start()
    lines = log("delivery")
    assert [line["id"] for line in lines] == ["id-1", "id-2"]
    first = lines[0]
    assert (first["outcome"], first["code"], first["enhanced"], first["relay"], first["attempt"]) == (
        "delivered",
        250,
        "2.0.0",
        "relay.example",
        3,
    )
    assert first["log_format"].format(**first)


def test_a_short_retry_does_not_wait_for_the_poll() -> None:
    bench = Bench(poll=1000.0)
    bench.scheduler._policy = RetryPolicy((1.0,))
    bench.agent.outcome = DEFERRED
    bench.queue.add(make_job())
    bench.start().run(1.5)
    assert len(bench.agent.jobs) == 2


def test_a_report_does_not_wait_for_the_poll() -> None:
    bench = Bench(poll=1000.0)
    bench.agent.outcome = FAILED
    bench.queue.add(make_job())
    bench.queue.on_report = lambda: bench.queue.add(make_job(submission="report"))
    bench.start().run(0.5)
    assert [job.submission for job in bench.agent.jobs][-1] == "report"
