"""Filters, listings and bulk verbs."""

from __future__ import annotations

import pytest

from smtpeter.model.account import AccountState
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.listing import Filter, Verb
from smtpeter.model.submission import Submission
from tests.contract.engines import START, Engine, claim, claim_incoming, due_domains, enqueue, settle


def found(engine: Engine, limit: int = 100, **filter: object) -> list[str]:
    rows = engine.wait(engine.store.queue.select(Filter(**filter), limit))  # type: ignore[arg-type]
    return [row.recipient for row in rows]


def apply(engine: Engine, verb: Verb, limit: int = 1000, **filter: object) -> int:
    chosen = Filter(**filter)  # type: ignore[arg-type]
    expected = engine.wait(engine.store.queue.count(chosen, verb))
    changed = engine.wait(engine.store.queue.apply(chosen, verb, engine.clock.now, limit))
    assert changed == min(expected, limit)
    return changed


def kinds(engine: Engine, submission: Submission) -> list[EventKind]:
    return [each.kind for each in engine.wait(engine.store.journal.of_submission(submission.id, None))]


@pytest.fixture
def mixed(engine: Engine) -> list[Submission]:
    """Mail of two accounts and our own: due, deferred, held, leased, delivered."""
    accounts = [
        engine.wait(engine.store.accounts.add_account(email, "", False, AccountState.APPROVED, "")).number
        for email in ("Ann@example.com", "bob@example.com")
    ]
    times = [START - 5, START - 4, START - 3, START - 2, START - 1]
    delivered = enqueue(engine, "delivered@a.example", account=accounts[0], time=times[0], tags=("x", "xy"))
    settle(engine, claim(engine, "a.example")[0], RecipientState.DELIVERED)
    held = enqueue(engine, "held@a.example", account=accounts[1], time=times[1], tags=("xy",))
    settle(engine, claim(engine, "a.example")[0], RecipientState.HELD)
    deferred = enqueue(engine, "Deferred@A.example", account=accounts[0], time=times[2], subject="Hello")
    settle(engine, claim(engine, "a.example")[0], RecipientState.DUE, START + 60)
    leased = enqueue(engine, "leased@b.example", time=times[3])
    claim(engine, "b.example")
    due = enqueue(engine, "due1@b.example", "due2@c.example", account=accounts[1], time=times[4])
    return [delivered, held, deferred, leased, due]


def test_rows_come_newest_first(engine: Engine, mixed: list[Submission]) -> None:
    expected = ["due1@b.example", "due2@c.example", "leased@b.example", "Deferred@A.example", "held@a.example"]
    assert found(engine) == [*expected, "delivered@a.example"]
    assert found(engine, limit=2) == expected[:2]


def test_a_row_tells_all_that_is_listed(engine: Engine, mixed: list[Submission]) -> None:
    (row,) = engine.wait(engine.store.queue.select(Filter(submission=mixed[2].id), 9))
    assert (row.id, row.submission, row.number) == (mixed[2].id, mixed[2].id, 1)
    assert (row.state, row.attempts, row.next_attempt) == (RecipientState.DUE, 1, START + 60)
    assert (row.account, row.envelope, row.subject) == ("Ann@example.com", "me@example.com", "Hello")
    assert (row.time, row.tags) == (START - 3, ())
    leased, delivered = (
        engine.wait(engine.store.queue.select(Filter(submission=mixed[number].id), 9))[0] for number in (3, 0)
    )
    assert (leased.account, leased.next_attempt) == ("", None)
    assert delivered.tags == ("x", "xy")


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"account": "ANN@example.com"}, ["Deferred@A.example", "delivered@a.example"]),
        ({"account": "nobody@example.com"}, []),
        ({"recipient": "dEFERRED@a.example"}, ["Deferred@A.example"]),
        ({"recipient": "deferred@a"}, []),
        ({"domain": "B.example"}, ["due1@b.example", "leased@b.example"]),
        ({"tag": "x"}, ["delivered@a.example"]),
        ({"tag": "xy"}, ["held@a.example", "delivered@a.example"]),
        ({"tag": "%"}, []),
        ({"states": frozenset({RecipientState.HELD})}, ["held@a.example"]),
        ({"states": frozenset({RecipientState.DELIVERED})}, ["delivered@a.example"]),
        ({"states": frozenset({RecipientState.LEASED, RecipientState.HELD})}, ["leased@b.example", "held@a.example"]),
        ({"states": frozenset({RecipientState.DUE}), "domain": "a.example"}, ["Deferred@A.example"]),
        ({"states": frozenset()}, []),
        ({"states": frozenset({RecipientState.DUE}), "attempted": True}, ["Deferred@A.example"]),
        ({"states": frozenset({RecipientState.DUE, RecipientState.HELD}), "attempted": True},
            ["Deferred@A.example", "held@a.example"]),
        ({"since": START - 2}, ["due1@b.example", "due2@c.example", "leased@b.example"]),
        ({"until": START - 4}, ["delivered@a.example"]),
        ({"since": START - 4, "until": START - 3}, ["held@a.example"]),
    ],
)  # fmt: skip
def test_each_filter_chooses(
    engine: Engine, mixed: list[Submission], filter: dict[str, object], expected: list[str]
) -> None:
    assert found(engine, **filter) == expected


