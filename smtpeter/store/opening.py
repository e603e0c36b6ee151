"""Opening a store: for the server, of which there is one, or for a command, which comes and goes."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from smtpeter.errors import ConfigError, StorageUnavailable
from smtpeter.interfaces import (
    IAccountStore,
    IBlockStore,
    IClock,
    IContentStore,
    IDomainStore,
    IEventJournal,
    IExecutor,
    IQueueStore,
    ISiteStore,
)
from smtpeter.store.content import ContentStore
from smtpeter.store.files import INCOMING, SMALL_CONTENT, make_parts, sync_directory, trouble
from smtpeter.store.migrate import known_migrations, migrate, schema_version
from smtpeter.store.spool import CallInThread
from smtpeter.store.sqlite.accounts import AccountStore
from smtpeter.store.sqlite.blocks import BlockStore
from smtpeter.store.sqlite.connection import connect, connect_server, database_path, translate
from smtpeter.store.sqlite.contents import ContentRows
from smtpeter.store.sqlite.direct import DirectExecutor
from smtpeter.store.sqlite.domains import DomainStore
from smtpeter.store.sqlite.journal import EventJournal
from smtpeter.store.sqlite.queue import QueueStore
from smtpeter.store.sqlite.rows import milliseconds
from smtpeter.store.sqlite.sites import SiteStore
from smtpeter.store.sqlite.threaded import CallInReactor, CallSoon, OnTrouble, ThreadedExecutor

T = TypeVar("T")

_COMMAND_WAITS = 10.0
_COMMAND_CHECKPOINTS = 1000
_START_WAITS = 0.25
"""Seconds for which a start waits for a lock on the database, with everything else standing still."""

_LOOKS = (0.01, 0.02, 0.04)
"""Seconds between attempts to get the lock: a command that only looks for a server has it for an instant."""

_MAY_PASS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
_WILL_NOT_PASS = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)


@dataclass
class Store:
    """An open store.  Close it once; nothing may be asked of it afterwards."""

    queue: IQueueStore
    accounts: IAccountStore
    journal: IEventJournal
    content: IContentStore
    blocks: IBlockStore
    sites: ISiteStore
    domains: IDomainStore
    executor: IExecutor
    _close: Callable[[], Deferred[None]] = field(repr=False)

    def close(self) -> Deferred[None]:
        """Finish what was asked for, close every connection and give up the lock."""
        return self._close()


def open_for_server(
    url: str,
    data_dir: Path,
    clock: IClock,
    call_in_reactor: CallInReactor,
    small_content: int = SMALL_CONTENT,
    on_trouble: OnTrouble = lambda error: None,
    call_soon: CallSoon | None = None,
    prepare: Callable[[Store], None] = lambda store: None,
) -> Store:
    """Open the store as its one server, with threads.  Call it in the reactor's thread, before mail comes in.

    ``prepare`` is given the store before anything else is done with it; what it asks for is answered at once
    (:func:`result_of`).

    ``call_in_reactor`` is ``reactor.callFromThread``, ``call_soon`` is ``reactor.callLater`` with 0 seconds.  Content
    up to ``small_content`` octets is kept with the rows, larger in files.  ``on_trouble`` is told, in the reactor, of
    every error that is the store's own.

    :raises ConfigError: in one line, where the store cannot be opened or another server has it.
    :raises StorageUnavailable: where it cannot be opened now, because it is locked, full or in trouble.
    """
    path = database_path(url)
    make_directories(data_dir, path)
    lock = take_lock(path)
    if lock is None:
        raise ConfigError(f"store.url: another server is running on {path}: stop it first")
    try:
        prepare_database(path, clock)
        first = DirectExecutor(
            partial(connect_server, path, busy_timeout=_START_WAITS),
            partial(connect, path, busy_timeout=_START_WAITS, query_only=True),
        )
        try:
            result_of(first.write(lambda connection: None))  # so that nothing is built on a log that is not ours
            prepare(_assemble(first, first.call, data_dir, clock, small_content)[0])
        finally:
            first.close()
    except BaseException:
        os.close(lock)
        raise
    executor = ThreadedExecutor(
        partial(connect_server, path), partial(connect, path, query_only=True), call_in_reactor, on_trouble, call_soon
    )
    store, content = _assemble(executor, executor.call, data_dir, clock, small_content)
    store._close = lambda: executor.close().addCallback(lambda closed: os.close(lock))
    content.remove_orphans().addErrback(_tell, on_trouble)
    return store


def open_for_command(url: str, data_dir: Path, clock: IClock) -> Store:
    """Open the store for a command, beside a running server or without one: no Deferred of it is ever waited for.

    :raises ConfigError: in one line, where the store cannot be opened.
    """
    path = database_path(url)
    make_directories(data_dir, path)
    prepare_database(path, clock, for_server=False)
    writer = partial(connect, path, busy_timeout=_COMMAND_WAITS, checkpoint_pages=_COMMAND_CHECKPOINTS)
    executor = DirectExecutor(writer, partial(connect, path, busy_timeout=_COMMAND_WAITS, query_only=True))
    store, _ = _assemble(executor, executor.call, data_dir, clock, SMALL_CONTENT)
    store._close = executor.close
    return store


def _tell(failure: Failure, on_trouble: OnTrouble) -> int:
    if isinstance(failure.value, Exception):
        on_trouble(failure.value)
    return 0


def _assemble(
    executor: IExecutor, call: CallInThread, data_dir: Path, clock: IClock, small_content: int
) -> tuple[Store, ContentStore]:
    content = ContentStore(data_dir / "content", call, ContentRows(executor), small_content)
    store = Store(
        queue=QueueStore(executor, content, clock),
        accounts=AccountStore(executor, clock),
        journal=EventJournal(executor),
        content=content,
        blocks=BlockStore(executor),
        sites=SiteStore(executor),
        domains=DomainStore(executor, clock),
        executor=executor,
        _close=lambda: Deferred(),
    )
    return store, content


def make_directories(data_dir: Path, path: Path) -> None:
    """Make what is missing of the directories, for us alone, and all of them durable."""
    for directory in (path.parent, data_dir, data_dir / "content", data_dir / "content" / INCOMING):
        try:
            _make_durable(directory)
        except OSError as error:
            raise _cannot(error, f"data_dir: {directory} cannot be made: {error.strerror}") from error
    try:
        make_parts(data_dir / "content")
    except OSError as error:
        raise _cannot(error, f"data_dir: {data_dir / 'content'} cannot be used: {error.strerror}") from error


def _make_durable(directory: Path) -> None:
    if not directory.parent.exists():
        _make_durable(directory.parent)
    directory.mkdir(mode=0o700, exist_ok=True)
    try:
        sync_directory(directory.parent)
    except PermissionError:
        # Not ours to read, so it was there before us; whoever made it answers for it.
        pass


def take_lock(path: Path) -> int | None:
    """The lock of the one server, as an open descriptor to be closed in the end; None where another process has it."""
    file = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot(error, f"store.url: {file} cannot be opened: {error.strerror}") from error
    for wait in (*_LOOKS, None):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except OSError:
            if wait is not None:
                time.sleep(wait)
    os.close(descriptor)
    return None


def prepare_database(path: Path, clock: IClock, for_server: bool = True) -> None:
    """Make the database where it is missing, and bring it to the schema of this program.

    A command changes the schema of an existing database only while no server runs.

    :raises ConfigError: where it cannot be done.
    :raises StorageUnavailable: where it cannot be done now.
    """
    migrations = known_migrations()
    waits = _START_WAITS if for_server else _COMMAND_WAITS
    try:
        # Only where there is none: closing a descriptor of a database gives up the locks that this process has on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        connection = connect(path, busy_timeout=waits)
    except (OSError, sqlite3.Error) as error:
        raise _cannot(error, f"store.url: {path} cannot be opened: {error}") from error
    lock: int | None = None
    try:
        if not for_server and 0 < schema_version(connection) < max(migrations):
            lock = take_lock(path)
            if lock is None:
                raise ConfigError(f"store.url: {path} has an older schema: restart the server, which upgrades it")
        migrate(connection, path, milliseconds(clock.time()), migrations)
    except (OSError, sqlite3.Error) as error:
        raise _cannot(error, f"store.url: {path} cannot be used: {error}") from error
    finally:
        connection.close()
        if lock is not None:
            os.close(lock)


def bound_fingerprint(path: Path) -> str | None:
    """Of the keys that a store was made with; None where it cannot be told.  Nothing is changed, no file is made.

    :raises ConfigError: where it is no database at all.
    """
    value = _look_at(path, "SELECT value FROM setting WHERE name = 'keys'")
    return None if value is None else str(value)


def number_of_accounts(path: Path) -> int:
    """As far as it can be told; nothing is changed, no file is made.

    :raises ConfigError: where it is no database at all.
    """
    return int(_look_at(path, "SELECT count(*) FROM account") or 0)


def _look_at(path: Path, query: str) -> Any:
    """The one value that a query finds in a database that is not ours to open."""
    # Without a log nobody has it open, and SQLite would make one to read with.
    how = "mode=ro" if path.with_name(path.name + "-wal").exists() else "immutable=1"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, timeout=_COMMAND_WAITS)
    except (OSError, sqlite3.Error):
        return None
    try:
        row = connection.execute(query).fetchone()
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise ConfigError(f"store.url: {path} is not a database") from error
        return None
    finally:
        connection.close()
    return None if row is None else row[0]


def _cannot(error: OSError | sqlite3.Error, text: str) -> Exception:
    """Trouble that may pass by itself, or else what somebody has to change."""
    if isinstance(error, OSError):
        return type(trouble(error))(text) if error.errno in _MAY_PASS else ConfigError(text)
    translated = translate(error)
    lasting = getattr(error, "sqlite_errorcode", 0) & 0xFF in _WILL_NOT_PASS
    return type(translated)(text) if isinstance(translated, StorageUnavailable) and not lasting else ConfigError(text)


def result_of(deferred: Deferred[T]) -> T:
    """What a Deferred of the store fired with, or its exception raised: opened for commands, it works at once."""
    results: list[Any] = []
    deferred.addBoth(results.append)
    if not results:
        raise AssertionError("the store did not answer at once")
    if isinstance(results[0], Failure):
        results[0].raiseException()
    return results[0]  # type: ignore[no-any-return]
