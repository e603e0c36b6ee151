"""The executor with threads; the test is the reactor."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import pytest
from twisted.python.failure import Failure

from smtpeter.errors import StorageUnavailable
from smtpeter.store.sqlite.connection import connect
from smtpeter.store.sqlite.threaded import ThreadedExecutor
from tests.unit.store.stand_ins import Faulty, Reactor, fault


class Setup:
    def __init__(self, path: Path) -> None:
        sqlite3.connect(path).execute("CREATE TABLE mail (x INTEGER PRIMARY KEY)")
        # As everywhere else it has its log before threads come: several that make it disturb each other.
        connect(path).close()
        self.path = path
        self.reactor = Reactor()
        self.faults: dict[str, Exception] = {}
        self.troubles: list[Exception] = []
        self.executor = ThreadedExecutor(
            self.connect, lambda: connect(path, query_only=True), self.reactor.call, self.troubles.append
        )

    def connect(self) -> Any:
        return Faulty(connect(self.path), self.faults)

    def close(self) -> None:
        self.reactor.until(self.executor.close())


@pytest.fixture
def setup(tmp_path: Path) -> Any:
    setup = Setup(tmp_path / "mail.db")
    yield setup
    setup.close()


def put(x: int) -> Callable[[sqlite3.Connection], str]:
    def operation(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO mail VALUES (?)", (x,))
        return current_thread().name

    return operation


def test_what_waits_is_told_in_one_call(setup: Setup) -> None:
    entered, go_on = Event(), Event()

    def slow(connection: sqlite3.Connection) -> None:
        entered.set()
        assert go_on.wait(20)

    first = setup.executor.write(slow)
    assert entered.wait(20)
    others = [setup.executor.write(put(x)) for x in range(20)]
    assert setup.executor.backlog() == 20
    go_on.set()
    setup.reactor.until(first)
    function, arguments = setup.reactor.calls.get(timeout=20)
    function(*arguments)
    assert {other.result for other in others} == {"store writer"}
    assert setup.executor.backlog() == 0


def test_nothing_fires_outside_the_reactor(setup: Setup) -> None:
    waiting = setup.executor.write(put(1))
    function, arguments = setup.reactor.calls.get(timeout=20)
    assert not waiting.called
    function(*arguments)
    assert waiting.called


def test_readers_see_what_was_committed_and_cannot_write(setup: Setup) -> None:
    setup.reactor.until(setup.executor.write(put(1)))
    read = setup.executor.read(lambda connection: connection.execute("SELECT x FROM mail").fetchall())
    setup.reactor.until(read)
    assert read.result == [(1,)]
    errors: list[Failure] = []
    bad = setup.executor.read(put(2)).addErrback(errors.append)
    setup.reactor.until(bad)
    # A statement that is wrong in a reader is the program's fault, whatever SQLite calls it.
    assert errors[0].check(sqlite3.OperationalError, StorageUnavailable)


def test_scans_are_in_nobodys_way(setup: Setup) -> None:
    """However many go through much of the store, one step after the other: who wants little has it at once."""
    go_on = Event()

    def step(connection: sqlite3.Connection) -> str:
        assert go_on.wait(20)
        return current_thread().name

    steps = [setup.executor.scan(step) for _ in range(10)]
    read = setup.executor.read(lambda connection: connection.execute("SELECT count(*) FROM mail").fetchone())
    setup.reactor.until(read)
    assert read.result == (0,)
    assert not any(each.called for each in steps)
    go_on.set()
    for each in steps:
        setup.reactor.until(each)
    assert {each.result for each in steps} == {"store scanner"}


def test_a_scan_cannot_write(setup: Setup) -> None:
    errors: list[Failure] = []
    setup.reactor.until(setup.executor.scan(put(2)).addErrback(errors.append))
    assert errors[0].check(sqlite3.OperationalError, StorageUnavailable)


def test_trouble_is_told_once_for_a_batch(setup: Setup) -> None:
    setup.faults["BEGIN IMMEDIATE"] = fault("SQLITE_FULL")
    entered, errors = [setup.executor.write(put(x)) for x in range(3)], []
    for each in entered:
        each.addErrback(errors.append)
        setup.reactor.until(each)
    assert len(errors) == 3
    assert 1 <= len(setup.troubles) <= 3
    assert len({id(trouble) for trouble in setup.troubles}) == len(setup.troubles)
    setup.faults.clear()
    setup.reactor.until(setup.executor.write(put(1)))


def test_files_are_worked_on_in_threads(setup: Setup) -> None:
    worked = setup.executor.call(lambda: current_thread().name)
    setup.reactor.until(worked)
    assert worked.result.startswith("store files")
    errors: list[Failure] = []

    def fail() -> None:
        raise OSError("no")

    setup.reactor.until(setup.executor.call(fail).addErrback(errors.append))
    assert errors[0].check(OSError)


def test_closing_finishes_what_was_asked_for(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "mail.db")
    written = [setup.executor.write(put(x)) for x in range(50)]
    scanned = [setup.executor.scan(lambda connection: None) for x in range(50)]
    setup.close()
    assert all(each.called for each in [*written, *scanned])
    setup.close()
    assert sqlite3.connect(setup.path).execute("SELECT count(*) FROM mail").fetchone() == (50,)


def test_the_log_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.store.sqlite.checkpoint.INTERVAL", 0.005)
    monkeypatch.setattr("smtpeter.store.sqlite.checkpoint.LONG_LOG", 20)
    setup = Setup(tmp_path / "mail.db")

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE IF NOT EXISTS filler (data)")
        connection.execute("INSERT INTO filler VALUES (zeroblob(8192))")

    for _ in range(400):
        setup.reactor.until(setup.executor.write(fill))
    log = setup.path.with_name("mail.db-wal").stat().st_size
    setup.close()
    assert log < 400 * 8192  # of three pages and more that each took in it
