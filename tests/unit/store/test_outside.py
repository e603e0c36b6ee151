"""The store as a process beside the server has it."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from smtpeter.errors import ConfigError, ContentCorrupt, StorageFull, StorageUnavailable
from smtpeter.model.delivery import RecipientState
from smtpeter.model.submission import Content
from smtpeter.store.outside import Outside, open_outside
from tests.contract.engines import SMALL, START, Threaded, claim, claim_incoming, enqueue, made_of, settle, store
from tests.unit.store.stand_ins import fault

LARGE = b"x" * 300_000


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Threaded]:
    engine = Threaded(tmp_path)
    yield engine
    engine.wait(engine.store.close())


@pytest.fixture
def outside(engine: Threaded) -> Iterator[Outside]:
    outside = beside(engine)
    yield outside
    outside.close()


def beside(engine: Threaded) -> Outside:
    return open_outside(f"sqlite://{engine.directory / 'mail.db'}", engine.directory, SMALL)


def content_files(engine: Threaded) -> set[str]:
    return {path.name for path in (engine.directory / "content").rglob("*") if path.is_file()}


def log(engine: Threaded) -> Path:
    return engine.directory / "mail.db-wal"


@pytest.mark.parametrize("size", [0, 10, SMALL, SMALL + 1, 300_000])
def test_what_came_in_is_read(engine: Threaded, outside: Outside, size: int) -> None:
    taken = enqueue(engine, data=b"o" * size, prepare=True)
    (claimed,) = claim_incoming(engine)
    assert outside.read(taken.id, claimed.content) == b"o" * size


def test_what_is_read_is_what_was_committed_last(engine: Threaded, outside: Outside) -> None:
    for number in range(3):
        taken = enqueue(engine, data=b"%d" % number)
        assert outside.read(taken.id, taken.content._replace(data=None)) == b"%d" % number


@pytest.mark.parametrize("size", [10, 300_000])
def test_what_is_not_what_was_taken_in_is_never_given_out(engine: Threaded, outside: Outside, size: int) -> None:
    taken = enqueue(engine, data=b"o" * size)
    content = taken.content._replace(data=None)
    for other in (content._replace(digest=bytes(32)), content._replace(size=size + 1)):
        with pytest.raises(ContentCorrupt):
            outside.read(taken.id, other)


@pytest.mark.parametrize("size", [10, 300_000])
def test_what_is_gone_is_a_key_error(engine: Threaded, outside: Outside, size: int) -> None:
    taken = enqueue(engine, data=b"o" * size)
    settle(engine, claim(engine)[0], RecipientState.DELIVERED)
    for event_age in (1000, 10):
        assert engine.wait(engine.store.queue.purge(START + 100, 10, 10, event_age, 9)) == 1
        with pytest.raises(KeyError):
            outside.read(taken.id, taken.content._replace(data=None))


def test_a_file_that_is_missing_is_damage(engine: Threaded, outside: Outside) -> None:
    taken = enqueue(engine, data=LARGE)
    name = taken.content.file or ""
    (engine.directory / "content" / name[:2] / name).unlink()
    with pytest.raises(ContentCorrupt, match="missing"):
        outside.read(taken.id, taken.content)


@pytest.mark.parametrize(("number", "expected"), [(errno.EIO, ContentCorrupt), (errno.EMFILE, StorageUnavailable)])
def test_a_file_that_the_disk_does_not_give(
    engine: Threaded, outside: Outside, monkeypatch: pytest.MonkeyPatch, number: int, expected: type[Exception]
) -> None:
    taken = enqueue(engine, data=LARGE)

    def fail_to_read(path: Path) -> bytes:
        raise OSError(number, "injected")

    monkeypatch.setattr(Path, "read_bytes", fail_to_read)
    with pytest.raises(expected):
        outside.read(taken.id, taken.content)


class Failing:
    """A connection that fails once in this way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.closed = False

    def execute(self, statement: str, values: object) -> Any:
        raise self.error

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (fault("SQLITE_BUSY"), StorageUnavailable),
        (fault("SQLITE_IOERR_SHORT_READ"), ContentCorrupt),
        (fault("SQLITE_CORRUPT"), ContentCorrupt),
        (MemoryError(), StorageUnavailable),
    ],
)
def test_after_an_error_the_connection_is_made_anew(
    engine: Threaded, outside: Outside, error: Exception, expected: type[Exception]
) -> None:
    taken = enqueue(engine)
    failing = Failing(error)
    outside._connection = failing  # type: ignore[assignment]
    with pytest.raises(expected):
        outside.read(taken.id, taken.content._replace(data=None))
    assert failing.closed
    assert outside.read(taken.id, taken.content._replace(data=None)) == taken.content.data


def test_nothing_is_made_where_no_server_runs(engine: Threaded) -> None:
    taken = enqueue(engine)
    engine.wait(engine.store.close())
    before = sorted(path.name for path in engine.directory.iterdir())
    outside = beside(engine)
    with pytest.raises(StorageUnavailable):
        outside.read(taken.id, taken.content._replace(data=None))
    assert sorted(path.name for path in engine.directory.iterdir()) == before
    engine.open()
    enqueue(engine)
    assert outside.read(taken.id, taken.content._replace(data=None)) == taken.content.data
    outside.close()


