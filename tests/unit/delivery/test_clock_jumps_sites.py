"""The wall clock is set while sites are paused, slowed, paced, or looked for: all of that goes by timers."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionRefusedError

from smtpeter.delivery.throttle import Rate, Shape
from smtpeter.model.delivery import Job, RecipientState
from smtpeter.model.route import Target
from tests.fakes.delivery import DeliveryBench
from tests.fakes.jobs import make_job, make_recipient
from tests.fakes.receiver import FakeReceiver
from tests.fakes.router import FakeRouter

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
JUMPS = [HOUR, -HOUR, 5 * DAY, -YEAR]
DUE, DELIVERED, EXPIRED = RecipientState.DUE, RecipientState.DELIVERED, RecipientState.EXPIRED
PATIENCE = 15.0  # seconds after which everything goes on as if the clock had not been set
SHAPE = Shape("site", connections=2, start=2, first_pause=600.0, longest_pause=600.0)


class World(DeliveryBench):
    """Each domain is a site of its own; those in ``down`` refuse connections, and are ``tried``."""

    def __init__(self, **options: Any) -> None:
        self.down: set[str] = set()
        self.tried: list[str] = []
        self.router = FakeRouter(known=False)
        super().__init__(self._connect, {"relay": False}, **{"router": self.router, "shape": SHAPE, **options})

    def _connect(self, target: Target) -> FakeReceiver:
        self.tried.append(target.host)
        if target.host in self.down:
            raise ConnectionRefusedError
        return FakeReceiver()

    def write(self, domain: str, count: int = 1, name: str = "") -> list[str]:
        """Mail that comes in now."""
        names = [f"{name or domain}-{number}" for number in range(count)]
        self.queue.add(*(self.mail(domain, each) for each in names), due=self.time())
        self.scheduler.wake([domain])
        return names

    def mail(self, domain: str, name: str) -> Job:
        recipients = [make_recipient(1, f"a@{domain}")]
        return make_job(submission=name, recipients=recipients, time=self.time(), expires=self.time() + DAY)


@pytest.mark.parametrize("jump", JUMPS)
def test_a_dead_site_is_tried_when_its_pause_is_over_and_not_before(jump: float) -> None:
    world = World()
    world.down = {"dead.example"}
    names = world.write("dead.example", 10)
    world.run(10)
    assert world.tried == ["dead.example"]
    world.jump = jump
    after = world.write("dead.example", 3, "after")
    world.run(540, step=2)
    assert world.tried == ["dead.example"]
    world.down = set()
    world.run(60 + PATIENCE, step=2)
    assert len(world.tried) > 1
    world.run(HOUR * 1.2, step=5)
    assert world.states(*names, *after) == [DELIVERED] * 13
    assert not world.notifier.reports


@pytest.mark.parametrize("jump", JUMPS)
def test_mail_to_a_site_that_is_well_notices_nothing(jump: float) -> None:
    world = World()
    for number in range(5):
        names = world.write("well.example", 5, f"before{number}")
        world.run(7)
        assert world.states(*names) == [DELIVERED] * 5, number
    world.jump = jump
    names = world.write("well.example", 5, "at that moment") + world.write("new.example", 5)
    world.run(PATIENCE)
    assert world.states(*names) == [DELIVERED] * 10
    for number in range(5):
        names = world.write("well.example", 5, f"after{number}")
        world.run(7)
        assert world.states(*names) == [DELIVERED] * 5, number


@pytest.mark.parametrize("jump", JUMPS)
def test_lanes_that_were_left_alone_before_are_not_forgotten(jump: float) -> None:
    """At the start nobody knows any way, so that all lanes are parked; then the clock is set right."""
    world = World()
    world.router.slow = True
    first = world.write("well.example", 3, "first")
    world.run(5)
    assert world.queue.parked
    world.jump = jump
    world.router.answer()
    world.run(PATIENCE)
    second = world.write("well.example", 3, "second")
    world.run(PATIENCE)
    assert world.states(*first, *second) == [DELIVERED] * 6


@pytest.mark.parametrize("jump", JUMPS)
def test_a_pace_is_kept_whatever_the_clock_says(jump: float) -> None:
    world = World(shape=SHAPE._replace(message_rate=Rate(1, 10.0)))
    names = world.write("paced.example", 1000)

    def count(seconds: float) -> int:
        before = world.states(*names).count(DELIVERED)
        world.run(seconds)
        return world.states(*names).count(DELIVERED) - before

    assert 10 <= count(100) <= 12
    world.jump = jump
    assert count(PATIENCE) <= PATIENCE / 10 + 2
    assert 9 <= count(100) <= 11


@pytest.mark.parametrize("jump", JUMPS)
def test_what_waits_for_a_dead_site_has_its_time_and_no_more(jump: float) -> None:
    """Nothing expires because the clock says so, and all of it does when its day is over; where the clock was set back,
    when that has shown it."""
    world = World()
    world.down = {"dead.example"}
    names = world.write("dead.example", 10)
    world.run(60)
    world.jump = jump
    world.run(22 * HOUR, step=30)
    assert {state for state in world.states(*names) if state} <= {DUE}
    assert not world.notifier.reports
    world.run(3 * HOUR, step=30)
    over = jump > -DAY
    assert set(world.states(*names)) == ({EXPIRED} if over else {DUE})
    assert len(world.notifier.reports) == 10 * over
