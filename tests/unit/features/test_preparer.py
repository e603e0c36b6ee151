"""Mail is claimed, prepared and written down, whatever features, workers and the store do."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock

from smtpeter.delivery.retry import RetryPolicy
from smtpeter.errors import StorageUnavailable, StoreDamaged
from smtpeter.features.exchange import AnswerKind
from smtpeter.features.preparer import ATTEMPTS, CLAIM, LEASE, STOP_TIMEOUT, UNSETTLED, Preparer
from smtpeter.features.process import WorkerDied
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.web.metrics import Metrics
from tests.fakes.incoming import FakeIncoming, make_submission
from tests.fakes.jobs import NOW, make_content
from tests.fakes.workers import FakeWorkers

MADE = make_content(b"made")._replace(prepared=True)


class Bench:
    def __init__(self, places=4):
        self.timers = Clock()
        self.queue = FakeIncoming()
        self.workers = FakeWorkers(places)
        self.metrics = Metrics()
        self.reports = []
        self.report = make_submission("report")
        self.woken = 0
        self.measured = []
        self.offset = NOW
        self.preparer = Preparer(
            queue=self.queue,
            workers=self.workers,
            report=self._report,
            clock=self,
            timers=self.timers,
            metrics=self.metrics,
            policy=RetryPolicy((60.0, 300.0)),
            random=lambda: 0.5,
            more_due=self._wake,
            measured=lambda oldest, now: self.measured.append((oldest, now)),
        )

    def time(self):
        return self.offset + self.timers.seconds()

    async def _report(self, job, failed, now):
        if isinstance(self.report, Exception):
            raise self.report
        self.reports.append((job, failed))
        return self.report

    def _wake(self):
        self.woken += 1

    def start(self, *ids, **fields):
        self.queue.add(*ids, **fields)
        self.preparer.startService()
        self.go()
        return self

    def go(self, seconds=0.1):
        """Let time pass, in steps of a turn."""
        for _ in range(max(1, round(seconds / 0.1))):
            self.timers.pump([0.01] * 10)

    def answer(self, id, *arguments, **fields):
        self.workers.answer(id, *arguments, **fields)
        self.go()

    def die(self, id, feature="", reason="its worker died by signal 11 (SIGSEGV)"):
        self.workers.fail(id, WorkerDied(reason, feature))
        self.go()

    def task(self, id):
        (task,) = [task for task in self.workers.tasks if task.submission == id]
        return task

    def state(self, id):
        """The state, the event and the reason that a submission's first recipient failed with."""
        settlement = self.queue.failed[id].settlements[0]
        return settlement.state, settlement.event.kind, settlement.event.data["description"]


@pytest.fixture
def bench():
    return Bench()


# --- the good way ---


def test_a_message_is_prepared_and_delivery_is_woken(bench):
    bench.start("a", recipients=3, options=(("inlinecss", "true"),))
    task = bench.task("a")
    assert (task.submission, task.account, task.recipients, task.options) == ("a", 7, 3, {"inlinecss": "true"})
    assert (task.reverse_path, dict(task.without), task.content.data) == ("sender@example.org", {}, None)
    bench.answer("a", content=MADE, data={"features": "inlinecss"})
    written = bench.queue.prepared["a"]
    assert (written.attempt, written.content, written.data) == (1, MADE, {"features": "inlinecss"})
    assert bench.woken == 1
    assert 'smtpeter_prepared_total{result="prepared"} 1.0' in bench.metrics.render().decode()


def test_results_are_written_together(bench):
    bench.start("a", "b", "c")
    for id in "abc":
        bench.workers.answer(id)
    bench.go()
    assert bench.queue.batches == [["a", "b", "c"]]


def test_workers_are_given_only_what_they_have_room_for():
    bench = Bench(places=2).start("a", "b", "c")
    assert [task.submission for task in bench.workers.tasks] == ["a", "b"]
    bench.answer("a")
    assert [task.submission for task in bench.workers.tasks] == ["b", "c"]


def test_some_are_claimed_ahead_and_never_more(bench):
    bench.start(*(f"s{number:03}" for number in range(300)))
    for _ in range(100):
        first = bench.workers.tasks[0].submission
        bench.answer(first)
    claimed = sum(bench.queue.attempts.values())
    assert 100 < claimed <= 100 + CLAIM + 4
    assert max(bench.queue.claims) <= CLAIM


