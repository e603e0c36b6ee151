"""The journal."""

from __future__ import annotations

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.feature import Happening
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


def happened(submission: str, number: int = 1, kind: EventKind = EventKind.CLICK, **data: object) -> Happening:
    return Happening(kind, START + 9.5, submission, number, data)


def test_what_mail_readers_do_is_written_in_order(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    written = engine.wait(
        engine.store.journal.record(
            [happened(taken.id, 2, url="https://example.com/ü"), happened(taken.id, 2, EventKind.OPEN)]
        )
    )
    assert written == 2
    click, opened = engine.wait(engine.store.journal.of_submission(taken.id, 2))[-2:]
    assert (click.kind, click.time, click.data) == (EventKind.CLICK, START + 9.5, {"url": "https://example.com/ü"})
    assert (opened.kind, opened.data) == (EventKind.OPEN, {})
    assert opened.cursor > click.cursor
    assert [each.cursor for each in engine.wait(engine.store.journal.after(click.cursor, 9))] == [opened.cursor]


def test_nothing_is_written_of_mail_that_is_not_kept(engine: Engine) -> None:
    kept, gone = enqueue(engine, "a@example.org"), enqueue(engine, "b@example.net")
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1
    before = list(engine.wait(engine.store.journal.after(0, 100)))
    others = [happened(gone.id), happened("0" * 26), *[happened(kept.id, number) for number in (-1, 0, 2)]]
    happenings = [*others, happened(kept.id, 1)]
    assert engine.wait(engine.store.journal.record(happenings)) == 1
    assert engine.wait(engine.store.journal.record([])) == 0
    assert engine.wait(engine.store.journal.of_submission(gone.id, None)) == []
    (added,) = engine.wait(engine.store.journal.after(0, 100))[len(before) :]
    assert (added.submission, added.number) == (kept.id, 1)


def test_each_of_several_who_record_is_told_what_was_written_of_his(engine: Engine) -> None:
    taken = enqueue(engine)
    waiting = [engine.store.journal.record([happened(taken.id)] * count + [happened("0" * 26)]) for count in range(5)]
    assert [engine.wait(each) for each in waiting] == [0, 1, 2, 3, 4]
    assert len(engine.wait(engine.store.journal.of_submission(taken.id, None))) == 11


def test_very_many_at_once_are_written_in_their_order(engine: Engine) -> None:
    taken = enqueue(engine, *[f"{number}@example.org" for number in range(130)])
    numbers = [*range(130, 0, -1), 131, *range(1, 131)]
    assert engine.wait(engine.store.journal.record([happened(taken.id, number) for number in numbers])) == 260
    entries = engine.wait(engine.store.journal.of_submission(taken.id, None))
    assert [each.number for each in entries if each.kind is EventKind.CLICK] == [
        each for each in numbers if each <= 130
    ]
    found = engine.wait(engine.store.journal.delivery_times([(taken.id, number) for number in numbers]))
    assert found == {(taken.id, number): None for number in range(1, 131)}


def test_what_readers_did_is_forgotten_with_the_mail(engine: Engine) -> None:
    taken = enqueue(engine)
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    engine.wait(engine.store.journal.record([happened(taken.id)] * 3))
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1
    assert engine.wait(engine.store.journal.after(0, 100)) == []


def test_times_of_delivery(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.org")
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    engine.wait(engine.store.journal.record([happened(taken.id)]))
    asked = [(taken.id, 1), (taken.id, 2), (taken.id, 3), ("0" * 26, 1)]
    found = engine.wait(engine.store.journal.delivery_times(asked))
    assert found == {(taken.id, 1): START + 1, (taken.id, 2): None}
    assert engine.wait(engine.store.journal.delivery_times(())) == {}


def test_what_is_no_character_keeps_no_event_from_being_written(engine: Engine) -> None:
    taken = enqueue(engine)
    assert engine.wait(engine.store.journal.record([happened(taken.id, agent="a\udc80\0ü")])) == 1
    assert engine.wait(engine.store.journal.of_submission(taken.id, 1))[-1].data == {"agent": "a?\0ü"}
