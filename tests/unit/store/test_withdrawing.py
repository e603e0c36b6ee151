"""Submissions that are taken back because their senders could not wait."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from smtpeter.errors import StorageUnavailable
from smtpeter.model.event import EventKind
from smtpeter.model.listing import Filter
from smtpeter.model.submission import Idempotency, Submission, Taken
from smtpeter.store.sqlite.transaction import Combinable
from tests.contract.engines import SMALL, Threaded, claim, claim_incoming, enqueue, make

LARGE = b"x" * (SMALL + 1)


class Stall(Combinable):
    """A part of a batch that takes its time.  It comes after whatever was asked for before it."""

    def __init__(self) -> None:
        self.entered, self.go_on = Event(), Event()
        self.error: Exception | None = None

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[Stall]) -> Sequence[None]:
        for operation in operations:
            operation.entered.set()
            assert operation.go_on.wait(20)
            if operation.error is not None:
                raise operation.error
        return [None] * len(operations)


class Setup:
    """A store whose writer is at work on something that takes its time."""

    def __init__(self, directory: Path) -> None:
        self.engine = Threaded(directory)
        self.first, self.second = Stall(), Stall()
        self.stalls = [self.engine.store.executor.write(self.first)]
        self.first.entered.wait(20)

    def enqueue(self, submission: Submission) -> tuple[Deferred[Any], list[Any]]:
        """Ask for it, and for something slow after it in the same transaction."""
        results: list[Any] = []
        taken = self.engine.store.queue.enqueue(submission).addBoth(results.append)
        self.stalls.append(self.engine.store.executor.write(self.second))
        return taken, results

    def finish(self) -> None:
        self.first.go_on.set()
        self.second.go_on.set()
        for stall in self.stalls:
            stall.addErrback(lambda failure: None)
            self.engine.wait(stall)

    def rows(self) -> list[tuple[str, str]]:
        rows = self.engine.wait(self.engine.store.queue.select(Filter(), 10))
        return [(row.submission, row.state) for row in rows]

    def files(self) -> list[Path]:
        return [path for path in (self.engine.directory / "content").rglob("*") if path.is_file()]

    def wait_until_no_file_is_left(self) -> None:
        for _ in range(100):
            if not self.files():
                return
            self.engine.wait(self.engine.store.queue.paused())
            time.sleep(0.01)
        raise AssertionError(self.files())


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    yield setup
    setup.engine.wait(setup.engine.store.close())


def is_cancelled(results: list[Any]) -> bool:
    [result] = results
    return isinstance(result, Failure) and result.check(CancelledError) is not None


def test_what_is_taken_back_before_it_is_written_never_is(setup: Setup) -> None:
    submission, other = make(setup.engine, data=LARGE), make(setup.engine)
    taken, results = setup.enqueue(submission)
    kept = setup.engine.store.queue.enqueue(other)
    taken.cancel()
    assert is_cancelled(results)
    assert len(setup.files()) == 1, "not before the writer is done with it"
    setup.finish()
    setup.engine.wait(kept)
    assert setup.rows() == [(other.id, "due")]
    setup.wait_until_no_file_is_left()


def test_what_was_written_all_the_same_is_cancelled_unless_it_is_under_way(setup: Setup) -> None:
    submission = make(setup.engine, "a@example.net", "b@example.net", data=LARGE)
    taken, results = setup.enqueue(submission)
    setup.first.go_on.set()
    assert setup.second.entered.wait(20)
    taken.cancel()
    assert is_cancelled(results)
    with capturedLogs() as events:
        setup.finish()
        setup.engine.wait(setup.engine.store.queue.paused())
        after = enqueue(setup.engine)
    assert [(e["id"], e["cancelled"], e["recipients"]) for e in events] == [(submission.id, 2, 2)]
    assert setup.rows() == [(after.id, "due"), (submission.id, "cancelled"), (submission.id, "cancelled")]
    entries = setup.engine.wait(setup.engine.store.journal.of_submission(submission.id, 1))
    assert [entry.kind for entry in entries] == [EventKind.ATTEMPT, EventKind.CANCELLED]
    assert {job.submission for job in claim(setup.engine)} == {after.id}
    assert len(setup.files()) == 1, "retention deals with it as with any other"


def test_what_fails_anyway_is_only_forgotten(setup: Setup) -> None:
    taken, results = setup.enqueue(make(setup.engine, data=LARGE))
    setup.first.go_on.set()
    assert setup.second.entered.wait(20)
    taken.cancel()
    setup.second.error = StorageUnavailable("disk")
    setup.finish()
    assert is_cancelled(results)
    assert setup.rows() == []
    setup.wait_until_no_file_is_left()


def test_what_is_in_the_store_cannot_be_taken_back(setup: Setup) -> None:
    submission = make(setup.engine)
    taken, results = setup.enqueue(submission)
    setup.finish()
    taken.cancel()
    assert results == [None]
    assert setup.rows() == [(submission.id, "due")]


@pytest.mark.parametrize("written", [False, True])
def test_what_is_taken_back_is_not_prepared(setup: Setup, written: bool) -> None:
    taken, results = setup.enqueue(make(setup.engine, prepare=True))
    if written:
        setup.first.go_on.set()
        assert setup.second.entered.wait(20)
    taken.cancel()
    assert is_cancelled(results)
    setup.finish()
    setup.engine.wait(setup.engine.store.queue.paused())
    assert claim_incoming(setup.engine) == []
    assert setup.engine.wait(setup.engine.store.queue.oldest_unprepared()) is None
    assert [state for _, state in setup.rows()] == ["cancelled"] * written


def keyed(setup: Setup, digest: bytes | None = b"d") -> Submission:
    return make(setup.engine, data=LARGE, account=1, idempotency=Idempotency("k", digest))


@pytest.mark.parametrize("digest", [b"d", None])
def test_what_is_taken_back_before_it_is_written_answers_nobody(setup: Setup, digest: bytes | None) -> None:
    submission, other = keyed(setup, digest), keyed(setup, digest)
    taken, results = setup.enqueue(submission)
    kept = setup.engine.store.queue.enqueue(other)
    taken.cancel()
    assert is_cancelled(results)
    setup.finish()
    assert setup.engine.wait(kept) == Taken(other.id, ((other.id, "you@example.net"),))
    assert setup.rows() == [(other.id, "due")]


@pytest.mark.parametrize("digest", [b"d", None])
@pytest.mark.parametrize("at_once", [True, False])
def test_what_was_written_under_a_key_stays_and_is_the_answer(
    setup: Setup, digest: bytes | None, at_once: bool
) -> None:
    """Others may have been told that it was taken: to cancel it now would lose their mail."""
    submission, other = keyed(setup, digest), keyed(setup, digest)
    taken, results = setup.enqueue(submission)
    if at_once:
        kept = setup.engine.store.queue.enqueue(other)
    setup.first.go_on.set()
    assert setup.second.entered.wait(20)
    taken.cancel()
    assert is_cancelled(results)
    if not at_once:
        kept = setup.engine.store.queue.enqueue(other)
    setup.finish()
    assert setup.engine.wait(kept) == Taken(submission.id, ((submission.id, "you@example.net"),), again=True)
    setup.engine.wait(setup.engine.store.queue.paused())
    assert setup.rows() == [(submission.id, "due")]
    (job,) = claim(setup.engine)
    assert setup.engine.wait(setup.engine.store.content.read(job.submission, job.content)) == LARGE


def test_who_is_told_nothing_new_and_goes_leaves_no_file(setup: Setup) -> None:
    setup.first.go_on.set()
    setup.engine.wait(setup.stalls.pop())
    first = keyed(setup)
    setup.engine.wait(setup.engine.store.queue.enqueue(first))
    taken, results = setup.enqueue(keyed(setup))
    assert setup.second.entered.wait(20)
    taken.cancel()
    assert is_cancelled(results)
    setup.finish()
    for _ in range(500):
        if len(setup.files()) == 1:
            break
        setup.engine.wait(setup.engine.store.queue.paused())
        time.sleep(0.01)
    assert len(setup.files()) == 1
    assert setup.rows() == [(first.id, "due")]
