"""A clock that was set back: what is due in a future that it showed once."""

from __future__ import annotations

from smtpeter.model.delivery import RecipientState
from tests.contract.engines import START, Engine, claim, due_domains, enqueue, settle

YEAR = 365 * 86400.0
HOUR = 3600.0


def bring_forward(engine: Engine) -> int:
    return engine.wait(engine.store.queue.bring_forward(START - YEAR, HOUR))


def due(engine: Engine) -> tuple[list[str], float | None]:
    return due_domains(engine, START - YEAR)


def test_what_was_put_off_waits_no_longer_than_the_longest_wait(engine: Engine) -> None:
    enqueue(engine)
    settle(engine, *claim(engine), state=RecipientState.DUE, due=START + 60)
    assert bring_forward(engine) == 1
    assert due(engine) == ([], START - YEAR + HOUR)
    assert bring_forward(engine) == 0


def test_what_was_due_when_it_came_in_is_due_at_once(engine: Engine) -> None:
    enqueue(engine)
    assert bring_forward(engine) == 1
    assert due(engine)[0] == ["example.net"]


def test_what_was_submitted_for_a_later_time_keeps_it(engine: Engine) -> None:
    enqueue(engine, due=START + 60)
    assert bring_forward(engine) == 0
    assert due(engine) == ([], START + 60)


def test_what_is_due_soon_is_left_alone(engine: Engine) -> None:
    enqueue(engine)
    settle(engine, *claim(engine), state=RecipientState.DUE, due=START + 60)
    assert engine.wait(engine.store.queue.bring_forward(START, HOUR)) == 0
    assert due_domains(engine, START, 10) == ([], START + 60)


# --- where it is known by how much ---


def set_back(engine: Engine, back: float = HOUR / 2) -> tuple[int, tuple[list[str], float | None]]:
    """How many were brought forward, and what is due then."""
    count = engine.wait(engine.store.queue.bring_forward(START - back, HOUR, back))
    return count, due_domains(engine, START - back)


def test_what_was_put_off_waits_for_as_long_as_it_would_have(engine: Engine) -> None:
    enqueue(engine)
    settle(engine, *claim(engine), state=RecipientState.DUE, due=START + 60)
    assert set_back(engine) == (1, ([], START - HOUR / 2 + 60))


def test_what_was_put_off_by_a_clock_that_was_more_wrong_still_waits_no_longer_than_the_longest_wait(
    engine: Engine,
) -> None:
    enqueue(engine)
    settle(engine, *claim(engine), state=RecipientState.DUE, due=START + YEAR)
    assert set_back(engine) == (1, ([], START + HOUR / 2))


def test_what_was_due_is_due(engine: Engine) -> None:
    enqueue(engine, "a@example.net")
    enqueue(engine, "b@example.org")
    settle(engine, *claim(engine), state=RecipientState.DUE, due=START)
    assert set_back(engine) == (2, (["example.net", "example.org"], None))


def test_what_was_submitted_for_a_later_time_keeps_it_here_too(engine: Engine) -> None:
    enqueue(engine, due=START + 60)
    assert set_back(engine) == (0, ([], START + 60))


def test_a_lease_ends_no_later_either(engine: Engine) -> None:
    enqueue(engine)
    claim(engine)
    assert bring_forward(engine) == 0
    recover = engine.store.queue.recover_expired
    assert engine.wait(recover(START - YEAR + HOUR, ())) == 0
    assert engine.wait(recover(START - YEAR + HOUR + 1, ())) == 1
    assert due(engine)[1] == START - YEAR + HOUR + 1


def test_what_is_held_or_done_stays_as_it_is(engine: Engine) -> None:
    enqueue(engine, "a@example.net")
    settle(engine, *claim(engine), state=RecipientState.HELD)
    enqueue(engine, "b@example.net")
    settle(engine, *claim(engine), state=RecipientState.DELIVERED)
    assert bring_forward(engine) == 0
