"""Lanes: shares of a claim, parking, and what does not wait for its turn."""

from __future__ import annotations

import pytest

from smtpeter.model.delivery import Lane, RecipientState, SettledJob, Settlement
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.listing import Filter, Parking, Verb
from smtpeter.model.submission import Submission
from smtpeter.store.sqlite import destinations
from tests.contract.engines import START, Direct, Engine, claim, claim_shares, due, enqueue, make, settle

NET, ORG = Lane("example.net", 0), Lane("example.org", 0)
DAY = 86400.0


def park(engine: Engine, *lanes: Lane, until: float = START + 60, site: str = "mx.example") -> None:
    engine.wait(engine.store.queue.park(lanes, site, until))


def parking(engine: Engine, lane: Lane = NET) -> Parking | None:
    return engine.wait(engine.store.queue.parking(lane))


def claim_overdue(engine: Engine, *lanes: Lane, limit: int = 100, delayed: float = 0.0) -> list[str]:
    now = engine.clock.now
    jobs = engine.wait(engine.store.queue.claim_overdue(lanes or (NET,), limit, now, delayed, now + 60))
    assert all(job.lease_until == now + 60 for job in jobs)
    return [each.address for job in jobs for each in job.recipients]


def addresses(engine: Engine, *shares: tuple[Lane, int]) -> list[str]:
    return [each.address for job in claim_shares(engine, *shares) for each in job.recipients]


# --- lanes and shares ---


def test_what_is_put_back_without_a_time_keeps_its_place(engine: Engine) -> None:
    enqueue(engine, "a@example.net", due=START - 3)
    enqueue(engine, "b@example.net", due=START - 2)
    (job,) = claim_shares(engine, (NET, 1))
    settlement = Settlement(1, RecipientState.DUE, 0, None, None)
    assert engine.wait(engine.store.queue.settle([SettledJob(job.submission, job.lease, (settlement,))])) == 1
    assert due(engine, START - 3) == ([NET], None)
    assert addresses(engine, (NET, 10)) == ["a@example.net", "b@example.net"]


def test_each_account_has_a_lane_of_its_own_in_each_domain(engine: Engine) -> None:
    enqueue(engine, "a@example.net", account=7)
    enqueue(engine, "b@example.net", "c@example.org", account=8)
    enqueue(engine, "d@example.net")
    lanes = {Lane("example.net", 7), Lane("example.net", 8), Lane("example.org", 8), NET}
    assert set(due(engine)[0]) == lanes
    assert addresses(engine, (Lane("example.net", 8), 10)) == ["b@example.net"]
    assert addresses(engine, (NET, 10)) == ["d@example.net"]
    assert set(due(engine)[0]) == {Lane("example.net", 7), Lane("example.org", 8)}


def test_who_sends_little_does_not_wait_for_who_sends_much(engine: Engine) -> None:
    for number in range(50):
        enqueue(engine, f"rich{number}@example.net", account=1, time=START - 100)
    enqueue(engine, "poor@example.net", account=2)
    rich, poor = Lane("example.net", 1), Lane("example.net", 2)
    assert due(engine)[0] == [rich, poor]
    claimed = addresses(engine, (rich, 5), (poor, 5))
    assert claimed == [*[f"rich{number}@example.net" for number in range(5)], "poor@example.net"]


@pytest.mark.parametrize("share", [0, -1])
def test_a_lane_without_a_share_keeps_what_it_has(engine: Engine, share: int) -> None:
    enqueue(engine)
    assert claim_shares(engine, (NET, share)) == claim_shares(engine) == []
    assert due(engine)[0] == [NET]


def test_shares_of_the_same_lane_are_added(engine: Engine) -> None:
    for number in range(4):
        enqueue(engine, f"{number}@example.net")
    assert len(addresses(engine, (NET, 1), (NET, 2))) == 3


def test_of_the_last_submission_all_come_that_are_due_in_the_lane(engine: Engine) -> None:
    first = enqueue(engine, "a@example.net", due=START - 2)
    names = [f"{number}@{domain}" for number in range(8) for domain in ("example.net", "example.org")]
    last = enqueue(engine, *names, due=START - 1)
    enqueue(engine, "z@example.net")
    jobs = {job.submission: [each.address for each in job.recipients] for job in claim_shares(engine, (NET, 3))}
    assert jobs == {first.id: ["a@example.net"], last.id: [f"{number}@example.net" for number in range(8)]}
    assert set(due(engine)[0]) == {NET, ORG}


