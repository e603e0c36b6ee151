"""The whole of delivery against many sites in all kinds of trouble, as dice have it.

Whatever happens, every message ends or is due; what can be delivered is, soon after the trouble is over; and when all
is quiet nothing is held by anybody: no place, no memory, no turn.
"""

from __future__ import annotations

import gc
from random import Random
from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock

from smtpeter.delivery.throttle import Rate, Shape
from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.route import Target
from tests.fakes.delivery import DeliveryBench, alarms, logged
from tests.fakes.jobs import NOW, make_job, make_recipient
from tests.fakes.receiver import DROP, EHLO, FakeReceiver
from tests.fakes.router import FakeRouter, Way, way

SEEDS = 16
TROUBLE = 400.0  # seconds
LONGEST = 60.0  # seconds of a pause
HANG = 610.0  # seconds that a silent receiver keeps a connection

SCRIPTS: dict[str, dict[str, Any]] = {
    "well": {},
    "busy": {"greeting": "421 4.7.0 no"},
    "refuses mail": {"mail": "421 4.7.0 no"},
    "drops content": {"end": DROP},
    "never answers the dot": {"end": None},
    "not yet": {"rcpt": ["450 4.2.0 later", "250 ok"]},
    "closes when ready": {"ehlo": EHLO.encode() + b"\r\n421 bye\r\n"},
    "takes one": {"mail": ["250 ok", DROP]},
    "never says bye": {"quit": None},
}
MOODS = [*SCRIPTS, "refuses", "silent", "any of these"]


class World:
    """Sites with one or several sets of hosts, each with domains, and some domains without a way."""

    def __init__(self, seed: int) -> None:
        self.random = random = Random(seed)
        self.router = FakeRouter(known=random.random() < 0.5)
        self.router.slow = random.random() < 0.5
        self.moods: dict[str, str] = {}
        self.clock = Clock()
        self.submissions: dict[str, int] = {}
        self._make_sites(random.random() < 0.5)
        rated = random.random() < 0.4
        rate = Rate(random.choice([1, 10]), random.choice([1.0, 3.0]), random.choice([1, 5]))
        self.rate = rate if rated and random.random() < 0.7 else None
        shape = Shape(
            "site",
            connections=random.choice([1, 2, 20]),
            messages=random.choice([1, 3, 1000]),
            recipients=random.choice([1, 100]),
            message_rate=self.rate,
            connection_rate=Rate(random.choice([1, 10]), 1.0, 1) if rated and random.random() < 0.5 else None,
            start=random.choice([1, 5]),
            first_pause=random.choice([1.0, 20.0]),
            longest_pause=LONGEST,
        )
        self.options = {
            "shape": shape,
            "places": random.choice([1, 2, 5, 500]),
            "memory": random.choice([100, 100_000_000]),
            "router": self.router,
            "schedule": (10.0, 30.0),
        }
        self.bench = self._make_bench()

    def _make_bench(self) -> DeliveryBench:
        return DeliveryBench(self._connect, clock=self.clock, **self.options)

    def _make_sites(self, grouped: bool) -> None:
        random, ways = self.random, self.router.ways
        for site in range(random.randint(1, 8)):
            for group in range(random.randint(1, 3) if grouped else 1):
                host = f"mx{group}.site{site}"
                self.moods[host] = random.choice(MOODS)
                route: Way = way(f"site{site}", host if grouped else "", host)
                for domain in range(random.randint(1, 4)):
                    ways[f"d{domain}.mx{group}.site{site}"] = route
        for number in range(random.randint(0, 3)):
            kind = random.choice([OutcomeKind.DEFERRED, OutcomeKind.FAILED])
            ways[f"lost{number}.example"] = Outcome(kind, 0, "4.4.3", "no way")
        self.domains = list(ways)

    def _connect(self, target: Target) -> FakeReceiver | None:
        mood = self.moods.get(target.host, "well") if self.clock.seconds() < TROUBLE else "well"
        if mood == "any of these":
            mood = self.random.choice(MOODS[:-1])
        if mood == "refuses":
            raise ConnectionRefusedError
        if mood == "silent":
            return None
        return FakeReceiver(**SCRIPTS[mood])

    def submit(self, count: int) -> None:
        for _ in range(count):
            name, domain = f"s{len(self.submissions)}", self.random.choice(self.domains)
            size = self.random.choice([1, 1, 1, 3, 10])
            recipients = [make_recipient(number, f"r{number}@{domain}") for number in range(1, size + 1)]
            job = make_job(
                submission=name, recipients=recipients, account=self.random.randint(1, 4), expires=NOW + 864_000
            )
            self.bench.queue.add(job, due=self.bench.time())
            self.submissions[name] = size
        self.bench.scheduler.wake(())

    def run(self, seconds: float) -> None:
        network = self.bench.network
        for _ in range(round(seconds * 2)):
            if self.random.random() < 0.3:
                self.router.answer()
            self.bench.run(0.5)
            network.wires = [wire for wire in network.wires if not wire.lost]

    def go_through_trouble(self) -> None:
        self.submit(self.random.randint(1, 60))
        self.run(5)
        for _ in range(6):
            self.submit(self.random.randint(0, 20))
            self.run(self.random.choice([1, 20, 65]))

    def end_trouble(self) -> None:
        self.run(max(0.0, TROUBLE - self.clock.seconds()))
        for domain, found in self.router.ways.items():
            if isinstance(found, Outcome):
                self.router.ways[domain] = way("late.example")

    @property
    def all_ended(self) -> bool:
        return not self.bench.queue.waiting and not self.bench.queue.leased

    def run_until_all_ended(self) -> None:
        """Silent receivers have their time, one after the other; then pauses, retries and rates have theirs."""
        left = 2 * HANG + LONGEST + 2 * 33.0 + 100.0
        if self.rate is not None:
            left += sum(self.submissions.values()) * self.rate.seconds / self.rate.count
        while not self.all_ended and left > 0:
            self.run(20.0)
            left -= 20.0
        assert self.all_ended, "something waits for longer than there is a reason to"
        missing = [name for name in self.submissions if self.bench.queue.outcome(name) is None]
        assert not missing

    def restart(self) -> None:
        """Stop, and go on with the same queue."""
        before = self.bench
        stopped: list[None] = []
        before.scheduler.stopService().addCallback(stopped.append)
        for _ in range(130):
            self.clock.advance(0.5)
            before.network.move()
        assert stopped == [None]
        assert not before.queue.leased
        assert_nothing_is_held(before)
        assert not self.clock.getDelayedCalls()
        self.bench = self._make_bench()
        self.bench.queue.waiting = before.queue.waiting
        self.bench.queue.parked = before.queue.parked
        self.bench.queue.settled = before.queue.settled


