"""Who has a turn, and until when."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred

from smtpeter.web.rest.turns import PIECE, Pieces, Turns, slices


def taken(turns, account):
    """A Deferred that fires with what ends the turn."""
    return Deferred.fromCoroutine(turns.take(account))


def test_one_account_does_not_have_all_turns():
    turns = Turns(3, 2)
    first, second, third = (taken(turns, 1) for _ in range(3))
    other = taken(turns, 2)
    assert first.called and second.called and other.called and not third.called
    first.result()
    assert third.called


def test_no_more_than_there_are():
    turns = Turns(2, 2)
    waiting = [taken(turns, account) for account in range(5)]
    assert [each.called for each in waiting] == [True, True, False, False, False]
    waiting[0].result()
    assert [each.called for each in waiting] == [True, True, True, False, False]


def test_a_turn_ends_once():
    turns = Turns(1, 1)
    first = taken(turns, 1)
    first.result()
    first.result()
    second, third = taken(turns, 1), taken(turns, 2)
    assert second.called and not third.called


@pytest.mark.parametrize("account", [1, 2])
def test_who_gives_up_waiting_leaves_nothing_behind(account):
    turns = Turns(1, 1)
    first = taken(turns, 1)
    waiting = taken(turns, account)
    waiting.cancel()
    waiting.addErrback(lambda failure: failure.trap(CancelledError))
    first.result()
    again = taken(turns, account)
    assert again.called
    again.result()
    assert not turns._own


def fetched(pieces):
    async def fetch():
        return [piece async for piece in pieces]

    return Deferred.fromCoroutine(fetch()).result


def test_pieces_tell_when_they_are_taken():
    ended = []
    octets = bytes(range(256)) * 1000
    pieces = fetched(Pieces(slices(octets), lambda: ended.append(True)))
    assert b"".join(pieces) == octets and max(map(len, pieces)) == PIECE and ended == [True]


def test_pieces_that_nobody_wants():
    ended = []
    pieces = Pieces([b"x"], lambda: ended.append(True))
    Deferred.fromCoroutine(pieces.aclose())
    assert ended and fetched(pieces) == []