def test_what_comes_in_is_claimed_when_we_are_woken(bench):
    bench.start()
    bench.queue.add("a")
    bench.preparer.wake()
    bench.go()
    assert bench.task("a")


def test_what_nobody_told_of_is_found(bench):
    bench.start()
    bench.queue.add("a", due=NOW + 30)
    bench.go(29)
    assert not bench.workers.tasks
    bench.go(8)
    assert bench.task("a")


def test_being_woken_while_a_claim_is_under_way_is_not_forgotten(bench):
    bench.queue.slow = True
    bench.start("a")
    bench.queue.add("b")
    bench.preparer.wake()
    bench.queue.slow = False
    bench.queue.tell()
    bench.go()
    assert {task.submission for task in bench.workers.tasks} == {"a", "b"}


# --- policies ---


def test_a_feature_that_has_its_message_wait(bench):
    bench.start("a")
    bench.answer("a", AnswerKind.DEFER, reason="x failed: no licence")
    ((id, attempt, until, reason),) = bench.queue.postponed
    assert (id, attempt, reason) == ("a", 1, "x failed: no licence")
    assert until == pytest.approx(NOW + 60, abs=2)
    bench.go(50)
    assert not bench.workers.tasks
    bench.go(16)
    bench.answer("a", AnswerKind.DEFER, reason="x failed: no licence")
    assert bench.queue.postponed[1][2] == pytest.approx(bench.time() + 300, abs=2)  # the waits grow
    bench.go(310)
    bench.answer("a")
    assert bench.queue.prepared["a"].attempt == 3


def test_a_message_that_waited_until_it_expired_fails_and_its_sender_is_told(bench):
    bench.start("a", attempts=4)
    bench.offset += 86300
    bench.answer("a", AnswerKind.DEFER, reason="x failed: no licence")
    assert bench.state("a") == (RecipientState.EXPIRED, EventKind.FAILURE, "x failed: no licence")
    assert bench.queue.failed["a"].notifications == (bench.report,)


def test_a_feature_whose_failure_returns_the_message(bench):
    bench.start("a", recipients=2)
    bench.answer("a", AnswerKind.FAIL, reason="x failed: not allowed")
    assert bench.state("a") == (RecipientState.FAILED, EventKind.FAILURE, "x failed: not allowed")
    settled = bench.queue.failed["a"]
    assert [each.number for each in settled.settlements] == [1, 2]
    assert settled.settlements[0].event.data["type"] == "failed"
    ((job, failed),) = bench.reports
    assert [each.address for each in job.recipients] == ["r1@example.net", "r2@example.net"]
    assert [each.outcome.text for each in failed] == ["x failed: not allowed"] * 2
    assert settled.notifications == (bench.report,) and bench.woken == 1


def test_recipients_that_were_cancelled_meanwhile_stay_so_and_are_not_reported(bench):
    bench.queue.cancelled = {1}
    bench.start("a", recipients=2)
    bench.answer("a", AnswerKind.FAIL, reason="no")
    assert [each.number for each in bench.queue.failed["a"].settlements] == [2]
    assert [each.number for each in bench.reports[0][0].recipients] == [2]


def test_where_no_report_can_be_made_the_message_fails_all_the_same(bench):
    bench.report = RuntimeError("a bug")
    bench.start("a")
    bench.answer("a", AnswerKind.FAIL, reason="no")
    assert bench.queue.failed["a"].notifications == ()


def test_where_a_report_cannot_be_kept_now_the_message_fails_later(bench):
    bench.report = StorageUnavailable("full")
    bench.start("a")
    bench.answer("a", AnswerKind.FAIL, reason="no")
    assert not bench.queue.failed
    bench.report = None
    bench.go(3)
    assert bench.queue.failed["a"].notifications == ()


def test_what_is_damaged_is_held_and_nobody_is_told(bench):
    """It must not go as it came, if it can be read after all when it is delivered."""
    bench.start("a", recipients=2)
    bench.answer("a", AnswerKind.DAMAGED, reason="the stored message is damaged")
    assert not bench.queue.prepared and not bench.reports
    assert bench.state("a") == (RecipientState.HELD, EventKind.HELD, "the stored message is damaged")
    assert [each.number for each in bench.queue.failed["a"].settlements] == [1, 2]


