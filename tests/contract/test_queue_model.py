"""Whatever happens in whatever order, the queue knows what is due where and when."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.model.delivery import Job, RecipientState, SettledJob, Settlement
from smtpeter.model.listing import Filter, Verb
from tests.contract.engines import ENGINES, START, Engine, claim, enqueue

DOMAINS = ["a.example", "b.example", "c.example"]
DUE, LEASED, HELD = RecipientState.DUE, RecipientState.LEASED, RecipientState.HELD

domains = st.sampled_from(DOMAINS)
offsets = st.integers(-5, 5)
steps = st.one_of(
    st.tuples(st.just("enqueue"), st.lists(domains, min_size=1, max_size=4), offsets),
    st.tuples(st.just("claim"), st.lists(domains, min_size=1, max_size=3, unique=True), st.integers(1, 4)),
    st.tuples(
        st.just("settle"),
        st.lists(st.sampled_from([RecipientState.DELIVERED, RecipientState.FAILED, DUE, HELD]), min_size=4, max_size=4),
        offsets,
    ),
    st.tuples(st.just("release"), st.none(), st.none()),
    st.tuples(st.just("recover"), st.none(), st.none()),
    st.tuples(st.just("apply"), st.sampled_from(Verb), st.none() | domains),
)


@dataclass
class Row:
    domain: str
    state: RecipientState
    due: float
    lease: int = 0


class Model:
    """The queue as simply as it can be said."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Row] = {}
        self.jobs: list[Job] = []

    def due_domains(self, now: float) -> tuple[list[str], float | None]:
        first: dict[str, float] = {}
        for row in self.rows.values():
            if row.state is DUE:
                first[row.domain] = min(row.due, first.get(row.domain, row.due))
        waiting = sorted((due, domain) for domain, due in first.items() if due <= now)
        return [domain for _, domain in waiting], min((due for due in first.values() if due > now), default=None)

    def depths(self) -> dict[str, int]:
        return {state.value: sum(row.state is state for row in self.rows.values()) for state in (DUE, LEASED, HELD)}


def take_step(engine: Engine, model: Model, kind: str, first: object, second: object) -> None:
    queue = engine.store.queue
    if kind == "enqueue":
        chosen, due = first, START + second  # type: ignore[operator]
        submission = enqueue(engine, *(f"x@{domain}" for domain in chosen), due=due)  # type: ignore[attr-defined]
        for number, domain in enumerate(chosen, 1):  # type: ignore[var-annotated, arg-type]
            model.rows[submission.id, number] = Row(domain, DUE, due)
    elif kind == "claim":
        jobs = claim(engine, *first, limit=second)  # type: ignore[misc, arg-type]
        rows = [row for row in model.rows.values() if row.domain in first]  # type: ignore[operator]
        claimable = [row for row in rows if row.state is DUE and row.due <= START]
        claimed = [(job, each) for job in jobs for each in job.recipients]
        assert len({job.submission for job in jobs}) == len(jobs)
        assert len(claimed) <= min(len(claimable), second)  # type: ignore[call-overload]
        assert bool(claimed) == bool(claimable)
        for job, each in claimed:
            row = model.rows[job.submission, each.number]
            assert row in claimable
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
    elif kind == "apply":
        fitting = {
            Verb.RETRY: lambda row: row.state is DUE and row.due > START,
            Verb.HOLD: lambda row: row.state is DUE,
            Verb.RELEASE: lambda row: row.state is HELD,
            Verb.CANCEL: lambda row: row.state in (DUE, HELD),
        }[first]  # type: ignore[index]
        chosen_rows = [row for row in model.rows.values() if fitting(row) and second in (None, row.domain)]
        assert engine.wait(queue.apply(Filter(domain=second), first, START, 1000)) == len(chosen_rows)  # type: ignore[arg-type]  # fmt: skip
        for row in chosen_rows:
            states = {Verb.RETRY: DUE, Verb.HOLD: HELD, Verb.RELEASE: DUE, Verb.CANCEL: RecipientState.CANCELLED}
            row.state = states[first]  # type: ignore[index]
            row.due = START if first in (Verb.RETRY, Verb.RELEASE) else row.due


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
            final = sum(row.state not in (DUE, LEASED, HELD) for row in model.rows.values())
            done = {
                submission
                for submission, _ in model.rows
                if all(row.state not in (DUE, LEASED, HELD) for (id, _), row in model.rows.items() if id == submission)
            }
            everything = engine.wait(engine.store.queue.select(Filter(), 1000))
            assert sum(row.state not in (DUE, LEASED, HELD) for row in everything) == final
            assert engine.wait(engine.store.queue.purge(START + 10, 1, 1, 1, 1000)) == len(done)
        finally:
            engine.wait(engine.store.close())
