"""Forgetting."""

from __future__ import annotations

import pytest

from smtpeter.model.delivery import RecipientState
from smtpeter.model.listing import Filter, Verb
from smtpeter.model.submission import Submission
from tests.contract.engines import START, Engine, claim, enqueue, settle

DAY = 86400.0


def purge(engine: Engine, days: float, limit: int = 100) -> int:
    return engine.wait(engine.store.queue.purge(START + days * DAY, 30 * DAY, 7 * DAY, 365 * DAY, limit))


def has_content(engine: Engine, submission: Submission) -> bool:
    try:
        engine.wait(engine.store.content.read(submission.id, submission.content._replace(data=None)))
    except KeyError:
        return False
    return True


def done(engine: Engine, size: int = 10, **data: object) -> Submission:
    taken = enqueue(engine, data=b"x" * size)
    settle(engine, claim(engine)[0], RecipientState.DELIVERED, **data)
    return taken


def test_what_is_not_finished_is_never_forgotten(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.org")
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    assert purge(engine, 10_000) == 0
    assert has_content(engine, taken)


@pytest.mark.parametrize("size", [10, 300_000])
def test_content_goes_first_and_rows_later(engine: Engine, size: int) -> None:
    taken = done(engine, size)
    assert purge(engine, 29) == 0
    assert has_content(engine, taken)
    assert purge(engine, 31) == 1
    assert purge(engine, 31) == 0
    assert not has_content(engine, taken)
    assert len(engine.wait(engine.store.queue.select(Filter(), 9))) == 1
    assert len(engine.wait(engine.store.journal.of_submission(taken.id, None))) == 2
    assert purge(engine, 366) == 1
    assert purge(engine, 366) == 0
    assert engine.wait(engine.store.queue.select(Filter(), 9)) == []
    assert engine.wait(engine.store.journal.of_submission(taken.id, None)) == []
    with pytest.raises(KeyError):
        engine.wait(engine.store.queue.submission(taken.id))
    assert [path for path in (engine.directory / "content").rglob("*") if path.is_file()] == []


def test_captured_mail_has_its_own_age(engine: Engine) -> None:
    captured, sent = done(engine, captured=True), done(engine)
    assert purge(engine, 8) == 1
    assert not has_content(engine, captured)
    assert has_content(engine, sent)


def test_cancelled_mail_is_finished_too(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    engine.wait(engine.store.queue.apply(Filter(), Verb.CANCEL, START, 10))
    assert purge(engine, 31) == 1
    assert not has_content(engine, taken)


def test_purging_goes_in_small_steps(engine: Engine) -> None:
    for _ in range(5):
        done(engine)
    assert [purge(engine, 31, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert [purge(engine, 366, 3) for _ in range(3)] == [3, 2, 0]


def test_rows_older_than_content_may_take_it_along(engine: Engine) -> None:
    taken = done(engine, 300_000)
    assert engine.wait(engine.store.queue.purge(START + 100, 1000, 1000, 10, 9)) == 1
    assert not has_content(engine, taken)
    assert engine.wait(engine.store.queue.purge(START + 10_000, 1000, 1000, 10, 9)) == 0
