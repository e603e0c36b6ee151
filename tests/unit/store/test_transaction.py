"""Group commit, and what fails in it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from smtpeter.errors import StorageFull, StorageUnavailable
from smtpeter.store.sqlite.connection import connect, translate
from smtpeter.store.sqlite.transaction import Combinable, Operation, Writer
from tests.unit.store.stand_ins import Faulty, fault


class Setup:
    def __init__(self, path: Path) -> None:
        sqlite3.connect(path).execute("CREATE TABLE mail (x INTEGER PRIMARY KEY)")
        self.path = path
        self.faults: dict[str, Exception] = {}
        self.opened: list[Faulty] = []
        self.writer = Writer(self.connect)

    def connect(self) -> Any:
        self.opened.append(Faulty(connect(self.path), self.faults))
        return self.opened[-1]

    def run(self, *operations: Operation) -> list[Any]:
        return [error or value for value, error in self.writer.run(operations)]

    def rows(self) -> list[int]:
        return [x for (x,) in sqlite3.connect(self.path).execute("SELECT x FROM mail ORDER BY x")]


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(tmp_path / "mail.db")


def put(x: int) -> Operation:
    def operation(connection: sqlite3.Connection) -> int:
        connection.execute("INSERT INTO mail VALUES (?)", (x,))
        return x

    return operation


def wrong(connection: sqlite3.Connection) -> None:
    put(99)(connection)
    raise ZeroDivisionError


def test_a_checkpoint_for_which_there_is_no_memory_does_not_end_the_writer(setup: Setup) -> None:
    assert setup.run(put(1)) == [1]
    setup.faults["PRAGMA wal_checkpoint"] = MemoryError()
    setup.writer.checkpoint()
    setup.faults.clear()
    assert setup.run(put(2)) == [2]


def test_what_waits_is_committed_together(setup: Setup) -> None:
    assert setup.run(*map(put, range(5))) == [0, 1, 2, 3, 4]
    assert setup.rows() == [0, 1, 2, 3, 4]
    assert setup.opened[0].statements.count("COMMIT") == 1


def test_one_that_fails_takes_no_neighbour_along(setup: Setup) -> None:
    results = setup.run(put(1), put(2), wrong, put(3), put(2), put(4))
    assert isinstance(results[2], ZeroDivisionError)
    assert isinstance(results[4], sqlite3.IntegrityError)
    assert [results[index] for index in (0, 1, 3, 5)] == [1, 2, 3, 4]
    assert setup.rows() == [1, 2, 3, 4]


def test_an_error_in_commit_is_no_yes_for_anybody(setup: Setup) -> None:
    setup.faults["COMMIT"] = fault("SQLITE_IOERR")
    results = setup.run(put(1), put(2))
    assert all(isinstance(result, StorageUnavailable) for result in results)
    setup.faults.clear()
    assert setup.run(put(1)) == [1]
    assert len(setup.opened) == 2
    assert setup.rows() == [1]


def test_any_error_in_commit_is_unavailable(setup: Setup) -> None:
    setup.faults["COMMIT"] = ValueError("what is this")
    assert isinstance(setup.run(put(1))[0], StorageUnavailable)


def test_a_full_disk_in_commit_says_full(setup: Setup) -> None:
    setup.faults["COMMIT"] = fault("SQLITE_FULL")
    assert isinstance(setup.run(put(1))[0], StorageFull)


def test_a_locked_database_fails_all_without_trying_each(setup: Setup) -> None:
    setup.faults["BEGIN"] = fault("SQLITE_BUSY")
    results = setup.run(put(1), put(2))
    assert all(isinstance(result, StorageUnavailable) for result in results)
    assert setup.opened[0].statements.count("BEGIN IMMEDIATE") == 1
    setup.faults.clear()
    assert setup.run(put(1)) == [1]
    assert len(setup.opened) == 1


def test_a_real_lock_by_another_process_is_temporary(tmp_path: Path) -> None:
    setup = Setup(tmp_path / "mail.db")
    setup.writer = Writer(partial(connect, setup.path, busy_timeout=0.05))
    other = sqlite3.connect(setup.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert isinstance(setup.run(put(1))[0], StorageUnavailable)
    other.execute("ROLLBACK")
    assert setup.run(put(1)) == [1]


def test_an_input_output_error_ends_the_connection(setup: Setup) -> None:
    setup.faults["INSERT"] = fault("SQLITE_IOERR_WRITE")
    assert all(isinstance(result, StorageUnavailable) for result in setup.run(put(1), put(2)))
    setup.faults.clear()
    assert setup.run(put(1)) == [1]
    assert len(setup.opened) == 2


def test_a_full_disk_lets_the_small_ones_through(setup: Setup) -> None:
    def large(connection: sqlite3.Connection) -> None:
        raise fault("SQLITE_FULL")

    results = setup.run(put(1), large, put(2))
    assert (results[0], results[2]) == (1, 2)
    assert isinstance(results[1], StorageFull)


def test_a_real_full_disk_is_storage_full(setup: Setup) -> None:
    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 3")
        connection.execute("CREATE TABLE large (data)")
        connection.execute("INSERT INTO large VALUES (zeroblob(100000))")

    assert isinstance(setup.run(fill)[0], StorageFull)
    assert setup.run(put(1)) == [1]


def test_a_database_that_cannot_be_opened_is_unavailable_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "later.db"
    writer = Writer(partial(connect, path))
    assert isinstance(writer.run([put(1)])[0].error, StorageUnavailable)
    sqlite3.connect(path).execute("CREATE TABLE mail (x)")
    assert writer.run([put(1)])[0].error is None


class PutTogether(Combinable):
    calls: list[int]

    def __init__(self, x: int, calls: list[int]) -> None:
        self.x = x
        self.calls = calls

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[PutTogether]) -> Sequence[int]:
        operations[0].calls.append(len(operations))
        connection.executemany("INSERT INTO mail VALUES (?)", [(each.x,) for each in operations])
        return [each.x for each in operations]


def test_combinable_operations_are_run_together_and_keep_their_results(setup: Setup) -> None:
    calls: list[int] = []
    assert setup.run(PutTogether(1, calls), put(2), PutTogether(3, calls)) == [1, 2, 3]
    assert calls == [2]


def test_combinable_operations_fail_singly(setup: Setup) -> None:
    calls: list[int] = []
    results = setup.run(PutTogether(1, calls), PutTogether(1, calls), PutTogether(3, calls))
    assert (results[0], results[2]) == (1, 3)
    assert isinstance(results[1], sqlite3.IntegrityError)
    assert calls == [3, 1, 1, 1]


@pytest.mark.parametrize("error", [sqlite3.IntegrityError("x"), KeyError("x"), sqlite3.ProgrammingError("x")])
def test_faults_of_the_program_stay_what_they_are(error: Exception) -> None:
    assert translate(error) is error


@pytest.mark.parametrize(
    "name", ["SQLITE_BUSY", "SQLITE_BUSY_SNAPSHOT", "SQLITE_LOCKED", "SQLITE_IOERR_FSYNC", "SQLITE_CORRUPT",
             "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_NOTADB", "SQLITE_NOMEM"]
)  # fmt: skip
def test_trouble_of_the_store_is_temporary(name: str) -> None:
    translated = translate(fault(name))
    assert isinstance(translated, StorageUnavailable)
    assert not isinstance(translated, StorageFull)
    assert name in str(translated)


def test_no_memory_is_temporary() -> None:
    assert isinstance(translate(MemoryError()), StorageUnavailable)


def test_a_connection_syncs_every_commit_and_readers_cannot_write(setup: Setup) -> None:
    connection: Callable[..., Any] = connect(setup.path).execute
    assert connection("PRAGMA synchronous").fetchone() == (2,)
    assert connection("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(sqlite3.OperationalError):
        connect(setup.path, query_only=True).execute("INSERT INTO mail VALUES (1)")
