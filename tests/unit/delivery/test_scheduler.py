"""The scheduler over a queue in memory and a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from zope.interface import implementer

from smtpeter.delivery.plan import Parked, Plan, divide
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.scheduler import AT_ONCE, GAP, Scheduler
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import Job, Lane, Outcome, OutcomeKind, RecipientState
from smtpeter.model.event import EventKind
from tests.fakes.clock import TurnClock
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
        self.parks = 0.0
        self.over: list[Lane] = []
        self.cannot: list[tuple[Sequence[Lane], Outcome, bool]] = []
        self.tell: Callable[[], None] = lambda: None
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
        self.tell()

    def plan(self, lanes: Sequence[Lane], limit: int, crowded: bool = False) -> Plan:
        room = 0 if self.stopping else max(0, self.places - len(self.open))
        parked = [Parked("", lanes, self.parks)] if self.parks and lanes else []
        return Plan(divide(lanes, min(room, limit)), parked)

    def exhausted(self, lanes: Collection[Lane]) -> None:
        self.over += lanes

    def waiting(self) -> Sequence[tuple[Sequence[Lane], Outcome, bool]]:
        return self.cannot

    def parts(self, job: Job) -> Sequence[Job]:
        return (job,)

    def on_room(self, call: Callable[[], None]) -> None:
        self.tell = call

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
        self.clock = TurnClock()
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
    assert bench.queue.claims == [10]
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
    bench.queue.due_lanes = lambda now, limit: answer  # type: ignore[method-assign]
    bench.scheduler.wake({"example.net"})
    bench.run(0.1)
    del bench.queue.due_lanes  # type: ignore[method-assign]
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
    bench = Bench()
    bench.agent.outcome = None
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(100)))
    bench.start()
    assert len(bench.agent.open) == bench.agent.most == 10
    assert bench.queue.claims == [10]
    while bench.agent.open:
        for _ in range(len(bench.agent.open)):
            bench.agent.finish()
        bench.run(0.05)
    assert bench.agent.most == 10
    assert len(bench.queue.settled) == 100
    assert len(bench.queue.claims) == 10


def test_no_more_is_under_way_than_may_be_however_many_places_there_are() -> None:
    bench = Bench(in_flight=40)
    bench.agent.outcome, bench.agent.places = None, 1000
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(100)))
    bench.start()
    assert bench.queue.claims == [40]
    while bench.agent.open:
        bench.agent.finish()
        bench.run(0.05)
    assert bench.agent.most == 40
    assert len(bench.queue.settled) == 100
    assert len(bench.queue.claims) < 20


def begin(bench: Bench) -> None:
    """Start it, and see it claim and start what it does in one turn."""
    bench.scheduler.startService()
    bench.clock.advance(GAP)


def test_what_was_claimed_is_handed_over_in_turns() -> None:
    bench = Bench()
    bench.agent.outcome, bench.agent.places = None, 1000
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(2 * AT_ONCE + 1)))
    begin(bench)
    assert len(bench.agent.jobs) == AT_ONCE
    for _ in range(AT_ONCE):  # what ends meanwhile makes the turns no longer
        bench.agent.finish()
    assert len(bench.agent.jobs) == AT_ONCE
    bench.clock.advance(0)
    assert len(bench.agent.jobs) == 2 * AT_ONCE
    bench.clock.advance(0)
    assert len(bench.agent.jobs) == 2 * AT_ONCE + 1


def test_nothing_is_claimed_while_the_agent_does_not_know_of_all_that_was() -> None:
    """It would take its room for free."""
    bench = Bench()
    bench.agent.outcome, bench.agent.places = None, 2 * AT_ONCE
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(10 * AT_ONCE)))
    begin(bench)
    bench.scheduler.wake(())
    bench.clock.advance(0)
    bench.run(0.1)
    assert bench.queue.claims == [2 * AT_ONCE]
    assert bench.agent.most == 2 * AT_ONCE


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
    bench.agent.tell()
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_an_agent_that_does_not_tell_of_its_room_is_asked_all_the_same() -> None:
    bench = Bench(poll=5.0)
    bench.agent.places = 0
    bench.queue.add(make_job())
    bench.start()
    bench.agent.places = 1
    bench.run(5.1)
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
    assert len(bench.queue.settled) == 10
    # All others are as they were, until there is room.
    assert sum(bench.queue.claims) == 10
    assert [job.recipients[0].attempts for _, job in bench.queue.waiting].count(0) == 40
    bench.agent.places, bench.agent.outcome = 10, DELIVERED
    bench.agent.tell()
    bench.run(1.0)
    assert bench.states(*(f"s{number}" for number in range(10, 50))) == [RecipientState.DELIVERED] * 40


# --- what is left alone, and what ends there ---

LANE, OTHER = Lane("example.net", 7), Lane("example.org", 7)
DEAD = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "No connection to mx.example: refused")


def elsewhere(**changes: Any) -> Job:
    return make_job(recipients=(make_recipient(address="r@example.org"),), **changes)


def test_lanes_that_are_to_be_left_alone_are_not_told_before_their_time() -> None:
    bench = Bench(poll=5.0)
    bench.agent.places, bench.agent.parks = 0, 20.0
    bench.queue.add(make_job())
    bench.start()
    assert bench.queue.parked == {LANE: ("", pytest.approx(NOW + 20.0, abs=0.1))}
    bench.agent.places, bench.agent.parks = 10, 0.0
    bench.run(19.0)
    assert not bench.queue.claims
    bench.run(6.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_the_agent_is_told_of_lanes_of_which_there_was_less_than_it_could_take() -> None:
    bench = Bench()
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(3)), elsewhere(submission="s4"))
    bench.start()
    assert bench.queue.claims == [10]
    assert bench.agent.over == [LANE, OTHER]


def test_an_agent_that_has_room_again_is_asked_at_once() -> None:
    bench = Bench(poll=1000.0)
    bench.agent.places = 0
    bench.queue.add(make_job())
    bench.start()
    bench.agent.places = 1
    bench.agent.tell()
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]


def with_parked(bench: Bench, *parked: Parked) -> None:
    """The agent wants this once."""
    plan, once = bench.agent.plan, list(parked)

    def planned(*arguments: Any) -> Plan:
        wanted, once[:] = tuple(once), []
        return plan(*arguments)._replace(parked=wanted)

    bench.agent.plan = planned  # type: ignore[method-assign]


def test_what_is_not_to_be_left_alone_any_more_is_told_at_once() -> None:
    bench = Bench(poll=1000.0)
    bench.queue.add(make_job())
    bench.queue.park([LANE], "site", NOW + 3600.0)
    with_parked(bench, Parked("site", [LANE], 0.0))
    bench.start()
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_what_cannot_be_written_of_it_now_is_written_later(log: Any) -> None:
    bench = Bench(poll=5.0)
    bench.queue.add(make_job())
    bench.queue.park([LANE], "site", NOW + 3600.0)
    park, bench.queue.park = bench.queue.park, lambda *arguments: fail(StorageUnavailable("disk"))  # type: ignore
    with_parked(bench, Parked("site", [LANE], 0.0))
    bench.start().run(2.0)
    assert bench.states("s1") == [None]
    bench.queue.park = park  # type: ignore[method-assign]
    bench.run(5.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]
    assert len(log("storage")) >= 1


def test_trouble_with_what_is_to_be_left_alone_holds_up_no_mail() -> None:
    bench = Bench()
    bench.agent.parks = 20.0
    bench.queue.park = lambda *arguments: fail(StorageUnavailable("disk"))  # type: ignore[method-assign]
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(30)))
    bench.start()
    assert bench.states(*(f"s{number}" for number in range(30))) == [RecipientState.DELIVERED] * 30


def test_lanes_behind_those_that_are_told_first_do_not_wait_for_the_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.delivery.scheduler.LANES", 2)
    bench = Bench(poll=1000.0)
    dead = [
        make_job(submission=f"dead{n}", recipients=[make_recipient(address=f"r@dead{n}.example")]) for n in range(9)
    ]
    bench.queue.add(*dead, due=NOW - 60)
    bench.queue.add(make_job())

    def plan(lanes: Sequence[Lane], limit: int, crowded: bool = False) -> Plan:
        well = [lane for lane in lanes if lane == LANE]
        return Plan(divide(well, limit), [Parked("dead", [lane for lane in lanes if lane != LANE], 3600.0)])

    bench.agent.plan = plan  # type: ignore[method-assign]
    bench.start()
    assert bench.states("s1") == [RecipientState.DELIVERED]


def test_crowded_lanes_that_cannot_be_put_out_of_the_way_are_not_asked_for_in_a_circle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("smtpeter.delivery.scheduler.LANES", 1)
    bench = Bench()
    bench.agent.places, bench.agent.parks = 0, 20.0
    bench.queue.park = lambda *arguments: fail(StorageUnavailable("disk"))  # type: ignore[method-assign]
    bench.queue.add(make_job(), elsewhere(submission="s2"))
    asked = count_looks(bench)
    bench.start().run(10.0)
    assert len(asked) < 20


def test_an_agent_that_always_wants_more_told_gives_a_store_in_trouble_its_time() -> None:
    bench = Bench()
    plan = bench.agent.plan
    bench.agent.plan = lambda *a: plan(*a)._replace(parked=[Parked("", [OTHER], 0.0)])  # type: ignore[method-assign]
    bench.queue.claim_due = lambda *arguments: fail(StorageUnavailable("disk"))  # type: ignore[method-assign]
    bench.queue.add(make_job())
    asked = count_looks(bench)
    bench.start().run(10.0)
    assert len(asked) < 20


def count_looks(bench: Bench) -> list[float]:
    looks: list[float] = []
    due_lanes = bench.queue.due_lanes

    def counted(*arguments: Any) -> Any:
        looks.append(bench.clock.seconds())
        return due_lanes(*arguments)

    bench.queue.due_lanes = counted  # type: ignore[method-assign]
    return looks


def test_a_lane_that_is_due_and_gives_nothing_is_not_asked_for_in_a_circle() -> None:
    """Its rows are damaged, say.  Neither is the agent told that nothing is there, which would begin it all again."""
    bench = Bench(poll=5.0)
    bench.queue.add(make_job())
    bench.queue.claim_due = lambda *arguments: succeed([])  # type: ignore[method-assign]
    asked = count_looks(bench)
    bench.start().run(20.0)
    assert len(asked) <= 6
    assert not bench.agent.over


def test_a_job_that_the_agent_cannot_divide_is_attempted_as_a_whole() -> None:
    bench = Bench()

    def parts(job: Job) -> Any:
        raise ValueError("a bug")

    bench.agent.parts = parts  # type: ignore[method-assign]
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(30)))
    bench.start()
    assert bench.states(*(f"s{number}" for number in range(30))) == [RecipientState.DELIVERED] * 30
    assert bench.scheduler._claimed == 0


def test_parts_of_a_job_end_on_their_own() -> None:
    bench = Bench()
    bench.agent.outcome = None
    bench.agent.parts = lambda job: [job._replace(recipients=(each,)) for each in job.recipients]  # type: ignore
    bench.queue.add(make_job(2))
    bench.start()
    bench.agent.finish()
    bench.run(0.1)
    assert [bench.queue.outcome("s1", number) is None for number in (1, 2)] == [False, True]
    bench.agent.finish(DEFERRED)
    bench.run(0.1)
    assert bench.states("s1") == [RecipientState.DELIVERED]
    second = bench.queue.outcome("s1", 2)
    assert second is not None and second.state is RecipientState.DUE


def test_what_waits_for_a_dead_site_ends_in_its_time_with_the_reason() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.agent.cannot = [([LANE], DEAD, True)]
    bench.queue.add(make_job(expires=NOW + 30), make_job(submission="s2", expires=NOW + 90000))
    bench.start().run(100.0)
    assert not bench.agent.jobs
    assert bench.states("s1", "s2") == [RecipientState.EXPIRED, None]
    assert bench.notifier.reports == [("s1", [1])]
    settlement = bench.queue.outcome("s1")
    assert settlement is not None and settlement.event is not None
    assert "refused" in settlement.event.data["description"]
    assert settlement.attempts == 0


def test_however_much_waits_for_a_dead_site_all_of_it_ends_soon() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.agent.cannot = [([LANE], DEAD, True)]
    names = [f"s{number}" for number in range(1234)]
    bench.queue.add(*(make_job(submission=name, expires=NOW + 20) for name in names))
    bench.start().run(90.0)
    assert bench.states(*names) == [RecipientState.EXPIRED] * 1234


def test_the_sender_of_what_waits_for_a_dead_site_is_told_of_the_delay_once() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.agent.cannot = [([LANE], DEAD, True)]
    bench.queue.add(make_job(recipients=[make_recipient(notify="DELAY")], time=NOW - 5 * 3600.0, expires=NOW + 90000))
    bench.start().run(200.0)
    assert bench.notifier.reports == [("s1", [1])]
    ((_, job),) = bench.queue.waiting
    assert (job.recipients[0].delay_told, job.recipients[0].attempts) == (True, 0)


def test_what_waits_in_vain_is_looked_for_again_after_trouble_and_never_twice_at_a_time() -> None:
    bench = Bench()
    bench.agent.places = 0
    bench.agent.cannot = [([LANE], DEAD, True)]
    claim, asked = bench.queue.claim_overdue, []

    def slow(*arguments: Any) -> Deferred[Any]:
        asked.append(Deferred())
        return asked[-1]

    bench.queue.claim_overdue = slow  # type: ignore[method-assign]
    bench.queue.add(make_job(expires=NOW + 1))
    bench.start().run(200.0)
    assert len(asked) == 1
    bench.queue.claim_overdue = claim  # type: ignore[method-assign]
    asked[0].errback(StorageUnavailable("disk"))
    bench.run(80.0)
    assert bench.states("s1") == [RecipientState.EXPIRED]


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
    bench.agent.outcome, bench.agent.places = None, 1000
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(AT_ONCE + 5)))
    begin(bench)
    bench.queue.is_paused = True
    bench.scheduler.generation_changed()
    bench.run(0.1)
    assert len(bench.queue.released) == 5
    while bench.agent.open:
        bench.agent.finish()
    bench.run(1)
    assert len(bench.agent.jobs) == len(bench.queue.settled) == AT_ONCE


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
    bench.agent.outcome, bench.agent.places = None, 1000
    others = [make_job(submission=f"s{number}") for number in range(AT_ONCE)]
    bench.queue.add(*others, make_job(submission="last"))
    begin(bench)
    bench.queue.is_paused = True
    bench.scheduler.generation_changed()
    assert bench.queue.released == ["last"]

    bench = Bench()
    bench.agent.outcome, bench.agent.places = None, 1000
    bench.queue.add(*others, make_job(submission="last", recipients=[make_recipient(attempts=2)]))
    begin(bench)
    bench.queue.is_paused = True
    paused = bench.queue.paused
    bench.queue.paused = lambda: succeed(True)  # type: ignore[method-assign]
    bench.queue.trouble = StorageUnavailable("disk")
    bench.scheduler.generation_changed()
    bench.queue.paused = paused  # type: ignore[method-assign]
    bench.queue.trouble = None
    bench.run(5)
    assert [job.submission for _, job in bench.queue.waiting] == ["last"]
    assert bench.queue.waiting[0][1].recipients[0].attempts == 2


def test_a_lease_that_nobody_has_ends() -> None:
    bench = Bench(lease=900.0)
    bench.agent.outcome = None
    bench.agent.places = 2
    bench.queue.add(make_job(), make_job(submission="s2"))
    bench.start()
    bench.agent.places = 3
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
    bench.agent.outcome, bench.agent.places = None, 1000
    bench.queue.add(*(make_job(submission=f"s{number}") for number in range(AT_ONCE + 2)))
    begin(bench)
    stopped = stop(bench)
    assert sorted(bench.queue.released) == [f"s{AT_ONCE}", f"s{AT_ONCE + 1}"]
    bench.run(1)
    assert not stopped
    while bench.agent.open:
        bench.agent.finish()
    bench.run(0.1)
    assert stopped == [None]
    assert len(bench.queue.settled) == AT_ONCE
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