# --- death ---


def test_one_death_may_be_an_accident(bench):
    bench.start("a")
    bench.die("a", "inlinecss")
    assert dict(bench.task("a").without) == {}
    bench.answer("a", content=MADE)
    assert bench.queue.prepared["a"].content == MADE and bench.queue.attempts["a"] == 1


def test_a_feature_that_kills_twice_is_left_out(bench):
    bench.start("a")
    bench.die("a", "inlinecss")
    bench.die("a", "inlinecss", "no answer for 30 s")
    assert dict(bench.task("a").without) == {"inlinecss": "no answer for 30 s"}


def test_each_feature_has_its_own_account(bench):
    bench.start("a")
    for feature in ("x", "y", "x"):
        bench.die("a", feature)
    assert set(bench.task("a").without) == {"x"}
    bench.die("a", "y")
    assert set(bench.task("a").without) == {"x", "y"}


def test_where_no_feature_was_at_work_nothing_is_done_with_the_message_any_more(bench):
    bench.start("a")
    bench.die("a")
    bench.die("a")
    assert dict(bench.task("a").without) == {"": "its worker died by signal 11 (SIGSEGV)"}


def test_workers_that_die_though_nothing_is_done_have_the_message_wait_lest_it_goes_against_its_features_policy(bench):
    bench.start("a")
    for _ in range(3):
        bench.die("a")
    assert not bench.queue.prepared
    ((_, attempt, _, reason),) = bench.queue.postponed
    assert attempt == 1 and reason == "its worker died by signal 11 (SIGSEGV)"
    bench.go(310)
    assert dict(bench.task("a").without) == {}


def test_what_dies_is_counted(bench):
    bench.start("a")
    bench.die("a", "x")
    assert 'smtpeter_prepared_total{result="died"} 1.0' in bench.metrics.render().decode()


def test_a_message_that_was_begun_again_and_again_is_given_to_no_feature_any_more(bench):
    bench.start("a", attempts=ATTEMPTS)
    assert "never came to an end" in bench.task("a").without[""]


def test_a_message_that_a_feature_has_wait_may_be_begun_as_often_as_it_takes(bench):
    bench.start("a", attempts=ATTEMPTS - 1)
    bench.answer("a", AnswerKind.DEFER, reason="x failed")
    bench.go(310)
    assert bench.queue.attempts["a"] == ATTEMPTS + 1 and dict(bench.task("a").without) == {}


def test_a_failure_that_nobody_thought_of_leaves_the_message_to_another_claim(bench):
    bench.start("a", "b")
    bench.workers.fail("a", RuntimeError("a bug"))
    bench.answer("b")
    assert set(bench.queue.prepared) == {"b"}
    bench.go(LEASE + 10)
    assert bench.task("a")


# --- the store ---


def test_where_the_store_cannot_be_read_by_the_worker_the_message_is_tried_again(bench):
    bench.start("a")
    bench.answer("a", AnswerKind.STORAGE, reason="disk")
    assert not bench.workers.tasks and not bench.queue.prepared
    bench.go(1)
    assert bench.task("a")
    bench.answer("a", AnswerKind.STORAGE, reason="disk")
    bench.go(1)
    assert not bench.workers.tasks
    bench.go(1.5)
    bench.answer("a", content=MADE)
    assert bench.queue.prepared["a"].content == MADE


def test_claims_that_fail_are_tried_again_later_and_later(bench):
    bench.queue.trouble = StorageUnavailable("locked")
    bench.start("a")
    assert len(bench.queue.claims) == 1
    bench.go(0.5)
    bench.preparer.wake()
    bench.go(0.2)
    assert len(bench.queue.claims) == 1  # being woken changes nothing
    bench.go(10)
    assert 3 <= len(bench.queue.claims) <= 5
    bench.queue.trouble = None
    bench.go(30)
    assert bench.task("a")


def test_results_that_cannot_be_written_are_kept(bench):
    bench.start("a", "b")
    bench.queue.trouble = StorageUnavailable("full")
    bench.answer("a", content=MADE)
    bench.answer("b", AnswerKind.FAIL, reason="no")
    bench.go(60)
    assert not bench.queue.prepared
    bench.queue.trouble = None
    bench.go(31)
    assert bench.queue.prepared["a"].content == MADE and "b" in bench.queue.failed


