"""What the store is told of sites, and what operators say to it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import deferLater
from zope.interface import implementer

from smtpeter.delivery.sites import AGAIN, LONGEST, REST, SOON, TOGETHER, UNCERTAIN, SiteBook
from smtpeter.delivery.throttle import Shape, Throttle
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, ISiteStore
from smtpeter.model.route import SiteCondition, SiteState
from tests.fakes.clock import TurnClock

EPOCH = 1_700_000_000.0
PAUSED = SiteCondition.PAUSED
HOUR, DAY, YEAR = 3600.0, 86400.0, 365 * 86400.0
JUMPS = [HOUR, -HOUR, 5 * DAY, -YEAR]


@implementer(ISiteStore)
class FakeStore:
    """``takes`` is for how long (seconds) it writes."""

    def __init__(self, timers):
        self._timers = timers
        self.takes = 0.0
        self.written = []
        self.known = []
        self.trouble = None

    def write(self, states):
        if self.trouble is not None:
            return fail(self.trouble)
        if self.takes:
            return deferLater(self._timers, self.takes, self.written.append, list(states))
        self.written.append(list(states))
        return succeed(None)

    def states(self):
        return succeed(self.known)


@implementer(IClock)
class WallClock:
    """``jump`` is by how much it was set."""

    def __init__(self, timers):
        self._timers = timers
        self.jump = 0.0

    def time(self):
        return EPOCH + self.jump + self._timers.seconds()


class Bench:
    """A book, and paces by site."""

    def __init__(self):
        self.timers, self.resumed = TurnClock(), []
        self.store = FakeStore(self.timers)
        self.clock = WallClock(self.timers)
        self.book = SiteBook(self.store, self.clock, self.timers)
        self.sites = {}
        self.book.resume = self.resume

    def pause(self, name, seconds=600.0):
        throttle = self.sites.setdefault(name, Throttle(Shape(name)))
        throttle.pause(self.timers.seconds(), seconds, f"{name} is tired")
        self.book.changed([(name, "", throttle)])

    def resume(self, name):
        self.resumed.append(name)
        self.sites[name].resume()
        self.book.changed([(name, "", self.sites[name])])

    def told(self):
        return [state.site for state in self.store.written[-1]] if self.store.written else None


@pytest.fixture
def bench():
    return Bench()


def test_a_change_is_written_within_a_second(bench):
    bench.pause("a.example")
    bench.timers.advance(SOON)
    (state,) = bench.store.written[-1]
    assert state == SiteState("a.example", "", PAUSED, "a.example is tired", EPOCH, EPOCH + 600)


def test_a_change_soon_after_another_one_is_written_within_a_second_too(bench):
    bench.pause("a.example")
    bench.timers.advance(SOON)
    bench.pause("b.example")
    bench.timers.advance(SOON / 2)
    bench.pause("c.example")
    bench.timers.advance(SOON / 2)
    assert bench.told() == ["a.example", "b.example", "c.example"]
    assert len(bench.store.written) == 2


def test_what_is_over_is_gone_after_a_while(bench):
    bench.pause("a.example", 5.0)
    bench.timers.advance(SOON)
    bench.timers.advance(AGAIN)
    assert bench.told() == []
    assert not bench.timers.getDelayedCalls()


def test_a_store_in_trouble_is_told_later(bench):
    bench.store.trouble = StorageUnavailable("locked")
    bench.pause("a.example")
    bench.timers.advance(SOON)
    assert bench.told() is None
    bench.store.trouble = None
    bench.timers.advance(SOON)
    assert bench.told() == ["a.example"]


def test_an_operator_ends_it(bench):
    bench.pause("a.example")
    bench.timers.advance(SOON)
    bench.store.known = [state._replace(resumed=True) for state in bench.store.written[-1]]
    bench.book.generation_changed()
    assert bench.resumed == ["a.example"]
    bench.timers.advance(SOON)
    assert bench.told() == []


def test_what_was_before_the_start_goes_on_where_it_was(bench):
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH - 60, EPOCH + 60)])
    throttle = bench.sites["a.example"] = Throttle(Shape("a"))
    bench.book.restore("a.example", "", throttle)
    assert throttle.paused(0.0) == 60.0


def test_it_goes_on_being_told_when_there_is_mail_for_the_site_again(bench):
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH - 60, EPOCH + 60)])
    bench.book.restore("a.example", "", Throttle(Shape("a")))
    bench.timers.advance(SOON)
    assert bench.told() == ["a.example"]
    bench.timers.advance(AGAIN)
    assert bench.told() == ["a.example"]
    bench.timers.advance(AGAIN)
    assert bench.told() == []


def test_what_an_operator_ended_while_there_was_no_server_is_over(bench):
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH - 60, EPOCH + 60, resumed=True)])
    bench.timers.advance(SOON)
    assert bench.told() == []
    throttle = Throttle(Shape("a"))
    bench.book.restore("a.example", "", throttle)
    assert throttle.paused(0.0) == 0.0


# --- a clock that is set ---


@pytest.mark.parametrize("jump", JUMPS)
def test_a_pause_ends_by_the_timers_and_is_told_by_the_clock_that_there_is_now(bench, jump):
    bench.pause("a.example", 600.0)
    bench.timers.advance(SOON)
    bench.clock.jump = jump
    bench.timers.advance(AGAIN)
    (state,) = bench.store.written[-1]
    assert (state.since, state.until) == (EPOCH + jump, EPOCH + jump + 600)
    assert bench.book.counts() == {"slowed": 0, "paused": 1}
    assert bench.sites["a.example"].paused(599.0) == 1.0
    assert bench.sites["a.example"].paused(600.0) == 0.0
    bench.timers.advance(600)
    assert bench.told() == []


@pytest.mark.parametrize("jump", JUMPS)
def test_what_was_before_the_start_goes_on_whatever_the_clock_says_since(bench, jump):
    """No mail for that site came yet."""
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH - 60, EPOCH + 600)])
    bench.clock.jump = jump
    bench.timers.advance(100)
    assert [state.until - bench.clock.time() for state in bench.store.written[-1]] == [500.0]
    throttle = Throttle(Shape("a"))
    bench.book.restore("a.example", "", throttle)
    assert throttle.paused(100.0) == 500.0


@pytest.mark.parametrize(
    ("jump", "since", "until", "left"),
    [
        (HOUR, -60, 600, 0),
        (5 * DAY, -60, 600, 0),
        (-HOUR, -60, 600, 660),
        (-YEAR, -60, 600, 660),
        (-YEAR, -3 * DAY, 3600, UNCERTAIN),
        (-HOUR, -3 * DAY, 3600, 2 * HOUR),
        (-2 * DAY, -3 * DAY, 3600, LONGEST),
    ],
)
def test_a_clock_that_was_set_between_stop_and_start_makes_no_pause_last_for_ever(bench, jump, since, until, left):
    """Written before that: since when (seconds before EPOCH), and until when."""
    bench.clock.jump = jump
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH + since, EPOCH + until)])
    bench.timers.advance(SOON)
    told = [state.until - bench.clock.time() for state in bench.store.written[-1]]
    assert told == ([left - SOON] if left else [])
    throttle = Throttle(Shape("a"))
    bench.book.restore("a.example", "", throttle)
    assert throttle.paused(0.0) == left


def test_sites_are_counted_once_whatever_their_source_addresses(bench):
    assert bench.book.counts() == {"slowed": 0, "paused": 0}
    bench.pause("a.example")
    bench.pause("b.example", 5.0)
    bench.book.changed((name, "192.0.2.1", each) for name, each in bench.sites.items())
    bench.timers.advance(SOON)
    assert len(bench.store.written[-1]) == 4
    assert bench.book.counts() == {"slowed": 0, "paused": 2}
    bench.timers.advance(AGAIN)
    assert bench.book.counts() == {"slowed": 0, "paused": 1}


# --- very many ---


class Counted(Throttle):
    """``asked`` counts how often somebody wanted to know whether one of them is out of the ordinary."""

    asked = 0

    def states(self, now):
        Counted.asked += 1
        return super().states(now)


@pytest.fixture
def counted():
    Counted.asked = 0
    return Counted


def test_sites_that_are_as_usual_again_are_not_looked_at_any_more(bench, counted):
    for number in range(5):
        bench.sites[f"d{number}.example"] = counted(Shape("a"))
        bench.pause(f"d{number}.example", 10.0 if number else 600.0)
    bench.timers.advance(SOON)
    bench.timers.advance(AGAIN)
    assert (counted.asked, bench.told()) == (10, ["d0.example"])
    bench.timers.advance(AGAIN)
    assert (counted.asked, bench.told()) == (11, ["d0.example"])
    bench.pause("d1.example", 600.0)
    bench.timers.advance(SOON)
    assert (counted.asked, bench.told()) == (13, ["d0.example", "d1.example"])


def test_a_network_that_is_gone_does_not_hold_up_the_reactor(bench, counted):
    names = [f"d{number}.example" for number in range(3 * TOGETHER + 1)]
    for name in names:
        bench.sites[name] = counted(Shape("a"))
        bench.pause(name)
    bench.timers.advance(SOON)
    for turn in (1, 2, 3):
        assert (counted.asked, bench.told()) == (turn * TOGETHER, None)
        bench.timers.advance(0.0)
    assert bench.told() == names
    assert bench.book.counts() == {"slowed": 0, "paused": len(names)}


def test_what_changes_while_very_many_are_looked_at_is_written_within_a_second_after(bench):
    for number in range(TOGETHER):
        bench.pause(f"d{number}.example")
    bench.timers.advance(SOON)
    bench.sites["d0.example"].resume()
    bench.pause("e.example")
    bench.timers.advance(0.0)
    assert bench.told()[0] == "d0.example"
    bench.timers.advance(SOON)
    bench.timers.advance(0.0)
    assert (bench.told()[0], bench.told()[-1], len(bench.told())) == ("d1.example", "e.example", TOGETHER)


@pytest.mark.parametrize("when", [0.25, 0.75])  # while it is written, and after that
def test_who_takes_long_to_write_is_left_in_peace_for_longer(bench, when):
    bench.store.takes = 0.5
    bench.pause("a.example")
    bench.timers.advance(SOON)
    for elapsed in (0.25, 0.5, 0.75):
        bench.timers.advance(0.25)
        if elapsed == when:
            bench.pause("b.example")
    bench.store.takes = 0.0
    for _ in range(9):
        bench.timers.advance(1.0)
        bench.pause("c.example")
    assert bench.told() == ["a.example"]
    bench.timers.advance(REST * 0.5 - 9.25)
    assert bench.told() == ["a.example", "b.example", "c.example"]
    bench.pause("d.example")
    bench.timers.advance(SOON)  # that one was fast
    assert bench.told() == ["a.example", "b.example", "c.example", "d.example"]
    assert len(bench.store.written) == 3


def test_it_may_stop_while_it_is_written(bench):
    bench.store.takes = 0.5
    bench.pause("a.example")
    bench.timers.advance(SOON)
    bench.pause("b.example")
    bench.book.stop()
    bench.timers.advance(0.5)
    bench.timers.advance(AGAIN)
    assert bench.told() == ["a.example"]
    assert not bench.timers.getDelayedCalls()


def test_it_may_stop_while_very_many_are_looked_at(bench):
    for number in range(TOGETHER):
        bench.pause(f"d{number}.example")
    bench.timers.advance(SOON)
    bench.book.stop()
    bench.timers.advance(AGAIN)
    assert bench.told() is None


def test_nothing_is_written_after_the_end(bench):
    bench.pause("a.example")
    bench.book.stop()
    bench.pause("b.example")
    bench.timers.advance(10 * AGAIN)
    assert bench.told() is None
