"""Mail that is kept and never sent: for demonstrations and tests."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from smtpeter.delivery.retry import CAPTURED
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import Job, Outcome


@implementer(IDeliveryAgent)
class CaptureAgent:
    """Says of every message that it was delivered; its content stays where it is."""

    def deliver(self, job: Job) -> Deferred[Mapping[int, Outcome]]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.deliver`."""
        return succeed({recipient.number: CAPTURED for recipient in job.recipients})

    def capacity(self) -> int:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.capacity`."""
        return 1000

    def stop(self) -> Deferred[None]:
        """See :meth:`smtpeter.interfaces.IDeliveryAgent.stop`."""
        return succeed(None)
