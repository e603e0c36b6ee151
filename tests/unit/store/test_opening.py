"""Opening stores."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from zope.interface.verify import verifyObject

from smtpeter.errors import ConfigError, SmtpeterError, StorageFull, StorageUnavailable, WrongSchema
from smtpeter.interfaces import (
    IAccountStore,
    IBlockStore,
    IContentSpool,
    IContentStore,
    IDomainStore,
    IEventJournal,
    IExecutor,
    IQueueStore,
    ISiteStore,
)
from smtpeter.model.delivery import Lane
from smtpeter.store import opening
from smtpeter.store.migrate import known_migrations
from smtpeter.store.opening import Store, open_for_command, open_for_server, result_of, take_lock
from tests.contract.engines import Direct, FakeClock, Threaded, enqueue
from tests.unit.store.stand_ins import Reactor


def url(directory: Path) -> str:
    return f"sqlite://{directory / 'db' / 'mail.db'}"


def serve(directory: Path, reactor: Reactor) -> Store:
    return open_for_server(url(directory), directory / "data", FakeClock(), reactor.call)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_everything_is_made_for_us_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        reactor = Reactor()
        store = serve(tmp_path, reactor)
        assert mode(tmp_path / "data") == mode(tmp_path / "db") == mode(tmp_path / "data" / "content") == 0o700
        assert {mode(path) for path in (tmp_path / "db").iterdir()} == {0o600}
        reactor.close(store)
    finally:
        os.umask(before)


def test_a_store_is_what_its_interfaces_say(tmp_path: Path) -> None:
    store = open_for_command(url(tmp_path), tmp_path, FakeClock())
    verifyObject(IQueueStore, store.queue)
    verifyObject(IAccountStore, store.accounts)
    verifyObject(IEventJournal, store.journal)
    verifyObject(IBlockStore, store.blocks)
    verifyObject(ISiteStore, store.sites)
    verifyObject(IDomainStore, store.domains)
    verifyObject(IContentStore, store.content)
    verifyObject(IContentSpool, store.content.spool())
    verifyObject(IExecutor, store.executor)
    store.close()
    reactor = Reactor()
    store = serve(tmp_path, reactor)
    verifyObject(IExecutor, store.executor)
    reactor.close(store)


def test_a_command_that_looks_for_a_server_does_not_keep_one_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mail.db"
    lock = take_lock(path)
    assert lock is not None
    os.close(lock)
    looking = os.open(tmp_path / "mail.db.lock", os.O_RDONLY)
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(opening.time, "sleep", lambda seconds: fcntl.flock(looking, fcntl.LOCK_UN))
    lock = take_lock(path)
    assert lock is not None
    os.close(lock)
    os.close(looking)


def test_a_second_server_is_refused_in_one_line(tmp_path: Path) -> None:
    reactor = Reactor()
    store = serve(tmp_path, reactor)
    with pytest.raises(ConfigError, match="another server") as caught:
        serve(tmp_path, Reactor())
    assert "\n" not in str(caught.value)
    reactor.close(store)
    reactor.close(serve(tmp_path, reactor))


def test_a_command_works_beside_the_server(tmp_path: Path) -> None:
    server = Threaded(tmp_path)
    command = Direct(tmp_path)
    taken = enqueue(command)
    lanes, _ = server.wait(server.store.queue.due_lanes(taken.time, 5))
    assert lanes == [Lane("example.net", 0)]
    command.wait(command.store.close())
    server.wait(server.store.close())


def test_a_command_works_before_the_first_start(tmp_path: Path) -> None:
    command = Direct(tmp_path / "new" / "place")
    enqueue(command)
    command.wait(command.store.close())


@pytest.mark.parametrize("bad", ["postgresql://db/mail", "sqlite://mail.db", "sqlite:///", "mysql:///x", ""])
def test_a_url_that_names_no_file_is_refused(bad: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_for_command(bad, tmp_path, FakeClock())


def test_postgresql_is_said_to_come_later(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="later"):
        open_for_server("postgresql://db/mail", tmp_path, FakeClock(), Reactor().call)


def test_a_file_that_is_no_database_is_refused_and_the_lock_given_up(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    file = tmp_path / "db" / "mail.db"
    file.write_bytes(b"this is no database, but somebody's letter" * 100)
    with pytest.raises(ConfigError, match=r"mail\.db") as caught:
        serve(tmp_path, Reactor())
    assert "\n" not in str(caught.value)
    file.unlink()
    reactor = Reactor()
    reactor.close(serve(tmp_path, reactor))


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(ConfigError, match="data_dir"):
        serve(tmp_path, Reactor())


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EIO, StorageUnavailable),
        (errno.EROFS, ConfigError),
        (errno.EACCES, ConfigError),
    ],
)
def test_trouble_that_may_pass_is_told_from_what_somebody_has_to_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    def refuse(directory: Path) -> None:
        raise OSError(number, "injected")

    with monkeypatch.context() as patch:
        patch.setattr("smtpeter.store.opening.sync_directory", refuse)
        if number == errno.EACCES:  # a directory that is not ours to read was there before us
            patch.setattr("smtpeter.store.opening.make_parts", refuse)
        with pytest.raises(SmtpeterError) as caught:
            serve(tmp_path, Reactor())
    assert type(caught.value) is expected and "\n" not in str(caught.value)
    reactor = Reactor()
    reactor.close(serve(tmp_path, reactor))


def test_a_database_that_is_locked_is_temporary_trouble(tmp_path: Path) -> None:
    reactor = Reactor()
    reactor.close(serve(tmp_path, reactor))
    other = sqlite3.connect(tmp_path / "db" / "mail.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageUnavailable, match="locked"):
        serve(tmp_path, Reactor())
    other.execute("COMMIT")
    other.close()
    reactor.close(serve(tmp_path, reactor))


def test_what_is_prepared_comes_before_everything_else(tmp_path: Path) -> None:
    engine = Threaded(tmp_path)
    left = tmp_path / "content" / "ab" / "left"
    engine.wait(engine.store.close())
    left.touch()

    def refuse(store: Store) -> None:
        assert result_of(store.queue.recover()) == 0
        raise ConfigError("another keys file")

    with pytest.raises(ConfigError, match="keys"):
        open_for_server(f"sqlite://{tmp_path / 'mail.db'}", tmp_path, FakeClock(), Reactor().call, prepare=refuse)
    assert left.exists()
    engine.open()
    engine.wait(engine.store.close())


def change_version(tmp_path: Path, version: int) -> None:
    open_for_command(url(tmp_path), tmp_path / "data", FakeClock()).close()
    database = sqlite3.connect(tmp_path / "db" / "mail.db")
    database.execute("INSERT INTO migration VALUES (?, 0)", (version,))
    database.commit()
    database.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    change_version(tmp_path, 9999)
    with pytest.raises(WrongSchema):
        serve(tmp_path, Reactor())
    with pytest.raises(WrongSchema):
        open_for_command(url(tmp_path), tmp_path / "data", FakeClock())


def test_a_command_does_not_upgrade_under_a_running_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reactor = Reactor()
    store = serve(tmp_path, reactor)
    newest = max(known_migrations())
    migrations = {**known_migrations(), newest + 1: "CREATE TABLE later (x);"}
    monkeypatch.setattr("smtpeter.store.opening.known_migrations", lambda: migrations)
    with pytest.raises(ConfigError, match="restart the server"):
        open_for_command(url(tmp_path), tmp_path / "data", FakeClock())
    reactor.close(store)
    open_for_command(url(tmp_path), tmp_path / "data", FakeClock()).close()
    assert (tmp_path / "db" / f"mail.db.backup-schema-{newest}").exists()


def test_the_log_stays_the_server_s_whoever_opens_the_store_beside_it(tmp_path: Path) -> None:
    """Closing any descriptor of the database gives up all locks that this process has on it; then the next command to
    end would take itself for the last one and remove the log, with everything that is acknowledged from then on."""
    engine = Threaded(tmp_path)
    enqueue(engine)
    log = tmp_path / "mail.db-wal"
    before = log.stat().st_ino
    # The server itself, and then a process of its own.
    engine.wait(open_for_command(f"sqlite://{tmp_path / 'mail.db'}", tmp_path, engine.clock).close())
    command = f"import sqlite3; c = sqlite3.connect({str(tmp_path / 'mail.db')!r}); c.execute('SELECT 1 FROM event')"
    subprocess.run([sys.executable, "-c", f"{command}.fetchall(); c.close()"], check=True)
    assert log.stat().st_ino == before
    engine.wait(engine.store.close())
