"""A reactor that does nothing by itself: ports in memory, time that stands still, calls from threads in a queue."""

from __future__ import annotations

from queue import Empty, SimpleQueue

from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

_STEP = 0.005


class Pool:
    """Runs what is meant for threads at once."""

    def callInThreadWithCallback(self, on_result, function, *arguments, **keywords):
        try:
            result = function(*arguments, **keywords)
        except Exception:
            on_result(False, Failure())
        else:
            on_result(True, result)


class FakeReactor(MemoryReactorClock):
    def __init__(self):
        super().__init__()
        self._calls = SimpleQueue()

    def getThreadPool(self):
        return Pool()

    def callFromThread(self, function, *arguments, **keywords):
        self._calls.put((function, arguments, keywords))

    def run_calls(self, patience=0.0):
        """Do what threads have asked for; where that is nothing yet, wait so many seconds of the machine for it."""
        try:
            while True:
                function, arguments, keywords = self._calls.get(timeout=patience)
                function(*arguments, **keywords)
                patience = 0
        except Empty:
            pass

    def wait_for(self, deferred):
        """The result of a Deferred for which threads work."""
        results = []
        deferred.addBoth(results.append)
        for _ in range(2000):
            self.advance(_STEP)
            self.run_calls(_STEP)
            if results:
                break
        else:
            raise AssertionError("nothing came of it")
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]
