"""Accounts take turns."""

from __future__ import annotations

import pytest

from smtpeter.web.rest.rota import Rota


@pytest.fixture
def rota():
    rota = Rota()
    for account, work in ((1, "a"), (1, "b"), (1, "c"), (2, "d"), (3, "e"), (2, "f")):
        rota.add(account, work)
    return rota


def order(rota, busy=(), slow=()):
    taken = []
    while (turn := rota.take(busy, slow)) is not None:
        taken.append(turn[1])
    return "".join(taken)


def test_accounts_take_turns(rota):
    assert len(rota) == 6
    assert order(rota) == "adebfc"
    assert len(rota) == 0 and rota.take((), ()) is None


def test_who_is_busy_comes_after_the_others(rota):
    assert order(rota, busy={1}) == "defabc"


def test_who_was_slow_comes_after_the_others(rota):
    assert order(rota, slow={1}) == "defabc"


def test_who_was_slow_and_is_busy_waits(rota):
    assert order(rota, busy={1, 2}, slow={1}) == "edf"
    assert len(rota) == 3
    assert rota.take({2}, {1}) == (1, "a")


def test_what_is_dropped_is_the_last_of_who_has_most(rota):
    assert rota.drop() == "c" and len(rota) == 5
    assert {rota.drop(), rota.drop()} == {"b", "f"}
    assert order(rota) == "ade"
    rota.add(7, "x")
    assert rota.drop() == "x" and rota.take((), ()) is None


def test_clear(rota):
    assert sorted(rota.clear()) == list("abcdef")
    assert len(rota) == 0 and rota.take((), ()) is None
