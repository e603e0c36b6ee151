"""Where one recipient stands."""

from __future__ import annotations

import pytest

from smtpeter.model.delivery import Lane, RecipientState
from smtpeter.model.listing import MOST_AHEAD, Filter, Parking, Standing, Verb
from smtpeter.store.sqlite import standing as module
from tests.contract.engines import START, Engine, claim, enqueue, make

NET = Lane("example.net", 0)


def standing(engine: Engine, submission: str, number: int = 1) -> Standing:
    return engine.wait(engine.store.queue.standing(submission, number))


def park(engine: Engine, lane: Lane = NET, until: float = START + 60) -> None:
    engine.wait(engine.store.queue.park([lane], "mx.example", until))


def change(engine: Engine, verb: Verb) -> None:
    engine.wait(engine.store.queue.apply(Filter(), verb, engine.clock.now, 10))


def test_what_is_due_tells_what_is_before_it_in_its_lane(engine: Engine) -> None:
    first = enqueue(engine, "a@example.net", "b@example.net", "c@example.org").id
    enqueue(engine, "d@example.net", account=7)
    last = enqueue(engine, "e@example.net", time=START + 5)
    assert standing(engine, first) == Standing(RecipientState.DUE, 0, START)
    assert [standing(engine, first, number).ahead for number in (1, 2, 3)] == [0, 1, 0]
    assert standing(engine, last.id).ahead == 2


def test_not_all_that_is_before_it_is_counted(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = enqueue(engine, *(f"r{number}@example.net" for number in range(MOST_AHEAD + 10)))
    assert standing(engine, submission.id, MOST_AHEAD).ahead == MOST_AHEAD - 1
    assert standing(engine, submission.id, MOST_AHEAD + 5).ahead == MOST_AHEAD
    assert str(MOST_AHEAD) in module._AHEAD


def test_its_lane_is_parked(engine: Engine) -> None:
    submission = enqueue(engine, "a@example.net")
    park(engine)
    assert standing(engine, submission.id).parking == Parking("mx.example", START + 60)
    engine.clock.now = START + 60
    assert standing(engine, submission.id).parking is None


def test_a_lease(engine: Engine) -> None:
    submission = enqueue(engine, "a@example.net")
    (job,) = claim(engine)
    known = standing(engine, submission.id)
    assert (known.state, known.until) == (RecipientState.LEASED, job.lease_until)


def test_what_does_not_move(engine: Engine) -> None:
    submission = enqueue(engine, "a@example.net")
    change(engine, Verb.HOLD)
    assert standing(engine, submission.id).state is RecipientState.HELD
    change(engine, Verb.CANCEL)
    assert standing(engine, submission.id).state is RecipientState.CANCELLED


def test_what_waits_for_its_features(engine: Engine) -> None:
    submission = make(engine, "a@example.net")._replace(prepare=True)
    engine.wait(engine.store.queue.enqueue(submission))
    waits = Standing(RecipientState.DUE, 0, START, unprepared=True)
    assert standing(engine, submission.id) == waits
    engine.wait(engine.store.queue.claim_incoming(1, START, START + 60))
    assert standing(engine, submission.id) == waits._replace(until=START + 60)
    engine.wait(engine.store.queue.postpone_prepare(submission.id, 1, START + 90, "later"))
    assert standing(engine, submission.id) == waits._replace(until=START + 90, postponed=True)
    engine.clock.now = START + 90
    assert standing(engine, submission.id) == waits


def test_nobody(engine: Engine) -> None:
    submission = enqueue(engine, "a@example.net")
    for id, number in ((submission.id, 2), ("01m806xbb21b9petd4zffb2ttt", 1)):
        with pytest.raises(KeyError):
            standing(engine, id, number)
