"""Enqueue, claim, settle."""

from __future__ import annotations

import sqlite3

import pytest

from smtpeter.model.delivery import RecipientState, SettledJob, Settlement
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import EventKind
from smtpeter.model.listing import Filter
from tests.contract.engines import START, Engine, claim, due_domains, enqueue, make, settle, settled


def states(engine: Engine) -> dict[str, RecipientState]:
    rows = engine.wait(engine.store.queue.select(Filter(), 1000))
    return {row.recipient: row.state for row in rows}


def test_a_submission_comes_back_as_it_was_taken_in(engine: Engine) -> None:
    envelope = Envelope(
        "",
        (
            Recipient("Ä@Example.NET", "example.net", "NEVER", None),
            Recipient("b@example.org", "example.org", "FAILURE,DELAY", "rfc822;b@example.org"),
        ),
        "8BITMIME",
        True,
        "HDRS",
        "env+2Bid",
    )
    taken = make(
        engine,
        account=7,
        login="user",
        channel="rest",
        envelope=envelope,
        due=START + 0.25,
        subject="Grüße",
        message_id="<1@example.com>",
        tags=("a", "b"),
        options=(("trackclicks", "true"),),
    )
    engine.wait(engine.store.queue.enqueue(taken))
    back = engine.wait(engine.store.queue.submission(taken.id))
    assert back == taken._replace(content=taken.content._replace(data=None))


def test_an_unknown_submission_is_a_key_error(engine: Engine) -> None:
    with pytest.raises(KeyError):
        engine.wait(engine.store.queue.submission("0" * 26))


def test_the_same_id_is_not_taken_twice(engine: Engine) -> None:
    taken = enqueue(engine)
    with pytest.raises(sqlite3.IntegrityError):
        engine.wait(engine.store.queue.enqueue(taken))
    assert len(states(engine)) == 1


def test_a_claimed_job_has_all_that_an_attempt_needs(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    (job,) = claim(engine)
    assert (job.submission, job.reverse_path, job.account, job.body) == (taken.id, "me@example.com", None, "7BIT")
    assert (job.time, job.expires, job.lease_until) == (START, START + 86400, START + 60)
    assert [(each.number, each.id, each.address) for each in job.recipients] == [
        (1, f"{taken.id}-1", "a@example.net"),
        (2, f"{taken.id}-2", "b@example.net"),
    ]
    assert not any(each.possible_duplicate or each.attempts for each in job.recipients)
    assert engine.wait(engine.store.content.read(job.submission, job.content)) == taken.content.data


def test_recipients_of_several_domains_come_in_one_job(engine: Engine) -> None:
    enqueue(engine, "a@example.net", "b@example.org", "c@example.com")
    (job,) = claim(engine, "example.org", "example.net")
    assert [each.address for each in job.recipients] == ["a@example.net", "b@example.org"]
    (rest,) = claim(engine, "example.com", "example.net")
    assert [each.address for each in rest.recipients] == ["c@example.com"]


def test_what_is_claimed_is_not_claimed_again(engine: Engine) -> None:
    enqueue(engine)
    assert len(claim(engine)) == 1
    assert claim(engine) == []
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 1, "held": 0}


def test_nothing_is_claimed_before_it_is_due(engine: Engine) -> None:
    enqueue(engine, due=START + 10)
    assert claim(engine) == []
    assert due_domains(engine) == ([], START + 10)
    (job,) = claim(engine, at=START + 10)
    assert (job.time, job.due, job.began) == (START, START + 10, START + 10)


def test_what_has_expired_is_still_claimed(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine, at=START + 10 * 86400)
    assert job.expires < START + 10 * 86400


def test_a_limit_is_shared_between_domains(engine: Engine) -> None:
    for _ in range(10):
        enqueue(engine, "x@rich.example")
    enqueue(engine, "x@poor.example")
    jobs = claim(engine, "rich.example", "poor.example", limit=4)
    addresses = sorted(each.address for job in jobs for each in job.recipients)
    assert addresses == ["x@poor.example", *["x@rich.example"] * 2]


def test_a_claim_takes_those_first_that_wait_longest(engine: Engine) -> None:
    later, first = enqueue(engine, due=START - 1), enqueue(engine, due=START - 2)
    assert [job.submission for job in claim(engine, limit=1)] == [first.id]
    assert [job.submission for job in claim(engine, limit=1)] == [later.id]


def test_domains_wait_in_order(engine: Engine) -> None:
    enqueue(engine, "x@b.example", due=START - 1)
    enqueue(engine, "x@a.example", due=START - 3)
    enqueue(engine, "x@c.example", due=START + 5)
    assert due_domains(engine) == (["a.example", "b.example"], START + 5)
    assert due_domains(engine, limit=1) == (["a.example"], START + 5)


def test_delivered_is_final(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    assert settle(engine, job, RecipientState.DELIVERED) == 1
    assert states(engine) == {"you@example.net": RecipientState.DELIVERED}
    assert due_domains(engine, START + 10**6) == ([], None)
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 0, "held": 0}


