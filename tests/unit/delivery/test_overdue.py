"""What must not wait for its turn: all of it, soon, and never so much at a time that others wait for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError

from smtpeter.delivery.overdue import INTERVAL, PAUSE, STEP, UNSETTLED, Overdue
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.settling import Ended
from smtpeter.delivery.throttle import Shape
from smtpeter.delivery.walltime import WallTime
from smtpeter.errors import StorageUnavailable
from smtpeter.model.delivery import Lane, Outcome, OutcomeKind, RecipientState, SettledJob
from smtpeter.model.route import Target
from tests.fakes.clock import TurnClock
from tests.fakes.delivery import DeliveryBench
from tests.fakes.jobs import NOW, FakeQueue, make_job, make_recipient

LANE, OTHER = Lane("example.net", 7), Lane("example.org", 7)
DEAD = Outcome(OutcomeKind.DEFERRED, 0, "4.4.1", "No host answers", stage="connect")


class Bench:
    """What ends is written at once, unless it is ``slow``.  ``steps`` are the times at which something was claimed."""

    def __init__(self) -> None:
        self.timers = TurnClock()
        self.jump = 0.0
        self.queue = FakeQueue()
        self.steps: list[float] = []
        self.found: list[int] = []
        self.lanes: list[Sequence[Lane]] = [[LANE]]
        self.paused = True
        self.slow = False
        self.unsettled = 0
        self.goes_on = True
        self.overdue = Overdue(
            queue=self,  # type: ignore[arg-type]
            agent=self,  # type: ignore[arg-type]
            settler=self,  # type: ignore[arg-type]
            time=WallTime(self, self.timers, lambda seconds: None),  # type: ignore[arg-type]
            timers=self.timers,
            policy=RetryPolicy((60.0,)),
            lease=900.0,
            goes_on=lambda: self.goes_on,
        )

    def time(self) -> float:
        return NOW + self.jump + self.timers.seconds()

    def waiting(self) -> Iterator[tuple[Sequence[Lane], Outcome, bool]]:
        for lanes in self.lanes:
            yield lanes, DEAD, self.paused

    def claim_overdue(self, lanes: Sequence[Lane], limit: int, *times: float) -> Deferred[Any]:
        self.steps.append(self.timers.seconds())
        return self.queue.claim_overdue(lanes, limit, *times).addCallback(self._count)  # type: ignore[no-any-return]

    def _count(self, jobs: Any) -> Any:
        self.found.append(sum(len(job.recipients) for job in jobs))
        return jobs

    def add(self, ended: Ended) -> None:
        if self.slow:
            self.unsettled += 1
            return
        settlements = tuple(conclusion.settlement for conclusion in ended.conclusions)
        self.queue.settle([SettledJob(ended.job.submission, ended.job.lease, settlements)])

    def look(self, seconds: float = 30.0) -> Bench:
        looking = Deferred.fromCoroutine(self.overdue.look())
        self.run(seconds)
        if looking.called:
            looking.addErrback(lambda failure: failure.trap(StorageUnavailable))
        return self

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PAUSE)):
            self.timers.advance(PAUSE)

    def add_expired(self, count: int, name: str = "s", lane: Lane = LANE) -> list[str]:
        names = [f"{name}{number}" for number in range(count)]
        recipient = make_recipient(address=f"r@{lane.domain}")
        self.queue.add(*(make_job(submission=each, recipients=[recipient], expires=NOW) for each in names))
        return names

    def expired(self) -> int:
        return sum(job.settlements[0].state is RecipientState.EXPIRED for job in self.queue.settled)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_all_of_it_ends_in_steps_with_pauses_between_them(bench: Bench) -> None:
    bench.add_expired(4 * STEP + 1)
    bench.look()
    assert bench.found == [STEP, STEP, STEP, STEP, 1]
    assert all(later - earlier >= PAUSE - 1e-9 for earlier, later in zip(bench.steps, bench.steps[1:], strict=False))
    assert bench.steps[-1] < 4 * 2 * PAUSE
    assert bench.expired() == 4 * STEP + 1


def test_a_step_that_takes_long_is_followed_by_as_long_a_pause(bench: Bench) -> None:
    bench.add_expired(2 * STEP)
    answer: Deferred[None] = Deferred()
    claim = bench.queue.claim_overdue
    bench.queue.claim_overdue = lambda *arguments: answer.addCallback(lambda _: claim(*arguments))  # type: ignore
    bench.look(5.0)
    bench.queue.claim_overdue = claim  # type: ignore[method-assign]
    answer.callback(None)
    bench.run(4.8)
    assert bench.found == [STEP]
    bench.run(1.0)
    assert bench.found == [STEP, STEP, 0]


def test_many_lanes_are_looked_through_one_part_after_another(bench: Bench) -> None:
    bench.lanes = [[LANE], [OTHER]]
    bench.add_expired(STEP + 1)
    bench.add_expired(2, "other", OTHER)
    bench.look()
    assert bench.found == [STEP, 1, 2]


def test_it_is_not_looked_again_before_it_is_time(bench: Bench) -> None:
    bench.look()
    bench.look()
    assert len(bench.steps) == 1
    bench.run(INTERVAL)
    bench.look()
    assert len(bench.steps) == 2


def test_what_only_the_clock_says_to_be_over_is_not_looked_at_again_and_again(bench: Bench) -> None:
    """The clock was set ahead: what is claimed is put back as it was, and is as overdue as before."""
    bench.look()
    bench.queue.add(*(make_job(submission=f"s{number}", expires=NOW + 86400) for number in range(2 * STEP)))
    bench.run(INTERVAL)
    bench.jump = 5 * 86400.0
    bench.look()
    assert bench.found == [0, STEP]
    assert bench.expired() == 0


def test_what_is_only_to_have_its_last_attempt_is_not_either(bench: Bench) -> None:
    bench.paused = False
    times = {"time": NOW - 2 * 86400, "expires": NOW - 86400}
    bench.queue.add(*(make_job(submission=f"s{number}", **times) for number in range(2 * STEP)))
    bench.look()
    assert bench.found == [STEP]


def test_what_is_only_to_have_its_last_attempt_keeps_its_place(bench: Bench) -> None:
    bench.paused = False
    times = {"time": NOW - 2 * 86400, "expires": NOW - 86400}
    for number in range(3):
        bench.queue.add(make_job(submission=f"s{number}", **times), due=NOW - 100 + number)
    bench.queue.add(make_job(submission="later"), due=NOW - 50)
    bench.look()
    assert bench.found == [3]
    assert [job.submission for _, job in sorted(bench.queue.waiting)] == ["s0", "s1", "s2", "later"]


def test_whoever_is_told_of_a_delay_keeps_his_place(bench: Bench) -> None:
    late = {"recipients": [make_recipient(notify="DELAY")], "time": NOW - 5 * 3600}
    bench.queue.add(make_job(submission="late", **late), due=NOW - 100)
    bench.queue.add(make_job(submission="later"), due=NOW - 50)
    bench.look()
    assert [job.submission for _, job in sorted(bench.queue.waiting)] == ["late", "later"]


def test_delays_are_told_of_all_that_is_late(bench: Bench) -> None:
    late = {"recipients": [make_recipient(notify="DELAY")], "time": NOW - 5 * 3600}
    bench.queue.add(*(make_job(submission=f"s{number}", **late) for number in range(2 * STEP + 5)))
    bench.look()
    assert bench.found == [STEP, STEP, 5]
    assert all(job.recipients[0].delay_told for _, job in bench.queue.waiting)


def test_nothing_more_is_ended_while_much_waits_to_be_written(bench: Bench) -> None:
    bench.slow = True
    bench.add_expired(10 * STEP)
    bench.look()
    assert bench.unsettled == UNSETTLED + STEP
    bench.unsettled = 0
    bench.run(1.0)
    assert bench.unsettled == UNSETTLED + STEP


def test_it_ends_when_it_is_not_wanted_any_more(bench: Bench) -> None:
    bench.add_expired(10 * STEP)
    bench.look(PAUSE / 2)
    bench.goes_on = False
    bench.run(30.0)
    assert bench.found == [STEP]
    bench.goes_on = True
    bench.run(INTERVAL)
    bench.look()
    assert bench.expired() == 10 * STEP


def test_trouble_of_the_store_is_raised_and_it_is_looked_again(bench: Bench) -> None:
    bench.add_expired(3)
    bench.queue.trouble = StorageUnavailable("disk")
    bench.look()
    bench.queue.trouble = None
    bench.run(INTERVAL)
    bench.look()
    assert bench.expired() == 3


def test_what_was_parked_before_a_restart_ends_in_its_time() -> None:
    """Nobody would be told of the lane before its parking is over."""

    def dead(target: Target) -> None:
        raise ConnectionRefusedError

    shape = Shape("site", connections=2, start=2, first_pause=6 * 3600.0, longest_pause=6 * 3600.0)
    bench = DeliveryBench(dead, {"relay": False}, shape=shape)  # type: ignore[arg-type]
    bench.queue.add(make_job(submission="s1", recipients=[make_recipient(1, "a@example.net")]))
    bench.queue.add(make_job(submission="parked", account=8, expires=NOW + 600))
    bench.queue.park([Lane("example.net", 8)], "site", NOW + 6 * 3600)
    bench.queue.recover()
    bench.run(590)
    assert bench.states("s1", "parked") == [RecipientState.DUE, None]
    bench.run(10 + INTERVAL + 30)
    assert bench.states("parked") == [RecipientState.EXPIRED]
