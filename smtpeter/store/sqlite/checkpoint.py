"""Moving what is committed from the log into the database, outside the path of commits."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from threading import Event, Thread

INTERVAL = 0.5
"""Seconds between checkpoints while there are commits."""

LONG_LOG = 8192
"""Pages.  A log longer than this is worth a short pause of the writer, after which it is written from its start again.

While commits go on, a checkpoint beside them never reaches the end of the log, and the log would grow for ever.
"""


class Checkpointer:
    """A thread that checkpoints soon after commits, and rests while there are none."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._dirty = Event()
        self._stopping = Event()
        self._long = False
        self._thread = Thread(target=self._loop, name="store checkpoints", daemon=True)
        self._thread.start()

    def committed(self) -> bool:
        """The writer tells of a commit; True asks it to make the last, short part of a checkpoint itself."""
        if not self._dirty.is_set():
            self._dirty.set()
        long, self._long = self._long, False
        return long

    def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._dirty.set()
        self._thread.join()

    def _loop(self) -> None:
        connection: sqlite3.Connection | None = None
        while True:
            self._dirty.wait()
            if self._stopping.wait(INTERVAL):
                break
            self._dirty.clear()
            try:
                if connection is None:
                    connection = self._connect()
                _busy, pages, _moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                self._long = pages > LONG_LOG
            except (sqlite3.Error, MemoryError):
                # Nothing is lost: what is committed is in the log, and the next round tries again.
                _close(connection)
                connection = None
        _close(connection)


def _close(connection: sqlite3.Connection | None) -> None:
    if connection is not None:
        try:
            connection.close()
        except (sqlite3.Error, MemoryError):
            pass
