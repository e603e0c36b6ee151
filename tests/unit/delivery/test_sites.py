"""What the store is told of sites, and what operators say to it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from smtpeter.delivery.sites import AGAIN, SOON, SiteBook
from smtpeter.delivery.throttle import Shape, Throttle
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, ISiteStore
from smtpeter.model.route import SiteCondition, SiteState

EPOCH = 1_700_000_000.0
PAUSED = SiteCondition.PAUSED


@implementer(ISiteStore)
class FakeStore:
    def __init__(self):
        self.written = []
        self.known = []
        self.trouble = None

    def write(self, states):
        if self.trouble is not None:
            return fail(self.trouble)
        self.written.append(list(states))
        return succeed(None)

    def states(self):
        return succeed(self.known)


@implementer(IClock)
class WallClock:
    def __init__(self, timers):
        self._timers = timers

    def time(self):
        return EPOCH + self._timers.seconds()


class Bench:
    """A book, and paces by site."""

    def __init__(self):
        self.timers, self.store, self.resumed = Clock(), FakeStore(), []
        self.book = SiteBook(self.store, WallClock(self.timers), self.timers)
        self.sites = {}
        self.book.paces = lambda: [(name, "", throttle) for name, throttle in self.sites.items()]
        self.book.resume = self.resume

    def pause(self, name, seconds=600.0):
        throttle = self.sites.setdefault(name, Throttle(Shape(name)))
        throttle.pause(self.timers.seconds(), seconds, f"{name} is tired")
        self.book.changed()

    def resume(self, name):
        self.resumed.append(name)
        self.sites[name].resume()

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


def test_what_an_operator_ended_while_there_was_no_server_is_over(bench):
    bench.book.recall([SiteState("a.example", "", PAUSED, "dead", EPOCH - 60, EPOCH + 60, resumed=True)])
    throttle = Throttle(Shape("a"))
    bench.book.restore("a.example", "", throttle)
    assert throttle.paused(0.0) == 0.0


def test_sites_are_counted_once_whatever_their_source_addresses(bench):
    assert bench.book.counts() == {"slowed": 0, "paused": 0}
    bench.pause("a.example")
    bench.pause("b.example", 5.0)
    bench.book.paces = lambda: [(name, str(n), each) for name, each in bench.sites.items() for n in range(2)]
    bench.timers.advance(SOON)
    assert bench.book.counts() == {"slowed": 0, "paused": 2}
    bench.timers.advance(10)
    assert bench.book.counts() == {"slowed": 0, "paused": 1}


def test_nothing_is_written_after_the_end(bench):
    bench.pause("a.example")
    bench.book.stop()
    bench.pause("b.example")
    bench.timers.advance(10 * AGAIN)
    assert bench.told() is None
