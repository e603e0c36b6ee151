"""The journal."""

from __future__ import annotations

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from tests.contract.engines import START, Engine, claim, enqueue, settle


def test_every_recipient_has_an_attempt_event(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.org")
    entries = engine.wait(engine.store.journal.of_submission(taken.id, None))
    assert [(each.submission, each.number, each.kind, each.time, each.data) for each in entries] == [
        (taken.id, 1, EventKind.ATTEMPT, START, {}),
        (taken.id, 2, EventKind.ATTEMPT, START, {}),
    ]


def test_events_of_one_recipient_are_in_order(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.org")
    enqueue(engine, "c@example.org")
    (first,) = claim(engine, "example.net")
    settle(engine, first, RecipientState.DUE, START)
    for job in claim(engine, "example.net", "example.org"):
        settle(engine, job, RecipientState.DELIVERED)
    of_first = engine.wait(engine.store.journal.of_submission(taken.id, 1))
    assert [each.kind for each in of_first] == [EventKind.ATTEMPT, EventKind.DEFERRAL, EventKind.DELIVERY]
    of_second = engine.wait(engine.store.journal.of_submission(taken.id, 2))
    assert [each.kind for each in of_second] == [EventKind.ATTEMPT, EventKind.DELIVERY]
    assert engine.wait(engine.store.journal.of_submission("0" * 26, None)) == []


def test_the_journal_is_read_on_from_a_cursor(engine: Engine) -> None:
    for _ in range(5):
        enqueue(engine)
    cursor, read = 0, []
    while entries := engine.wait(engine.store.journal.after(cursor, 2)):
        assert len(entries) <= 2
        cursor = entries[-1].cursor
        read += entries
    everything = engine.wait(engine.store.journal.after(0, 100))
    assert read == list(everything)
    assert len(read) == 5


def test_a_cursor_is_never_used_twice_though_everything_is_forgotten(engine: Engine) -> None:
    seen = []
    for _ in range(3):
        taken = enqueue(engine)
        settle(engine, claim(engine)[0], RecipientState.DELIVERED)
        seen += [each.cursor for each in engine.wait(engine.store.journal.of_submission(taken.id, None))]
        assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1
        assert engine.wait(engine.store.journal.after(0, 100)) == []
    assert seen == sorted(set(seen))
    assert len(seen) == 6
