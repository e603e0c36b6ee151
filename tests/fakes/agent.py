"""An agent with its surroundings in memory, and time that stands until it is moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock

from smtpeter.delivery.agent import RelayAgent
from smtpeter.delivery.connection import ConnectionSettings
from smtpeter.model.delivery import Job, Outcome, OutcomeKind
from smtpeter.smtp.client_events import ClientProfile
from tests.fakes.jobs import make_job
from tests.fakes.receiver import FakeNetwork, FakeReceiver


class Contents:
    """Content comes with its job, unless ``answer`` says otherwise."""

    def __init__(self) -> None:
        self.answer: Callable[[], Deferred[bytes]] | None = None

    def read(self, submission: str, content: Any) -> Deferred[bytes]:
        return succeed(content.data) if self.answer is None else self.answer()


class Bench:
    """An agent with its surroundings."""

    def __init__(self, receivers: Any = FakeReceiver, profile: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.contents = Contents()
        self.network = FakeNetwork(receivers)
        settings = ConnectionSettings(
            ClientProfile("gate.example", "relay.example", **(profile or {})),
            self.clock,
            tls=lambda: "options",  # type: ignore[arg-type, return-value]
            tls_first=options.pop("tls_first", False),
        )
        self.agent = RelayAgent(
            connect=lambda: self.network,
            settings=settings,
            content=self.contents,  # type: ignore[arg-type]
            **{"in_thread": maybeDeferred, **options},
        )

    def start(self, *jobs: Job) -> list[list[Any]]:
        """What each job has fired with so far."""
        results: list[list[Any]] = []
        for job in jobs or (make_job(),):
            fired: list[Any] = []
            self.agent.deliver(job).addBoth(fired.append)
            results.append(fired)
        self.network.move()
        return results

    def deliver(self, *jobs: Job) -> list[dict[int, Outcome]]:
        """Outcomes of jobs that all end without the clock."""
        results = self.start(*jobs)
        assert all(len(fired) == 1 for fired in results)
        return [dict(fired[0]) for fired in results]

    def advance(self, *seconds: float) -> None:
        for each in seconds:
            self.clock.advance(each)
            self.network.move()


def kinds(outcomes: dict[int, Outcome]) -> list[OutcomeKind]:
    return [outcome.kind for _, outcome in sorted(outcomes.items())]