def test_they_come_though_others_have_waited_longer(engine: Engine) -> None:
    split = enqueue(engine, "a@example.net", "b@example.net", "c@example.net", due=START - 9)
    (job,) = claim(engine)
    settlements = tuple(
        Settlement(number, RecipientState.DUE, 1, START + at, None) for number, at in ((1, -3.0), (2, -1.0), (3, 60.0))
    )
    engine.wait(engine.store.queue.settle([SettledJob(split.id, job.lease, settlements)]))
    enqueue(engine, "between@example.net", due=START - 2)
    assert addresses(engine, (NET, 1)) == ["a@example.net", "b@example.net"]
    assert addresses(engine, (NET, 9)) == ["between@example.net"]
    assert due(engine) == ([], START + 60)


def test_but_no_more_than_a_hundred_beyond_the_share(engine: Engine) -> None:
    enqueue(engine, *[f"{number}@example.net" for number in range(150)])
    assert len(addresses(engine, (NET, 10))) == 110
    assert due(engine)[0] == [NET]
    assert len(addresses(engine, (NET, 10))) == 40
    assert due(engine) == ([], None)


def test_many_more_than_are_asked_for_in_one_statement(engine: Engine) -> None:
    taken = [make(engine, f"{number}@example.net", f"{number}@example.org") for number in range(130)]
    for each in [engine.store.queue.enqueue(submission) for submission in taken]:
        engine.wait(each)
    jobs = claim_shares(engine, (NET, 1000), (ORG, 51))
    assert {job.submission for job in jobs} == {each.id for each in taken}
    assert sorted(len(job.recipients) for job in jobs) == [1] * 79 + [2] * 51


# --- parking ---


def test_a_parked_lane_is_not_told_until_its_time_has_come(engine: Engine) -> None:
    enqueue(engine, "a@example.net", due=START - 5)
    enqueue(engine, "b@example.org", due=START - 3)
    park(engine, NET)
    assert due(engine) == ([ORG], START + 60)
    assert due(engine, START + 59.999)[0] == [ORG]
    assert due(engine, START + 60) == ([ORG, NET], None)
    assert len(claim(engine, "example.net", at=START + 60)) == 1


def test_what_falls_due_in_a_parked_lane_waits_with_the_others(engine: Engine) -> None:
    enqueue(engine, due=START - 5)
    park(engine, NET)
    enqueue(engine, due=START - 50)
    enqueue(engine, due=START + 120)
    assert due(engine) == ([], START + 60)
    assert len(claim(engine, at=START + 60)) == 2
    assert due(engine, START + 60) == ([], START + 120)


def test_a_parking_can_be_made_longer_or_shorter(engine: Engine) -> None:
    enqueue(engine)
    park(engine, NET, until=START + 60)
    park(engine, NET, until=START + 30, site="other.example")
    assert due(engine) == ([], START + 30)
    assert parking(engine) == Parking("other.example", START + 30)
    park(engine, NET, until=START)
    assert due(engine)[0] == [NET]


def test_it_is_told_where_a_lane_is_parked_for(engine: Engine) -> None:
    assert parking(engine) is None
    enqueue(engine)
    assert parking(engine) is None
    park(engine, NET, ORG)
    assert parking(engine) == Parking("mx.example", START + 60)
    assert parking(engine, ORG) is None  # nothing waits there
    engine.clock.now = START + 60
    assert parking(engine) is None


def test_a_parking_outlasts_a_restart_but_not_by_long(engine: Engine) -> None:
    """Who starts has to be told of the lane, to know what waits there."""
    enqueue(engine)
    enqueue(engine, "a@example.org")
    park(engine, NET, until=START + DAY)
    park(engine, ORG, until=START + 5)
    engine.reopen()
    engine.wait(engine.store.queue.recover())
    assert due(engine) == ([], START + 5)
    assert parking(engine) == Parking("mx.example", START + 15)
    assert parking(engine, ORG) == Parking("mx.example", START + 5)
    assert due(engine, START + 15) == ([ORG, NET], None)


