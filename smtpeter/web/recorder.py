"""Clicks and opens on their way into the journal: gathered for a moment, classified, written many at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IEventJournal, IMetrics
from smtpeter.model.event import EventKind
from smtpeter.model.feature import Happening, WebRequest
from smtpeter.web.machines import ALL_LINKS, MANY_LINKS, reasons_of_request, reasons_of_time

GATHER = 1.0
"""Seconds that events are kept at least, so that those of one recipient are seen together."""

STEP = 0.1
"""Seconds of events that become ready to be written together: the store has a steady flow and no heap each second."""

CHUNK = 500
"""Events in one transaction: whoever brings mail waits behind it."""

CAPACITY = 64 * 1024 * 1024
"""Octets of events that may wait; each counts as its text and :data:`EVENT`, so it is some 50,000 of the usual ones."""

EVENT = 1024

WRITERS = 2
"""Chunks that are under way: of one the delivery times are looked up while another is written."""

MOST_OF_ONE = 100
"""Events of one recipient within a second: whoever has a link could fill the disk with it."""

RETRY = 2.0
"""Seconds after which a store that failed is tried again."""

STALL = 2.0
"""Seconds without anything written after which the store counts as failing, though it has not said so."""

STOP = 10.0
"""Seconds that a store may take in the end; then what is left is lost."""

HEADERS = 4096
"""Octets of a request's fields that are kept."""

REQUESTS = 1000
"""Different requests of which is remembered what they tell: the fields of one program are the same each time."""

_KINDS = frozenset({EventKind.CLICK, EventKind.OPEN})
_SECRETS = frozenset({b"cookie", b"authorization", b"proxy-authorization"})
_CONTROLS = bytes(set(range(32)) - {10}) + b"\x7f"
_CLEAN = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))


class _Visit:
    """What one recipient did within a second: how many events, and the links, no more of them than have to be known."""

    __slots__ = ("began", "events", "links", "recipient")

    def __init__(self, recipient: tuple[str, int], began: float) -> None:
        self.recipient = recipient
        self.began = began
        self.events = 0
        self.links: tuple[object, ...] = ()  # a set would be four times as large


class _Waiting(NamedTuple):
    """An event that is not written yet.  ``cost`` in octets, as it counts for the capacity."""

    kind: EventKind
    time: float
    data: Mapping[str, Any]
    reasons: tuple[str, ...]
    visit: _Visit
    cost: int


