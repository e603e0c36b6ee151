"""Places for connections: never too many, none lost, and everybody has a turn."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.places import Places


class Taker:
    """Wants so many places, and takes them as it is called."""

    def __init__(self, places: Places, wanted: int = 1) -> None:
        self.places = places
        self.wanted = wanted
        self.has = self.calls = 0
        self.wake = self._wake  # one object, by which it is known

    def _wake(self) -> None:
        self.calls += 1
        self.take()

    def take(self) -> None:
        while self.wanted and self.places.take(self.wake):
            self.wanted -= 1
            self.has += 1

    def give_back(self) -> None:
        self.has -= 1
        self.places.give_back()


def test_there_are_so_many_and_no_more() -> None:
    places = Places(lambda: 2)
    taker = Taker(places, 3)
    taker.take()
    assert (taker.has, taker.wanted) == (2, 1)
    assert places.are_wanted
    taker.give_back()
    assert (taker.has, taker.wanted) == (2, 0)
    assert not places.are_wanted


def test_those_that_wait_are_called_in_the_order_in_which_they_came() -> None:
    places = Places(lambda: 1)
    first, *others = (Taker(places) for _ in range(4))
    for each in (first, *others):
        each.take()
    holder = first
    for each in others:
        holder.give_back()
        assert each.has == 1
        holder = each
    holder.give_back()
    assert places.taken == 0


def test_one_that_wants_many_takes_one_for_each_that_is_given_back() -> None:
    places = Places(lambda: 2)
    holder, greedy, modest = Taker(places, 2), Taker(places, 10), Taker(places)
    for each in (holder, greedy, modest):
        each.take()
    holder.give_back()
    holder.give_back()
    assert (greedy.has, modest.has) == (1, 1)


def test_a_place_that_the_first_does_not_want_any_more_goes_to_the_next() -> None:
    places = Places(lambda: 1)
    holder, gone, waiting = (Taker(places) for _ in range(3))
    for each in (holder, gone, waiting):
        each.take()
    gone.wanted = 0
    holder.give_back()
    assert (gone.calls, waiting.has) == (1, 1)


def test_when_there_are_more_than_before_those_that_wait_are_called() -> None:
    limit = [1]
    places = Places(lambda: limit[0])
    takers = [Taker(places) for _ in range(5)]
    for each in takers:
        each.take()
    limit[0] = 4
    places.offer()
    assert [each.has for each in takers] == [1, 1, 1, 1, 0]


def test_when_there_are_fewer_than_before_what_is_given_back_goes_to_nobody() -> None:
    limit = [3]
    places = Places(lambda: limit[0])
    holder, waiting = Taker(places, 3), Taker(places)
    holder.take()
    waiting.take()
    limit[0] = 1
    holder.give_back()
    holder.give_back()
    assert (waiting.has, places.are_wanted) == (0, True)
    holder.give_back()
    assert waiting.has == 1


def test_many_that_fail_at_once_do_so_without_recursion() -> None:
    places = Places(lambda: 1)
    holder = Taker(places)
    holder.take()
    called = []

    def fails(number: int) -> Callable[[], None]:
        def wake() -> None:
            called.append(number)
            assert places.take(wake)
            places.give_back()

        return wake

    for number in range(5000):
        places.take(fails(number))
    holder.give_back()
    assert called == list(range(5000))
    assert places.taken == 0


def test_a_connection_that_nobody_uses_is_asked_for_once_by_each_that_waits() -> None:
    places = Places(lambda: 1)
    holder, waiting = Taker(places), Taker(places)
    holder.take()
    asked = []

    def close() -> bool:
        asked.append(1)
        holder.give_back()
        return True

    places.idle[close] = None
    waiting.take()
    assert (len(asked), waiting.has) == (1, 1)


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["want", "give", "lose interest", "more", "fewer"]))),
)
def test_whatever_happens_none_is_lost_and_nobody_waits_while_there_is_one(
    limit: int, steps: list[tuple[int, str]]
) -> None:
    limits = [limit]
    places = Places(lambda: limits[0])
    takers = [Taker(places, 0) for _ in range(6)]
    for who, what in steps:
        taker = takers[who]
        match what:
            case "want":
                taker.wanted += 1
                taker.take()
            case "give" if taker.has:
                taker.give_back()
            case "lose interest":
                taker.wanted = 0
            case "more":
                limits[0] += 1
                places.offer()
            case "fewer":
                limits[0] = max(1, limits[0] - 1)
        assert places.taken == sum(each.has for each in takers)
        assert places.taken >= limits[0] or not any(each.wanted for each in takers)
    for each in takers:
        each.wanted = 0
        while each.has:
            each.give_back()
    assert places.taken == 0
