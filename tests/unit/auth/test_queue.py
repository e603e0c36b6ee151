"""Those who wait for something slow have their turn, however many come from elsewhere."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from smtpeter.auth.queue import FairQueue
from smtpeter.errors import Refusal


class Line:
    """Enters people and tells in which order they had their turn."""

    def __init__(self, **limits):
        self.queue = FairQueue(**({"at_once": 1, "each": 10, "waiting": 20} | limits))
        self.order = []

    def enter(self, name, network, *, known=False):
        turn = self.queue.enter(network, known=known)
        turn.addCallbacks(lambda _: self.order.append(name), lambda failure: failure.trap(CancelledError))
        return turn

    def leave(self, times=1):
        for _ in range(times):
            self.queue.leave()
        return self.order


def test_so_many_at_once_and_the_others_after_them():
    line = Line(at_once=2)
    for name in "abcd":
        line.enter(name, "n")
    assert line.order == ["a", "b"]
    assert line.leave() == ["a", "b", "c"] and line.leave() == ["a", "b", "c", "d"]
    line.leave(2)
    line.enter("e", "n")
    assert line.order[-1] == "e"


def test_attack_a_crowd_from_one_network_does_not_keep_others_waiting():
    line = Line()
    for number in range(8):
        line.enter(f"crowd{number}", "crowd")
    line.enter("owner", "elsewhere")
    assert line.leave(2) == ["crowd0", "crowd1", "owner"]


def test_attack_a_crowd_from_many_networks_does_not_keep_those_waiting_who_are_known():
    line = Line()
    for number in range(20):
        line.enter(f"crowd{number}", f"crowd{number}")
    line.enter("crowd20", "crowd20")
    with pytest.raises(Refusal):
        line.enter("crowd21", "crowd21")
    line.enter("owner", "elsewhere", known=True)
    assert line.leave() == ["crowd0", "owner"]


def test_too_many_from_one_network_are_refused_for_now():
    line = Line(each=2)
    for name in "abc":
        line.enter(name, "n")
    with pytest.raises(Refusal) as caught:
        line.enter("d", "n")
    assert caught.value.reply[:2] == (454, "4.7.0")
    line.enter("e", "other")
    line.leave()
    line.enter("f", "n")


def test_who_gave_up_is_passed_over():
    line = Line()
    line.enter("a", "n")
    line.enter("b", "n").cancel()
    line.enter("c", "n")
    assert line.leave() == ["a", "c"]
    line.leave()
    line.enter("d", "n")
    assert line.order == ["a", "c", "d"]