def assert_nothing_is_held(bench: DeliveryBench) -> None:
    agent: Any = bench.agent
    assert bench.scheduler._claimed == 0
    assert bench.network.open == 0
    for pool in agent.pools():
        assert pool.is_unused
        assert not pool._usable and not pool._idle
        assert (pool._common.places.taken, pool._common.memory._held, pool._limits.load) == (0, 0, 0)
        assert [source.places.taken for source in pool._sources] == [0] * len(pool._sources)


def assert_nobody_waits(bench: DeliveryBench) -> None:
    agent: Any = bench.agent
    for what in (agent._where, agent._wanting, agent._resting, agent._routing, agent._unpark):
        assert not what
    assert not any(group.turns or group.turns.parked for group in agent._groups.values())
    assert not list(agent.waiting())


@pytest.mark.parametrize("seed", range(SEEDS))
def test_trouble_that_ends_leaves_nothing_behind(seed: int) -> None:
    world = World(seed)
    with logged() as events:
        world.go_through_trouble()
        world.end_trouble()
        world.run_until_all_ended()
        world.run(120.0)
        gc.collect()  # a failure in a Deferred that nobody looked at is logged now
    assert_nothing_is_held(world.bench)
    assert_nobody_waits(world.bench)
    assert not [event for event in alarms(events) if "log_failure" in event]


@pytest.mark.parametrize("seed", range(1000, 1000 + SEEDS // 2))
def test_stopping_amid_all_trouble_gives_everything_back(seed: int) -> None:
    world = World(seed)
    with logged() as events:
        world.go_through_trouble()
        world.restart()
        world.submit(5)
        world.end_trouble()
        world.run_until_all_ended()
        world.run(120.0)
    assert_nothing_is_held(world.bench)
    assert_nobody_waits(world.bench)
    assert not [event for event in alarms(events) if "log_failure" in event]