def test_deferred_is_due_again_later(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    settle(engine, job, RecipientState.DUE, START + 60.5)
    assert due_domains(engine) == ([], START + 60.5)
    (again,) = claim(engine, at=START + 61)
    assert again.recipients[0].attempts == 1
    assert again.lease != job.lease


def test_held_waits_for_an_operator(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    settle(engine, job, RecipientState.HELD)
    assert due_domains(engine, START + 10**6) == ([], None)
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 0, "held": 1}


def test_a_possible_duplicate_is_remembered(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    outcome = Settlement(1, RecipientState.DUE, 1, START, None, possible_duplicate=True)
    engine.wait(engine.store.queue.settle([SettledJob(job.submission, job.lease, (outcome,))]))
    assert claim(engine)[0].recipients[0].possible_duplicate


def test_a_recipient_settled_twice_counts_once(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    assert settle(engine, job, RecipientState.DELIVERED) == 1
    assert settle(engine, job, RecipientState.FAILED) == 0
    assert states(engine) == {"you@example.net": RecipientState.DELIVERED}


def test_a_zombie_that_wakes_after_its_lease_was_given_away_changes_nothing(engine: Engine) -> None:
    taken = enqueue(engine)
    (old,) = claim(engine)
    engine.wait(engine.store.queue.recover())
    (new,) = claim(engine)
    assert new.lease > old.lease
    notification = make(engine, "me@example.com", channel="internal")
    late = settled(old, RecipientState.FAILED)._replace(notifications=(notification,))
    assert engine.wait(engine.store.queue.settle([late])) == 0
    assert engine.wait(engine.store.queue.renew(taken.id, old.lease, START + 99)) is False
    assert engine.wait(engine.store.queue.mark_in_doubt(taken.id, old.lease, [1])) is False
    engine.wait(engine.store.queue.release(taken.id, old.lease))
    assert states(engine) == {"you@example.net": RecipientState.LEASED}
    assert settle(engine, new, RecipientState.DELIVERED) == 1


def test_a_lease_can_be_renewed(engine: Engine) -> None:
    taken = enqueue(engine)
    (job,) = claim(engine)
    assert engine.wait(engine.store.queue.renew(taken.id, job.lease, START + 99)) is True
    settle(engine, job, RecipientState.DELIVERED)
    assert engine.wait(engine.store.queue.renew(taken.id, job.lease, START + 99)) is False


def test_released_is_due_at_once_and_not_counted(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    (job,) = claim(engine)
    one = SettledJob(taken.id, job.lease, (Settlement(1, RecipientState.DELIVERED, 1, 0, None),))
    engine.wait(engine.store.queue.settle([one]))
    engine.wait(engine.store.queue.release(taken.id, job.lease))
    assert due_domains(engine) == (["example.net"], None)
    (again,) = claim(engine)
    assert [(each.number, each.attempts, each.possible_duplicate) for each in again.recipients] == [(2, 0, False)]


def test_notifications_are_enqueued_with_the_outcome(engine: Engine) -> None:
    enqueue(engine)
    (job,) = claim(engine)
    notification = make(engine, "me@example.com", channel="internal")
    failed = settled(job, RecipientState.FAILED)._replace(notifications=(notification,))
    assert engine.wait(engine.store.queue.settle([failed])) == 1
    assert due_domains(engine)[0] == ["example.com"]
    assert [each.submission for each in claim(engine, "example.com")] == [notification.id]


def test_settling_is_all_or_nothing(engine: Engine) -> None:
    taken = enqueue(engine)
    (job,) = claim(engine)
    bad = settled(job, RecipientState.FAILED)._replace(notifications=(taken,))
    with pytest.raises(sqlite3.IntegrityError):
        engine.wait(engine.store.queue.settle([bad]))
    assert states(engine) == {"you@example.net": RecipientState.LEASED}
    kinds = [each.kind for each in engine.wait(engine.store.journal.of_submission(taken.id, None))]
    assert kinds == [EventKind.ATTEMPT]


def test_after_a_crash_what_was_leased_is_due_as_a_possible_duplicate(engine: Engine) -> None:
    enqueue(engine, "a@example.net", "b@example.org")
    claim(engine)
    engine.reopen()
    assert engine.wait(engine.store.queue.recover()) == 1
    assert engine.wait(engine.store.queue.recover()) == 0
    assert due_domains(engine)[0] == ["example.net", "example.org"]
    (job,) = claim(engine, "example.net", "example.org")
    assert [each.possible_duplicate for each in job.recipients] == [True, False]


def test_a_clock_set_back_does_not_hold_up_what_was_leased(engine: Engine) -> None:
    enqueue(engine)
    claim(engine)
    engine.clock.now = START - 3600
    engine.wait(engine.store.queue.recover())
    assert len(claim(engine)) == 1


def test_after_a_crash_what_was_marked_in_doubt_is_held(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    (job,) = claim(engine)
    assert engine.wait(engine.store.queue.mark_in_doubt(taken.id, job.lease, [2])) is True
    engine.reopen()
    assert engine.wait(engine.store.queue.recover()) == 2
    assert states(engine) == {"a@example.net": RecipientState.DUE, "b@example.net": RecipientState.HELD}
    (event,) = engine.wait(engine.store.journal.of_submission(taken.id, 2))[1:]
    assert event.kind is EventKind.HELD
    assert event.data["description"]
    assert event.data["possible_duplicate"]


def test_a_lease_that_nobody_has_in_hand_ends_with_its_time(engine: Engine) -> None:
    lost, kept = enqueue(engine, "a@example.net"), enqueue(engine, "b@example.net")
    leases = {job.submission: job.lease for job in claim(engine)}
    in_hand = {(kept.id, leases[kept.id])}
    assert engine.wait(engine.store.queue.recover_expired(START + 60, in_hand)) == 0
    assert engine.wait(engine.store.queue.recover_expired(START + 61, in_hand)) == 1
    assert states(engine) == {"a@example.net": RecipientState.DUE, "b@example.net": RecipientState.LEASED}
    assert due_domains(engine, START + 61)[0] == ["example.net"]
    (job,) = claim(engine, at=START + 61)
    assert (job.submission, job.recipients[0].possible_duplicate) == (lost.id, True)


def test_a_lease_that_nobody_has_in_hand_is_held_where_it_was_marked_in_doubt(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.net")
    (job,) = claim(engine)
    engine.wait(engine.store.queue.mark_in_doubt(taken.id, job.lease, [2]))
    assert engine.wait(engine.store.queue.recover_expired(START + 61, set())) == 2
    assert states(engine) == {"a@example.net": RecipientState.DUE, "b@example.net": RecipientState.HELD}


def test_a_mark_needs_the_lease_of_every_recipient(engine: Engine) -> None:
    taken = enqueue(engine, "a@example.net", "b@example.org")
    (job,) = claim(engine)
    assert engine.wait(engine.store.queue.mark_in_doubt(taken.id, job.lease, [1, 2])) is False
    engine.wait(engine.store.queue.recover())
    assert states(engine)["a@example.net"] is RecipientState.DUE


def test_many_messages_at_once_are_all_taken(engine: Engine) -> None:
    taken = [make(engine, f"x{number}@d{number % 7}.example") for number in range(60)]
    for each in [engine.store.queue.enqueue(submission) for submission in taken]:
        engine.wait(each)
    jobs = claim(engine, *(f"d{number}.example" for number in range(7)))
    assert sorted(job.submission for job in jobs) == sorted(each.id for each in taken)
    waiting = [engine.store.queue.settle([settled(job, RecipientState.DELIVERED)]) for job in jobs]
    assert [engine.wait(each) for each in waiting] == [1] * 60
    events = engine.wait(engine.store.journal.after(0, 1000))
    assert [each.cursor for each in events] == sorted({each.cursor for each in events})
    assert sum(each.kind is EventKind.DELIVERY for each in events) == 60


def test_one_submission_settled_under_two_leases_is_done_once_both_are(engine: Engine) -> None:
    taken = enqueue(engine, *(f"{name}@{domain}" for name in "ab" for domain in ("example.net", "example.org")))
    first, second = claim(engine, "example.net")[0], claim(engine, "example.org")[0]
    for job in (first, second):
        assert settle(engine, job, RecipientState.DELIVERED) == 2
    engine.clock.now = START + 100
    assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, 1000, 10)) == 1
    with pytest.raises(KeyError):
        engine.wait(engine.store.content.read(taken.id, taken.content._replace(data=None)))


def test_pausing_is_remembered(engine: Engine) -> None:
    queue = engine.store.queue
    assert engine.wait(queue.paused()) is False
    before = engine.wait(queue.generation())
    engine.wait(queue.set_paused(True))
    engine.reopen()
    assert engine.wait(engine.store.queue.paused()) is True
    assert engine.wait(engine.store.queue.generation()) > before
    engine.wait(engine.store.queue.set_paused(False))
    assert engine.wait(engine.store.queue.paused()) is False


def test_an_event_carries_its_data(engine: Engine) -> None:
    taken = enqueue(engine)
    (job,) = claim(engine)
    settle(engine, job, RecipientState.DELIVERED, text="Ünder 2.0.0", code=250)
    entry = engine.wait(engine.store.journal.of_submission(taken.id, 1))[-1]
    assert (entry.kind, entry.time, entry.data) == (EventKind.DELIVERY, START + 1, {"text": "Ünder 2.0.0", "code": 250})


def test_an_event_can_be_left_out(engine: Engine) -> None:
    taken = enqueue(engine)
    (job,) = claim(engine)
    quiet = Settlement(1, RecipientState.DUE, 0, START, None)
    engine.wait(engine.store.queue.settle([SettledJob(taken.id, job.lease, (quiet,))]))
    assert len(engine.wait(engine.store.journal.of_submission(taken.id, None))) == 1
