"""How fast, how many at a time, and when not at all."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpeter.delivery.throttle import (
    FIRST_PAUSE,
    LATENESS,
    LONGEST_PAUSE,
    NARROW,
    START,
    Meter,
    Pace,
    Rate,
    Shape,
    Throttle,
)
from smtpeter.model.route import SiteCondition

SLOWED, PAUSED = SiteCondition.SLOWED, SiteCondition.PAUSED
HUNDRED = Rate(100, 60, 8)


def throttle(**limits: object) -> Throttle:
    return Throttle(Shape("site", **limits))  # type: ignore[arg-type]


def flood(site: Throttle, seconds: float, cost: int = 1, lateness: float = 0.0, start: float = 0.0) -> list[float]:
    """Sends whenever it may, with timers that are up to ``lateness`` seconds late."""
    late = random.Random(7)
    now, sent = start, []
    while now < start + seconds and len(sent) < 200_000:
        wait = site.send_wait(now)
        if wait > 0:
            now += wait + late.random() * lateness
            continue
        site.sending(now, cost)
        sent.append(now)
    return sent


def kill(site: Throttle, now: float) -> None:
    site.unreachable(now, "refused")


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lateness", [0.0, 0.05, 0.4])
@pytest.mark.parametrize("cost", [1, 7, 100])
def test_fifty_thousand_in_five_hundred_minutes(lateness: float, cost: int) -> None:
    sent = flood(throttle(message_rate=HUNDRED), 500 * 60, cost, lateness)
    assert len(sent) * cost == pytest.approx(50_000, rel=0.01)


@pytest.mark.parametrize("lateness", [0.05, 0.4])
def test_a_fast_rate_survives_late_timers(lateness: float) -> None:
    sent = flood(throttle(message_rate=Rate(1000, 1, 1)), 120, 1, lateness)
    assert len(sent) == pytest.approx(120_000, rel=0.01)


rates = st.builds(Rate, st.integers(1, 5000), st.sampled_from([1.0, 60.0, 3600.0]), st.integers(1, 50))


@settings(max_examples=60, deadline=None)
@given(rates, st.integers(1, 100), st.floats(0, LATENESS * 0.9), st.integers(0, 2**30))
def test_a_pace_is_kept_from_both_sides(rate: Rate, cost: int, lateness: float, seed: int) -> None:
    pace, late = Pace(rate), random.Random(seed)
    now = start = 1000.0
    starts = []
    for _ in range(300):
        wait = pace.wait(now)
        if wait > 0:
            now += wait + late.random() * lateness
        pace.take(now, cost)
        starts.append(now)
    interval = rate.seconds / rate.count
    ahead = max(rate.burst, LATENESS / interval)
    for first in range(0, 300, 13):  # never faster than the rate and the burst, over any span
        for last in range(first, 300, 17):
            share = (starts[last] - starts[first]) / interval
            assert (last - first) * cost <= share + ahead + cost + 1e-6 * (1 + share)
    owed = (now - start) / interval  # never slower where there is demand
    assert 300 * cost >= owed - 1e-6 * (1 + owed) - lateness / interval


@given(
    rates,
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 100)), max_size=20),
    st.floats(0, 600),
)
def test_the_allowance_is_what_may_really_start(rate: Rate, history: list[tuple[float, int]], seconds: float) -> None:
    site = throttle(message_rate=rate)
    now = 0.0
    for wait, cost in history:
        now += wait
        site.sending(now, cost)
    told = site.allowance(now, seconds)
    assert told is not None
    if told > 3000:
        return
    until, counted = now + seconds, 0
    while (now := now + site.send_wait(now)) <= until + 1e-6 and counted <= told:
        site.sending(now, 1)
        counted += 1
    assert abs(counted - told) <= 1


def test_without_a_rate_anything_goes() -> None:
    site = throttle()
    for _ in range(10_000):
        assert site.send_wait(5.0) == site.connect_wait(5.0) == 0.0
        site.sending(5.0, 100)
        site.connecting(5.0)
    assert site.allowance(5.0, 60.0) is None


def test_idle_time_is_no_credit_beyond_the_burst() -> None:
    site = throttle(message_rate=HUNDRED)
    assert len(flood(site, 1.0)) == len(flood(site, 1.0, start=86_400.0)) == 8 + 1 + 1


def test_connection_rate() -> None:
    site = throttle(connection_rate=Rate(60, 60, 1))
    opened, now = 0, 0.0
    while now < 3600:
        wait = site.connect_wait(now)
        if not wait:
            site.connecting(now)
            opened += 1
        now += wait
    assert opened == pytest.approx(3600, abs=3)
    assert site.send_wait(now) == 0.0


def test_one_large_transaction_is_paid_for_afterwards() -> None:
    site = throttle(message_rate=Rate(100, 60, 1))
    site.sending(0.0, 100)
    assert site.send_wait(0.0) == pytest.approx(60 - 0.6)
    assert site.allowance(0.0, 60) == 2
    assert site.allowance(0.0, 30) == 0


# --- connections ----------------------------------------------------------------------------------------------------


def test_connections_start_low_and_grow_to_the_limit() -> None:
    site = throttle(connections=20)
    assert site.limit == START
    limits = []
    for _ in range(400):
        site.succeeded(0.0)
        limits.append(site.limit)
    assert limits == sorted(limits)
    assert limits[0] == START  # one for each round, not for each success
    assert limits[START] == START + 1
    assert limits[-1] == 20


def test_fewer_than_the_start_are_kept_to() -> None:
    site = throttle(connections=2)
    for _ in range(10):
        assert site.limit == 2
        site.succeeded(0.0)


def test_failures_take_connections_away_but_never_the_last() -> None:
    site = throttle()
    limits = []
    for _ in range(START + 20):  # others are there: however many fail, the site is not dead
        site.refused(0.0)
        limits.append(site.limit)
    assert limits == [*range(START - 1, 0, -1), *[1] * 21]
    assert site.paused(0.0) == 0.0
    assert site.states(0.0) == []


# --- dead sites -----------------------------------------------------------------------------------------------------


def test_a_dead_site_is_paused_for_longer_each_time() -> None:
    site = throttle()
    kill(site, 100.0)
    now, pauses = 100.0, []
    for _ in range(9):
        pauses.append(site.paused(now))
        assert site.connect_wait(now) == site.send_wait(now) == pauses[-1]
        now += pauses[-1]
        assert site.paused(now) == site.connect_wait(now) == 0.0
        assert site.limit == 1  # one tries
        site.unreachable(now, "refused")
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]


def test_the_state_of_a_dead_site_tells_since_when_and_why() -> None:
    site = throttle()
    site.unreachable(100.0, "timeout")
    assert site.states(100.0) == [(PAUSED, "timeout", 100.0, 160.0)]
    assert site.states(160.0) == []
    site.unreachable(161.0, "no route")
    assert site.states(161.0) == [(PAUSED, "no route", 100.0, 281.0)]
    site.succeeded(300.0)
    site.unreachable(301.0, "timeout")
    assert site.states(301.0) == [(PAUSED, "timeout", 301.0, 361.0)]


def test_the_first_success_after_a_pause_opens_the_site_again() -> None:
    site = throttle()
    kill(site, 0.0)
    site.succeeded(61.0)
    assert site.limit == START
    assert site.states(61.0) == []
    kill(site, 100.0)
    assert site.paused(100.0) == FIRST_PAUSE


def test_who_is_answered_while_a_site_is_taken_for_dead_proves_that_it_lives() -> None:
    site = throttle()
    kill(site, 0.0)
    site.succeeded(1.0)
    assert site.paused(1.0) == 0.0


def test_connections_that_fail_together_count_as_one_death() -> None:
    site = throttle(connections=100)
    for _ in range(100):
        site.unreachable(10.0, "reset")
    assert site.paused(10.0) == FIRST_PAUSE


@given(st.floats(0, 0.999999), st.integers(1, 12))
def test_pauses_are_spread_by_a_tenth(number: float, deaths: int) -> None:
    site = Throttle(Shape("site"), lambda: number)
    kill(site, 0.0)
    now = 0.0
    for _ in range(deaths - 1):
        now += site.paused(now)
        site.unreachable(now, "refused")
    whole = min(FIRST_PAUSE * 2 ** (deaths - 1), LONGEST_PAUSE)
    assert 0.9 * whole - 1e-3 <= site.paused(now) <= 1.1 * whole


def test_where_nobody_is_there_at_all_one_attempt_is_enough() -> None:
    site = throttle()
    site.unreachable(10.0, "no host answers")
    assert site.states(10.0) == [(PAUSED, "no host answers", 10.0, 70.0)]


def test_one_connection_too_many_is_not_tried_again_soon() -> None:
    site = throttle(connections=20)
    site.refused(0.0)
    for _ in range(100):
        site.succeeded(NARROW - 1)
    assert site.limit == START - 1
    assert site.states(0.0) == []
    for _ in range(START):
        site.succeeded(NARROW)
    assert site.limit == START


# --- pauses that are asked for --------------------------------------------------------------------------------------


def test_the_longest_pause_counts_with_its_reason() -> None:
    site = throttle()
    site.pause(0.0, 600, "listed")
    site.pause(10.0, 60, "busy")
    assert site.states(20.0) == [(PAUSED, "listed", 0.0, 600.0)]
    site.pause(30.0, 3600, "banned")
    assert site.states(40.0) == [(PAUSED, "banned", 0.0, 3630.0)]
    assert site.allowance(40.0, 100.0) == 0
    assert site.allowance(3600.0, 100.0) is None


def test_a_success_does_not_end_a_pause_that_was_asked_for() -> None:
    site = throttle()
    site.pause(0.0, 600, "listed")
    site.succeeded(1.0)
    assert site.paused(1.0) == 599.0
    assert site.limit == 1
    site.succeeded(601.0)
    assert site.limit == START


def test_after_any_pause_one_connection_tries_and_its_failure_is_enough() -> None:
    site = throttle()
    site.pause(0.0, 600, "listed")
    site.unreachable(600.0, "refused")
    assert site.states(600.0) == [(PAUSED, "refused", 600.0, 660.0)]


def test_a_dead_site_that_answers_stays_paused_for_what_was_asked() -> None:
    site = throttle()
    kill(site, 0.0)
    site.pause(0.0, 30, "busy")
    site.pause(1.0, 20, "busier")
    site.succeeded(2.0)
    assert site.paused(2.0) == 28.0


# --- slowing down ---------------------------------------------------------------------------------------------------


def test_slow_divides_rates_and_connections_for_a_time() -> None:
    site = throttle(connections=20, message_rate=Rate(600, 60, 1), connection_rate=Rate(60, 60, 1))
    for _ in range(500):
        site.succeeded(0.0)
    site.slow(1000.0, 600, 4, "deferred")
    assert site.limit == 5
    assert len(flood(site, 600 - 1, start=1000.0)) == pytest.approx(1500, rel=0.01)
    assert site.states(1599.0) == [(SLOWED, "deferred", 1000.0, 1600.0)]
    assert site.states(1600.0) == []
    assert len(flood(site, 600, start=1600.0)) == pytest.approx(6000, rel=0.01)
    for _ in range(500):
        site.succeeded(2300.0)
    assert site.limit == 20


def test_slowing_down_begins_without_a_burst() -> None:
    site = throttle(message_rate=Rate(100, 60, 50))
    site.slow(0.0, 600, 2, "deferred")
    assert len(flood(site, 1.0)) == 1


def test_without_a_rate_what_went_lately_is_divided() -> None:
    site = throttle()
    for second in range(600):
        site.sending(float(second), 20)
        site.connecting(float(second))
    site.slow(600.0, 3600, 4, "deferred")
    assert len(flood(site, 600, start=600.0)) == pytest.approx(600 * 5, rel=0.05)
    assert site.connect_wait(600.0) == 0.0
    site.connecting(600.0)
    assert site.connect_wait(600.0) == pytest.approx(4.0, rel=0.1)
    assert site.send_wait(4200.0) == site.connect_wait(4200.0) == 0.0
    assert site.allowance(4200.0, 1.0) is None


def test_where_nothing_went_lately_a_sane_rate_is_set() -> None:
    site = throttle()
    site.slow(0.0, 3600, 2, "deferred")
    assert len(flood(site, 600)) == pytest.approx(300, rel=0.01)


def test_of_several_the_longest_and_the_strongest_count() -> None:
    site = throttle(message_rate=Rate(60, 60, 1))
    site.slow(0.0, 100, 2, "deferred")
    for _ in range(50):
        site.slow(1.0, 50, 2, "deferred again")  # each answer says so: that is no reason to go slower still
    assert site.states(2.0) == [(SLOWED, "deferred", 0.0, 100.0)]
    site.slow(3.0, 200, 4, "worse")
    assert site.states(3.0) == [(SLOWED, "worse", 0.0, 203.0)]
    assert len(flood(site, 190, start=3.0)) == pytest.approx(190 / 4, abs=2)


def test_a_weaker_slowing_down_never_speeds_up() -> None:
    site = throttle(message_rate=Rate(60, 60, 1))
    site.slow(0.0, 100, 4, "deferred")
    site.slow(1.0, 400, 2, "deferred less")
    assert len(flood(site, 400, start=1.0)) == pytest.approx(400 / 4, abs=2)


def test_however_slow_something_goes() -> None:
    site = throttle(message_rate=Rate(60, 60, 1))
    site.slow(0.0, 36_000, 1000, "deferred")
    assert site.limit == 1
    assert len(flood(site, 3600)) >= 60


def test_a_rate_that_is_slower_than_the_slowest_is_never_made_faster() -> None:
    site = throttle(message_rate=Rate(1, 3600, 1))
    site.slow(0.0, 360_000, 10, "deferred")
    assert len(flood(site, 100_000)) <= 100_000 / 3600 + 2


# --- operators and restarts -----------------------------------------------------------------------------------------


def test_resume_forgets_everything() -> None:
    site = throttle(message_rate=HUNDRED)
    kill(site, 0.0)
    site.pause(0.0, 600, "listed")
    site.slow(0.0, 600, 10, "deferred")
    assert [each.condition for each in site.states(1.0)] == [PAUSED, SLOWED]
    site.resume()
    assert site.states(1.0) == []
    assert site.limit == START
    assert site.connect_wait(1.0) == site.send_wait(1.0) == 0.0
    kill(site, 1.0)
    assert site.paused(1.0) == FIRST_PAUSE


@pytest.mark.parametrize("number", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("deaths", [1, 2, 3, 5])
def test_a_restart_takes_up_the_pauses_where_they_were(deaths: int, number: float) -> None:
    before, after = (Throttle(Shape("site"), lambda: number) for _ in range(2))
    now = 1000.0
    kill(before, now)
    for _ in range(deaths - 1):
        now += before.paused(now)
        before.unreachable(now, "refused")
    (state,) = before.states(now)
    shift = -970.0  # another process, other timers
    after.restore(*state._replace(since=state.since + shift, until=state.until + shift), now + shift)
    assert after.paused(now + shift) == pytest.approx(before.paused(now))
    assert after.limit == 1
    now += before.paused(now)
    before.unreachable(now, "refused")
    after.unreachable(now + shift + 1e-6, "refused")
    assert after.paused(now + shift) == pytest.approx(before.paused(now))


def test_a_restart_keeps_what_is_slowed() -> None:
    site = throttle(message_rate=HUNDRED)
    site.restore(SLOWED, "deferred", -100.0, 500.0, 10.0)
    assert site.states(10.0) == [(SLOWED, "deferred", -100.0, 500.0)]
    assert len(flood(site, 400, start=10.0)) == pytest.approx(400 * 50 / 60, rel=0.02)


def test_a_restart_makes_up_no_rate_for_a_site_that_has_none() -> None:
    site = throttle(connections=10)
    site.restore(SLOWED, "deferred", -100.0, 500.0, 0.0)
    assert site.limit == START // 2
    assert site.send_wait(0.0) == site.connect_wait(0.0) == 0.0
    assert site.allowance(0.0, 60.0) is None
    assert site.states(499.0) == [(SLOWED, "deferred", -100.0, 500.0)]


@pytest.mark.parametrize("factor", [1.5, 2, 4])
def test_who_is_told_again_after_a_restart_to_slow_down_has_what_went_since_divided(factor: float) -> None:
    site = throttle(connections=10)
    site.restore(SLOWED, "deferred", -100.0, 5000.0, 0.0)
    for second in range(600):
        site.sending(float(second), 20)
        site.connecting(float(second))
    site.slow(600.0, 3600, factor, "deferred again")
    assert len(flood(site, 600, start=600.0)) == pytest.approx(600 * 20 / max(factor, 2), rel=0.05)
    assert site.connect_wait(600.0) == 0.0
    site.connecting(600.0)
    assert site.connect_wait(600.0) == pytest.approx(max(factor, 2), rel=0.1)
    assert site.send_wait(5000.0) == site.connect_wait(5000.0) == 0.0


@pytest.mark.parametrize("condition", list(SiteCondition))
def test_what_is_over_is_not_restored(condition: SiteCondition) -> None:
    site = throttle()
    site.restore(condition, "over", 0.0, 10.0, 10.0)
    assert site.states(10.0) == []
    assert site.limit == START


ACTIONS = st.one_of(
    st.tuples(st.just("succeeded")),
    st.tuples(st.just("refused")),
    st.tuples(st.just("unreachable"), st.just("no host answers")),
    st.tuples(st.just("connecting")),
    st.tuples(st.just("sending"), st.integers(1, 100)),
    st.tuples(st.just("pause"), st.floats(0.1, 5000), st.just("listed")),
    st.tuples(st.just("slow"), st.floats(0.1, 5000), st.floats(1.1, 50), st.just("deferred")),
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 2000), ACTIONS), max_size=60), st.integers(1, 50))
def test_whatever_happens_it_ends(events: list[tuple[float, tuple[object, ...]]], connections: int) -> None:
    site = throttle(connections=connections, message_rate=HUNDRED)
    now = 0.0
    for elapsed, (name, *arguments) in events:
        now += elapsed
        getattr(site, str(name))(now, *arguments)
        assert 1 <= site.limit <= connections
        assert site.send_wait(now) >= site.paused(now) >= 0.0
        spells = site.states(now)
        assert len({each.condition for each in spells}) == len(spells)
        assert all(each.since <= now < each.until for each in spells)
        assert any(each.condition is PAUSED for each in spells) == (site.paused(now) > 0)
    now += 2 * 86_400
    assert site.states(now) == []
    assert site.connect_wait(now) == site.send_wait(now) == 0.0
    for _ in range(3000):
        site.succeeded(now)
    assert site.limit == connections


def test_the_meter_tells_what_went_lately() -> None:
    meter = Meter()
    assert meter.rate(0.0) == 0.0
    for second in range(200):
        meter.add(float(second), 5)
        assert second < 20 or meter.rate(float(second)) == pytest.approx(5, rel=0.1)
    assert meter.rate(330.0) == 0.0
