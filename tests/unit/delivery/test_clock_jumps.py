"""The wall clock is set while mail waits: nothing freezes, and nothing expires for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from smtpeter.model.delivery import Job, RecipientState
from tests.fakes.delivery import DeliveryBench, logged
from tests.fakes.jobs import NOW, make_job, make_recipient
from tests.fakes.receiver import FakeReceiver

HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
DUE, DELIVERED, EXPIRED = RecipientState.DUE, RecipientState.DELIVERED, RecipientState.EXPIRED


class Relay:
    """Puts off everything until it is told to ``accept``."""

    def __init__(self) -> None:
        self.accept = False

    def __call__(self) -> FakeReceiver:
        return FakeReceiver() if self.accept else FakeReceiver(mail="451 4.3.0 later")


def queue_of(count: int = 20, **changes: Any) -> list[Job]:
    return [make_job(submission=f"s{number}", **changes) for number in range(count)]


def deferred_queue(**options: Any) -> tuple[DeliveryBench, Relay, list[str]]:
    """Twenty messages that were put off once."""
    relay = Relay()
    bench = DeliveryBench(relay, **options)
    jobs = queue_of()
    bench.queue.add(*jobs)
    bench.run(5)
    names = [job.submission for job in jobs]
    assert bench.states(*names) == [DUE] * 20
    return bench, relay, names


@pytest.mark.parametrize("back", [HOUR, DAY, YEAR])
def test_a_clock_set_back_freezes_nothing_longer_than_the_longest_wait(back: float) -> None:
    bench, relay, names = deferred_queue()
    bench.jump = -back
    relay.accept = True
    bench.run(HOUR * 1.2, step=5)
    assert bench.states(*names) == [DELIVERED] * 20


def test_what_was_put_off_by_a_clock_that_was_wrong_at_the_start_does_not_wait_for_years() -> None:
    relay = Relay()
    relay.accept = True
    bench = DeliveryBench(relay)
    bench.queue.add(make_job(recipients=[make_recipient(attempts=1)]), due=NOW + YEAR)
    bench.run(HOUR * 1.2, step=5)
    assert bench.states("s1") == [DELIVERED]


def test_a_lease_that_nobody_has_is_found_although_the_clock_was_set_back() -> None:
    relay = Relay()
    relay.accept = True
    bench = DeliveryBench(relay)
    bench.run(5)
    bench.queue.forget(make_job(submission="lost"), lease_until=NOW + 900)
    bench.jump = -YEAR
    bench.run(HOUR * 1.2, step=5)
    assert bench.states("lost") == [DELIVERED]


@pytest.mark.parametrize("ahead", [2 * HOUR, 5 * DAY, YEAR])
def test_a_clock_set_ahead_does_not_expire_the_queue(ahead: float) -> None:
    bench, relay, names = deferred_queue()
    bench.jump = ahead
    bench.run(2 * HOUR, step=5)
    assert bench.states(*names) == [DUE] * 20
    assert not bench.notifier.reports
    relay.accept = True
    bench.run(2 * HOUR, step=5)
    assert bench.states(*names) == [DELIVERED] * 20


def test_a_clock_set_ahead_expires_nothing_that_has_its_own_limit() -> None:
    relay = Relay()
    bench = DeliveryBench(relay)
    bench.queue.add(make_job(expires=NOW + HOUR))
    bench.run(5)
    bench.jump = 5 * DAY
    relay.accept = True
    bench.run(600, step=5)
    assert bench.states("s1") == [DELIVERED]


def test_after_a_clock_was_set_ahead_mail_still_has_its_time_and_no_more() -> None:
    bench, _, names = deferred_queue()
    bench.jump = 5 * DAY
    bench.run(5)
    bench.queue.add(make_job(submission="new", time=bench.time(), expires=bench.time() + DAY))
    bench.run(22 * HOUR, step=60)
    assert bench.states(*names, "new") == [DUE] * 21
    bench.run(3 * HOUR, step=60)
    assert bench.states(*names, "new") == [EXPIRED] * 21


def test_a_clock_that_goes_wrong_and_is_set_right_changes_nothing() -> None:
    bench, _, names = deferred_queue()
    bench.jump = 5 * DAY
    bench.run(600, step=5)
    bench.jump = 0
    bench.run(2 * HOUR, step=60)
    assert bench.states(*names) == [DUE] * 20
    bench.run(23 * HOUR, step=60)
    assert bench.states(*names) == [EXPIRED] * 20


def test_a_clock_that_is_slewed_is_no_clock_that_was_set() -> None:
    bench = DeliveryBench(Relay())
    with logged() as events:
        for _ in range(600):
            bench.jump += 0.1
            bench.run(5, step=5)
    assert not [event for event in events if event.get("event") == "clock"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 5 * DAY, -YEAR])
def test_it_is_told_once(jump: float) -> None:
    bench, _, _ = deferred_queue()
    bench.jump = jump
    with logged() as events:
        bench.run(600, step=5)
    told: Callable[[Any], bool] = lambda event: event.get("event") == "clock"  # noqa: E731
    assert [round(event["seconds"]) for event in filter(told, events)] == [jump]


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 5 * DAY, -YEAR])
def test_timeouts_do_not_look_at_the_wall_clock(jump: float) -> None:
    bench = DeliveryBench(lambda: FakeReceiver(mail=None))
    bench.queue.add(make_job())
    bench.run(10)
    bench.jump = jump
    bench.run(280)
    assert bench.states("s1") == [None]
    bench.run(20)
    assert bench.states("s1") == [DUE]
