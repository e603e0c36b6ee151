"""The log's lines about deliveries, and their numbers for /metrics."""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel

from smtpeter.interfaces import IMetrics
from smtpeter.model.delivery import LeasedRecipient, Outcome, OutcomeKind

AT_ONCE = 25  # lines


class DeliveryReport:
    """Counts every outcome, and writes a line about it soon.

    A job with many recipients ends for all of them at the same moment, and many jobs may end together: writing all
    their lines at once would hold up every session, so that only some are written in one turn of the reactor.
    """

    _log = Logger()

    def __init__(self, timers: IReactorTime, metrics: IMetrics) -> None:
        self._timers = timers
        self._metrics = metrics
        self._lines: deque[tuple[LeasedRecipient, Outcome, float]] = deque()
        self._timer: IDelayedCall | None = None

    def add(self, recipient: LeasedRecipient, outcome: Outcome, seconds: float) -> None:
        """An attempt that took so many seconds has ended for a recipient."""
        self._metrics.count("deliveries", outcome=outcome.kind.value)
        if outcome.failure is not None:
            self._metrics.count("delivery_failures", failure=outcome.failure.value)
        if outcome.stage == "route":
            self._metrics.count("route_failures", outcome=outcome.kind.value)
        self._lines.append((recipient, outcome, seconds))
        if self._timer is None:
            self._timer = self._timers.callLater(0, self._write_some)

    def finish(self) -> None:
        """Write all that is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._lines:
            self._write(*self._lines.popleft())

    def _write_some(self) -> None:
        # Some of what there is, so that even a log that is slower than the mail does not fall behind for ever.
        for _ in range(min(len(self._lines), max(AT_ONCE, len(self._lines) // 10))):
            self._write(*self._lines.popleft())
        self._timer = self._timers.callLater(0, self._write_some) if self._lines else None

    def _write(self, recipient: LeasedRecipient, outcome: Outcome, seconds: float) -> None:
        self._log.emit(
            # Held mail waits for somebody who looks at it.
            LogLevel.error if outcome.kind is OutcomeKind.HOLD else LogLevel.info,
            "delivery: id={id} recipient={recipient} outcome={outcome} code={code} enhanced={enhanced} "
            "relay={relay} attempt={attempt} seconds={seconds:.3f} text={text}",
            event="delivery",
            id=recipient.id,
            recipient=recipient.address,
            outcome=outcome.kind.value,
            code=outcome.code,
            enhanced=outcome.enhanced or "-",
            relay=outcome.remote_mta or "-",
            attempt=recipient.attempts,
            seconds=seconds,
            text=outcome.text,
        )
