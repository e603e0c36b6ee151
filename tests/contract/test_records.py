"""The journal with all that is known of each event: filters, steps and what is left out."""

from __future__ import annotations

from collections.abc import Sequence
from threading import current_thread
from typing import Any

import pytest

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.feature import Happening
from smtpeter.model.listing import Record, RecordFilter
from smtpeter.model.submission import Submission
from tests.contract.engines import START, Direct, Engine, claim, enqueue, settle

ATTEMPT, DELIVERY, CLICK, DEFERRAL = EventKind.ATTEMPT, EventKind.DELIVERY, EventKind.CLICK, EventKind.DEFERRAL


def read(engine: Engine, limit: int = 1000, after: int = 0, **filter: Any) -> list[Record]:
    """All that a filter wants, in steps."""
    found: list[Record] = []
    cursor: int | None = after
    while cursor is not None:
        some, following = engine.wait(engine.store.journal.records(RecordFilter(**filter), cursor, limit, list))
        assert len(some) <= limit
        assert following is None or following > cursor
        found += some
        cursor = following
    cursors = [record.cursor for record in found]
    assert cursors == sorted(set(cursors))
    return found


def told(records: Sequence[Record]) -> list[tuple[str, str]]:
    return [(record.kind.value, record.recipient) for record in records]


def click(engine: Engine, submission: Submission, number: int = 1, time: float = START + 9) -> None:
    assert engine.wait(engine.store.journal.record([Happening(CLICK, time, submission.id, number, {"url": "u"})])) == 1


@pytest.fixture
def mixed(engine: Engine) -> list[Submission]:
    """Mail of two accounts and our own, with what became of it."""
    first = enqueue(engine, "a@example.net", "B@example.org", account=1, tags=("x", "yy"), options=(("o", "true"),))
    second = enqueue(engine, "a@example.net", account=2, tags=("y",), time=START + 1)
    ours = enqueue(engine, "me@example.com", channel="internal", time=START + 2)
    for job in claim(engine, at=START + 3):
        settle(engine, job, RecipientState.DELIVERED)
    click(engine, first, 1)
    click(engine, second)
    click(engine, first, 2)
    return [first, second, ours]


def test_everything_that_is_known_is_told(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "ü@example.org", account=1, tags=("x", "yy"), options=(("o", "true"),))
    settle(engine, claim(engine)[0], RecipientState.DUE, START + 60, attempt=0, to="192.0.2.1")
    sole = enqueue(engine, account=1, time=START + 2.25)
    cursors = [record.cursor for record in read(engine)]
    shared = {"envelope": "me@example.com", "tags": ("x", "yy"), "options": (("o", "true"),)}
    assert read(engine) == [
        Record(cursors[0], ATTEMPT, START, f"{taken.id}-1", recipient="a@example.net", data={}, **shared),
        Record(cursors[1], ATTEMPT, START, f"{taken.id}-2", recipient="ü@example.org", data={}, **shared),
        Record(
            cursors[2],
            DEFERRAL,
            START + 1,
            f"{taken.id}-1",
            recipient="a@example.net",
            data={"attempt": 0, "to": "192.0.2.1"},
            **shared,
        ),
        Record(cursors[3], ATTEMPT, START + 2.25, sole.id, "me@example.com", "you@example.net", (), (), {}),
    ]


@pytest.mark.parametrize("limit", [1, 2, 1000])
@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"account": 1}, ["attempt 0-1", "attempt 0-2", "delivery 0-1", "click 0-1", "click 0-2"]),
        ({"account": 2}, ["attempt 1", "delivery 1", "click 1"]),
        ({"account": 3}, []),
        ({"kinds": frozenset({CLICK})}, ["click 0-1", "click 1", "click 0-2"]),
        ({"kinds": frozenset({CLICK, DELIVERY}), "account": 1}, ["delivery 0-1", "click 0-1", "click 0-2"]),
        ({"kinds": frozenset({EventKind.BOUNCE})}, []),
        ({"kinds": frozenset()}, []),
        ({"since": START + 2}, ["attempt 2", "click 0-1", "click 1", "click 0-2"]),
        ({"until": START + 1}, ["attempt 0-1", "attempt 0-2"]),
        ({"since": START + 1, "until": START + 2}, ["attempt 1", "delivery 0-1", "delivery 1"]),
        ({"since": START + 100}, []),
        ({"until": START}, []),
        ({"recipient": "A@EXAMPLE.NET", "kinds": frozenset({CLICK})}, ["click 0-1", "click 1"]),
        ({"recipient": "b@example.org"}, ["attempt 0-2", "click 0-2"]),
        ({"recipient": "a@example.ne"}, []),
        ({"tags": ("x",)}, ["attempt 0-1", "attempt 0-2", "delivery 0-1", "click 0-1", "click 0-2"]),
        ({"tags": ("yy", "x"), "kinds": frozenset({CLICK})}, ["click 0-1", "click 0-2"]),
        ({"tags": ("y",)}, ["attempt 1", "delivery 1", "click 1"]),
        ({"tags": ("x", "y")}, []),
        ({"submission": 0}, ["attempt 0-1", "attempt 0-2", "delivery 0-1", "click 0-1", "click 0-2"]),
        ({"submission": 0, "number": 2}, ["attempt 0-2", "click 0-2"]),
        ({"submission": 0, "number": 3}, []),
        ({"submission": 0, "account": 2}, []),
        ({"submission": 0, "kinds": frozenset({CLICK}), "since": START + 9, "account": 1}, ["click 0-1", "click 0-2"]),
        ({"submission": 1, "until": START + 2}, ["attempt 1", "delivery 1"]),
        ({"submission": 3}, []),
    ],
)
def test_each_filter_chooses(
    engine: Engine, mixed: list[Submission], filter: dict[str, Any], expected: list[str], limit: int
) -> None:
    names = {submission.id: str(index) for index, submission in enumerate(mixed)}
    if "submission" in filter:
        filter = filter | {"submission": [*names, "0" * 26][filter["submission"]]}
    records = read(engine, limit, **filter)
    assert [f"{each.kind.value} {names[each.id[:26]]}{each.id[26:]}" for each in records] == expected


