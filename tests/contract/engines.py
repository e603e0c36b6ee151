"""The engines under test, and mail to put into them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.interfaces import IClock
from smtpeter.model.delivery import Job, Lane, RecipientState, SettledJob, Settlement
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import Event, EventKind
from smtpeter.model.feature import PlacedSlot, Prepared, Unprepared
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Submission
from smtpeter.store.opening import Store, open_for_command, open_for_server
from smtpeter.store.outside import open_outside

T = TypeVar("T")

START = 1_800_000_000.0
PATIENCE = 20.0
SMALL = 1000


@implementer(IClock)
class FakeClock:
    """Wall time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = START

    def time(self) -> float:
        return self.now


class Engine:
    """An open store, and a way to wait for it.  Opening it again is what a restart of the server does."""

    store: Store

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = FakeClock()
        self.open()

    def open(self) -> None:
        raise NotImplementedError

    def wait(self, deferred: Deferred[T]) -> T:
        """What a Deferred of the store fires with; its error is raised."""
        raise NotImplementedError

    def reopen(self) -> None:
        self.wait(self.store.close())
        self.open()


class Direct(Engine):
    """SQLite without threads, as commands use it."""

    def open(self) -> None:
        self.store = open_for_command(f"sqlite://{self.directory / 'mail.db'}", self.directory, self.clock)

    def wait(self, deferred: Deferred[T]) -> T:
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        assert results, "a Deferred of the store for commands has fired when it is returned"
        return _value(results)


class Threaded(Engine):
    """SQLite as the server uses it; the test is the reactor."""

    def open(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.troubles: list[Exception] = []
        self.store = open_for_server(
            f"sqlite://{self.directory / 'mail.db'}",
            self.directory,
            self.clock,
            lambda function, *arguments: self.calls.put((function, arguments)),
            small_content=SMALL,
            on_trouble=self.troubles.append,
        )

    def wait(self, deferred: Deferred[T]) -> T:
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        while not results:
            function, arguments = self.calls.get(timeout=PATIENCE)
            function(*arguments)
        return _value(results)


def _value(results: list[T | Failure]) -> T:
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[return-value]


ENGINES: dict[str, type[Engine]] = {"sqlite-direct": Direct, "sqlite-threaded": Threaded}

_numbers = count(1)


def enqueue(engine: Engine, *addresses: str, data: bytes = b"Subject: x\r\n\r\nbody\r\n", **fields: Any) -> Submission:
    """Put a message into the queue.  ``fields`` are those of the Submission; ``time`` is now unless given."""
    submission = make(engine, *addresses, data=data, **fields)
    engine.wait(engine.store.queue.enqueue(submission))
    return submission


def make(engine: Engine, *addresses: str, data: bytes = b"Subject: x\r\n\r\nbody\r\n", **fields: Any) -> Submission:
    """A submission whose content has come in, ready to be enqueued."""
    spool = engine.store.content.spool()
    waiting = spool.write(data)
    if waiting is not None:
        engine.wait(waiting)
    time = fields.pop("time", engine.clock.now)
    number = next(_numbers)
    recipients = tuple(
        Recipient(address, address.rpartition("@")[2].lower()) for address in addresses or ("you@example.net",)
    )
    values: dict[str, Any] = {
        "id": make_submission_id(round(time * 1000), number.to_bytes(10, "big")),
        "account": None,
        "login": "",
        "channel": "smtp",
        "envelope": Envelope("me@example.com", recipients),
        "content": engine.wait(spool.finish()),
        "time": time,
        "due": time,
        "expires": time + 86400,
    }
    return Submission(**(values | fields))


def due(engine: Engine, now: float | None = None, limit: int = 10_000) -> tuple[list[Lane], float | None]:
    """The lanes that have something due now (or at another time), and when the next one has."""
    lanes, following = engine.wait(engine.store.queue.due_lanes(engine.clock.now if now is None else now, limit))
    return list(lanes), following


def due_domains(engine: Engine, now: float | None = None, limit: int = 10_000) -> tuple[list[str], float | None]:
    """The same for whoever does not mind whose mail it is."""
    lanes, following = due(engine, now, limit)
    return list(dict.fromkeys(lane.domain for lane in lanes)), following


def claim(engine: Engine, *domains: str, limit: int = 100, at: float | None = None) -> list[Job]:
    """Claim what is due now (or ``at`` another time) in these domains' lanes, which share the limit."""
    now = engine.clock.now if at is None else at
    lanes = [lane for lane in due(engine, now)[0] if lane.domain in (domains or ("example.net",))]
    lanes.sort(key=lambda lane: domains.index(lane.domain) if domains else 0)
    return claim_shares(engine, *[(lane, -(-(limit - i) // len(lanes))) for i, lane in enumerate(lanes)], at=now)


def claim_shares(engine: Engine, *shares: tuple[Lane, int], at: float | None = None) -> list[Job]:
    """Claim each lane's share, for a minute."""
    now = engine.clock.now if at is None else at
    return list(engine.wait(engine.store.queue.claim_due(shares, now, now + 60)))


def settled(job: Job, state: RecipientState, due: float = 0.0, **data: Any) -> SettledJob:
    """A job whose recipients all end in the same way."""
    kind = {
        RecipientState.DELIVERED: EventKind.DELIVERY,
        RecipientState.DUE: EventKind.DEFERRAL,
        RecipientState.HELD: EventKind.HELD,
    }.get(state, EventKind.FAILURE)
    return SettledJob(
        job.submission,
        job.lease,
        tuple(
            Settlement(each.number, state, each.attempts + 1, due, Event(kind, START + 1, data))
            for each in job.recipients
        ),
    )


def settle(engine: Engine, job: Job, state: RecipientState, due: float = 0.0, **data: Any) -> int:
    """Settle a job whose recipients all end in the same way."""
    return engine.wait(engine.store.queue.settle([settled(job, state, due, **data)]))


def claim_incoming(engine: Engine, limit: int = 100, at: float | None = None) -> list[Unprepared]:
    """Claim what waits to be prepared now (or ``at`` another time), for a minute."""
    now = engine.clock.now if at is None else at
    return list(engine.wait(engine.store.queue.claim_incoming(limit, now, now + 60)))


def made_of(
    engine: Engine, unprepared: Unprepared, data: bytes | None = None, slots: tuple[PlacedSlot, ...] = (), **told: Any
) -> Prepared:
    """What was made of a submission: ``data``, which is kept as a worker does it; None: it goes as it came."""
    outside = open_outside(f"sqlite://{engine.directory / 'mail.db'}", engine.directory, SMALL)
    content = None if data is None else outside.keep(data)
    if content is not None and content.data is not None:
        content = content._replace(digest=hashlib.sha256(content.data).digest())  # as the server does
    return Prepared(unprepared.submission, unprepared.attempt, content, slots, told)


def store(engine: Engine, *prepared: Prepared) -> int:
    """Write what was made of submissions."""
    return engine.wait(engine.store.queue.store_prepared(prepared))
