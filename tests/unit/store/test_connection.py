"""What a connection does to the log, and what errors mean."""

from __future__ import annotations

import shutil
import sqlite3
import time
from pathlib import Path

import pytest

from smtpeter.errors import StorageFull, StorageUnavailable, StoreDamaged
from smtpeter.store.sqlite.connection import connect, connect_server, translate
from tests.unit.store.stand_ins import fault


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mail.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE mail (x, filler)")
    database.close()
    return path


def log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def crashed(path: Path) -> Path:
    """The database as a process leaves it that dies after it has written to its log."""
    connection = connect(path)
    connection.execute("INSERT INTO mail VALUES (1, '')")
    left = path.with_name("left.db")
    shutil.copy(path, left)
    shutil.copy(log(path), log(left))
    connection.close()
    return left


def test_the_server_builds_on_no_log_that_it_has_not_begun(path: Path) -> None:
    """The system may take frames for written whose sync failed before the crash."""
    left = crashed(path)
    assert log(left).stat().st_size > 0
    connection = connect_server(left)
    assert log(left).stat().st_size == 0
    assert sqlite3.connect(f"file:{left}?immutable=1", uri=True).execute("SELECT x FROM mail").fetchall() == [(1,)]
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (5000,)
    connection.close()


def test_somebody_who_reads_an_old_state_does_not_keep_the_server_from_its_work(path: Path) -> None:
    writer, reader = connect(path), connect(path)
    writer.execute("INSERT INTO mail VALUES (1, '')")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM mail").fetchall()
    writer.execute("INSERT INTO mail VALUES (2, '')")
    began = time.monotonic()
    connection = connect_server(path)
    assert time.monotonic() - began < 3
    connection.execute("INSERT INTO mail VALUES (3, '')")
    for each in (connection, reader, writer):
        each.close()


def test_a_log_that_grew_behind_a_long_reader_is_cut_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("smtpeter.store.sqlite.connection.LOG_LIMIT", 100_000)
    writer, reader = connect(path), connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM mail").fetchall()
    for _ in range(100):
        writer.execute("INSERT INTO mail VALUES (1, zeroblob(8192))")
        writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert log(path).stat().st_size > 500_000
    reader.execute("ROLLBACK")
    writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    writer.execute("INSERT INTO mail VALUES (1, '')")
    assert log(path).stat().st_size <= 100_000
    reader.close()
    writer.close()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SQLITE_FULL", StorageFull),
        ("SQLITE_CORRUPT", StoreDamaged),
        ("SQLITE_CORRUPT_INDEX", StoreDamaged),
        ("SQLITE_IOERR_READ", StoreDamaged),
        ("SQLITE_IOERR_SHORT_READ", StoreDamaged),
        ("SQLITE_IOERR_WRITE", StorageUnavailable),
        ("SQLITE_IOERR_FSYNC", StorageUnavailable),
        ("SQLITE_BUSY", StorageUnavailable),
        ("SQLITE_READONLY", StorageUnavailable),
        ("SQLITE_NOMEM", StorageUnavailable),
        ("SQLITE_CONSTRAINT", sqlite3.OperationalError),
    ],
)
def test_what_errors_mean(name: str, expected: type[Exception]) -> None:
    assert type(translate(fault(name))) is expected


def test_no_memory_is_temporary() -> None:
    assert type(translate(MemoryError())) is StorageUnavailable


def test_a_text_that_is_none_is_damage_and_not_told(path: Path) -> None:
    connection = connect(path)
    with pytest.raises(sqlite3.OperationalError) as raised:
        connection.execute("SELECT CAST(x'0a61e4' AS TEXT) AS address").fetchone()
    connection.close()
    translated = translate(raised.value)
    assert type(translated) is StoreDamaged
    assert str(translated) == "Could not decode to UTF-8 column 'address'"
