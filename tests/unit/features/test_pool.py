"""The pool of workers: fed, replaced, and patient where no worker starts.  The processes are played by the test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

import smtpeter
from smtpeter.features.exchange import READY
from smtpeter.features.frames import frame
from smtpeter.features.pool import AHEAD, DEADLINE, STOP_TIMEOUT, WorkerPool
from smtpeter.features.process import COMMAND, START_DEADLINE, WorkerDied, environment_of_worker
from smtpeter.web.metrics import Metrics
from tests.fakes.workers import FakeProcesses, make_task

SECRET = b'{"keys": "secret"}'


class Bench:
    def __init__(self, workers=2, deadline=30.0):
        self.clock = Clock()
        self.processes = FakeProcesses()
        self.metrics = Metrics()
        self.pool = WorkerPool(
            processes=self.processes,
            timers=self.clock,
            metrics=self.metrics,
            command=["python", "-m", "worker"],
            environment={"PATH": "/bin"},
            setup=SECRET,
            workers=workers,
            deadline=deadline,
        )
        self.answers = {}
        self.deaths = {}

    def give(self, *names):
        for name in names:
            answered = self.pool.carry_out(make_task(name))
            answered.addCallbacks(
                lambda answer, name=name: self.answers.__setitem__(name, answer),
                lambda failure, name=name: self.deaths.__setitem__(name, failure.value),
            )

    def worker(self, number=0):
        return self.processes.all[number]

    def at(self, number=0):
        """The submissions that a worker was given."""
        return [task.submission for task in self.worker(number).tasks]

    def answer(self, name, number=0, **fields):
        (task,) = [task for task in self.worker(number).tasks if task.submission == name][-1:]
        self.worker(number).answer(task.number, **fields)

    def counted(self, text):
        return text in self.metrics.render().decode()


@pytest.fixture
def bench():
    return Bench()


# --- starting and feeding ---


def test_no_process_is_started_before_there_is_something_to_do(bench):
    assert bench.processes.all == [] and bench.pool.room() == 2 * AHEAD


def test_a_worker_is_told_its_set_up_and_then_its_tasks(bench):
    bench.give("a")
    (worker,) = bench.processes.all
    assert worker.told == [SECRET]
    worker.ready()
    assert bench.at() == ["a"]
    bench.answer("a", data={"features": "x"})
    assert bench.answers["a"].data == {"features": "x"}


def test_no_secret_is_on_the_command_line_or_in_the_environment(bench):
    bench.give("a")
    worker = bench.worker()
    assert SECRET.decode() not in repr((worker.arguments, worker.environment))


def test_a_second_worker_is_started_only_for_a_second_task(bench):
    bench.give("a")
    assert len(bench.processes.all) == 1
    bench.give("b")
    assert len(bench.processes.all) == 2
    bench.give("c", "d", "e")
    assert len(bench.processes.all) == 2


def test_each_worker_has_at_most_two_tasks_and_the_next_when_it_has_answered(bench):
    bench.give("a", "b", "c", "d", "e")
    bench.worker(0).ready()
    assert bench.at(0) == ["a", "b"]
    bench.worker(1).ready()
    assert bench.at(1) == ["c", "d"]
    assert bench.pool.room() == 0
    bench.answer("a", 0)
    assert bench.at(0) == ["a", "b", "e"]


def test_tasks_are_spread_over_workers_that_have_none(bench):
    bench.give("a", "b")
    bench.worker(0).ready()
    bench.worker(1).ready()
    bench.answer("a", 0)
    bench.answer("b", 0)
    bench.give("c", "d")
    assert (bench.at(0), bench.at(1)) == (["a", "b", "c"], ["d"])


# --- dying ---


def test_the_task_at_hand_fails_with_how_the_worker_died_and_the_feature_that_was_at_work(bench):
    bench.give("a")
    bench.worker().ready().progress.tell(1, "inlinecss")
    bench.worker().end(signal=11)
    assert isinstance(bench.deaths["a"], WorkerDied)
    assert bench.deaths["a"].reason == "its worker died by signal 11 (SIGSEGV)"
    assert bench.deaths["a"].feature == "inlinecss"
    assert bench.counted('smtpeter_workers_ended_total{why="died"} 1.0')


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"status": 3}, "its worker ended with status 3"),
        ({"status": 0}, "its worker ended with status 0"),
        ({"signal": 9}, "its worker died by signal 9 (SIGKILL)"),
        ({"signal": 26}, "it took more CPU than a message may, and could only be killed (SIGVTALRM)"),
        ({"signal": 250}, "its worker died by signal 250 (unknown)"),
    ],
)
def test_every_end_is_told(bench, end, reason):
    bench.give("a")
    bench.worker().ready().end(**end)
    assert (bench.deaths["a"].reason, bench.deaths["a"].feature) == (reason, "")


def test_only_the_task_under_way_is_counted_the_other_is_given_to_another_worker():
    bench = Bench(workers=1)
    bench.give("a", "b", "c")
    bench.worker().ready()
    assert bench.at(0) == ["a", "b"]
    bench.worker().end(signal=9)
    assert set(bench.deaths) == {"a"}
    bench.worker(1).ready()
    assert bench.at(1) == ["b", "c"]  # in the order in which they came
    bench.answer("b", 1)
    bench.answer("c", 1)
    assert set(bench.answers) == {"b", "c"}


def test_an_answer_that_was_written_before_the_end_counts():
    bench = Bench(workers=1)
    bench.give("a", "b")
    bench.worker().ready()
    bench.answer("a")
    bench.worker().end(signal=9)
    assert set(bench.answers) == {"a"} and set(bench.deaths) == {"b"}


def test_an_idle_worker_that_dies_is_replaced_when_one_is_needed(bench):
    bench.give("a")
    bench.worker().ready()
    bench.answer("a")
    bench.worker().end(signal=9)
    assert len(bench.processes.all) == 1
    bench.give("b")
    bench.worker(1).ready()
    bench.answer("b", 1)
    assert set(bench.answers) == {"a", "b"} and not bench.deaths


# --- hanging ---


def test_a_worker_that_does_not_answer_is_killed(bench):
    bench.give("a")
    bench.worker().ready().progress.tell(1, "sleepy")
    bench.clock.advance(29)
    assert bench.worker().signals == []
    bench.clock.advance(2)
    assert bench.worker().signals == ["KILL"]
    bench.worker().end(signal=9)
    assert (bench.deaths["a"].reason, bench.deaths["a"].feature) == ("no answer for 30 s", "sleepy")


def test_the_deadline_begins_anew_with_each_answer(bench):
    bench.give("a", "b", "c")
    bench.worker(0).ready()
    assert bench.at(0) == ["a", "b"]
    bench.clock.advance(20)
    bench.answer("a")
    bench.clock.advance(20)
    assert bench.worker().signals == []
    bench.clock.advance(11)
    assert bench.worker().signals == ["KILL"]


def test_who_has_nothing_to_do_has_no_deadline(bench):
    bench.give("a")
    bench.worker().ready()
    bench.answer("a")
    bench.clock.advance(3600)
    assert bench.worker().signals == []
    assert not bench.clock.getDelayedCalls()


def test_a_worker_that_never_gets_ready_is_killed_and_nothing_is_counted_against_a_task(bench):
    bench.give("a")
    bench.clock.advance(START_DEADLINE + 1)
    assert bench.worker().signals == ["KILL"]
    bench.worker().end(signal=9)
    assert bench.deaths == {}
    bench.clock.advance(1)
    bench.worker(1).ready()
    assert bench.at(1) == ["a"]


# --- what makes no sense ---


@pytest.mark.parametrize(
    "octets",
    [b"\xff\xff\xff\xff", frame(b"nonsense"), frame(READY), b"\x7f"],
    ids=["too long", "no answer", "ready again", "the beginning of one that is too long"],
)
def test_a_worker_that_says_nonsense_is_killed(bench, octets):
    bench.give("a")
    bench.worker().ready()
    bench.worker().protocol.outReceived(octets)
    bench.worker().protocol.outReceived(b"\xff\xff\xff")
    assert bench.worker().signals == ["KILL"]
    bench.answer("a")  # is not heard any more
    bench.worker().end(signal=9)
    assert "cannot be understood" in bench.deaths["a"].reason and not bench.answers


def test_an_answer_to_what_was_not_asked_ends_the_worker(bench):
    bench.give("a")
    bench.worker().ready().answer(77)
    assert bench.worker().signals == ["KILL"]


def test_a_worker_that_is_not_ready_first_is_killed(bench):
    bench.give("a")
    bench.worker().answer(1)
    assert bench.worker().signals == ["KILL"] and not bench.answers


# --- worn out ---


def test_a_worker_that_is_worn_gets_no_more_and_what_it_had_goes_elsewhere():
    bench = Bench(workers=1)
    bench.give("a", "b")
    bench.worker().ready()
    bench.answer("a", worn="it has grown")
    assert set(bench.answers) == {"a"}
    bench.worker(1).ready()
    bench.worker(0).end()
    assert bench.at(1) == ["b"]
    bench.answer("b", 1)
    assert not bench.deaths
    assert bench.counted('smtpeter_workers_ended_total{why="worn"} 1.0')


def test_a_worker_that_is_worn_and_does_not_end_is_killed():
    bench = Bench(workers=1)
    bench.give("a")
    process = bench.worker().ready()
    bench.answer("a", worn="it has grown")
    bench.clock.advance(DEADLINE)
    assert process.signals == ["KILL"]


# --- where no worker starts ---


def test_workers_that_die_at_the_start_are_tried_again_later_and_later():
    bench = Bench(workers=1)
    bench.give("a")
    waits = []
    for number in range(9):
        bench.worker(number).end(status=1)
        begun = bench.clock.seconds()
        while len(bench.processes.all) == number + 1:
            bench.clock.advance(0.5)
        waits.append(bench.clock.seconds() - begun)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert bench.deaths == {} and bench.counted('smtpeter_workers_ended_total{why="start"} 9.0')
    bench.worker(9).ready()
    assert bench.at(9) == ["a"]


def test_after_a_start_that_went_well_there_is_no_long_wait():
    bench = Bench(workers=1)
    bench.give("a")
    for number in range(5):
        bench.worker(number).end(status=1)
        bench.clock.advance(60)
    bench.worker(5).ready().end(signal=9)
    bench.give("b")
    bench.worker(6).end(status=1)
    bench.clock.advance(1)
    assert len(bench.processes.all) == 8


def test_where_the_system_has_no_process_for_us_tasks_wait(bench):
    bench.processes.trouble = OSError(11, "Resource temporarily unavailable")
    bench.give("a")
    bench.clock.advance(1)
    bench.processes.trouble = None
    bench.clock.advance(2)
    bench.worker().ready()
    assert bench.at() == ["a"] and not bench.deaths


def test_why_no_worker_starts_is_told_with_its_last_words(bench):
    bench.give("a")
    bench.worker().protocol.errReceived(b"Traceback ...\nplugins/x.py: cannot be imp")
    bench.worker().protocol.errReceived(b"orted\n")
    reasons = []
    bench.pool._start_failed = reasons.append
    bench.worker().end(status=1)
    assert reasons == ["its worker ended with status 1: plugins/x.py: cannot be imported"]


# --- pipes that stay open ---


def test_a_child_that_keeps_the_pipes_does_not_keep_us(bench):
    from twisted.internet.error import ProcessTerminated
    from twisted.python.failure import Failure

    bench.give("a")
    bench.worker().ready().protocol.processExited(Failure(ProcessTerminated(None, 9, 9)))
    bench.clock.advance(1)
    assert bench.worker().lost


# --- stopping ---


def test_stopping_without_workers_is_done_at_once(bench):
    assert bench.pool.stop().called
    assert bench.pool.room() == 0


def test_workers_finish_what_they_have_when_we_stop(bench):
    bench.give("a", "b", "c")
    bench.worker(0).ready()
    bench.worker(1).ready()
    stopped = bench.pool.stop()
    assert bench.worker(0).closed and bench.worker(1).closed
    bench.answer("a", 0)
    bench.answer("b", 0)
    bench.answer("c", 1)
    assert set(bench.answers) == {"a", "b", "c"}
    bench.worker(0).end()
    assert not stopped.called
    bench.worker(1).end()
    assert stopped.called
    bench.clock.advance(60)
    assert len(bench.processes.all) == 2 and not bench.clock.getDelayedCalls()


def test_who_does_not_end_is_killed(bench):
    bench.give("a")
    bench.worker().ready()
    stopped = bench.pool.stop()
    bench.clock.advance(STOP_TIMEOUT + 1)
    assert bench.worker().signals == ["KILL"]
    bench.worker().end(signal=9)
    assert stopped.called and not bench.deaths and not bench.answers


def test_stopping_while_no_worker_starts_ends_the_waiting(bench):
    bench.give("a")
    bench.worker().end(status=1)
    assert bench.pool.stop().called
    bench.clock.advance(100)
    assert len(bench.processes.all) == 1


# --- what workers say ---


def logged(bench, data):
    lines = []
    for piece in data:
        lines += bench.worker().protocol._lines.feed(piece)
    return lines


def test_what_a_worker_writes_is_cut_to_lines_that_a_log_can_bear(bench):
    bench.give("a")
    assert logged(bench, [b"one\ntw", b"o\n\n", b"x" * 5000, b"y" * 5000, b"\nend\n"]) == [
        "one", "two", "x" * 1000, "end",
    ]  # fmt: skip


def test_who_writes_too_much_is_not_heard_for_a_while(bench):
    bench.give("a")
    bench.clock.advance(1000)
    lines = logged(bench, [b"again\n" * 5000])
    assert len(lines) == 200 and "left out" in lines[-1]
    bench.clock.advance(61)
    assert logged(bench, [b"and now\n"]) == ["and now"]


def test_octets_that_are_no_text_can_be_logged(bench):
    bench.give("a")
    assert logged(bench, [b"\xff\x00\n"]) == ["\\xff\x00"]


# --- how workers are started ---


def test_a_worker_finds_the_modules_that_the_server_found_and_hears_nothing_of_systemd(monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "relative", "/opt/somewhere"])
    environment = environment_of_worker(
        {"LANG": "C", "NOTIFY_SOCKET": "/run/x", "LISTEN_FDS": "1", "WATCHDOG_USEC": "1"}
    )
    checkout = str(Path(smtpeter.__file__).parents[1])
    assert environment == {"LANG": "C", "PYTHONPATH": f"/opt/somewhere:{checkout}"}
    assert "-P" in COMMAND  # nothing is found in the directory that happens to be the current one
