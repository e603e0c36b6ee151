"""The one door through which every message enters the queue."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from smtpeter.interfaces import IMetrics, IQueueStore, ISubmissionIntake
from smtpeter.model.submission import Submission


@implementer(ISubmissionIntake)
class Intake:
    """Hands submissions to the store, and wakes whoever is next once they are durable.

    ``wake`` takes the domains that have mail now; ``prepare`` is told that there is mail for features to prepare.
    """

    _log = Logger()

    def __init__(
        self,
        queue: IQueueStore,
        wake: Callable[[Iterable[str]], None],
        metrics: IMetrics,
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self._queue = queue
        self._wake = wake
        self._metrics = metrics
        self._prepare = prepare

    def submit(self, submission: Submission) -> Deferred[None]:
        """See :meth:`smtpeter.interfaces.ISubmissionIntake.submit`."""

        return self._queue.enqueue(submission).addCallback(self._durable, submission)

    def _durable(self, result: None, submission: Submission) -> None:
        """From here on the message is ours: no trouble may look to the client as if it were not."""
        try:
            recipients = submission.envelope.recipients
            self._metrics.count("submissions", channel=submission.channel)
            self._metrics.count("recipients", len(recipients), channel=submission.channel)
            if submission.prepare:
                self._prepare()
            else:
                self._wake({recipient.domain for recipient in recipients})
        except Exception:
            self._log.failure("nobody was told of {id}; it will be found all the same", id=submission.id)
