"""How often a token may ask."""

from __future__ import annotations

import pytest

from smtpeter.web.rest import rates
from smtpeter.web.rest.rates import Rates


class Watch:
    now = 123_456.789

    def __call__(self):
        return self.now


@pytest.fixture
def watch():
    return Watch()


@pytest.mark.parametrize("per_second", [1, 2, 3, 7, 10, 60, 1000])
def test_so_many_at_once_and_then_so_many_a_second(watch, per_second):
    limited = Rates(per_second, watch)
    assert [limited.take("a") for _ in range(per_second)] == [0.0] * per_second
    wait = limited.take("a")
    assert wait == pytest.approx(1 / per_second, rel=1e-3)
    watch.now += wait
    assert limited.take("a") == 0.0
    assert limited.take("a") > 0.0


def test_what_is_refused_is_not_counted(watch):
    limited = Rates(1, watch)
    limited.take("a")
    assert len({limited.take("a") for _ in range(100)}) == 1


def test_who_is_quiet_gains_no_more_than_a_second(watch):
    limited = Rates(5, watch)
    watch.now += 3600
    assert [limited.take("a") == 0.0 for _ in range(6)] == [True] * 5 + [False]


def test_over_a_long_time_it_is_the_rate(watch):
    limited = Rates(10, watch)
    taken = 0
    for _ in range(2000):
        taken += limited.take("a") == 0.0
        watch.now += 0.05
    assert 1000 <= taken <= 1011


def test_others_do_not_count(watch):
    limited = Rates(1, watch)
    assert limited.take("a") == limited.take("b") == 0.0
    assert limited.take("a") > 0.0


def test_any_number(watch):
    unlimited = Rates(0, watch)
    assert {unlimited.take("a") for _ in range(10_000)} == {0.0}


def test_keys_do_not_pile_up(watch, monkeypatch):
    monkeypatch.setattr(rates, "_MOST", 100)
    limited = Rates(1, watch)
    for number in range(1000):
        limited.take(str(number))
        watch.now += 0.1
    assert len(limited._arrivals) <= 100
    assert limited.take("999") > 0.0
