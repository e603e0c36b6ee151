"""What one site takes from us, and who is told when there is room."""

from __future__ import annotations

from collections.abc import Callable

from smtpeter.delivery.limits import Allotment, SiteLimits, Source
from smtpeter.delivery.throttle import Shape, Throttle
from smtpeter.settings import SourceAddress

SHAPE = Shape("site", connections=4, start=1)


def make_limits() -> SiteLimits:
    return SiteLimits("site", [Allotment(SourceAddress(""), Throttle(SHAPE))])


def test_one_of_those_that_want_room_is_called_for_each_message_that_ends_and_all_for_the_last() -> None:
    limits, called = make_limits(), []

    def hear(number: int) -> Callable[[], None]:
        return lambda: called.append(number)

    limits.load = 2
    for number in range(4):
        limits.starved[hear(number)] = None
    limits.ended()
    assert called == [0]
    limits.ended()  # nobody else would call them
    assert (called, limits.load) == ([0, 1, 2, 3], 0)
    assert not limits.starved


def test_whoever_is_called_may_ask_again_or_take_others_off() -> None:
    limits, called = make_limits(), []

    def first() -> None:
        called.append("first")
        limits.starved[first] = None
        limits.starved.pop(second, None)

    def second() -> None:
        called.append("second")

    limits.load = 1
    limits.starved.update({first: None, second: None})
    limits.ended()
    assert called == ["first"]
    assert list(limits.starved) == [first]


def test_hosts_of_a_site_are_paused_with_the_site_or_alone() -> None:
    (allotment,) = make_limits().allotments
    one, two = Source(allotment, Throttle(SHAPE)), Source(allotment, Throttle(SHAPE))
    one.reach.pause(0.0, 60.0, "not there")
    assert (one.paused(0.0), two.paused(0.0)) == (60.0, 0.0)
    allotment.throttle.pause(0.0, 90.0, "too much")
    assert (one.paused(0.0), two.paused(0.0)) == (90.0, 90.0)


def test_success_makes_places_for_those_that_wait() -> None:
    (allotment,) = make_limits().allotments
    source, called = Source(allotment), []
    assert source.places.take(lambda: None)
    assert not source.places.take(lambda: called.append("called"))
    source.succeeded(0.0)
    assert called == ["called"]
    assert source.limit == 2
