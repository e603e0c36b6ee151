"""How a connection to the database is made, and what its errors mean to us."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from smtpeter.errors import ConfigError, StorageFull, StorageUnavailable, StoreDamaged

# Trouble of the machine or of a neighbour, as opposed to a statement that is wrong.
_TROUBLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
    }
)

LOG_LIMIT = 64 * 1024 * 1024
"""Octets.  A log that grew beyond this, because somebody read an old state for long, is cut when it begins again."""

_PATIENCE_FOR_LOG = 0.25
"""Seconds that beginning the log anew waits for readers."""


def database_path(url: str) -> Path:
    """The file that a store's URL names.

    :raises ConfigError: where it names none that we know.
    """
    if url.startswith("postgresql://"):
        raise ConfigError("store.url: postgresql:// comes later: use sqlite:// and an absolute path")
    if not url.startswith("sqlite:///") or url.endswith("/"):
        raise ConfigError("store.url: has to be sqlite:// and the absolute path of a file")
    return Path(url.removeprefix("sqlite://"))


def connect(
    path: Path, *, busy_timeout: float = 5.0, query_only: bool = False, checkpoint_pages: int = 0
) -> sqlite3.Connection:
    """A connection for use by one thread at a time.  The database has to exist.

    ``synchronous=FULL`` syncs the log at every commit.  There is no mmap: an I/O error would be a signal, not an error.
    With ``checkpoint_pages`` 0 the connection never checkpoints by itself: whoever opened it sees to that.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute(f"PRAGMA cache_size = {-4096 if query_only else -32768}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_pages}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT}")
        if query_only:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_server(path: Path, *, busy_timeout: float = 5.0) -> sqlite3.Connection:
    """The connection with which the server writes: all that the log holds is brought to the database first.

    After a sync that failed, the system takes for written what is not on the disk.  A process that starts then may
    find such frames in the log, whole as far as anybody can see; whatever were appended to them would be lost with them
    when the power fails.  So nothing is built on a log that this connection has not begun itself.  Where somebody
    reads an old state this is not done, nor needed: who keeps a database open keeps its index of the log too, and that
    knows nothing of frames that were never committed.
    """
    connection = connect(path, busy_timeout=_PATIENCE_FOR_LOG)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        connection.execute(f"PRAGMA busy_timeout = {round(busy_timeout * 1000)}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_outside(path: Path, *, busy_timeout: float = 5.0) -> sqlite3.Connection:
    """A connection of another process, which can only read the database of a running server.

    As it cannot lock the database for itself, it neither checkpoints nor takes the log away when it is the last to go.

    :raises StorageUnavailable: where no server runs: a log would be made to read with.
    """
    if not path.with_name(path.name + "-wal").exists():
        raise StorageUnavailable(f"{path} is not open")
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=busy_timeout, isolation_level=None
    )
    try:
        connection.execute("PRAGMA mmap_size = 0")
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def translate(error: Exception) -> Exception:
    """Trouble of the store as our own error; what is a fault of the program stays what it is."""
    if isinstance(error, MemoryError):
        return StorageUnavailable("out of memory")
    if _is_no_text(error):
        return StoreDamaged(str(error).partition(" with text ")[0])
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(error, sqlite3.Error) or code is None or code & 0xFF not in _TROUBLE:
        return error
    reason = f"{error} ({error.sqlite_errorname})"
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return StorageFull(reason)
    return StoreDamaged(reason) if is_damage(error) else StorageUnavailable(reason)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether one part of the database cannot be read, which says nothing of the others."""
    code = error.sqlite_errorcode
    return code & 0xFF == sqlite3.SQLITE_CORRUPT or code in (sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ)


def _is_no_text(error: Exception) -> bool:
    """Whether a text that was read is no UTF-8, as all that we write is.  SQLite does not look at it, and Python gives
    the error no code."""
    return isinstance(error, sqlite3.OperationalError) and str(error).startswith("Could not decode to UTF-8")


def is_trouble(error: Exception) -> bool:
    """Whether it is the store that cannot, rather than the statement that is wrong."""
    return isinstance(translate(error), StorageUnavailable)
