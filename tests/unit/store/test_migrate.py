"""Migrations."""

from __future__ import annotations

import sqlite3
import stat
from pathlib import Path

import pytest

from smtpeter.errors import ConfigError, WrongSchema
from smtpeter.store.migrate import known_migrations, migrate, schema_version, split_statements

FIRST = "CREATE TABLE one (x); -- ; not the end\nINSERT INTO one VALUES ('a;\nb');\n"
SECOND = "ALTER TABLE one ADD COLUMN y;\nUPDATE one SET y = 2;\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "mail.db"


def open_database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def test_a_new_database_is_made_without_a_backup(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST, 2: SECOND})
    assert connection.execute("SELECT * FROM one").fetchall() == [("a;\nb", 2)]
    assert connection.execute("SELECT * FROM migration").fetchall() == [(1, 5), (2, 5)]
    assert [each.name for each in path.parent.iterdir()] == ["mail.db"]


def test_an_old_database_is_copied_before_it_is_changed(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST})
    migrate(connection, path, 6, {1: FIRST, 2: SECOND})
    assert schema_version(connection) == 2
    backup = path.with_name("mail.db.backup-schema-1")
    copy = open_database(backup)
    assert schema_version(copy) == 1
    assert copy.execute("SELECT * FROM one").fetchall() == [("a;\nb",)]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600


def test_nothing_is_done_twice(path: Path) -> None:
    connection = open_database(path)
    for _ in range(2):
        migrate(connection, path, 5, {1: FIRST})
    assert connection.execute("SELECT count(*) FROM one").fetchone() == (1,)


def test_a_migration_that_fails_leaves_no_trace(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST})
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, path, 6, {1: FIRST, 2: SECOND + "UPDATE nothing SET x = 1;"})
    assert schema_version(connection) == 1
    assert connection.execute("SELECT * FROM one").fetchall() == [("a;\nb",)]
    migrate(connection, path, 7, {1: FIRST, 2: SECOND})
    assert schema_version(connection) == 2


def test_a_newer_database_is_left_alone(path: Path) -> None:
    connection = open_database(path)
    migrate(connection, path, 5, {1: FIRST, 2: SECOND})
    with pytest.raises(WrongSchema, match="newer") as caught:
        migrate(connection, path, 6, {1: FIRST})
    assert isinstance(caught.value, ConfigError)
    assert "\n" not in str(caught.value)


def test_two_that_migrate_at_once_do_it_once(path: Path) -> None:
    slow, fast = open_database(path), open_database(path)

    class Racing(dict[int, str]):
        def items(self):  # type: ignore[no-untyped-def]
            migrate(fast, path, 5, {1: FIRST})
            return super().items()

    migrate(slow, path, 6, Racing({1: FIRST}))
    assert slow.execute("SELECT * FROM migration").fetchall() == [(1, 5)]


def test_our_own_migrations_are_numbered_without_gaps_and_work(path: Path) -> None:
    migrations = known_migrations()
    assert list(migrations) == list(range(1, len(migrations) + 1))
    migrate(open_database(path), path, 0, migrations)


def test_statements_are_split_at_their_ends() -> None:
    assert [each.strip() for each in split_statements("A;\nB\n;\n-- c;\nD")] == ["A;", "B\n;", "-- c;\nD"]