def test_one_recipient_can_be_named(engine: Engine, mixed: list[Submission]) -> None:
    assert found(engine, submission=mixed[4].id, number=2) == ["due2@c.example"]
    assert found(engine, submission=mixed[4].id, number=3) == []


@pytest.mark.parametrize("attack", ["' OR 1=1 --", "x'); DROP TABLE recipient; --", '"', "\0", "%", "_", "?1"])
def test_sql_injection_through_a_filter_finds_nothing(engine: Engine, mixed: list[Submission], attack: str) -> None:
    for name in ("account", "recipient", "domain", "tag", "submission"):
        assert found(engine, **{name: attack}) == []
    assert len(found(engine)) == 6


def test_retry_makes_deferred_ones_due_at_once(engine: Engine, mixed: list[Submission]) -> None:
    assert apply(engine, Verb.RETRY) == 1
    assert apply(engine, Verb.RETRY) == 0
    assert due_domains(engine, START, 9)[0] == ["b.example", "c.example", "a.example"]
    assert [job.submission for job in claim(engine, "a.example")] == [mixed[2].id]


def test_a_verb_may_be_for_deferred_ones_alone(engine: Engine, mixed: list[Submission]) -> None:
    assert apply(engine, Verb.CANCEL, attempted=True, states=frozenset({RecipientState.DUE})) == 1
    assert found(engine, states=frozenset({RecipientState.CANCELLED})) == ["Deferred@A.example"]


def test_hold_and_release(engine: Engine, mixed: list[Submission]) -> None:
    assert apply(engine, Verb.HOLD) == 3
    assert due_domains(engine, START + 10**6, 9) == ([], None)
    assert claim(engine, "b.example", "c.example") == []
    assert apply(engine, Verb.RELEASE, account="bob@example.com") == 3
    assert due_domains(engine, START, 9)[0] == ["a.example", "b.example", "c.example"]
    assert apply(engine, Verb.RELEASE) == 1
    assert kinds(engine, mixed[2])[-2:] == [EventKind.HELD, EventKind.RELEASED]


def test_cancel_ends_what_is_due_or_held_and_leaves_leased_ones_alone(engine: Engine, mixed: list[Submission]) -> None:
    assert apply(engine, Verb.CANCEL) == 4
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 1, "held": 0}
    assert due_domains(engine, START + 10**6, 9) == ([], None)
    assert kinds(engine, mixed[4]) == [EventKind.ATTEMPT] * 2 + [EventKind.CANCELLED] * 2
    assert len(found(engine, states=frozenset({RecipientState.CANCELLED}))) == 4
    assert apply(engine, Verb.RELEASE) == apply(engine, Verb.RETRY) == apply(engine, Verb.CANCEL) == 0


