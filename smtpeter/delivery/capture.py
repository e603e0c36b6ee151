"""Mail that is kept and never sent: for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpeter.delivery.plan import Plan, divide
from smtpeter.delivery.retry import CAPTURED
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import Job, Lane, Outcome


@implementer(IDeliveryAgent)
class CaptureAgent:
    """Says of every message that it was delivered; its content stays where it is."""

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.deliver`."""
        return succeed({recipient.number: CAPTURED for recipient in job.recipients})

    def plan(self, lanes: Sequence[Lane], limit: int, crowded: bool = False) -> Plan:
        """Everything can go at once."""
        return Plan(divide(lanes, limit), ())

    def exhausted(self, lanes: Collection[Lane]) -> None:
        """Nothing is kept in mind."""

    def waiting(self) -> Iterator[tuple[Sequence[Lane], Outcome, bool]]:
        """Nothing ever waits."""
        return iter(())

    def parts(self, job: Job) -> Sequence[Job]:
        """All go the same way."""
        return (job,)

    def on_room(self, call: Callable[[], None]) -> None:
        """There always is."""

    def stop(self) -> Deferred[None]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.stop`."""
        return succeed(None)
