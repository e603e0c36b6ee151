"""What stands in for the reactor, and for a disk that fails."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from twisted.internet.defer import Deferred

from smtpeter.store.opening import Store


class Reactor:
    """Stands in for the reactor's thread."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        self.calls.put((function, arguments))

    def close(self, store: Store) -> None:
        self.until(store.close())

    def until(self, deferred: Deferred[Any]) -> None:
        while not deferred.called:
            function, arguments = self.calls.get(timeout=20)
            function(*arguments)


def fault(name: str) -> sqlite3.Error:
    """An error of SQLite, as it would come."""
    error = sqlite3.OperationalError(f"injected {name}")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


class Faulty:
    """A connection that fails when it is told to; ``faults`` has statements' beginnings and what they raise."""

    def __init__(self, connection: sqlite3.Connection, faults: dict[str, Exception]) -> None:
        self.connection = connection
        self.faults = faults
        self.statements: list[str] = []

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        self.statements.append(statement)
        for beginning, error in self.faults.items():
            if statement.startswith(beginning):
                raise error
        return self.connection.execute(statement, *values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)