def test_only_databases_that_we_know(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_outside("postgresql://localhost/x", tmp_path)


_READ_AND_GO = """
import sys
from pathlib import Path
from smtpeter.model.submission import Content
from smtpeter.store.outside import open_outside

directory = Path(sys.argv[1])
outside = open_outside(f"sqlite://{directory / 'mail.db'}", directory)
content = Content(int(sys.argv[3]), bytes.fromhex(sys.argv[4]))
print(outside.read(sys.argv[2], content).decode(), flush=True)
if len(sys.argv) > 5:
    sys.stdin.read()
outside.close()
assert "twisted" not in sys.modules
"""


def process(engine: Threaded, id: str, content: Content, *more: str) -> subprocess.Popen[str]:
    arguments = [str(engine.directory), id, str(content.size), content.digest.hex(), *more]
    return subprocess.Popen(
        [sys.executable, "-c", _READ_AND_GO, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_the_log_stays_the_server_s_when_a_worker_goes(engine: Threaded) -> None:
    taken = enqueue(engine, data=b"hello")
    before = log(engine).stat()
    worker = process(engine, taken.id, taken.content)
    assert worker.communicate(timeout=20)[0] == "hello\n"
    assert worker.returncode == 0
    after = log(engine).stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)


def test_a_worker_that_reads_nothing_just_now_does_not_make_the_log_grow(engine: Threaded) -> None:
    """A read that was not ended would keep the log from being begun anew."""
    taken = enqueue(engine, data=b"hello")
    worker = process(engine, taken.id, taken.content, "stay")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "hello\n"
    enqueue(engine)
    checkpoint = sqlite3.connect(engine.directory / "mail.db", timeout=0)
    busy, *_ = checkpoint.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    assert (busy, log(engine).stat().st_size) == (0, 0)
    checkpoint.close()
    worker.communicate(timeout=20)


def test_a_worker_that_goes_last_leaves_the_log_to_the_next_server(engine: Threaded) -> None:
    taken = enqueue(engine, data=b"hello")
    worker = process(engine, taken.id, taken.content, "stay")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "hello\n"
    late = enqueue(engine, data=b"late")
    engine.wait(engine.store.close())
    size = log(engine).stat().st_size
    assert size
    worker.communicate(timeout=20)
    assert worker.returncode == 0
    assert log(engine).stat().st_size == size
    engine.open()
    assert engine.wait(engine.store.content.read(late.id, late.content._replace(data=None))) == b"late"


# --- keeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, SMALL])
def test_small_content_comes_back(engine: Threaded, outside: Outside, size: int) -> None:
    content = outside.keep(b"m" * size)
    assert (content.size, content.data, content.file, content.prepared) == (size, b"m" * size, None, True)
    assert content.digest == b""
    assert content_files(engine) == set()


def test_large_content_is_a_file_that_was_made_durable_before_it_is_told(
    engine: Threaded, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    content = outside.keep(LARGE)
    name = content.file or ""
    directory = engine.directory / "content"
    assert synced == [directory / "incoming" / name, directory / name[:2]]
    assert (content.size, content.data, content.prepared) == (len(LARGE), None, True)
    assert (directory / name[:2] / name).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("call", "number", "expected"),
    [("fsync", errno.ENOSPC, StorageFull), ("fsync", errno.EIO, StorageUnavailable), ("open", errno.EMFILE, None)],
)
def test_a_file_that_cannot_be_written_is_not_left_there(
    engine: Threaded,
    outside: Outside,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    expected: type[Exception] | None,
) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(number, "injected")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(expected or StorageUnavailable):
        outside.keep(LARGE)
    monkeypatch.undo()
    assert content_files(engine) == set()


def test_a_worker_that_is_interrupted_leaves_no_file(
    engine: Threaded, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    class TimeIsUp(BaseException):
        pass

    def interrupted(descriptor: int) -> None:
        raise TimeIsUp

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(TimeIsUp):
        outside.keep(LARGE)
    monkeypatch.undo()
    assert content_files(engine) == set()


def test_a_file_that_was_made_and_not_stored_is_swept_at_the_next_start(engine: Threaded) -> None:
    taken = enqueue(engine, data=LARGE, prepare=True)
    (claimed,) = claim_incoming(engine)
    lost, kept = made_of(engine, claimed, LARGE), made_of(engine, claimed, LARGE)
    assert store(engine, kept) == 1
    assert lost.content is not None
    assert kept.content is not None
    assert content_files(engine) == {taken.content.file, lost.content.file, kept.content.file}
    engine.reopen()
    # A file that is made while the start still tidies up is left alone.
    new = beside(engine).keep(LARGE)
    for _ in range(1000):
        engine.wait(engine.store.content.read(taken.id, kept.content))
        if lost.content.file not in content_files(engine):
            break
    assert content_files(engine) == {taken.content.file, kept.content.file, new.file}
