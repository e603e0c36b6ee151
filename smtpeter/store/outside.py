"""What a process beside the server has of the store: it reads content, and keeps what it made of it.

It never writes to the database, and never brings the log to it.  Nothing of Twisted is needed, because such a process
has to start quickly.
"""

from __future__ import annotations

import errno
import sqlite3
from contextlib import suppress
from pathlib import Path

from smtpeter.errors import ContentCorrupt
from smtpeter.model.submission import Content
from smtpeter.store.files import SMALL_PREPARED, IncomingFile, checked, content_path, trouble
from smtpeter.store.sqlite.connection import connect_outside, database_path, is_damage, translate

_FIND = """
    SELECT data, file FROM submission LEFT JOIN content ON content.number = submission.content WHERE id = ?
"""


class Outside:
    """For one thread.  What is made of a message is kept with the rows up to ``small_content`` octets."""

    def __init__(self, database: Path, directory: Path, small_content: int) -> None:
        self._database = database
        self._directory = directory
        self._small_content = small_content
        self._connection: sqlite3.Connection | None = None

    def read(self, submission: str, content: Content) -> bytes:
        """The octets that came in, checked.

        :raises ContentCorrupt: where they are not what was taken in.
        :raises KeyError: where they are gone.
        :raises StorageUnavailable: where they cannot be read now.
        """
        if content.file is None:
            octets, _ = self._find(submission)
            if octets is None:
                raise KeyError(submission)
        else:
            octets = self._read_file(submission, content.file)
        return checked(submission, octets, content)

    def keep(self, octets: bytes) -> Content:
        """What was made, ready to be stored: small content comes back, without its digest, which is for the server to
        make; large content is durable in a file by then.

        A file that is not stored in the end is removed at the next start of the server.

        :raises StorageUnavailable: where the file cannot be written.
        """
        if len(octets) <= self._small_content:
            return Content(len(octets), b"", octets, prepared=True)
        file = IncomingFile(self._directory)
        try:
            file.write([octets])
            file.finish()
        except BaseException as error:
            with suppress(OSError):
                file.remove()
            if isinstance(error, OSError):
                raise trouble(error) from error
            raise
        return Content(len(octets), file.digest, None, file.name, prepared=True)

    def close(self) -> None:
        """Close the connection; the next read opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def _read_file(self, submission: str, file: str) -> bytes:
        path = content_path(self._directory, file)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if self._find(submission)[1] is None:
                raise KeyError(submission) from None
            raise ContentCorrupt(f"the content of {submission} is missing: {path}") from None
        except OSError as error:
            if error.errno == errno.EIO:
                raise ContentCorrupt(f"the content of {submission} cannot be read: {error}") from None
            raise trouble(error) from error

    def _find(self, submission: str) -> tuple[bytes | None, str | None]:
        try:
            if self._connection is None:
                self._connection = connect_outside(self._database)
            # All rows, so that the statement ends: else this process would go on reading the same state.
            rows = self._connection.execute(_FIND, (submission,)).fetchall()
        except (sqlite3.Error, MemoryError) as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError) and is_damage(error):
                raise ContentCorrupt(f"the content of {submission} cannot be read: {error}") from error
            raise translate(error) from error
        if not rows:
            raise KeyError(submission)
        return rows[0]  # type: ignore[no-any-return]


def open_outside(url: str, data_dir: Path, small_content: int = SMALL_PREPARED) -> Outside:
    """The store of a running server.  Nothing is opened before it is needed.

    :raises ConfigError: where the URL names no database that we know.
    """
    return Outside(database_path(url), data_dir / "content", small_content)