def test_thousands_are_parked_together(engine: Engine) -> None:
    taken = [make(engine, *[f"x@d{number}-{part}.example" for number in range(100)]) for part in range(10)]
    for each in [engine.store.queue.enqueue(submission) for submission in taken]:
        engine.wait(each)
    lanes, _ = due(engine)
    assert len(lanes) == 1000
    park(engine, *lanes)
    assert due(engine) == ([], START + 60)


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RELEASE])
def test_an_operator_who_wants_mail_now_ends_the_parking(engine: Engine, verb: Verb) -> None:
    enqueue(engine, "a@example.net")
    settle(engine, *claim(engine), state=RecipientState.HELD if verb is Verb.RELEASE else RecipientState.DUE,
           due=START + 30)  # fmt: skip
    enqueue(engine, "b@example.net", due=START - 1)
    park(engine, NET, ORG)
    queue, chosen = engine.store.queue, Filter(recipient="a@example.net")
    assert engine.wait(queue.count(chosen, verb)) == engine.wait(queue.apply(chosen, verb, START, 10)) == 1
    assert due(engine) == ([NET], None)
    assert addresses(engine, (NET, 10)) == ["b@example.net", "a@example.net"]


def test_what_is_due_and_parked_can_be_retried_and_keeps_its_place(engine: Engine) -> None:
    enqueue(engine, "a@example.net", due=START - 2)
    enqueue(engine, "b@example.net", due=START - 1)
    queue = engine.store.queue
    assert engine.wait(queue.count(Filter(), Verb.RETRY)) == 0
    park(engine, NET)
    assert engine.wait(queue.count(Filter(), Verb.RETRY)) == 2
    assert engine.wait(queue.apply(Filter(), Verb.RETRY, START, 1)) == 1
    assert parking(engine) is None
    assert addresses(engine, (NET, 1)) == ["a@example.net"]


@pytest.mark.parametrize("verb", [Verb.HOLD, Verb.CANCEL])
def test_other_verbs_leave_it(engine: Engine, verb: Verb) -> None:
    enqueue(engine, "a@example.net")
    enqueue(engine, "b@example.net")
    park(engine, NET)
    assert engine.wait(engine.store.queue.apply(Filter(recipient="a@example.net"), verb, START, 10)) == 1
    assert due(engine) == ([], START + 60)


def test_after_the_clock_was_set_back_a_parking_is_brought_forward_too(engine: Engine) -> None:
    enqueue(engine, due=START - DAY)
    park(engine, NET, until=START + DAY)
    assert engine.wait(engine.store.queue.bring_forward(START - DAY, 3600)) == 0
    assert due(engine, START - DAY) == ([], START - DAY + 3600)
    enqueue(engine, "a@example.org", due=START - DAY)
    park(engine, ORG, until=START - DAY + 60)
    assert engine.wait(engine.store.queue.bring_forward(START - DAY, 3600)) == 0
    assert due(engine, START - DAY)[1] == START - DAY + 60


def test_where_it_is_known_by_how_much_lanes_are_parked_as_long_as_they_would_have_been(engine: Engine) -> None:
    """Also those whose time was over, which would be parked again."""
    enqueue(engine, due=START - DAY)
    enqueue(engine, "a@example.org", due=START - DAY)
    park(engine, NET, until=START + 60)
    park(engine, ORG, until=START - 60)
    assert due(engine, START - 600)[0] == []
    assert engine.wait(engine.store.queue.bring_forward(START - 600, 3600, 600)) == 0
    assert due(engine, START - 600) == ([ORG], START - 540)


def test_ten_thousand_parked_lanes_are_not_looked_at(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """Both questions are answered from the index of what is ready, from the place where it begins."""
    engine = Direct(tmp_path)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    def steps_to_find(connection):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps = 0
        connection.set_progress_handler(count, 1)
        try:
            return destinations.due_lanes(connection, START, 500), steps
        finally:
            connection.set_progress_handler(None, 0)

    def plan(connection, query):  # type: ignore[no-untyped-def]
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}", (1,) * query.count("?"))]

    enqueue(engine, "a@example.net", "b@example.org")
    before, steps_before = engine.wait(engine.store.executor.read(steps_to_find))
    for part in range(10):
        enqueue(engine, *[f"x@d{number}-{part}.example" for number in range(1000)], due=START - 10)
    park(engine, *[lane for lane in due(engine)[0] if lane not in (NET, ORG)])
    (lanes, following), steps_after = engine.wait(engine.store.executor.read(steps_to_find))
    assert (lanes, following) == (before[0], START + 60)
    assert steps_after < steps_before + 20
    for query in (destinations._DUE_LANES, destinations._FOLLOWING):
        (line,) = engine.wait(engine.store.executor.read(lambda connection, query=query: plan(connection, query)))
        assert line.startswith("SEARCH destination USING") and "destination_ready (<expr>" in line
    engine.wait(engine.store.close())


