"""The one door through which every message enters the queue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from smtpeter.interfaces import IMetrics, IQueueStore, ISubmissionIntake
from smtpeter.model.envelope import Recipient
from smtpeter.model.ids import parse_id
from smtpeter.model.submission import Submission, Taken


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

    def submit(self, submission: Submission) -> Deferred[Taken | None]:
        """See :meth:`smtpeter.interfaces.ISubmissionIntake.submit`."""

        return self._queue.enqueue(submission).addCallback(self._durable, submission)

    def _durable(self, taken: Taken | None, submission: Submission) -> Taken | None:
        """From here on the message is ours: no trouble may look to the client as if it were not."""
        try:
            recipients = submission.envelope.recipients if taken is None else _enqueued(taken, submission)
            if recipients:
                self._metrics.count("submissions", channel=submission.channel)
                self._metrics.count("recipients", len(recipients), channel=submission.channel)
                if submission.prepare:
                    self._prepare()
                else:
                    self._wake({recipient.domain for recipient in recipients})
        except Exception:
            self._log.failure("nobody was told of {id}; it will be found all the same", id=submission.id)
        return taken


def _enqueued(taken: Taken, submission: Submission) -> Collection[Recipient]:
    """Those recipients that were not taken before.  One that was named twice is there once."""
    if taken.again:
        return ()
    ids = (id for id, _ in taken.recipients)
    new = dict(zip(ids, submission.envelope.recipients, strict=True))
    return [new[id] for id in new if (parse_id(id) or ("",))[0] == submission.id]
