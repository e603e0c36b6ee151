"""Jobs that wait, and the memory that their content needs: bounded over all sites, and none waits for ever."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.waiting import Memory, Waiting, Work
from smtpeter.model.submission import Content
from tests.fakes.jobs import make_job

LIMIT = 100


def large(submission: str, size: int = 60) -> Work:
    """Its content has to be read first."""
    return Work(make_job(submission=submission)._replace(content=Content(size, b"", None, "file")))


def small(submission: str) -> Work:
    return Work(make_job(submission=submission))


class Site:
    """Takes all that can start whenever it is called, up to so many at once."""

    def __init__(self, memory: Memory, connections: int = 100) -> None:
        self.connections = connections
        self.under_way: list[Work] = []
        self.started: list[str] = []
        self.wake = self._feed
        self.waiting = Waiting(memory, self.wake)

    def add(self, *works: Work) -> None:
        for work in works:
            self.waiting.add(work)
        self._feed()

    def _feed(self) -> None:
        while len(self.under_way) < self.connections:
            work = self.waiting.next()
            if work is None:
                return
            self.under_way.append(work)
            self.started.append(work.job.submission)

    def finish(self) -> None:
        self.waiting.release(self.under_way.pop(0))
        self._feed()

    @property
    def held(self) -> int:
        return sum(work.held for work in self.under_way)


def test_several_sites_share_the_memory_and_have_it_in_turns() -> None:
    memory = Memory(LIMIT)
    one, two, three = (Site(memory) for _ in range(3))
    one.add(large("a1"), large("a2"), large("a3"))
    two.add(large("b1"))
    three.add(large("c1"))
    assert (one.started, two.started, three.started) == (["a1"], [], [])
    one.finish()  # it was first to wait; with what else it has it stands behind the others now
    assert (one.started, two.started, three.started) == (["a1", "a2"], [], [])
    one.finish()
    assert (one.started, two.started, three.started) == (["a1", "a2"], ["b1"], [])
    two.finish()
    assert three.started == ["c1"]
    three.finish()
    assert one.started == ["a1", "a2", "a3"]


def test_a_small_one_passes_those_that_wait_for_memory() -> None:
    memory = Memory(LIMIT)
    one, two = Site(memory), Site(memory)
    one.add(large("a1"))
    two.add(large("b1"), small("b2"), large("b3"), small("b4"))
    assert two.started == ["b2", "b4"]
    one.finish()
    assert two.started == ["b2", "b4", "b1"]


def test_large_and_small_ones_take_turns() -> None:
    site = Site(Memory(10_000), connections=1)
    site.add(*(large(f"large{number}") for number in range(3)), *(small(f"small{number}") for number in range(3)))
    for _ in range(5):
        site.finish()
    assert site.started[0] == "large0"
    assert sorted(site.started[:4]) == ["large0", "large1", "small0", "small1"]


def test_whoever_gives_up_waiting_lets_the_next_one_go() -> None:
    memory = Memory(LIMIT)
    one, two, three = (Site(memory) for _ in range(3))
    one.add(large("a1", 10))
    two.add(large("giant", 10 * LIMIT))
    three.add(large("c1"))
    assert not three.started
    assert [work.job.submission for work in two.waiting.drain()] == ["giant"]
    assert three.started == ["c1"]


def test_one_above_the_limit_goes_when_it_is_alone_and_others_do_not_pass_it_for_ever() -> None:
    memory = Memory(LIMIT)
    one, two = Site(memory), Site(memory)
    one.add(large("a1"))
    two.add(large("giant", 10 * LIMIT))
    one.add(*(large(f"more{number}", 10) for number in range(5)))
    assert one.started == ["a1"]
    one.finish()
    assert two.started == ["giant"]
    assert one.started == ["a1"]
    two.finish()
    assert one.started == ["a1", *(f"more{number}" for number in range(5))]


def test_room_for_many_is_used_by_many_at_once() -> None:
    memory = Memory(LIMIT)
    giant, *others = (Site(memory) for _ in range(6))
    giant.add(large("giant", 10 * LIMIT))
    for number, site in enumerate(others):
        site.add(large(f"s{number}", 20))
    giant.finish()
    assert [site.started for site in others] == [["s0"], ["s1"], ["s2"], ["s3"], ["s4"]]


def test_a_site_whose_connections_are_gone_holds_up_nobody_and_has_its_turn_later() -> None:
    memory = Memory(LIMIT)
    one, gone, two = (Site(memory) for _ in range(3))
    one.add(large("a1"))
    gone.add(large("b1"))
    two.add(large("c1"))
    gone.connections = 0
    one.finish()
    assert two.started == ["c1"]
    gone.connections = 1
    gone.wake()
    assert not gone.started
    two.add(large("c2"))
    two.finish()
    assert gone.started == ["b1"]


def test_many_that_end_at_once_do_so_without_recursion() -> None:
    memory = Memory(LIMIT)
    asked: list[int] = []

    def brief(number: int) -> Callable[[], None]:
        def wake() -> None:
            asked.append(number)
            assert memory.take(1, wake)
            memory.give_back(1)

        return wake

    memory.take(LIMIT, lambda: None)
    for number in range(5000):
        memory.take(1, brief(number))
    memory.give_back(LIMIT)
    assert asked == list(range(5000))


def test_what_was_put_back_comes_first_and_keeps_what_it_holds() -> None:
    memory = Memory(LIMIT)
    site = Site(memory, connections=1)
    site.add(large("a1"), small("a2"))
    work = site.under_way.pop()
    site.waiting.put_back(work)
    assert len(site.waiting) == 2
    assert site.waiting.next() is work
    assert work.held == 60
    site.waiting.release(work)
    site.waiting.release(work)  # no more than once
    assert memory.take(LIMIT, lambda: None)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.one_of(st.integers(1, 2 * LIMIT), st.sampled_from(["finish", "drain", "small"]))
        )
    )
)
def test_memory_is_bounded_and_everything_goes_in_the_end(steps: list[tuple[int, int | str]]) -> None:
    memory = Memory(LIMIT)
    sites = [Site(memory, connections=3) for _ in range(4)]
    added, gone = 0, 0
    for number, (who, what) in enumerate(steps):
        site = sites[who]
        if what == "finish":
            if site.under_way:
                site.finish()
        elif what == "drain":
            gone += len(list(site.waiting.drain()))
        else:
            added += 1
            site.add(small(f"s{number}") if what == "small" else large(f"s{number}", int(what)))
        holding = [work.held for each in sites for work in each.under_way if work.held]
        assert sum(holding) <= LIMIT or len(holding) == 1
    for _ in range(added):
        for site in sites:
            if site.under_way:
                site.finish()
    assert sum(len(site.started) for site in sites) == added - gone
    assert not any(site.under_way or len(site.waiting) for site in sites)
    assert memory.take(LIMIT, lambda: None)
