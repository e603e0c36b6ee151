"""What waits to be prepared by its features, and what is made of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from smtpeter.model.delivery import RecipientState, SettledJob, Settlement
from smtpeter.model.event import Event, EventKind
from smtpeter.model.feature import PlacedSlot, Slot, Unprepared
from smtpeter.model.listing import Filter, Verb
from smtpeter.model.submission import Content, Submission
from tests.contract.engines import (
    START,
    Engine,
    claim,
    claim_incoming,
    due_domains,
    enqueue,
    made_of,
    make,
    settle,
    store,
)

OPTIONS = (("trackclicks", "true"),)
SLOTS = (
    PlacedSlot(3, Slot("trackclicks", "k1", 24)),
    PlacedSlot(77, Slot("trackopens", "k1", 24)),
)
LARGE = b"x" * 300_000


def unprepared(engine: Engine, *addresses: str, **fields: object) -> Submission:
    return enqueue(engine, *addresses, prepare=True, options=OPTIONS, **fields)


def states(engine: Engine, submission: Submission) -> list[RecipientState]:
    rows = engine.wait(engine.store.queue.select(Filter(submission=submission.id), 1000))
    return [row.state for row in rows]


def kinds(engine: Engine, submission: Submission, number: int | None = None) -> list[EventKind]:
    return [each.kind for each in engine.wait(engine.store.journal.of_submission(submission.id, number))]


def due(engine: Engine, at: float = START) -> tuple[list[str], float | None]:
    domains, following = due_domains(engine, at)
    return sorted(domains), following


def waits(engine: Engine, submission: Submission) -> bool:
    return engine.wait(engine.store.queue.submission(submission.id)).prepare


def apply(engine: Engine, verb: Verb, **filter: object) -> int:
    chosen = Filter(**filter)  # type: ignore[arg-type]
    expected = engine.wait(engine.store.queue.count(chosen, verb))
    assert engine.wait(engine.store.queue.apply(chosen, verb, engine.clock.now, 1000)) == expected
    return expected


def postpone(engine: Engine, claimed: Unprepared, until: float, reason: str = "the list is not there") -> bool:
    return engine.wait(engine.store.queue.postpone_prepare(claimed.submission, claimed.attempt, until, reason))


def failed(claimed: Unprepared, *numbers: int) -> SettledJob:
    event = Event(EventKind.FAILURE, START + 1, {"description": "no"})
    settlements = tuple(Settlement(number, RecipientState.FAILED, 0, START, event) for number in numbers)
    return SettledJob(claimed.submission, claimed.attempt, settlements)


def fail(engine: Engine, claimed: Unprepared, *numbers: int) -> bool:
    settlement = failed(claimed, *numbers)
    return engine.wait(engine.store.queue.fail_prepare(claimed.submission, claimed.attempt, settlement))


def content_files(engine: Engine) -> list[Path]:
    return [path for path in (engine.directory / "content").rglob("*") if path.is_file()]


# --- coming in ------------------------------------------------------------------------------------------------------


def test_what_is_to_be_prepared_is_due_for_the_world_and_for_nobody_else(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    assert due(engine) == ([], None)
    assert claim(engine, "example.net", "example.org") == []
    assert engine.wait(engine.store.queue.depths()) == {"due": 2, "leased": 0, "held": 0}
    rows = engine.wait(engine.store.queue.select(Filter(states=frozenset({RecipientState.DUE})), 9))
    assert [(row.state, row.next_attempt) for row in rows] == [(RecipientState.DUE, None)] * 2
    assert kinds(engine, taken) == [EventKind.ATTEMPT] * 2


def test_it_comes_back_as_it_was_taken_in(engine: Engine) -> None:
    taken = unprepared(engine, due=START + 3600)
    back = engine.wait(engine.store.queue.submission(taken.id))
    assert back == taken._replace(content=taken.content._replace(data=None))


def test_a_claim_tells_what_preparing_needs(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org", account=7)
    (claimed,) = claim_incoming(engine)
    content = taken.content._replace(data=None)
    assert claimed == Unprepared(taken.id, 1, 7, "me@example.com", OPTIONS, 2, content, START, START + 86400)


def test_it_is_claimed_at_once_though_it_is_to_be_sent_later(engine: Engine) -> None:
    unprepared(engine, due=START + 3600)
    assert len(claim_incoming(engine)) == 1


def test_claims_come_in_the_order_in_which_mail_came(engine: Engine) -> None:
    taken = [unprepared(engine, time=START - 10 + number) for number in range(5)]
    enqueue(engine)
    found = [claim_incoming(engine, limit=2) for _ in range(4)]
    assert [[each.submission for each in some] for some in found] == [
        [taken[0].id, taken[1].id],
        [taken[2].id, taken[3].id],
        [taken[4].id],
        [],
    ]


def test_what_was_claimed_is_nobody_else_s_until_its_time_is_over(engine: Engine) -> None:
    unprepared(engine)
    assert [each.attempt for each in claim_incoming(engine)] == [1]
    assert claim_incoming(engine, at=START + 59) == []
    assert [each.attempt for each in claim_incoming(engine, at=START + 60)] == [2]


def test_after_a_crash_all_is_claimed_again_in_order_and_the_attempt_was_counted(engine: Engine) -> None:
    first = unprepared(engine, time=START - 2)
    claim_incoming(engine)
    postponed = unprepared(engine, time=START - 1)
    postpone(engine, claim_incoming(engine)[0], START + 3600)
    last = unprepared(engine, time=START)
    engine.reopen()
    assert engine.wait(engine.store.queue.recover()) == 0
    assert [(each.submission, each.attempt) for each in claim_incoming(engine)] == [
        (first.id, 2),
        (postponed.id, 2),
        (last.id, 1),
    ]


def test_leases_that_end_are_not_those_of_preparing(engine: Engine) -> None:
    unprepared(engine)
    claim_incoming(engine)
    assert engine.wait(engine.store.queue.recover_expired(START + 1000, ())) == 0
    assert claim_incoming(engine, at=START + 59) == []


def test_the_oldest_is_the_one_whose_first_attempt_has_not_come_to_an_end(engine: Engine) -> None:
    oldest = engine.store.queue.oldest_unprepared
    enqueue(engine, time=START - 100)
    assert engine.wait(oldest()) is None
    unprepared(engine, time=START - 5)
    unprepared(engine, time=START - 2.5)
    assert engine.wait(oldest()) == START - 5
    (claimed,) = claim_incoming(engine, limit=1)
    assert engine.wait(oldest()) == START - 5
    postpone(engine, claimed, START + 60)
    assert engine.wait(oldest()) == START - 2.5
    (other,) = claim_incoming(engine)
    assert engine.wait(oldest()) == START - 2.5
    store(engine, made_of(engine, other, b"made"))
    assert engine.wait(oldest()) is None
    claim_incoming(engine, at=START + 60)
    assert engine.wait(oldest()) is None


def test_mail_that_was_claimed_and_is_never_begun_keeps_others_out(engine: Engine) -> None:
    """Else nobody would notice that no worker starts, as long as a claim takes all that comes."""
    unprepared(engine, time=START - 5)
    claim_incoming(engine)
    assert engine.wait(engine.store.queue.oldest_unprepared()) == START - 5


def test_what_is_held_keeps_nobody_waiting(engine: Engine) -> None:
    unprepared(engine, time=START - 5)
    apply(engine, Verb.HOLD)
    assert engine.wait(engine.store.queue.oldest_unprepared()) is None


# --- prepared -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 1000, 1001, 300_000])
def test_what_was_prepared_goes_out_instead_of_what_came_in(engine: Engine, size: int) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.net", data=b"Subject: it came so\r\n\r\n")
    made = b"p" * size
    assert store(engine, made_of(engine, claim_incoming(engine)[0], made, SLOTS)) == 1
    assert due(engine) == (["example.net"], None)
    (job,) = claim(engine)
    assert (job.content.size, job.content.digest) == (size, hashlib.sha256(made).digest())
    assert job.content.prepared
    assert (job.slots, job.options) == (SLOTS, OPTIONS)
    assert engine.wait(engine.store.content.read(taken.id, job.content)) == made
    assert engine.wait(engine.store.content.read(taken.id, job.content._replace(data=None))) == made
    assert engine.wait(engine.store.content.read(taken.id, taken.content._replace(data=None))) == taken.content.data
    assert engine.wait(engine.store.queue.prepared(taken.id)) == (job.content._replace(data=None), SLOTS)
    assert not waits(engine, taken)


def test_small_content_comes_with_the_job(engine: Engine) -> None:
    unprepared(engine)
    store(engine, made_of(engine, claim_incoming(engine)[0], b"made"))
    assert claim(engine)[0].content.data == b"made"


def test_what_goes_as_it_came_is_plain_mail_from_then_on(engine: Engine) -> None:
    taken = unprepared(engine)
    assert store(engine, made_of(engine, claim_incoming(engine)[0])) == 1
    assert engine.wait(engine.store.queue.prepared(taken.id)) is None
    (job,) = claim(engine)
    assert (job.content, job.slots, job.options) == (taken.content, (), OPTIONS)
    assert not waits(engine, taken)


def test_plain_mail_has_its_options_and_no_slots(engine: Engine) -> None:
    enqueue(engine, options=OPTIONS)
    (job,) = claim(engine)
    assert (job.options, job.slots, job.content.prepared) == (OPTIONS, (), False)


def test_every_recipient_has_an_event(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    engine.clock.now = START + 5
    store(engine, made_of(engine, claim_incoming(engine)[0], b"made", features="trackclicks", links=3))
    for number in (1, 2):
        entry = engine.wait(engine.store.journal.of_submission(taken.id, number))[-1]
        assert (entry.kind, entry.time) == (EventKind.PREPARED, START + 5)
        assert entry.data == {"features": "trackclicks", "links": 3}


def test_what_is_to_be_sent_later_is_due_then(engine: Engine) -> None:
    unprepared(engine, due=START + 3600)
    store(engine, made_of(engine, claim_incoming(engine)[0], b"made"))
    assert due(engine) == ([], START + 3600)


def test_what_took_long_to_prepare_is_due_at_once(engine: Engine) -> None:
    unprepared(engine, due=START + 10)
    (claimed,) = claim_incoming(engine)
    engine.clock.now = START + 20
    store(engine, made_of(engine, claimed, b"made"))
    assert due(engine, START + 20) == (["example.net"], None)


def test_many_are_stored_at_once(engine: Engine) -> None:
    for number in range(30):
        unprepared(engine, f"x@d{number % 3}.example")
    claimed = claim_incoming(engine)
    waiting = [
        engine.store.queue.store_prepared([made_of(engine, each, each.submission.encode()) for each in claimed[at::10]])
        for at in range(10)
    ]
    assert [engine.wait(each) for each in waiting] == [3] * 10
    jobs = claim(engine, "d0.example", "d1.example", "d2.example")
    assert len(jobs) == 30
    for job in jobs:
        assert job.content.data == job.submission.encode()


def test_a_job_of_what_was_prepared_survives_a_restart(engine: Engine) -> None:
    taken = unprepared(engine, data=LARGE)
    store(engine, made_of(engine, claim_incoming(engine)[0], LARGE[::-1] + b"y", SLOTS))
    claim(engine)
    engine.reopen()
    engine.wait(engine.store.queue.recover())
    (job,) = claim(engine)
    assert job.slots == SLOTS
    assert engine.wait(engine.store.content.read(taken.id, job.content)) == LARGE[::-1] + b"y"


def test_a_worker_that_comes_too_late_changes_nothing_and_its_file_goes(engine: Engine) -> None:
    taken = unprepared(engine)
    (slow,) = claim_incoming(engine)
    (quick,) = claim_incoming(engine, at=START + 60)
    late = made_of(engine, slow, LARGE)
    assert store(engine, late, made_of(engine, quick, b"made")) == 1
    assert store(engine, late) == 0
    assert postpone(engine, slow, START + 90) is False
    assert fail(engine, slow, 1) is False
    assert claim(engine)[0].content.data == b"made"
    assert kinds(engine, taken) == [EventKind.ATTEMPT, EventKind.PREPARED]
    engine.wait(engine.store.close())
    assert content_files(engine) == []
    engine.open()


def test_content_stored_twice_because_the_answer_was_lost_keeps_its_file(engine: Engine) -> None:
    taken = unprepared(engine)
    made = made_of(engine, claim_incoming(engine)[0], LARGE)
    assert [store(engine, made), store(engine, made)] == [1, 0]
    engine.reopen()
    assert engine.wait(engine.store.content.read(taken.id, claim(engine)[0].content)) == LARGE


# --- not prepared ---------------------------------------------------------------------------------------------------


def test_what_is_postponed_waits_and_says_why(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    engine.clock.now = START + 2
    assert postpone(engine, claim_incoming(engine)[0], START + 60) is True
    assert claim_incoming(engine, at=START + 59) == []
    assert [each.attempt for each in claim_incoming(engine, at=START + 60)] == [2]
    for number in (1, 2):
        (entry,) = engine.wait(engine.store.journal.of_submission(taken.id, number))[1:]
        assert (entry.kind, entry.time) == (EventKind.DEFERRAL, START + 2)
        assert entry.data == {"description": "the list is not there", "next_attempt": "2027-01-15 08:01:00"}
    assert due(engine, START + 10**6) == ([], None)


def test_what_cannot_be_prepared_ends_with_its_notifications(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.net")
    (claimed,) = claim_incoming(engine)
    notification = make(engine, "me@example.com", channel="internal")
    settlement = failed(claimed, 1, 2)._replace(notifications=(notification,))
    assert engine.wait(engine.store.queue.fail_prepare(taken.id, claimed.attempt, settlement)) is True
    assert states(engine, taken) == [RecipientState.FAILED] * 2
    assert kinds(engine, taken) == [EventKind.ATTEMPT, EventKind.ATTEMPT, EventKind.FAILURE, EventKind.FAILURE]
    assert [job.submission for job in claim(engine, "example.com")] == [notification.id]
    assert claim_incoming(engine, at=START + 10**6) == []
    assert not waits(engine, taken)
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1


def test_what_was_not_prepared_is_never_due(engine: Engine) -> None:
    unprepared(engine)
    (claimed,) = claim_incoming(engine)
    settlement = SettledJob(claimed.submission, claimed.attempt, (Settlement(1, RecipientState.DUE, 0, START, None),))
    with pytest.raises(ValueError, match="due"):
        engine.wait(engine.store.queue.fail_prepare(claimed.submission, claimed.attempt, settlement))
    assert due(engine) == ([], None)


def test_what_is_held_when_it_fails_fails_when_it_is_released_and_never_goes_unprepared(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    (claimed,) = claim_incoming(engine)
    apply(engine, Verb.HOLD, number=2)
    assert fail(engine, claimed, 1, 2) is True
    assert states(engine, taken) == [RecipientState.FAILED, RecipientState.HELD]
    assert claim_incoming(engine, at=START + 10**6) == []
    assert apply(engine, Verb.RELEASE) == 1
    assert due(engine, START + 10**6) == ([], None)
    (again,) = claim_incoming(engine)
    assert again.attempt == 2
    assert fail(engine, again, 2) is True
    assert states(engine, taken) == [RecipientState.FAILED] * 2
    assert not waits(engine, taken)


# --- operators ------------------------------------------------------------------------------------------------------


def test_hold_and_release_of_what_waits(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    assert apply(engine, Verb.HOLD) == 2
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 0, "held": 2}
    assert claim_incoming(engine) == []
    assert waits(engine, taken)
    assert apply(engine, Verb.RELEASE) == 2
    assert due(engine, START + 10**6) == ([], None)
    assert engine.wait(engine.store.queue.depths()) == {"due": 2, "leased": 0, "held": 0}
    (claimed,) = claim_incoming(engine)
    store(engine, made_of(engine, claimed, b"made"))
    assert due(engine) == (["example.net", "example.org"], None)


def test_what_is_held_after_a_restart_is_still_held(engine: Engine) -> None:
    unprepared(engine)
    apply(engine, Verb.HOLD)
    engine.reopen()
    engine.wait(engine.store.queue.recover())
    assert claim_incoming(engine) == []
    assert claim_incoming(engine, at=START + 10**6) == []
    assert apply(engine, Verb.RELEASE) == 1
    assert len(claim_incoming(engine)) == 1


def test_what_is_held_is_not_counted_as_begun_however_often_the_server_starts(engine: Engine) -> None:
    """Whose attempts are used up is given to no feature any more."""
    unprepared(engine)
    apply(engine, Verb.HOLD)
    for _ in range(5):
        engine.reopen()
        engine.wait(engine.store.queue.recover())
        assert claim_incoming(engine) == []
    apply(engine, Verb.RELEASE)
    (claimed,) = claim_incoming(engine)
    assert claimed.attempt == 1


@pytest.mark.parametrize("begun", [False, True])
def test_what_was_held_when_the_clock_was_looked_at_is_prepared_at_once_when_it_is_released(
    engine: Engine, begun: bool
) -> None:
    unprepared(engine)
    if begun:
        claim_incoming(engine)
    apply(engine, Verb.HOLD)
    engine.wait(engine.store.queue.bring_forward(START, 3600))
    assert claim_incoming(engine) == []
    assert apply(engine, Verb.RELEASE) == 1
    assert len(claim_incoming(engine)) == 1


def test_what_is_damaged_is_held_and_is_prepared_when_it_is_released(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    (claimed,) = claim_incoming(engine)
    event = Event(EventKind.HELD, START + 1, {"description": "damaged"})
    settlements = tuple(Settlement(number, RecipientState.HELD, 0, START, event) for number in (1, 2))
    held = SettledJob(taken.id, claimed.attempt, settlements)
    assert engine.wait(engine.store.queue.fail_prepare(taken.id, claimed.attempt, held)) is True
    assert states(engine, taken) == [RecipientState.HELD] * 2 and kinds(engine, taken, 1)[-1] is EventKind.HELD
    assert claim_incoming(engine, at=START + 10**6) == [] and waits(engine, taken)
    apply(engine, Verb.RELEASE)
    (again,) = claim_incoming(engine)
    assert again.attempt == 2 and claim(engine) == []


def test_what_is_held_while_somebody_prepares_it_is_prepared_and_stays_held(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    (claimed,) = claim_incoming(engine)
    apply(engine, Verb.HOLD, number=1)
    assert store(engine, made_of(engine, claimed, b"made")) == 1
    assert states(engine, taken) == [RecipientState.HELD, RecipientState.DUE]
    assert due(engine) == (["example.org"], None)
    assert kinds(engine, taken, 1) == [EventKind.ATTEMPT, EventKind.HELD, EventKind.PREPARED]
    assert apply(engine, Verb.RELEASE) == 1
    (job,) = claim(engine)
    assert job.content.data == b"made"


def test_release_before_the_worker_is_done_makes_nothing_due_unprepared(engine: Engine) -> None:
    unprepared(engine)
    (claimed,) = claim_incoming(engine)
    apply(engine, Verb.HOLD)
    apply(engine, Verb.RELEASE)
    assert claim(engine) == []
    again = claim_incoming(engine)
    assert store(engine, *[made_of(engine, each, b"made") for each in again or [claimed]]) == 1
    assert claim(engine)[0].content.data == b"made"


def test_what_was_to_be_sent_later_is_due_when_it_is_released(engine: Engine) -> None:
    unprepared(engine, due=START + 3600)
    apply(engine, Verb.HOLD)
    apply(engine, Verb.RELEASE)
    store(engine, made_of(engine, claim_incoming(engine)[0], b"made"))
    assert due(engine) == (["example.net"], None)


def test_cancelled_recipients_are_not_prepared(engine: Engine) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    (claimed,) = claim_incoming(engine)
    assert apply(engine, Verb.CANCEL, number=1) == 1
    assert waits(engine, taken)
    assert store(engine, made_of(engine, claimed, b"made")) == 1
    assert states(engine, taken) == [RecipientState.CANCELLED, RecipientState.DUE]
    assert kinds(engine, taken, 1) == [EventKind.ATTEMPT, EventKind.CANCELLED]
    assert due(engine) == (["example.org"], None)


@pytest.mark.parametrize("held", [False, True])
def test_nothing_is_left_to_prepare_when_the_last_one_is_cancelled(engine: Engine, held: bool) -> None:
    taken = unprepared(engine, "a@example.net", "b@example.org")
    (claimed,) = claim_incoming(engine)
    if held:
        apply(engine, Verb.HOLD)
    assert apply(engine, Verb.CANCEL) == 2
    assert not waits(engine, taken)
    assert claim_incoming(engine, at=START + 10**6) == []
    assert store(engine, made_of(engine, claimed, LARGE)) == 0
    assert kinds(engine, taken)[-2:] == [EventKind.CANCELLED] * 2
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 10, 9)) == 1
    engine.wait(engine.store.close())
    assert content_files(engine) == []
    engine.open()


def test_retry_brings_forward_what_a_feature_postponed(engine: Engine) -> None:
    unprepared(engine, due=START + 3600)
    assert apply(engine, Verb.RETRY) == 0
    (claimed,) = claim_incoming(engine)
    assert apply(engine, Verb.RETRY) == 0
    postpone(engine, claimed, START + 600)
    deferred = {"states": frozenset({RecipientState.DUE}), "attempted": True}
    assert apply(engine, Verb.RETRY, **deferred) == 1
    assert apply(engine, Verb.RETRY, **deferred) == 0
    (again,) = claim_incoming(engine)
    store(engine, made_of(engine, again, b"made"))
    assert due(engine) == ([], START + 3600)


def test_retry_leaves_alone_what_waits(engine: Engine) -> None:
    unprepared(engine, due=START + 3600)
    assert apply(engine, Verb.RETRY) == 0
    assert due(engine, START + 10**6) == ([], None)


# --- all the rest ---------------------------------------------------------------------------------------------------


def test_both_contents_are_forgotten(engine: Engine) -> None:
    taken = unprepared(engine, data=LARGE)
    store(engine, made_of(engine, claim_incoming(engine)[0], LARGE + b"y"))
    (job,) = claim(engine)
    settle(engine, job, RecipientState.DELIVERED)
    assert len(content_files(engine)) == 2
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 1000, 9)) == 1
    assert content_files(engine) == []
    for content in (job.content, taken.content):
        with pytest.raises(KeyError):
            engine.wait(engine.store.content.read(taken.id, content))
    assert engine.wait(engine.store.queue.prepared(taken.id)) is None
    assert engine.wait(engine.store.queue.purge(START + 2000, 10, 10, 1000, 9)) == 1
    with pytest.raises(KeyError):
        engine.wait(engine.store.queue.submission(taken.id))


def test_small_contents_are_forgotten_and_those_of_others_are_not(engine: Engine) -> None:
    first, second = unprepared(engine), unprepared(engine)
    one, other = claim_incoming(engine)
    store(engine, made_of(engine, one, b"one"), made_of(engine, other, b"other"))
    jobs = {job.submission: job for job in claim(engine)}
    settle(engine, jobs[first.id], RecipientState.DELIVERED)
    assert engine.wait(engine.store.queue.purge(START + 2000, 10, 10, 1000, 9)) == 1
    with pytest.raises(KeyError):
        engine.wait(engine.store.content.read(first.id, jobs[first.id].content._replace(data=None)))
    assert engine.wait(engine.store.content.read(second.id, jobs[second.id].content._replace(data=None))) == b"other"
    third = enqueue(engine, data=b"third")
    assert engine.wait(engine.store.content.read(second.id, jobs[second.id].content._replace(data=None))) == b"other"
    assert engine.wait(engine.store.content.read(third.id, third.content._replace(data=None))) == b"third"


def test_prepared_content_of_nobody_is_a_key_error(engine: Engine) -> None:
    taken = enqueue(engine)
    with pytest.raises(KeyError):
        engine.wait(engine.store.content.read(taken.id, Content(1, bytes(32), prepared=True)))
    assert engine.wait(engine.store.queue.prepared(taken.id)) is None
    assert engine.wait(engine.store.queue.prepared("0" * 26)) is None


def test_a_clock_that_was_set_back_keeps_no_preparation_waiting(engine: Engine) -> None:
    unprepared(engine, "now@example.net")
    unprepared(engine, "later@example.org", due=START + 60)
    unprepared(engine, "postponed@example.com")
    claimed = claim_incoming(engine)
    postpone(engine, claimed[2], START + 600)
    year_ago = START - 365 * 86400
    engine.clock.now = year_ago
    assert claim_incoming(engine) == []
    assert engine.wait(engine.store.queue.bring_forward(year_ago, 3600)) == 2
    again = claim_incoming(engine, at=year_ago + 3600)
    assert len(again) == 3
    store(engine, *[made_of(engine, each, b"made") for each in again])
    assert due(engine, year_ago) == (["example.com", "example.net"], START + 60)


def test_what_just_came_in_when_the_clock_was_set_back_is_prepared_at_once(engine: Engine) -> None:
    unprepared(engine)
    year_ago = START - 365 * 86400
    engine.wait(engine.store.queue.bring_forward(year_ago, 3600))
    assert len(claim_incoming(engine, at=year_ago)) == 1
