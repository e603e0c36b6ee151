"""Running operations in transactions: several in one, without one that fails taking its neighbours along."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from smtpeter.errors import StorageFull, StorageUnavailable, StoreDamaged
from smtpeter.store.sqlite.connection import is_trouble, translate

Operation = Callable[[sqlite3.Connection], Any]


class Result(NamedTuple):
    """What became of an operation: its value, or the error."""

    value: Any = None
    error: Exception | None = None


class Combinable:
    """An operation that is cheaper when several of its class are carried out together.

    Whatever waits for the writer at the same time was asked for by different callers, so no order is promised.
    """

    def __call__(self, connection: sqlite3.Connection) -> Any:
        return self.together(connection, [self])[0]

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[Any]) -> Sequence[Any]:
        """Carry out several; gives the value of each, or raises for all."""
        raise NotImplementedError


class Writer:
    """The one connection that writes.  Operations may be run more than once before one run is committed."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None

    def run(self, operations: Sequence[Operation]) -> Sequence[Result]:
        """Run operations in one transaction, or, where one of them fails, each in its own."""
        try:
            connection = self._begin()
        except Exception as error:
            self._drop_if_trouble(error)
            return [Result(error=translate(error))] * len(operations)
        try:
            values = _carry_out(connection, operations)
        except Exception as error:
            self._roll_back(error)
            translated = translate(error)
            alone = len(operations) == 1
            hopeless = isinstance(translated, StorageUnavailable) and not isinstance(
                translated, StorageFull | StoreDamaged
            )
            if alone or hopeless:
                return [Result(error=translated)] * len(operations)
            return [self.run([operation])[0] for operation in operations]
        try:
            connection.execute("COMMIT")
        except Exception as error:
            # Whether it is committed is not known.  Nobody is told yes, and this connection's view is not trusted.
            self.close()
            translated = translate(error)
            if not isinstance(translated, StorageUnavailable):
                translated = StorageUnavailable(f"the outcome of a commit is unknown: {error}")
            return [Result(error=translated)] * len(operations)
        return [Result(value) for value in values]

    def checkpoint(self) -> None:
        """Bring what is in the log to the database, so that the log starts again; does what can be done at once."""
        if self._connection is not None:
            try:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            except (sqlite3.Error, MemoryError) as error:
                self._drop_if_trouble(error)

    def close(self) -> None:
        """Close the connection; the next run opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception:  # the thread that writes must go on, whatever happens
                pass

    def _begin(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def _roll_back(self, error: Exception) -> None:
        try:
            if self._connection is not None and self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except Exception:
            self.close()
        self._drop_if_trouble(error)

    def _drop_if_trouble(self, error: Exception) -> None:
        code = getattr(error, "sqlite_errorcode", None)
        if is_trouble(error) and code not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL):
            self.close()


def run_read(connection: sqlite3.Connection, operation: Operation) -> Any:
    """Run an operation that only reads, in one view of the database."""
    connection.execute("BEGIN")
    try:
        return operation(connection)
    finally:
        # Nothing was changed, and unlike COMMIT this works after every error.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _carry_out(connection: sqlite3.Connection, operations: Sequence[Operation]) -> Sequence[Any]:
    if len(operations) == 1:
        return [operations[0](connection)]
    values: list[Any] = [None] * len(operations)
    groups: dict[type[Combinable], list[int]] = {}
    for index, operation in enumerate(operations):
        if isinstance(operation, Combinable):
            groups.setdefault(type(operation), []).append(index)
        else:
            values[index] = operation(connection)
    for kind, indices in groups.items():
        for index, value in zip(indices, kind.together(connection, [operations[i] for i in indices]), strict=True):
            values[index] = value
    return values
