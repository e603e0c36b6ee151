"""Whatever comes together in whatever transactions, and whatever of it fails: under a key mail is taken once."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.errors import IdempotencyConflict
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id, recipient_id
from smtpeter.model.submission import Content, Idempotency, Submission, Taken
from smtpeter.store.migrate import known_migrations, migrate
from smtpeter.store.sqlite.connection import connect
from smtpeter.store.sqlite.enqueue import Answer, Enqueue
from smtpeter.store.sqlite.transaction import Writer
from tests.contract.engines import START
from tests.unit.store.stand_ins import Faulty, fault


class Request(NamedTuple):
    """``digest`` None: each recipient for itself; ``key`` None: without a key.  ``hours`` after the first request."""

    key: str | None
    digest: bytes | None
    addresses: tuple[str, ...]
    withdrawn: bool


class Batch(NamedTuple):
    """Requests that come together; ``fails`` is where in it something fails.  ``commit`` tells whether its commits go
    well, fail, or fail though all is written."""

    requests: list[Request]
    fails: int | None
    commit: str
    hours: float


addresses = st.lists(st.sampled_from(["a@x", "b@x", "c@x", "A@x", "a@X"]), min_size=1, max_size=4).map(tuple)
whole = st.builds(
    lambda key, digest, withdrawn: Request(key, digest, ("a@x", "b@x") if digest == b"1" else ("b@x",), withdrawn),
    st.sampled_from(["k", "l"]),
    st.sampled_from([b"1", b"2"]),
    st.booleans(),
)
each = st.builds(Request, st.sampled_from(["k", None]), st.none(), addresses, st.booleans())
batches = st.builds(
    Batch,
    st.lists(whole | each, max_size=6),
    st.none() | st.integers(0, 6),
    st.sampled_from(["ok", "ok", "lost", "unknown"]),
    st.floats(0, 15),
)


def wrong(connection: sqlite3.Connection) -> None:
    raise ZeroDivisionError


def fold(address: str) -> str:
    local, at, domain = address.partition("@")
    return local + at + domain.lower()


class Model:
    """What was taken under which key, and when."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], tuple[float, bytes | None, str]] = {}  # whose id is the last
        self.rows: dict[str, str] = {}  # the addresses of recipients by their ids

    def expect(self, operation: Enqueue) -> Answer:
        submission = operation.submission
        if operation.withdrawn:
            return False
        addresses = [recipient.address for recipient in submission.envelope.recipients]
        if submission.idempotency is None:
            self.add(submission.id, addresses)
            return True
        key, digest = submission.idempotency
        if digest is None:
            return self.expect_each(key, submission, addresses)
        found = self.find(key, "", submission.time)
        if found is None:
            self.known[key, ""] = submission.time, digest, submission.id
            return Taken(submission.id, self.add(submission.id, addresses))
        if found[1] != digest:
            return IdempotencyConflict()
        ids = [recipient_id(found[2], number, len(addresses)) for number in range(1, len(addresses) + 1)]
        return Taken(found[2], tuple(zip(ids, addresses, strict=True)), again=True)

    def expect_each(self, key: str, submission: Submission, addresses: list[str]) -> Taken:
        new: dict[str, str] = {}
        for each in addresses:
            if self.find(key, each, submission.time) is None:
                new.setdefault(fold(each), each)
        for id, address in self.add(submission.id, list(new.values())):
            self.known[key, fold(address)] = submission.time, None, id
        told = tuple((self.known[key, fold(address)][2], address) for address in addresses)
        return Taken(submission.id if new else told[0][0].partition("-")[0], told, again=not new)

    def find(self, key: str, address: str, now: float) -> tuple[float, bytes | None, str] | None:
        found = self.known.get((key, fold(address)))
        return found if found is not None and found[0] > now - 86400 else None

    def add(self, id: str, addresses: list[str]) -> tuple[tuple[str, str], ...]:
        added = [(recipient_id(id, number, len(addresses)), each) for number, each in enumerate(addresses, 1)]
        self.rows |= added
        return tuple(added)


class Connection(Faulty):
    """One whose COMMIT may fail after it was carried out."""

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if statement == "COMMIT" and statement in self.faults:
            self.connection.execute(statement)
        return super().execute(statement, *values)


class Setup:
    def __init__(self, directory: str) -> None:
        self.path = Path(directory) / "mail.db"
        with sqlite3.connect(self.path, isolation_level=None) as connection:
            migrate(connection, self.path, 0, known_migrations())
        self.faults: dict[str, Exception] = {}
        self.writer = Writer(self.connect)
        self.numbers = count(1)
        self.now = START
        self.unknown = False

    def connect(self) -> Any:
        kind = Connection if self.unknown else Faulty
        return kind(connect(self.path), self.faults)

    def operation(self, request: Request) -> Enqueue:
        submission = Submission(
            id=make_submission_id(round(self.now * 1000), next(self.numbers).to_bytes(10, "big")),
            account=1,
            login="",
            channel="smtp",
            envelope=Envelope("", tuple(Recipient(each, "x") for each in request.addresses)),
            content=Content(1, b"", b"x"),
            time=self.now,
            due=self.now,
            expires=self.now + 9,
            idempotency=None if request.key is None else Idempotency(request.key, request.digest),
        )
        operation = Enqueue(submission)
        operation.withdrawn = request.withdrawn
        return operation

    def rows(self) -> Mapping[str, str]:
        query = "SELECT id, number, recipients, address FROM recipient JOIN submission ON id = submission"
        with sqlite3.connect(self.path) as connection:
            found = [(recipient_id(*row[:3]), row[3]) for row in connection.execute(query)]
        assert len(dict(found)) == len(found)
        return dict(found)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(taken=st.lists(batches, max_size=6))
def test_under_a_key_mail_is_taken_once(taken: list[Batch]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        setup, model = Setup(directory), Model()
        for batch in taken:
            setup.now += batch.hours * 3600
            operations: list[Any] = [setup.operation(request) for request in batch.requests]
            if batch.fails is not None:
                operations.insert(batch.fails, wrong)
            if batch.commit != "ok":
                setup.faults["COMMIT"] = fault("SQLITE_IOERR")
                setup.unknown = batch.commit == "unknown"
                setup.writer.close()
            results = setup.writer.run(operations)
            setup.faults.clear()
            for operation, (value, error) in zip(operations, results, strict=True):
                if operation is wrong:
                    assert error is not None
                    continue
                expected = model.expect(operation) if batch.commit != "lost" else None
                if batch.commit != "ok":
                    assert error is not None
                else:
                    assert error is None
                    if isinstance(expected, IdempotencyConflict):
                        assert isinstance(value, IdempotencyConflict)
                    else:
                        assert value == expected
            assert setup.rows() == model.rows
        setup.writer.close()
