"""Time that stands until it is moved."""

from __future__ import annotations

from twisted.internet.task import Clock


class TurnClock(Clock):
    """What is called and wants to be called again at once has to wait for its next turn, as with a reactor."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in sorted((each for each in self.calls if each.getTime() <= self.rightNow), key=lambda c: c.getTime()):
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