def test_a_verb_goes_in_steps(engine: Engine, mixed: list[Submission]) -> None:
    assert [apply(engine, Verb.HOLD, limit=2) for _ in range(3)] == [2, 1, 0]


def test_a_verb_keeps_to_its_filter(engine: Engine, mixed: list[Submission]) -> None:
    assert apply(engine, Verb.CANCEL, states=frozenset({RecipientState.HELD})) == 1
    assert apply(engine, Verb.CANCEL, states=frozenset({RecipientState.DELIVERED})) == 0
    assert apply(engine, Verb.CANCEL, submission=mixed[4].id, number=1) == 1
    assert due_domains(engine, START, 9)[0] == ["c.example"]


def test_a_verb_that_changed_something_is_told_to_the_server(engine: Engine, mixed: list[Submission]) -> None:
    before = engine.wait(engine.store.queue.generation())
    apply(engine, Verb.RETRY, domain="nowhere.example")
    assert engine.wait(engine.store.queue.generation()) == before
    apply(engine, Verb.RETRY)
    assert engine.wait(engine.store.queue.generation()) > before


def test_what_waits_to_be_prepared_is_listed_as_due_and_as_deferred_once_it_was_postponed(engine: Engine) -> None:
    taken = enqueue(engine, "a@x.example", "b@y.example", prepare=True)
    due = frozenset({RecipientState.DUE})
    assert found(engine) == found(engine, states=due) == ["a@x.example", "b@y.example"]
    assert found(engine, states=due, attempted=True) == []
    assert found(engine, states=frozenset({RecipientState.LEASED, RecipientState.HELD})) == []
    (claimed,) = claim_incoming(engine)
    assert found(engine, states=due, attempted=True) == []
    engine.wait(engine.store.queue.postpone_prepare(taken.id, claimed.attempt, START + 60, "not now"))
    assert found(engine, states=due, attempted=True) == ["a@x.example", "b@y.example"]
    assert apply(engine, Verb.HOLD, domain="x.example") == 1
    assert found(engine, states=due) == ["b@y.example"]


def test_a_listing_goes_on_where_it_was_though_new_mail_comes(engine: Engine) -> None:
    for number in range(4):
        enqueue(engine, *[f"{number}{letter}@a.example" for letter in "abc"], time=START + number)
    expected = found(engine)
    read: list[str] = []
    before: tuple[str, int] | None = None
    while rows := engine.wait(engine.store.queue.select(Filter(), 5, before)):
        read += [row.recipient for row in rows]
        before = rows[-1].submission, rows[-1].number
        enqueue(engine, "new@a.example", time=START + 10)
    assert read == expected
    assert len(read) == 12


@pytest.mark.parametrize("states", [None, frozenset({RecipientState.DUE}), frozenset({RecipientState.DELIVERED})])
def test_a_listing_of_a_filter_goes_on_too(engine: Engine, states: frozenset[RecipientState] | None) -> None:
    taken = [
        enqueue(engine, f"a{number}@a.example", f"b{number}@b.example", time=START + number) for number in range(5)
    ]
    for job in claim(engine, "a.example", at=START + 10):
        settle(engine, job, RecipientState.DELIVERED)
    filter = Filter(states=states, since=START + 1, until=START + 4)
    everything = engine.wait(engine.store.queue.select(filter, 100))
    assert {row.submission for row in everything} == {each.id for each in taken[1:4]}
    for index, row in enumerate(everything):
        place = row.submission, row.number
        assert list(engine.wait(engine.store.queue.select(filter, 100, place))) == list(everything[index + 1 :])
        assert list(engine.wait(engine.store.queue.select(filter, 1, place))) == list(everything[index + 1 : index + 2])


def test_a_time_is_where_ids_say_to_the_millisecond(engine: Engine) -> None:
    for thousandths in (0, 1, 999, 1000, 61_000):
        enqueue(engine, f"{thousandths}@a.example", time=START + thousandths / 1000)
    assert found(engine, since=START + 0.001, until=START + 1) == ["999@a.example", "1@a.example"]
    assert found(engine, since=-1e9, until=1e12) == found(engine)
    assert found(engine, until=-5) == []