@pytest.mark.parametrize("error", [StoreDamaged("page 7"), RuntimeError("a bug")])
def test_one_damaged_row_does_not_hold_up_the_others(bench, error):
    bench.start("a", "b", "c")
    bench.queue.damaged["b"] = error
    for id in "abc":
        bench.workers.answer(id)
    bench.go()
    assert set(bench.queue.prepared) == {"a", "c"}
    assert bench.preparer._settler.unsettled == 0


def test_while_too_much_waits_to_be_written_nothing_is_claimed(bench):
    bench.workers.places = UNSETTLED + 100
    bench.start(*map(str, range(UNSETTLED + 100)))
    bench.go(1)
    bench.queue.store_prepared = lambda prepared: fail(StorageUnavailable("full"))
    for task in bench.workers.tasks:
        bench.workers.answer(task.submission)
    bench.go(0.1)
    claims = len(bench.queue.claims)
    bench.queue.add("late")
    bench.preparer.wake()
    bench.go(0.1)
    assert len(bench.queue.claims) == claims
    del bench.queue.store_prepared
    bench.go(40)
    assert bench.task("late")


def test_what_is_somebody_elses_by_now_is_not_written(bench):
    bench.start("a", "b", "c")
    for id in "abc":
        bench.queue.attempts[id] += 1
    bench.answer("a", content=MADE)
    bench.answer("b", AnswerKind.FAIL, reason="no")
    bench.answer("c", AnswerKind.DEFER, reason="no")
    assert not bench.queue.prepared and not bench.queue.failed and not bench.queue.postponed
    assert bench.woken == 0


def test_what_was_not_begun_while_the_claim_held_is_left_for_another_claim():
    bench = Bench(places=1).start("a", "b")
    bench.offset += LEASE + 1
    bench.answer("a")
    assert bench.task("b") and bench.queue.attempts["b"] == 2


# --- the age of what waits ---


def test_the_age_of_what_waits_is_looked_at_every_second(bench):
    bench.start()
    bench.queue.oldest = NOW - 700
    bench.go(2)
    assert bench.measured[0][0] is None and bench.measured[-1][0] == NOW - 700
    assert len(bench.measured) == 3


def test_an_age_that_cannot_be_told_changes_nothing(bench):
    bench.start()
    told = len(bench.measured)
    bench.queue.trouble = StorageUnavailable("locked")
    bench.go(2)
    assert len(bench.measured) == told


# --- the end ---


def test_stopping_waits_for_what_workers_have_and_for_the_store(bench):
    bench.start("a")
    ended = Deferred()
    bench.workers.stop = lambda: ended
    stopped = bench.preparer.stopService()
    bench.workers.answer("a", content=MADE)
    ended.callback(None)
    assert not stopped.called
    bench.go()
    assert stopped.called and bench.queue.prepared["a"].content == MADE


def test_stopping_does_not_wait_for_ever_for_a_store_in_trouble(bench):
    bench.start("a")
    bench.queue.trouble = StorageUnavailable("full")
    bench.answer("a")
    stopped = bench.preparer.stopService()
    bench.go(9)
    assert not stopped.called
    bench.go(2)
    assert stopped.called
    bench.go(60)
    assert not bench.timers.getDelayedCalls()


def test_stopping_does_not_wait_for_ever_for_workers(bench):
    """One that waits for a disk cannot be killed."""
    bench.start("a", "b")
    bench.workers.stop = Deferred
    bench.workers.answer("a")
    stopped = bench.preparer.stopService()
    bench.go(STOP_TIMEOUT + 1)
    assert stopped.called and set(bench.queue.prepared) == {"a"}


def test_nothing_is_begun_after_the_end(bench):
    bench.start()
    bench.preparer.stopService()
    bench.queue.add("a")
    bench.preparer.wake()
    bench.go(20)
    assert not bench.workers.tasks and bench.workers.stopped
    assert not bench.timers.getDelayedCalls()


def test_a_claim_that_comes_back_after_the_end_is_left_alone(bench):
    bench.queue.slow = True
    bench.start("a")
    bench.preparer.stopService()
    bench.queue.tell()
    bench.go(20)
    assert not bench.workers.tasks and not bench.timers.getDelayedCalls()
