"""Whatever happens in whatever order, the queue knows what is due where and when."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.model.delivery import FINAL_STATES, Job, Lane, RecipientState, SettledJob, Settlement
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.feature import Prepared, Unprepared
from smtpeter.model.listing import Filter, Verb
from tests.contract.engines import ENGINES, START, Engine, claim_incoming, claim_shares, due, enqueue, made_of

DOMAINS = ["a.example", "b.example", "c.example"]
DUE, LEASED, HELD, FAILED = RecipientState.DUE, RecipientState.LEASED, RecipientState.HELD, RecipientState.FAILED

DAY = 86400.0

domains = st.sampled_from(DOMAINS)
offsets = st.integers(-5, 5)
lanes = st.builds(Lane, domains, st.sampled_from([0, 7]))
chosen_lanes = st.lists(lanes, min_size=1, max_size=4, unique=True)
mail = st.fixed_dictionaries(
    {
        "domains": st.lists(domains, min_size=1, max_size=4),
        "account": st.sampled_from([None, 7]),
        "age": st.sampled_from([0.0, DAY]),
        "lifetime": st.sampled_from([DAY / 2, 3 * DAY]),
        "notify": st.sampled_from([None, "FAILURE", "FAILURE,DELAY"]),
    }
)
steps = st.one_of(
    st.tuples(st.just("enqueue"), mail, offsets),
    st.tuples(st.just("enqueue unprepared"), mail, offsets),
    st.tuples(st.just("claim"), st.lists(st.tuples(lanes, st.integers(0, 3)), min_size=1, max_size=4), st.none()),
    st.tuples(st.just("claim overdue"), chosen_lanes, st.integers(1, 3)),
    st.tuples(st.just("park"), chosen_lanes, offsets),
    st.tuples(
        st.just("settle"),
        st.lists(st.sampled_from([RecipientState.DELIVERED, FAILED, DUE, HELD]), min_size=4, max_size=4),
        offsets,
    ),
    st.tuples(st.just("release"), st.none(), st.none()),
    st.tuples(st.just("recover"), st.none(), st.none()),
    st.tuples(st.just("apply"), st.sampled_from(Verb), st.none() | domains),
    st.tuples(st.just("claim incoming"), st.none(), st.none()),
    st.tuples(st.just("prepare"), st.sampled_from(["store", "as it came", "postpone", "fail"]), st.booleans()),
)


@dataclass
class Row:
    lane: Lane
    state: RecipientState
    due: float
    time: float
    expires: float
    asked: bool
    lease: int = 0
    delay_told: bool = False

    def is_overdue(self) -> bool:
        return self.expires <= START or (self.asked and not self.delay_told and self.time < START)


@dataclass
class Preparation:
    """Of one submission; ``place`` is where it is: ready, in hand, postponed, or at rest."""

    attempts: int = 0
    place: str = "ready"


@dataclass
class Model:
    """The queue as simply as it can be said."""

    rows: dict[tuple[str, int], Row] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    preparations: dict[str, Preparation] = field(default_factory=dict)
    in_hand: list[Unprepared] = field(default_factory=list)
    parked: dict[Lane, float] = field(default_factory=dict)

    def of(self, submission: str) -> list[Row]:
        return [row for (id, _), row in self.rows.items() if id == submission]

    def prepared(self) -> list[Row]:
        return [row for (submission, _), row in self.rows.items() if submission not in self.preparations]

    def ready(self) -> dict[Lane, float]:
        """When each lane is to be looked at; what nothing waits in is not parked either."""
        first: dict[Lane, float] = {}
        for row in self.prepared():
            if row.state is DUE:
                first[row.lane] = min(row.due, first.get(row.lane, row.due))
        self.parked = {lane: until for lane, until in self.parked.items() if lane in first}
        return {lane: max(due, self.parked.get(lane, due)) for lane, due in first.items()}

    def due(self, lane: Lane) -> list[tuple[float, str, int]]:
        """What is due in a lane, in order."""
        return sorted(
            (row.due, submission, number)
            for (submission, number), row in self.rows.items()
            if submission not in self.preparations and row.lane == lane and row.state is DUE and row.due <= START
        )

    def depths(self) -> dict[str, int]:
        return {state.value: sum(row.state is state for row in self.rows.values()) for state in (DUE, LEASED, HELD)}

    def rest(self, submission: str) -> None:
        """Nothing of a submission waits any more, perhaps."""
        states = {row.state for row in self.of(submission)}
        if states <= FINAL_STATES:
            del self.preparations[submission]
        elif DUE not in states:
            self.preparations[submission].place = "at rest"


def take_step(engine: Engine, model: Model, kind: str, first: object, second: object) -> None:
    queue = engine.store.queue
    if kind.startswith("enqueue"):
        put(engine, model, START + second, kind.endswith("unprepared"), **first)  # type: ignore[operator, arg-type]
    elif kind == "claim":
        shares: list[tuple[Lane, int]] = first  # type: ignore[assignment]
        expected_keys = set()
        for lane in {lane for lane, _ in shares}:
            rows, share = model.due(lane), sum(share for other, share in shares if other == lane)
            expected_keys |= {(submission, number) for _, submission, number in rows[:share]}
            if share and rows:
                last = rows[:share][-1][1]
                expected_keys |= {(submission, number) for _, submission, number in rows if submission == last}
        note_claimed(model, claim_shares(engine, *shares), expected_keys)
    elif kind == "claim overdue":
        in_order = [(id, number) for lane in first for _, id, number in model.due(lane)]  # type: ignore[attr-defined]
        overdue = [key for key in in_order if model.rows[key].is_overdue()][:second]  # type: ignore[misc]
        ask = queue.claim_overdue(first, second, START, START, START + 60)  # type: ignore[arg-type]
        note_claimed(model, engine.wait(ask), set(overdue))
    elif kind == "park":
        engine.wait(queue.park(first, "site", START + second))  # type: ignore[operator, arg-type]
        model.parked |= dict.fromkeys(first, START + second)  # type: ignore[operator, call-overload]
    elif kind == "settle" and model.jobs:
        job = model.jobs.pop(0)
        due_at, told = START + second, second > 0  # type: ignore[operator]
        settlements, expected = [], 0
        for each, state in zip(job.recipients, first, strict=False):  # type: ignore[call-overload]
            settlements.append(Settlement(each.number, state, 1, due_at, None, delay_told=told))
            row = model.rows[job.submission, each.number]
            if row.state is LEASED and row.lease == job.lease:
                expected += 1
                row.state = state
                row.delay_told |= told
                row.due = due_at if state is DUE else row.due
        settled = engine.wait(queue.settle([SettledJob(job.submission, job.lease, tuple(settlements))]))
        assert settled == expected
    elif kind == "release" and model.jobs:
        job = model.jobs.pop()
        engine.wait(queue.release(job.submission, job.lease))
        for each in job.recipients:
            row = model.rows[job.submission, each.number]
            if row.state is LEASED and row.lease == job.lease:
                row.state = DUE
    elif kind == "recover":
        leased = [row for row in model.rows.values() if row.state is LEASED]
        assert engine.wait(queue.recover()) == len(leased)
        for row in leased:
            row.state = DUE
        model.parked = {lane: min(until, START + 15) for lane, until in model.parked.items()}
        for preparation in model.preparations.values():
            preparation.place = "ready"
    elif kind == "apply":
        apply(engine, model, first, second)  # type: ignore[arg-type]
    elif kind == "claim incoming":
        model.in_hand += claim_all_incoming(engine, model)
    elif kind == "prepare" and model.in_hand:
        prepare(engine, model, model.in_hand.pop(0 if second else -1), first)  # type: ignore[arg-type]


def put(
    engine: Engine, model: Model, due: float, unprepared: bool, *,
    domains: list[str], account: int | None, age: float, lifetime: float, notify: str | None,
) -> None:  # fmt: skip
    recipients = tuple(Recipient(f"x@{domain}", domain, notify, None) for domain in domains)
    time, expires = START - age, START - age + lifetime
    submission = enqueue(
        engine,
        envelope=Envelope("me@example.com", recipients),
        account=account,
        time=time,
        due=due,
        expires=expires,
        prepare=unprepared,
    )
    for number, domain in enumerate(domains, 1):
        asked = "DELAY" in (notify or "")
        model.rows[submission.id, number] = Row(Lane(domain, account or 0), DUE, due, time, expires, asked)
    if unprepared:
        model.preparations[submission.id] = Preparation()


def note_claimed(model: Model, jobs: Sequence[Job], expected: set[tuple[str, int]]) -> None:
    claimed = [(job.submission, each.number) for job in jobs for each in job.recipients]
    assert len({job.submission for job in jobs}) == len(jobs)
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == expected
    for job in jobs:
        for each in job.recipients:
            row = model.rows[job.submission, each.number]
            assert (each.domain, job.account or 0, each.delay_told) == (*row.lane, row.delay_told)
            row.state, row.lease = LEASED, job.lease
    model.jobs += jobs


def apply(engine: Engine, model: Model, verb: Verb, domain: str | None) -> None:
    def fits(submission: str, row: Row) -> bool:
        if domain not in (None, row.lane.domain):
            return False
        if verb is Verb.RETRY:
            preparation = model.preparations.get(submission)
            later = max(row.due, model.parked.get(row.lane, row.due)) > START
            if preparation is not None:
                later = preparation.place == "postponed"
            return row.state is DUE and later
        return row.state in {Verb.HOLD: (DUE,), Verb.RELEASE: (HELD,), Verb.CANCEL: (DUE, HELD)}[verb]

    chosen = [(submission, row) for (submission, _), row in model.rows.items() if fits(submission, row)]
    assert engine.wait(engine.store.queue.count(Filter(domain=domain), verb)) == len(chosen)
    assert engine.wait(engine.store.queue.apply(Filter(domain=domain), verb, START, 1000)) == len(chosen)
    for submission, row in chosen:
        states = {Verb.RETRY: DUE, Verb.HOLD: HELD, Verb.RELEASE: DUE, Verb.CANCEL: RecipientState.CANCELLED}
        row.state = states[verb]
        if submission not in model.preparations and verb in (Verb.RELEASE, Verb.RETRY):
            model.parked.pop(row.lane, None)
        if verb is Verb.RELEASE:
            row.due = START
        elif verb is Verb.RETRY and submission not in model.preparations:
            row.due = min(row.due, START)
    for submission in {submission for submission, _ in chosen} & model.preparations.keys():
        preparation = model.preparations[submission]
        if verb in (Verb.HOLD, Verb.CANCEL):
            model.rest(submission)
        elif preparation.place != "in hand":
            preparation.place = "ready"


def claim_all_incoming(engine: Engine, model: Model) -> list[Unprepared]:
    claimed = claim_incoming(engine, limit=1000)
    expected = set()
    for submission, preparation in list(model.preparations.items()):
        if preparation.place == "ready":
            preparation.attempts += 1
            preparation.place = "in hand"
            model.rest(submission)
            if preparation.place == "in hand":
                expected.add((submission, preparation.attempts))
    assert {(each.submission, each.attempt) for each in claimed} == expected
    return claimed


def prepare(engine: Engine, model: Model, unprepared: Unprepared, outcome: str) -> None:
    queue, (submission, attempt) = engine.store.queue, unprepared[:2]
    preparation = model.preparations.get(submission)
    ours = preparation is not None and preparation.attempts == attempt
    if outcome in ("store", "as it came"):
        data = b"made" if outcome == "store" else None
        made: Prepared = made_of(engine, unprepared, data)
        assert engine.wait(queue.store_prepared([made])) == ours
        if ours:
            del model.preparations[submission]
            for row in model.of(submission):
                if row.state in (DUE, HELD):
                    row.due = max(row.due, START)
            assert (engine.wait(queue.prepared(submission)) is None) == (data is None)
    elif outcome == "postpone":
        assert engine.wait(queue.postpone_prepare(submission, attempt, START + 60, "")) == ours
        if ours and preparation is not None:
            preparation.place = "postponed"
    else:
        numbers = [number for id, number in model.rows if id == submission]
        settlements = tuple(Settlement(number, FAILED, 0, START, None) for number in numbers)
        job = SettledJob(submission, attempt, settlements)
        assert engine.wait(queue.fail_prepare(submission, attempt, job)) == ours
        if ours:
            for row in model.of(submission):
                row.state = FAILED if row.state is DUE else row.state
            model.rest(submission)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(list(ENGINES)), taken=st.lists(steps, max_size=25))
def test_the_queue_knows_what_is_due(name: str, taken: list[tuple[str, object, object]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        engine, model = ENGINES[name](Path(directory)), Model()
        try:
            for step in taken:
                take_step(engine, model, *step)
                found, following = due(engine)
                ready = model.ready()
                assert sorted(found) == sorted(lane for lane, at in ready.items() if at <= START)
                assert found == sorted(found, key=lambda lane: ready[lane])
                assert following == min((at for at in ready.values() if at > START), default=None)
                assert engine.wait(engine.store.queue.depths()) == model.depths()
            for lane in model.ready():
                parking, until = engine.wait(engine.store.queue.parking(lane)), model.parked.get(lane, START)
                assert parking == (("site", until) if until > START else None)
            submissions = {submission for submission, _ in model.rows}
            for submission in submissions:
                waits = engine.wait(engine.store.queue.submission(submission)).prepare
                assert waits == (submission in model.preparations)
            done = {id for id in submissions if all(row.state in FINAL_STATES for row in model.of(id))}
            everything = engine.wait(engine.store.queue.select(Filter(), 1000))
            final = sum(row.state in FINAL_STATES for row in model.rows.values())
            assert sum(row.state in FINAL_STATES for row in everything) == final
            assert engine.wait(engine.store.queue.purge(START + 10, 1, 1, 1, 1000)) == len(done)
        finally:
            engine.wait(engine.store.close())