# --- what is overdue ---


def asking(engine: Engine, notify: str | None, **fields: object) -> Submission:
    recipient = Recipient(f"{notify or 'nothing'}@example.net", "example.net", notify, None)
    return enqueue(engine, envelope=Envelope("me@example.com", (recipient,)), **fields)


def test_what_is_expired_is_claimed_from_a_parked_lane(engine: Engine) -> None:
    enqueue(engine, "late@example.net", expires=START)
    enqueue(engine, "other@example.net", expires=START + 0.001)
    enqueue(engine, "elsewhere@example.org", expires=START)
    enqueue(engine, "later@example.net", expires=START - 5, due=START + 1)
    park(engine, NET)
    assert claim_overdue(engine) == ["late@example.net"]
    assert claim_overdue(engine) == []
    assert due(engine) == ([ORG], START + 60)
    assert engine.wait(engine.store.queue.depths()) == {"due": 3, "leased": 1, "held": 0}


def test_a_lane_that_has_nothing_else_is_told_no_more(engine: Engine) -> None:
    enqueue(engine, expires=START)
    park(engine, NET)
    assert len(claim_overdue(engine)) == 1
    assert due(engine) == ([], None)
    assert parking(engine) is None


def test_so_is_that_whose_sender_asked_to_be_told_of_a_delay(engine: Engine) -> None:
    for notify in (None, "NEVER", "SUCCESS,FAILURE", "SUCCESS,FAILURE,DELAY"):
        asking(engine, notify, time=START - 100)
    asking(engine, "DELAY", time=START - 10)
    assert claim_overdue(engine, delayed=START - 100) == []
    assert claim_overdue(engine, delayed=START - 10) == ["SUCCESS,FAILURE,DELAY@example.net"]
    assert claim_overdue(engine, delayed=START - 9) == ["DELAY@example.net"]


def test_of_what_he_wanted_for_later_the_delay_counts_from_then(engine: Engine) -> None:
    asking(engine, "DELAY", time=START - 100, due=START - 10)
    assert claim_overdue(engine, delayed=START - 10) == []
    assert claim_overdue(engine, delayed=START - 9) == ["DELAY@example.net"]


def test_but_he_is_told_once(engine: Engine) -> None:
    taken = asking(engine, "DELAY")
    (job,) = claim(engine)
    assert not job.recipients[0].delay_told
    told = Settlement(1, RecipientState.DUE, 1, START, None, delay_told=True)
    engine.wait(engine.store.queue.settle([SettledJob(taken.id, job.lease, (told,))]))
    park(engine, NET)
    assert claim_overdue(engine, delayed=START + 60) == []
    (job,) = claim(engine, at=START + 60)
    assert job.recipients[0].delay_told
    settle(engine, job, RecipientState.DUE, START)
    (job,) = claim(engine, at=START + 60)
    assert job.recipients[0].delay_told  # whoever settles later need not know it


def test_no_more_than_the_limit_is_claimed_longest_waiting_first(engine: Engine) -> None:
    for number in (3, 1, 2):
        enqueue(engine, f"{number}@example.net", f"{number}@example.org", due=START - 10 + number, expires=START)
    expected = ["1@example.net", "1@example.org", "2@example.net", "3@example.net"]
    assert sorted(claim_overdue(engine, NET, ORG, limit=4)) == expected
    assert engine.wait(engine.store.queue.depths())["leased"] == 4
    assert len(claim_overdue(engine, NET, NET, ORG)) == 2


def test_it_looks_through_many_lanes(engine: Engine) -> None:
    lanes = [Lane(f"d{number}.example", 0) for number in range(250)]
    enqueue(engine, *[f"x@{lane.domain}" for lane in lanes], expires=START)
    assert len(claim_overdue(engine, *lanes, limit=1000)) == 250
