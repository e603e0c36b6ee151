"""The whole of delivery in memory: scheduler, agent, a network of scripted receivers, and time that is only moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.scheduler import Scheduler
from smtpeter.interfaces import IPersonalizer
from smtpeter.model.delivery import RecipientState, Settlement
from tests.fakes.agent import Contents, build_agent
from tests.fakes.intake import FakeMetrics
from tests.fakes.jobs import NOW, FakeQueue
from tests.fakes.receiver import FakeNetwork


class Notifier:
    """Makes no report, and remembers for which submissions it should have."""

    def __init__(self) -> None:
        self.reports: list[str] = []

    async def report(self, job: Any, failed: Any, now: float) -> None:
        self.reports.append(job.submission)


class DeliveryBench:
    """Wall time goes with the clock, plus ``jump``.  ``receivers`` makes the receiver of each connection."""

    def __init__(
        self,
        receivers: Callable[[], Any],
        profile: dict[str, Any] | None = None,
        *,
        schedule: tuple[float, ...] = (60.0, 300.0, 3600.0),
        personalizer: IPersonalizer | None = None,
        clock: Clock | None = None,
        **options: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.jump = 0.0
        self.queue = FakeQueue()
        self.network = FakeNetwork(receivers)
        self.metrics = FakeMetrics()
        self.notifier = Notifier()
        self.agent = build_agent(
            self.network, self.clock, contents=Contents(), profile=profile, personalizer=personalizer, **options
        )
        self.scheduler = Scheduler(
            queue=self.queue,
            agent=self.agent,
            notifier=self.notifier,  # type: ignore[arg-type]
            clock=self,  # type: ignore[arg-type]
            timers=self.clock,
            metrics=self.metrics,
            policy=RetryPolicy(schedule),
            random=lambda: 0.5,
            personalizer=personalizer,
        )

    def time(self) -> float:
        return NOW + self.jump + self.clock.seconds()

    def run(self, seconds: float, step: float = 0.5) -> DeliveryBench:
        """Let time pass, and everything that is on its way arrive."""
        if not self.scheduler.running:
            self.scheduler.startService()
        for _ in range(round(seconds / step)):
            self.clock.advance(step)
            self.network.move()
        return self

    def settlements(self, number: int = 1, submission: str = "s1") -> list[Settlement]:
        """All that was written of a recipient, in order."""
        return [
            settlement
            for job in self.queue.settled
            for settlement in job.settlements
            if (job.submission, settlement.number) == (submission, number)
        ]

    def states(self, *submissions: str) -> list[RecipientState | None]:
        outcomes = [self.queue.outcome(submission) for submission in submissions]
        return [outcome and outcome.state for outcome in outcomes]


@contextmanager
def logged() -> Iterator[list[dict[str, Any]]]:
    """The events that are logged meanwhile."""
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(events.append)


def alarms(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that wake somebody up, tracebacks among them."""
    return [event for event in events if event["log_level"] >= LogLevel.error or "log_failure" in event]
