"""DNS look-ups: each question is asked once for all who want to know, and its answer kept for as long as it holds."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.delivery.nameservers import Silence
from smtpeter.delivery.remembered import Remembered
from smtpeter.model.answer import Answer, Question, trouble

LookUp = Callable[[Question, float, float], Answer]
"""Blocking: a question, seconds as a whole, seconds for each try; raises Silence."""

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]

AT_ONCE = 50
"""Threads that look-ups may take.  A third of them are for questions that were not answered quickly: names whose
servers are silent do not keep others waiting."""

MOST = 10_000
"""Questions that wait for an answer."""

LONGEST = 30.0
"""Seconds after which whoever asked is told that there is no answer, even where no thread came to it."""

SHORTEST_TTL = 5.0
"""Seconds that an answer holds whatever it says of itself: one message asks for the same things several times."""

LONGEST_TTL = 86400.0

ROOM = 150_000
"""Records that are remembered; an answer without any takes the room of one."""


_A_TURN = 20
"""So many are told an answer in one turn of the reactor."""


class _Asked:
    """A question under way."""

    __slots__ = ("question", "timer", "waiters")

    def __init__(self, question: Question) -> None:
        self.question = question
        self.waiters: list[Deferred[Answer]] = []
        self.timer: IDelayedCall | None = None


class _Lane:
    """Questions that are given the same time.  ``waiting`` is a set in the order of arrival."""

    def __init__(self, at_once: int, limit: float, patience: float) -> None:
        self.at_once = at_once
        self.limit = limit
        self.patience = patience
        self.running = 0
        self.waiting: dict[_Asked, None] = {}


class Resolver:
    """Asks name servers by way of ``look_up``, which ``in_thread`` calls in a thread: at most ``at_once`` of them.

    What name servers do is never an errback, always an answer.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, in_thread: InThread, look_up: LookUp, at_once: int = AT_ONCE, room: int = ROOM
    ) -> None:
        self._clock = clock
        self._in_thread = in_thread
        self._look_up = look_up
        self._answers: Remembered[Question, Answer] = Remembered(clock.seconds, room)
        self._asked: dict[Question, _Asked] = {}
        patient = max(1, at_once // 3)
        self._quick = _Lane(max(1, at_once - patient), limit=2.0, patience=1.0)
        self._patient = _Lane(patient, limit=8.0, patience=3.0)

    def ask(self, question: Question) -> Deferred[Answer]:
        """The answer; its ``ttl`` is what is left of it now.  It may be cancelled."""
        known = self._answers.get(question)
        if known is not None:
            return succeed(known[0]._replace(ttl=known[1]))
        asked = self._asked.get(question)
        if asked is None:
            if len(self._asked) >= MOST:
                return succeed(trouble(question, "too many names are looked up now"))
            asked = self._asked[question] = _Asked(question)
            asked.timer = self._clock.callLater(LONGEST, self._give_up, asked)
            self._quick.waiting[asked] = None
        waiter: Deferred[Answer] = Deferred(asked.waiters.remove)
        asked.waiters.append(waiter)
        self._begin(self._quick)
        return waiter

    def _begin(self, lane: _Lane) -> None:
        while lane.waiting and lane.running < lane.at_once:
            asked = next(iter(lane.waiting))
            del lane.waiting[asked]
            lane.running += 1
            running = self._in_thread(partial(self._look_up, asked.question, lane.limit, lane.patience))
            running.addCallbacks(self._answered, self._failed, callbackArgs=(asked, lane), errbackArgs=(asked, lane))

    def _answered(self, answer: Answer, asked: _Asked, lane: _Lane) -> None:
        lane.running -= 1
        self._tell(asked, answer)
        self._begin(lane)

    def _failed(self, failure: Failure, asked: _Asked, lane: _Lane) -> None:
        lane.running -= 1
        if not failure.check(Silence):
            self._log.failure("looking up {name} failed", failure, name=asked.question.name)
            self._tell(asked, trouble(asked.question, "looking it up failed here"))
        elif lane is self._patient:
            self._tell(asked, trouble(asked.question, "no name server answered in time"))
        elif self._asked.get(asked.question) is asked:
            self._patient.waiting[asked] = None
            self._begin(self._patient)
        self._begin(lane)

    def _give_up(self, asked: _Asked) -> None:
        asked.timer = None
        self._quick.waiting.pop(asked, None)
        self._patient.waiting.pop(asked, None)
        self._tell(asked, trouble(asked.question, "no name server answered in time"))

    def _tell(self, asked: _Asked, answer: Answer) -> None:
        """Remember the answer, and give it to all who wait for it."""
        ttl = min(max(answer.ttl, SHORTEST_TTL), LONGEST_TTL)
        answer = answer._replace(ttl=ttl)
        self._answers.put(asked.question, answer, ttl, max(1, len(answer.hosts) + len(answer.addresses)))
        if self._asked.get(asked.question) is asked:
            del self._asked[asked.question]
        if asked.timer is not None:
            asked.timer.cancel()
            asked.timer = None
        self._fire(asked.waiters, answer)

    def _fire(self, waiters: list[Deferred[Answer]], answer: Answer) -> None:
        # The hosts of a large provider may be what thousands of domains wait for.
        for _ in range(min(len(waiters), _A_TURN)):
            if waiters:  # one may cancel another
                waiters.pop().callback(answer)
        if waiters:
            self._clock.callLater(0, self._fire, waiters, answer)
