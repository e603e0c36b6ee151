"""Bringing a store to the schema that this program knows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path

from smtpeter.errors import WrongSchema

_VERSIONS = "CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, applied INTEGER NOT NULL)"


def known_migrations() -> Mapping[int, str]:
    """Every migration's SQL by its number, in order."""
    found = {
        int(entry.name.removesuffix(".sql")): entry.read_text("utf-8")
        for entry in files("smtpeter.store.schema").iterdir()
        if entry.name.endswith(".sql")
    }
    return dict(sorted(found.items()))


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration of a database, 0 where it is new."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'migration'").fetchone() is None:
        return 0
    return int(connection.execute("SELECT coalesce(max(version), 0) FROM migration").fetchone()[0])


def migrate(connection: sqlite3.Connection, path: Path, now: int, migrations: Mapping[int, str]) -> None:
    """Carry out what is missing, each migration in a transaction of its own with its version.

    An existing database is copied before it is changed.  ``now`` is in milliseconds.

    :raises WrongSchema: where the database is newer than the migrations.
    """
    version, newest = schema_version(connection), max(migrations)
    if version > newest:
        raise WrongSchema(f"{path} was made by a newer smtpeter (schema {version}, known here: {newest}): upgrade it")
    if 0 < version < newest:
        back_up(connection, path.with_name(f"{path.name}.backup-schema-{version}"))
    for number, script in migrations.items():
        if number > version:
            _apply(connection, number, script, now)


def back_up(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database, open or not, to a file with mode 0600; a file of that name is replaced."""
    unfinished = target.with_name(target.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(0o600)
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    unfinished.replace(target)


def _apply(connection: sqlite3.Connection, number: int, script: str, now: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(_VERSIONS)
        # Another process may have been faster while this one waited for the lock.
        if connection.execute("SELECT 1 FROM migration WHERE version = ?", (number,)).fetchone() is None:
            for statement in split_statements(script):
                connection.execute(statement)
            connection.execute("INSERT INTO migration VALUES (?, ?)", (number, now))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def split_statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: ``executescript`` would commit before it begins."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