def test_events_are_read_on_from_a_cursor(engine: Engine, mixed: list[Submission]) -> None:
    everything = read(engine)
    assert read(engine, after=everything[3].cursor) == everything[4:]
    assert read(engine, after=everything[3].cursor, since=START) == everything[4:]
    of_first = read(engine, submission=mixed[0].id)
    assert read(engine, after=of_first[2].cursor, submission=mixed[0].id) == of_first[3:]
    assert read(engine, after=everything[-1].cursor) == []
    assert engine.wait(engine.store.journal.last()) == everything[-1].cursor
    click(engine, mixed[0])
    assert told(read(engine, after=everything[-1].cursor)) == [("click", "a@example.net")]


def test_a_call_looks_at_no_more_than_its_limit(engine: Engine) -> None:
    for account in (1, 1, 1, 2):
        enqueue(engine, account=account)
    journal, others = engine.store.journal, RecordFilter(account=2)
    first, cursor = engine.wait(journal.records(others, 0, 2, list))
    assert (first, cursor) == ([], 2)
    assert cursor is not None
    second, following = engine.wait(journal.records(others, cursor, 2, list))
    assert (len(second), following) == (1, None)


def test_what_is_read_is_rendered_where_it_is_read(engine: Engine, mixed: list[Submission]) -> None:
    threads = []

    def render(records: Sequence[Record]) -> int:
        threads.append(current_thread())
        return len(records)

    assert engine.wait(engine.store.journal.records(RecordFilter(account=1), 0, 100, render)) == (5, None)
    assert (threads == [current_thread()]) == isinstance(engine, Direct)


def test_what_rendering_raises_is_told(engine: Engine, mixed: list[Submission]) -> None:
    def render(records: Sequence[Record]) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        engine.wait(engine.store.journal.records(RecordFilter(), 0, 100, render))
    assert len(read(engine)) == 9


def test_an_empty_journal(engine: Engine) -> None:
    journal = engine.store.journal
    assert read(engine) == read(engine, since=0, until=START) == []
    assert engine.wait(journal.last()) == 0
    assert engine.wait(journal.first_time()) is None
    assert engine.wait(journal.kinds(1, 0, START + 1000)) == frozenset()


def test_what_was_purged_is_left_out(engine: Engine, mixed: list[Submission]) -> None:
    journal = engine.store.journal
    last = engine.wait(journal.last())
    assert engine.wait(journal.first_time()) == START
    later = enqueue(engine, account=1, time=START + 50)
    settle(engine, claim(engine, at=START + 50)[0], RecipientState.DELIVERED)
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 2
    assert {record.id[:26] for record in read(engine)} == {mixed[0].id, mixed[2].id}
    assert engine.wait(journal.last()) == last + 2
    assert read(engine, submission=later.id) == []
    assert engine.wait(journal.kinds(2, START, START + 100)) == frozenset()


def test_the_oldest_event(engine: Engine) -> None:
    first = enqueue(engine, time=START + 5)
    enqueue(engine, time=START + 7, tags=("later",))
    assert engine.wait(engine.store.journal.first_time()) == START + 5
    for job in claim(engine, at=START + 8):
        if job.submission == first.id:
            settle(engine, job, RecipientState.DELIVERED)
    engine.wait(engine.store.queue.purge(START + 1000, 10, 10, 10, 9))
    assert engine.wait(engine.store.journal.first_time()) == START + 7


def test_which_kinds_an_account_has_in_a_time(engine: Engine, mixed: list[Submission]) -> None:
    def kinds(account: int, since: float, until: float) -> set[str]:
        return set(engine.wait(engine.store.journal.kinds(account, START + since, START + until)))

    assert kinds(1, 0, 100) == {"attempt", "delivery", "click"}
    assert kinds(1, 0, 1) == {"attempt"}
    assert kinds(1, 1, 9) == {"delivery"}
    assert kinds(2, 1, 9) == {"attempt", "delivery"}
    assert kinds(1, 9, 10) == {"click"}
    assert kinds(1, 10, 100) == set()
    assert kinds(3, 0, 100) == set()