class Recorder:
    """Takes events and sees to it that they are written; never makes whoever brings one wait.

    While the store is down they are kept, up to :data:`CAPACITY`; what comes beyond that is counted as lost
    (``smtpeter_events_lost``), and the log says in the end how many it were.  ``timers`` is the reactor.
    """

    _log = Logger()

    def __init__(self, journal: IEventJournal, metrics: IMetrics, timers: Any, capacity: int = CAPACITY) -> None:
        self._journal = journal
        self._metrics = metrics
        self._timers = timers
        self._capacity = capacity
        self._held = 0  # what is waiting, as it counts for the capacity
        self._fresh: list[_Waiting] = []
        self._gathered: deque[tuple[float, list[_Waiting]]] = deque()  # with the times at which they were complete
        self._ready: deque[_Waiting] = deque()
        self._visits: dict[tuple[str, int], _Visit] = {}
        self._tick: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._writers = 0
        self._progress = 0.0  # when something was written, or nothing was under way
        self._lost = 0
        self._stopped = False
        self._abandoned = False
        self._ended: Deferred[None] = Deferred()

    def record(
        self, kind: EventKind, submission: str, number: int, data: Mapping[str, Any], request: WebRequest
    ) -> None:
        """See :meth:`smtpeter.interfaces.IFeatureServices.record`."""
        if kind not in _KINDS:
            raise ValueError(f"features record clicks and opens, not {kind!r}")
        fields, reasons = _told_by(kind, request.method, request.headers)
        cost = EVENT + len(fields)
        time = request.time
        visit = self._visit((submission, number), time)
        if self._stopped or self._held + cost > self._capacity or visit.events >= MOST_OF_ONE:
            self._lose(1)
            return
        self._held += cost
        visit.events += 1
        if kind is EventKind.CLICK and len(visit.links) < MANY_LINKS:
            link = data.get("destination")
            if link not in visit.links:
                visit.links += (link,)
        protocol = "https" if request.secure else "http"
        told = {"ip": request.address, "headers": fields, "protocol": protocol, **data}
        self._fresh.append(_Waiting(kind, time, told, reasons, visit, cost))
        if self._tick is None:
            self._tick = self._timers.callLater(STEP, self._turn_over)

    def is_behind(self) -> bool:
        """Whether more comes than the store can write, so that whoever brings it does well to wait a moment.

        Not while the store fails: that may take long, and nobody is to wait for it.
        """
        return (
            self._held > self._capacity * 3 // 4
            and self._again is None
            and self._timers.seconds() < self._progress + STALL
        )

    def _visit(self, recipient: tuple[str, int], time: float) -> _Visit:
        visit = self._visits.get(recipient)
        if visit is None or not visit.began <= time < visit.began + GATHER:
            visit = self._visits[recipient] = _Visit(recipient, time)
        return visit

    def _turn_over(self) -> None:
        """What was gathered for long enough can be written."""
        self._tick = None
        now = self._timers.seconds()
        if not self._writers:
            self._progress = now
        if self._fresh:
            self._gathered.append((now, self._fresh))
            self._fresh = []
        while self._gathered and self._gathered[0][0] + GATHER <= now:
            self._make_ready(self._gathered.popleft()[1])
        if self._gathered:
            self._tick = self._timers.callLater(STEP, self._turn_over)
        else:
            self._visits.clear()
        self._write()

    def _make_ready(self, events: Iterable[_Waiting]) -> None:
        for event in events:
            visit = event.visit
            if self._visits.get(visit.recipient) is visit:
                del self._visits[visit.recipient]
            self._ready.append(event)

    # --- writing ---

    def _write(self) -> None:
        for _ in range(self._writers, WRITERS):
            if self._ready and self._again is None:
                self._writers += 1
                Deferred.fromCoroutine(self._write_on())

    async def _write_on(self) -> None:
        """Write until there is nothing left, or the store fails."""
        while self._ready and self._again is None and not self._abandoned:
            chunk = [self._ready.popleft() for _ in range(min(CHUNK, len(self._ready)))]
            left = await self._written(chunk)
            self._held -= sum([each.cost for each in chunk[: len(chunk) - len(left)]])
            if left:
                self._ready.extendleft(reversed(left))
                self._again = self._again or self._timers.callLater(RETRY, self._try_again)
            else:
                self._progress = self._timers.seconds()
                self._tell_of_lost()
        self._writers -= 1
        self._look_for_end()

    async def _written(self, chunk: Sequence[_Waiting]) -> Sequence[_Waiting]:
        """Write events; answers those, from some place on, that the store cannot take now."""
        try:
            await self._write_together(chunk)
        except StorageUnavailable:
            return chunk
        except Exception:
            self._log.failure("events cannot be written together: they are tried one by one")
        else:
            return ()
        for position, each in enumerate(chunk):
            try:
                await self._write_together([each])
            except StorageUnavailable:
                return chunk[position:]
            except Exception:
                self._lose(1)  # one that cannot be written must not take others with it
        return ()

    async def _write_together(self, chunk: Sequence[_Waiting]) -> None:
        times = await self._journal.delivery_times({each.visit.recipient for each in chunk})
        happenings = [_classified(each, times[each.visit.recipient]) for each in chunk if each.visit.recipient in times]
        if happenings:
            self._metrics.count("events_recorded", await self._journal.record(happenings))

    def _try_again(self) -> None:
        self._again = None
        self._write()

    # --- what is lost, and the end ---

    def _lose(self, count: int) -> None:
        self._lost += count
        self._metrics.count("events_lost", count)

    def _tell_of_lost(self) -> None:
        if self._lost:
            self._log.error(
                "{count} clicks and opens were lost: they could not be written", event="events-lost", count=self._lost
            )
            self._lost = 0

    def stop(self) -> Deferred[None]:
        """Take nothing more and write what there is; fires when that is done, or the store failed for :data:`STOP`."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._stopped = True
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        for _, events in self._gathered:
            self._ready += events
        self._ready += self._fresh
        self._gathered.clear()
        self._fresh = []
        limit = self._timers.callLater(STOP, self._abandon)
        self._write()
        self._look_for_end()
        await self._ended
        if limit.active():
            limit.cancel()
        self._lose(len(self._ready))
        self._ready.clear()
        self._tell_of_lost()

    def _abandon(self) -> None:
        self._abandoned = True
        if self._again is not None:
            self._again.cancel()
            self._again = None
        self._look_for_end()

    def _look_for_end(self) -> None:
        done = self._writers == 0 and (self._abandoned or not self._ready)
        if self._stopped and done and not self._ended.called:
            self._ended.callback(None)


def _classified(event: _Waiting, delivered: float | None) -> Happening:
    kind, time, data, reasons, visit, _ = event
    reasons += reasons_of_time(time, delivered)
    if kind is EventKind.CLICK and len(visit.links) >= MANY_LINKS:
        reasons += (ALL_LINKS,)
    if reasons:
        data = {**data, "machine": ";".join(reasons)}
    return Happening(kind, time, *visit.recipient, data)


@lru_cache(REQUESTS)
def _told_by(kind: EventKind, method: str, fields: tuple[tuple[bytes, bytes], ...]) -> tuple[str, tuple[str, ...]]:
    """A request's fields as text, and the reasons to take it for a machine's."""
    return _text_of(fields), reasons_of_request(kind, method, fields)


def _text_of(fields: Sequence[tuple[bytes, bytes]]) -> str:
    """A request's fields, one a line, without secrets and controls."""
    text = b"\n".join([name + b": " + value for name, value in fields if name not in _SECRETS])
    return text[:HEADERS].translate(_CLEAN).decode("utf-8", "replace")
