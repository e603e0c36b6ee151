"""What the database knows of content."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred

from smtpeter.interfaces import IExecutor

_FIND = "SELECT c.data, s.file FROM submission AS s LEFT JOIN content AS c ON c.number = s.content WHERE s.id = ?"


class ContentRows:
    """See :class:`smtpeter.store.content.ContentRows`."""

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

    def find(self, submission: str) -> Deferred[tuple[bytes | None, str | None]]:
        """See the protocol."""

        def read(connection: sqlite3.Connection) -> tuple[bytes | None, str | None]:
            row = connection.execute(_FIND, (submission,)).fetchone()
            return (None, None) if row is None else (row[0], row[1])

        return self._executor.read(read)

    def named(self, files: Sequence[str]) -> Deferred[set[str]]:
        """See the protocol."""

        def read(connection: sqlite3.Connection) -> set[str]:
            places = ", ".join("?" * len(files))
            rows = connection.execute(
                f"SELECT file FROM submission WHERE file IS NOT NULL AND file IN ({places})", list(files)
            )
            return {file for (file,) in rows}

        return self._executor.read(read)
