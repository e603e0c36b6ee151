"""What waits for a site that takes nothing still ends in its time, however much of it there is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from smtpeter.delivery.retry import Conclusion, RetryPolicy, conclude_waiting
from smtpeter.delivery.settling import Ended, Settler
from smtpeter.delivery.walltime import WallTime
from smtpeter.interfaces import IDeliveryAgent, IQueueStore
from smtpeter.model.delivery import Lane, Outcome, RecipientState

INTERVAL = 60.0  # seconds between looks
STEP = 50  # recipients that are dealt with together
PAUSE = 0.05  # seconds between two steps that found something
UNSETTLED = 2 * STEP  # jobs that wait to be written down; nothing more is ended beyond


class Overdue:
    """Ends mail whose time is over, and has senders told of delays, where it does not come to an attempt.

    It goes through all that waits, and on for as long as it finds something to do, in steps with pauses between them,
    each no shorter than the step before, so that clients and deliveries to other sites have their turn.  ``lease`` is
    how long (seconds) a claim holds.  ``goes_on`` tells whether it is to be done at all now.
    """

    def __init__(
        self,
        *,
        queue: IQueueStore,
        agent: IDeliveryAgent,
        settler: Settler,
        time: WallTime,
        timers: IReactorTime,
        policy: RetryPolicy,
        lease: float,
        goes_on: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._agent = agent
        self._settler = settler
        self._time = time
        self._timers = timers
        self._policy = policy
        self._lease = lease
        self._goes_on = goes_on
        self._next = 0.0

    async def look(self) -> None:
        """Look for it, where that was not done lately.  What the store fails with is raised."""
        if self._timers.seconds() < self._next or not self._goes_on():
            return
        self._next = inf  # until this look is over, which may take long
        try:
            for lanes, reason, paused in self._agent.waiting():
                while self._goes_on() and await self._step(lanes, reason, paused):
                    pass
        finally:
            self._next = self._timers.seconds() + INTERVAL

    async def _step(self, lanes: Sequence[Lane], reason: Outcome, paused: bool) -> bool:
        """Answers whether there may be more in these lanes."""
        began, now = self._timers.seconds(), self._time.now()
        delayed = now - self._policy.delay_notice
        jobs = await self._queue.claim_overdue(lanes, STEP, now, delayed, now + self._lease)
        is_of_use = False
        for job in jobs:
            job = self._time.in_real_time(job)
            conclusions = conclude_waiting(job, reason, now, self._policy, paused=paused)
            self._settler.add(Ended(job, conclusions))
            is_of_use |= any(map(_ends_something, conclusions))
        await self._wait(max(PAUSE if jobs else 0.0, self._timers.seconds() - began))
        while self._settler.unsettled > UNSETTLED and self._goes_on():
            await self._wait(PAUSE)
        # What stays as it was would be found again at once.
        return is_of_use and sum(len(job.recipients) for job in jobs) >= STEP

    def _wait(self, seconds: float) -> Deferred[None]:
        return deferLater(self._timers, seconds)


def _ends_something(conclusion: Conclusion) -> bool:
    recipient, _, settlement = conclusion
    return settlement.state is not RecipientState.DUE or settlement.delay_told is not recipient.delay_told
