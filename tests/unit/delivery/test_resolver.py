"""Look-ups asked once and remembered, with name servers in memory."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from smtpeter.delivery import resolver as module
from smtpeter.delivery.nameservers import Silence
from smtpeter.delivery.resolver import LONGEST, LONGEST_TTL, SHORTEST_TTL, Resolver
from smtpeter.model.answer import Answer, AnswerKind, Question, RecordType


def question(name="example.com"):
    return Question(name, RecordType.A)


def answer(name="example.com", ttl=300.0, addresses=("192.0.2.1",), kind=AnswerKind.FOUND):
    return Answer(kind, name, ttl, addresses=addresses)


class Threads:
    """Look-ups that end when the test says so.  ``running`` are (question, whether it is a patient one, its end)."""

    def __init__(self):
        self.running = []
        self.asked = []

    def in_thread(self, look_up):
        asked, limit, _ = look_up.args
        end = Deferred()
        self.asked.append(asked)
        self.running.append((asked, limit > 5, end))
        return end

    def end(self, result, position=0):
        asked, _, end = self.running.pop(position)
        if callable(result):
            result = result(asked)
        if isinstance(result, Exception):
            end.errback(Failure(result))
        else:
            end.callback(result)

    def end_all(self, result):
        while self.running:
            self.end(result)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def threads():
    return Threads()


@pytest.fixture
def resolver(clock, threads):
    return Resolver(clock, threads.in_thread, lambda *_: None, at_once=6, room=20)


def asking(resolver, *names):
    """Lists that fill with what each is answered."""
    told = []
    for name in names or ["example.com"]:
        results = []
        resolver.ask(question(name)).addBoth(results.append)
        told.append(results)
    return told


def test_a_question_is_asked_once_for_all_who_want_to_know(resolver, threads):
    told = asking(resolver, "example.com", "example.com", "example.com")
    assert len(threads.asked) == 1
    threads.end(answer())
    assert told == [[answer()]] * 3


def test_an_answer_holds_for_its_time_and_tells_what_is_left_of_it(resolver, threads, clock):
    asking(resolver)
    threads.end(answer())
    clock.advance(299)
    assert asking(resolver) == [[answer(ttl=1.0)]]
    clock.advance(1)
    assert asking(resolver) == [[]]
    assert len(threads.asked) == 2


@pytest.mark.parametrize(("ttl", "held"), [(0, SHORTEST_TTL), (1e9, LONGEST_TTL)])
def test_a_time_of_nothing_or_of_ages(resolver, threads, clock, ttl, held):
    told = asking(resolver)
    threads.end(answer(ttl=ttl))
    assert told[0][0].ttl == held
    clock.advance(held - 1)
    assert asking(resolver)[0]
    clock.advance(1)
    assert not asking(resolver)[0]


@pytest.mark.parametrize("kind", [AnswerKind.NODATA, AnswerKind.NXDOMAIN, AnswerKind.TROUBLE])
def test_that_there_is_nothing_is_remembered_too(resolver, threads, kind):
    asking(resolver)
    threads.end(answer(kind=kind, addresses=()))
    assert asking(resolver)[0][0].kind is kind
    assert len(threads.asked) == 1


def test_silence_is_given_more_time_once_and_is_then_trouble(resolver, threads):
    told = asking(resolver)
    threads.end(Silence())
    assert told == [[]] and [patient for _, patient, _ in threads.running] == [True]
    threads.end(Silence())
    assert told[0][0].kind is AnswerKind.TROUBLE and told[0][0].text == "no name server answered in time"
    assert not threads.running


def test_what_was_slow_is_answered_all_the_same(resolver, threads):
    told = asking(resolver)
    threads.end(Silence())
    threads.end(answer())
    assert told == [[answer()]]


def test_attack_silent_name_servers_take_only_their_part_of_the_threads(resolver, threads):
    asking(resolver, *(f"dead{number}.example" for number in range(100)))
    assert len(threads.running) == 4
    for _ in range(100):
        first = next(position for position, (_, patient, _) in enumerate(threads.running) if not patient)
        threads.end(Silence(), first)
    assert [patient for _, patient, _ in threads.running] == [True, True]
    told = asking(resolver, "alive.example")
    assert threads.running[-1][0].name == "alive.example"
    threads.end(answer("alive.example"), -1)
    assert told[0][0].kind is AnswerKind.FOUND


def test_look_ups_wait_for_their_turn_in_order(resolver, threads):
    names = [f"d{number}.example" for number in range(20)]
    told = asking(resolver, *names)
    threads.end_all(lambda asked: answer(asked.name))
    assert [results[0].name for results in told] == [asked.name for asked in threads.asked] == names


def test_nobody_waits_for_ever_whatever_becomes_of_the_threads(resolver, threads, clock):
    told = asking(resolver, *(f"d{number}.example" for number in range(10)))
    clock.advance(LONGEST)
    assert [results[0].kind for results in told] == [AnswerKind.TROUBLE] * 10
    assert not clock.getDelayedCalls()
    # Those that had not begun never do, and what the others find late is of use to whoever asks next.
    clock.advance(30)
    threads.end_all(lambda asked: answer(asked.name))
    assert len(threads.asked) == 4
    assert asking(resolver, "d0.example")[0][0].kind is AnswerKind.FOUND


def test_what_fell_silent_after_it_was_given_up_is_not_asked_again(resolver, threads, clock):
    asking(resolver)
    clock.advance(LONGEST)
    threads.end(Silence())
    assert not threads.running


def test_an_error_of_ours_is_trouble_and_is_logged(resolver, threads, monkeypatch):
    logged = []
    monkeypatch.setattr(
        Resolver, "_log", type("Log", (), {"failure": lambda *_, **keywords: logged.append(keywords)})()
    )
    told = asking(resolver)
    threads.end(RuntimeError("a bug"))
    assert told[0][0].kind is AnswerKind.TROUBLE
    assert logged == [{"name": "example.com"}]


def test_who_waits_no_more_is_told_nothing_and_others_are(resolver, threads):
    first, second = resolver.ask(question()), resolver.ask(question())
    told = []
    first.addErrback(lambda failure: failure.trap(CancelledError))
    second.addCallback(told.append)
    first.cancel()
    threads.end(answer())
    assert told == [answer()]


def test_one_that_is_told_may_cancel_another(resolver, threads):
    waiters = [resolver.ask(question()) for _ in range(3)]
    told = []
    for waiter in waiters:
        waiter.addCallbacks(
            lambda _, waiter=waiter: (told.append(waiter), [each.cancel() for each in waiters if each is not waiter]),
            lambda failure: failure.trap(CancelledError),
        )
    threads.end(answer())
    assert len(told) == 1


def test_thousands_who_wait_for_one_answer_are_told_over_many_turns(resolver, threads, clock):
    told = []
    for _ in range(100):
        resolver.ask(question()).addCallback(told.append)
    threads.end(answer())
    assert len(told) == 20
    for _ in range(4):
        clock.advance(0)
    assert told == [answer()] * 100


def test_attack_more_questions_than_may_wait(resolver, threads, monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    told = asking(resolver, *(f"d{number}.example" for number in range(11)))
    assert [len(results) for results in told] == [0] * 10 + [1]
    assert told[10][0].kind is AnswerKind.TROUBLE
    threads.end_all(lambda asked: answer(asked.name))
    assert asking(resolver, "d10.example") == [[]]


def test_attack_answers_do_not_fill_the_memory(resolver, threads):
    for number in range(100):
        asking(resolver, f"d{number}.example")
        threads.end(answer(f"d{number}.example", addresses=("192.0.2.1",) * 6))
    assert len(resolver._answers) == 3
    assert not resolver._asked
