"""What goes through much of the store is a scan, so that it is in nobody's way; what is found at once is not."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from smtpeter.model.delivery import Lane
from smtpeter.model.listing import Filter, RecordFilter, Verb
from smtpeter.store.sqlite.journal import EventJournal
from smtpeter.store.sqlite.queue import QueueStore
from tests.contract.engines import FakeClock

ID = "0" * 26


class Executor:
    """Does nothing but tell how it was asked; a step of a scan finds nothing and is the last."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, operation: Any) -> Deferred[Any]:
        self.asked.append("read")
        return succeed(None)

    def scan(self, operation: Any) -> Deferred[Any]:
        self.asked.append("scan")
        return succeed((frozenset(), None) if isinstance(operation, partial) else [])


class Store:
    def __init__(self) -> None:
        self.executor: Any = Executor()
        content: Any = None
        self.queue = QueueStore(self.executor, content, FakeClock())
        self.journal = EventJournal(self.executor)


@pytest.mark.parametrize(
    ("ask", "way"),
    [
        (lambda store: store.journal.records(RecordFilter(recipient="a@x"), 0, 9, list), "scan"),
        (lambda store: store.journal.records(RecordFilter(submission=ID), 0, 9, list), "read"),
        (lambda store: store.journal.kinds(1, 0.0, 1.0), "scan"),
        (lambda store: store.queue.select(Filter(tag="x"), 9), "scan"),
        (lambda store: store.queue.select(Filter(submission=ID), 9), "read"),
        (lambda store: store.queue.count(Filter(), Verb.HOLD), "scan"),
        (lambda store: store.queue.submission(ID), "read"),
        (lambda store: store.queue.due_lanes(0.0, 9), "read"),
        (lambda store: store.queue.parking(Lane("x", 0)), "read"),
        (lambda store: store.queue.claim_overdue([Lane("x", 0)], 9, 0.0, 0.0, 0.0), "scan"),
    ],
)
def test_only_what_may_be_long_is_a_scan(ask: Callable[[Store], Any], way: str) -> None:
    store = Store()
    ask(store)
    assert store.executor.asked == [way]
