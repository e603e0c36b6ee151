"""Where the events of a time are in the journal: it is written in the order in which things are committed, and what
happened is committed later, sometimes much later."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import EventKind
from smtpeter.model.ids import make_submission_id
from smtpeter.model.listing import RecordFilter
from smtpeter.model.submission import Content, Submission
from smtpeter.store.migrate import known_migrations, migrate
from smtpeter.store.sqlite import records
from smtpeter.store.sqlite.enqueue import enqueue
from smtpeter.store.sqlite.journal import insert_events
from tests.contract.engines import START

HOUR = 3600.0


class World:
    """A store in which time goes by.  ``clock`` is what its clock shows."""

    def __init__(self, path: Path, random: Random) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        migrate(self.connection, path, 0, known_migrations())
        self.connection.execute("BEGIN")
        self.random = random
        self.clock = START
        self.submissions: list[Submission] = []

    def submit(self, lag: float = 0.0) -> None:
        """A message comes in that began to come so many seconds ago."""
        time = self.clock - lag
        submission = Submission(
            id=make_submission_id(int(time * 1000), self.random.randbytes(10)),
            account=self.random.choice((1, 2)),
            login="",
            channel="smtp",
            envelope=Envelope("", tuple(Recipient(f"{number}@x", "x") for number in range(self.random.choice((1, 3))))),
            content=Content(1, b"", b"x"),
            time=time,
            due=time,
            expires=time,
        )
        enqueue(self.connection, [submission])
        self.submissions.append(submission)

    def happen(self, lag: float = 0.0) -> None:
        """Something that happened so many seconds ago is written."""
        time = self.clock - lag
        submission = self.random.choice(self.submissions)
        while submission.time > time:
            submission = self.random.choice(self.submissions)
        insert_events(self.connection, [(round(time * 1000), EventKind.CLICK, submission.id, 1, {})])

    def live(self, steps: int, pace: float = 20.0, slow: float = 3500.0) -> None:
        """Mail comes and events happen; some of it takes long, up to ``slow`` seconds."""
        for _ in range(steps):
            self.clock += self.random.expovariate(1 / pace)
            if self.random.random() < 0.5:
                self.submit(self.random.choice((0.0, 0.0, 1.0, 30.0, slow)))
            else:
                self.happen(self.random.choice((0.0, 1.0, 60.0)))

    def cursors(self, since: float | None, until: float | None, limit: int = 100_000) -> list[int]:
        found, after = [], 0
        following: int | None = 0
        while following is not None:
            after = following
            some, following = records.read_records(
                self.connection, RecordFilter(since=since, until=until), after, limit
            )
            found += [each.cursor for each in some]
        return found

    def expected(self, since: float | None, until: float | None) -> list[int]:
        query = "SELECT cursor FROM event WHERE time >= ? AND time < ? ORDER BY cursor"
        values = (0 if since is None else round(since * 1000), 2**62 if until is None else round(until * 1000))
        return [cursor for (cursor,) in self.connection.execute(query, values)]


class Range(NamedTuple):
    since: float | None
    until: float | None


def quiet(world: World) -> None:
    world.live(1500)


def store_away(world: World) -> None:
    """What happens while the store cannot write is written when it is back, beside new mail."""
    world.live(500)
    for hours in (0.4, 5.0):
        began = world.clock
        world.clock += hours * HOUR
        late = [world.random.uniform(0, world.clock - began) for _ in range(50)]
        for lag in late:
            world.clock += world.random.uniform(0, 3)
            world.submit(1.0)
            world.happen(lag)
        world.live(300, slow=60.0)


def clock_wrong_for_an_hour(world: World) -> None:
    world.live(400)
    world.clock += 10 * 365 * 24 * HOUR
    world.live(300)
    world.clock -= 10 * 365 * 24 * HOUR
    world.live(600)


def clock_set_back(world: World) -> None:
    world.live(600)
    world.clock -= 2 * HOUR
    world.live(600)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    world = World(tmp_path / "mail.db", Random(7))
    world.submit(HOUR)
    yield world
    world.connection.close()


@pytest.mark.parametrize("history", [quiet, store_away, clock_wrong_for_an_hour, clock_set_back])
def test_nothing_of_a_time_is_missed(world: World, history: Callable[[World], None]) -> None:
    history(world)
    times = [START + world.random.uniform(-1, 16) * HOUR for _ in range(60)]
    ranges = [Range(time, time + HOUR * world.random.choice((0.01, 1, 5))) for time in times]
    ranges += [Range(times[0], None), Range(None, times[1]), Range(None, None), Range(world.clock, world.clock + HOUR)]
    for since, until in ranges:
        assert world.cursors(since, until) == world.expected(since, until), (since, until)
    assert world.cursors(times[2], times[2] + HOUR, limit=17) == world.expected(times[2], times[2] + HOUR)


def test_little_is_looked_at_that_is_not_wanted(world: World) -> None:
    world.live(20_000, pace=10.0)
    since, until = START + 20 * HOUR, START + 21 * HOUR
    span = records.next_span(world.connection, since, until, 0, 1_000_000)
    assert span is not None
    first, last, _ = span
    wanted = world.expected(since, until)
    assert first <= wanted[0]
    assert wanted[-1] <= last
    assert last - first < 6 * len(wanted)


def test_kinds_are_looked_for_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.live(1000)
    monkeypatch.setattr(records, "KINDS_STEP", 50)
    seen: set[Any] = set()
    after: int | None = 0
    steps = 0
    while after is not None:
        found, after = records.look_for_kinds(world.connection, 1, START, START + 100 * HOUR, frozenset(seen), after)
        assert not found & seen
        seen |= found
        steps += 1
    assert seen == {EventKind.ATTEMPT, EventKind.CLICK}
    assert steps > 10


def test_a_span_ends_where_nothing_is_left(world: World) -> None:
    for _ in range(3):
        world.submit()
    (last,) = world.connection.execute("SELECT max(cursor) FROM event").fetchone()
    assert records.next_span(world.connection, None, None, 0, last) == (1, last, False)
    assert records.next_span(world.connection, None, None, 0, last - 1) == (1, last - 1, True)
    assert records.next_span(world.connection, None, None, last, 5) is None
    world.connection.execute("DELETE FROM event WHERE cursor IN (1, 2)")
    assert records.next_span(world.connection, None, None, 0, 1) == (3, 3, last > 3)
