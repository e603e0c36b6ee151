"""Turns of accounts and lanes: everybody gets the same, and nobody is forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from smtpeter.delivery.plan import Turns, divide
from smtpeter.model.delivery import Lane

LANES = st.builds(Lane, st.sampled_from([f"{letter}.example" for letter in "abcdefgh"]), st.integers(0, 4))
MANY = st.lists(LANES, max_size=20, unique=True)
ROOM = st.integers(-5, 100)


def make_turns(lanes: list[Lane]) -> Turns:
    turns = Turns()
    for lane in lanes:
        turns.add(lane)
    return turns


def by_account(shares: list[tuple[Lane, int]]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for lane, count in shares:
        counts[lane.account] += count
    return counts


# --- to divide ---


@given(MANY, ROOM)
def test_what_is_divided_is_all_there_is_and_no_more(lanes: list[Lane], room: int) -> None:
    shares = divide(lanes, room)
    assert sum(count for _, count in shares) == (max(room, 0) if lanes else 0)
    assert all(count > 0 for _, count in shares)
    assert [lane for lane, _ in shares] == lanes[: len(shares)]


@given(MANY.filter(bool), st.integers(0, 100))
def test_no_lane_gets_more_than_one_above_another(lanes: list[Lane], room: int) -> None:
    shares = dict(divide(lanes, room))
    counts = [shares.get(lane, 0) for lane in lanes]
    assert max(counts) - min(counts) <= 1


# --- turns ---


def test_turns_know_their_lanes() -> None:
    turns = make_turns([Lane("a.example", 1), Lane("b.example", 1), Lane("a.example", 2)])
    assert (len(turns), bool(turns)) == (3, True)
    assert turns.lanes() == [Lane("a.example", 1), Lane("b.example", 1), Lane("a.example", 2)]
    turns.remove(Lane("b.example", 1))
    turns.remove(Lane("b.example", 7))
    assert turns.lanes() == [Lane("a.example", 1), Lane("a.example", 2)]
    for lane in turns.lanes():
        turns.remove(lane)
    assert (len(turns), bool(turns)) == (0, False)


@given(MANY, ROOM)
def test_shares_never_exceed_the_room_and_no_lane_is_lost(lanes: list[Lane], room: int) -> None:
    turns = make_turns(lanes)
    shares = turns.share(room)
    assert sum(count for _, count in shares) == (max(room, 0) if lanes else 0)
    assert len({lane for lane, _ in shares}) == len(shares)
    assert {lane for lane, _ in shares} <= set(lanes)
    assert sorted(turns.lanes()) == sorted(lanes)


@given(MANY.filter(bool), st.integers(0, 100))
def test_accounts_get_equal_parts_however_many_lanes_they_have(lanes: list[Lane], room: int) -> None:
    counts = by_account(make_turns(lanes).share(room))
    parts = [counts[account] for account in {lane.account for lane in lanes}]
    assert max(parts) - min(parts) <= 1


@given(MANY.filter(bool), st.lists(st.integers(1, 10), min_size=1, max_size=40))
def test_whoever_got_nothing_comes_first_the_next_time(lanes: list[Lane], rooms: list[int]) -> None:
    turns = make_turns(lanes)
    for room in rooms:
        accounts = [lane.account for lane in turns.lanes()]
        order = list(dict.fromkeys(accounts))
        served = set(by_account(turns.share(room)))
        after = list(dict.fromkeys(lane.account for lane in turns.lanes()))
        neglected = [account for account in order if account not in served]
        assert after[: len(neglected)] == neglected


@given(MANY.filter(bool))
def test_with_room_for_one_at_a_time_each_lane_has_its_turn(lanes: list[Lane]) -> None:
    turns = make_turns(lanes)
    accounts = Counter(lane.account for lane in lanes)
    rounds = len(accounts) * max(accounts.values())
    served = [turns.share(1)[0][0] for _ in range(rounds)]
    assert set(served) == set(lanes)
    counts = Counter(lane.account for lane in served)
    assert max(counts.values()) == min(counts.values())


def test_a_lane_that_is_told_again_keeps_its_place() -> None:
    turns = make_turns([Lane("a.example", 1), Lane("b.example", 1)])
    turns.share(1)
    turns.add(Lane("a.example", 1))
    turns.add(Lane("b.example", 1))
    assert turns.share(1) == [(Lane("b.example", 1), 1)]
