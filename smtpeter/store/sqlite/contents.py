"""What the database knows of content."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred

from smtpeter.errors import ContentCorrupt
from smtpeter.interfaces import IExecutor
from smtpeter.store.sqlite.connection import is_damage

_TAKEN_IN = "SELECT content, file FROM submission WHERE id = ?"
_PREPARED = "SELECT content, file FROM prepared WHERE submission = ?"


class ContentRows:
    """See :class:`smtpeter.store.content.ContentRows`."""

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

    def find(self, submission: str, prepared: bool) -> Deferred[tuple[bytes | None, str | None]]:
        """See the protocol."""

        def read(connection: sqlite3.Connection) -> tuple[bytes | None, str | None]:
            row = connection.execute(_PREPARED if prepared else _TAKEN_IN, (submission,)).fetchone()
            number, file = row or (None, None)
            if number is None:
                return None, file
            try:
                kept = connection.execute("SELECT data FROM content WHERE number = ?", (number,)).fetchone()
            except sqlite3.DatabaseError as error:
                if is_damage(error):
                    raise ContentCorrupt(f"the content of {submission} cannot be read: {error}") from error
                raise
            return None if kept is None else kept[0], None

        return self._executor.read(read)

    def named(self, files: Sequence[str], *, surely: bool = False) -> Deferred[set[str]]:
        """See the protocol."""

        def read(connection: sqlite3.Connection) -> set[str]:
            places = ", ".join("?" * len(files))
            # With coalesce() SQLite cannot use the index, in which no NULL is.
            where = f"coalesce(file, '') IN ({places})" if surely else f"file IS NOT NULL AND file IN ({places})"
            rows = connection.execute(
                f"SELECT file FROM submission WHERE {where} UNION ALL SELECT file FROM prepared WHERE {where}",
                [*files, *files],
            )
            return {file for (file,) in rows}

        return self._executor.read(read)
