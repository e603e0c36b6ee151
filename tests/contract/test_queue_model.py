"""Whatever happens in whatever order, the queue knows what is due where and when."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.model.delivery import FINAL_STATES, Job, RecipientState, SettledJob, Settlement
from smtpeter.model.feature import Prepared, Unprepared
from smtpeter.model.listing import Filter, Verb
from tests.contract.engines import ENGINES, START, Engine, claim, claim_incoming, enqueue, made_of

DOMAINS = ["a.example", "b.example", "c.example"]
DUE, LEASED, HELD, FAILED = RecipientState.DUE, RecipientState.LEASED, RecipientState.HELD, RecipientState.FAILED

domains = st.sampled_from(DOMAINS)
offsets = st.integers(-5, 5)
steps = st.one_of(
    st.tuples(st.just("enqueue"), st.lists(domains, min_size=1, max_size=4), offsets),
    st.tuples(st.just("enqueue unprepared"), st.lists(domains, min_size=1, max_size=4), offsets),
    st.tuples(st.just("claim"), st.lists(domains, min_size=1, max_size=3, unique=True), st.integers(1, 4)),
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
    domain: str
    state: RecipientState
    due: float
    lease: int = 0


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

    def of(self, submission: str) -> list[Row]:
        return [row for (id, _), row in self.rows.items() if id == submission]

    def prepared(self) -> list[Row]:
        return [row for (submission, _), row in self.rows.items() if submission not in self.preparations]

    def due_domains(self, now: float) -> tuple[list[str], float | None]:
        first: dict[str, float] = {}
        for row in self.prepared():
            if row.state is DUE:
                first[row.domain] = min(row.due, first.get(row.domain, row.due))
        waiting = sorted((due, domain) for domain, due in first.items() if due <= now)
        return [domain for _, domain in waiting], min((due for due in first.values() if due > now), default=None)

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
        chosen, due, unprepared = first, START + second, kind.endswith("unprepared")  # type: ignore[operator]
        addresses = [f"x@{domain}" for domain in chosen]  # type: ignore[attr-defined]
        submission = enqueue(engine, *addresses, due=due, prepare=unprepared)
        for number, domain in enumerate(chosen, 1):  # type: ignore[var-annotated, arg-type]
            model.rows[submission.id, number] = Row(domain, DUE, due)
        if unprepared:
            model.preparations[submission.id] = Preparation()
    elif kind == "claim":
        jobs = claim(engine, *first, limit=second)  # type: ignore[misc, arg-type]
        rows = [row for row in model.prepared() if row.domain in first]  # type: ignore[operator]
        claimable = [row for row in rows if row.state is DUE and row.due <= START]
        claimed = [(job, each) for job in jobs for each in job.recipients]
        assert len({job.submission for job in jobs}) == len(jobs)
        assert len(claimed) <= min(len(claimable), second)  # type: ignore[call-overload]
        assert bool(claimed) == bool(claimable)
        for job, each in claimed:
            row = model.rows[job.submission, each.number]
            assert any(row is other for other in claimable)
            row.state, row.lease = LEASED, job.lease
        model.jobs += jobs
    elif kind == "settle" and model.jobs:
        job = model.jobs.pop(0)
        due = START + second  # type: ignore[operator]
        settlements, expected = [], 0
        for each, state in zip(job.recipients, first, strict=False):  # type: ignore[call-overload]
            settlements.append(Settlement(each.number, state, 1, due, None))
            row = model.rows[job.submission, each.number]
            if row.state is LEASED and row.lease == job.lease:
                expected += 1
                row.state = state
                row.due = due if state is DUE else row.due
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
        for preparation in model.preparations.values():
            preparation.place = "ready"
    elif kind == "apply":
        apply(engine, model, first, second)  # type: ignore[arg-type]
    elif kind == "claim incoming":
        model.in_hand += claim_all_incoming(engine, model)
    elif kind == "prepare" and model.in_hand:
        prepare(engine, model, model.in_hand.pop(0 if second else -1), first)  # type: ignore[arg-type]


def apply(engine: Engine, model: Model, verb: Verb, domain: str | None) -> None:
    def fits(submission: str, row: Row) -> bool:
        if domain not in (None, row.domain):
            return False
        if verb is Verb.RETRY:
            preparation = model.preparations.get(submission)
            later = row.due > START if preparation is None else preparation.place == "postponed"
            return row.state is DUE and later
        return row.state in {Verb.HOLD: (DUE,), Verb.RELEASE: (HELD,), Verb.CANCEL: (DUE, HELD)}[verb]

    chosen = [(submission, row) for (submission, _), row in model.rows.items() if fits(submission, row)]
    assert engine.wait(engine.store.queue.count(Filter(domain=domain), verb)) == len(chosen)
    assert engine.wait(engine.store.queue.apply(Filter(domain=domain), verb, START, 1000)) == len(chosen)
    for submission, row in chosen:
        states = {Verb.RETRY: DUE, Verb.HOLD: HELD, Verb.RELEASE: DUE, Verb.CANCEL: RecipientState.CANCELLED}
        row.state = states[verb]
        if verb is Verb.RELEASE or (verb is Verb.RETRY and submission not in model.preparations):
            row.due = START
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
                found, following = engine.wait(engine.store.queue.due_domains(START, 100))
                expected, expected_following = model.due_domains(START)
                assert (sorted(found), following) == (sorted(expected), expected_following)
                assert engine.wait(engine.store.queue.depths()) == model.depths()
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
