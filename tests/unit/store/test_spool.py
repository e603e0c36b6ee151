"""Content on its way in, and what a crash leaves of it."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from smtpeter.errors import ContentCorrupt, StorageFull, StorageUnavailable
from smtpeter.model.submission import Content
from smtpeter.store.files import make_parts
from smtpeter.store.spool import BUFFER, ContentSpool
from tests.contract.engines import Direct, Threaded, enqueue, make


class Threads:
    """Runs nothing before it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def call(self, function: Callable[[], Any]) -> Deferred[Any]:
        self.waiting.append((function, Deferred()))
        return self.waiting[-1][1]

    def run(self, error: Exception | None = None) -> None:
        function, deferred = self.waiting.pop(0)
        try:
            if error is not None:
                raise error
            result = function()
        except Exception as raised:
            deferred.errback(raised)
        else:
            deferred.callback(result)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "incoming").mkdir()
    make_parts(tmp_path)
    return tmp_path


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def error_of(deferred: Deferred[Any] | None) -> BaseException:
    assert deferred is not None
    errors: list[Failure] = []
    deferred.addErrback(errors.append)
    assert errors
    assert errors[0].value is not None
    return errors[0].value


@given(st.lists(st.binary(max_size=30), max_size=20), st.integers(0, 60))
def test_small_content_stays_in_memory(chunks: list[bytes], limit: int) -> None:
    data = b"".join(chunks)
    threads = Threads()
    spool = ContentSpool(Path("/nowhere"), threads.call, lambda name: None, limit)
    for chunk in chunks:
        spool.write(chunk)
    assert spool.size == len(data)
    assert bool(threads.waiting) == (len(data) > limit)
    if not threads.waiting:
        content = spool.finish().result
        assert content == Content(len(data), hashlib.sha256(data).digest(), data)


def test_large_content_waits_for_the_disk(directory: Path) -> None:
    threads = Threads()
    spool = ContentSpool(directory, threads.call, lambda name: None, 10)
    assert spool.write(b"a" * 20) is None
    assert spool.write(b"b" * BUFFER) is None
    waiting = spool.write(b"c")
    assert waiting is not None
    assert not waiting.called
    assert len(threads.waiting) == 1
    threads.run()
    assert waiting.called
    assert spool.write(b"d") is None
    finished = spool.finish()
    while threads.waiting:
        assert not finished.called
        threads.run()
    content = finished.result
    data = b"a" * 20 + b"b" * BUFFER + b"cd"
    assert (content.size, content.digest, content.data) == (len(data), hashlib.sha256(data).digest(), None)
    (file,) = files(directory)
    assert file == directory / content.file[:2] / content.file
    assert file.read_bytes() == data
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageUnavailable)])
def test_a_disk_that_refuses_is_temporary_trouble(directory: Path, number: int, expected: type[Exception]) -> None:
    threads = Threads()
    spool = ContentSpool(directory, threads.call, lambda name: None, 10)
    spool.write(b"a" * 20)
    waiting = spool.write(b"b" * (BUFFER + 1))
    threads.run(OSError(number, "injected"))
    assert type(error_of(waiting)) is expected
    assert type(error_of(spool.write(b"more"))) is expected
    assert type(error_of(spool.finish())) is expected
    while threads.waiting:
        threads.run()
    assert files(directory) == []


def test_a_sync_that_fails_is_never_a_yes(directory: Path) -> None:
    threads = Threads()
    spool = ContentSpool(directory, threads.call, lambda name: None, 10)
    spool.write(b"a" * 20)
    threads.run()
    finished = spool.finish()
    threads.run(OSError(errno.EIO, "injected"))
    assert isinstance(error_of(finished), StorageUnavailable)
    while threads.waiting:
        threads.run()
    assert files(directory) == []


@pytest.mark.parametrize("steps", range(4))
def test_abort_at_any_time_leaves_nothing(directory: Path, steps: int) -> None:
    threads, discarded = Threads(), []
    spool = ContentSpool(directory, threads.call, discarded.append, 10)
    finished: Deferred[Any] | None = None
    for step in range(steps):
        if step == 0:
            spool.write(b"a" * 20)
        elif step == 1:
            threads.run()
        elif step == 2:
            finished = spool.finish()
    spool.abort()
    spool.abort()
    while threads.waiting:
        threads.run()
    if finished is not None:
        assert isinstance(error_of(finished), StorageUnavailable)
    assert [path.name for path in files(directory)] == discarded


def test_abort_after_the_end_asks_whether_a_row_names_the_file(directory: Path) -> None:
    discarded: list[str] = []
    spool = ContentSpool(directory, _at_once, discarded.append, 10)
    spool.write(b"a" * 20)
    content = spool.finish().result
    assert discarded == []
    spool.abort()
    assert discarded == [content.file]


def _at_once(function: Callable[[], Any]) -> Deferred[Any]:
    try:
        return succeed(function())
    except Exception as error:
        return fail(error)


LARGE = b"x" * 300_000


def content_files(engine: Direct | Threaded) -> list[Path]:
    return files(engine.directory / "content")


def test_abort_in_a_store_removes_the_file_unless_a_row_names_it(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    unwanted, wanted = engine.store.content.spool(), engine.store.content.spool()
    for spool in (unwanted, wanted):
        spool.write(LARGE)
    engine.wait(unwanted.finish())
    content = engine.wait(wanted.finish())
    engine.wait(engine.store.queue.enqueue(make(engine, content=content)))
    unwanted.abort()
    wanted.abort()
    assert [path.name for path in content_files(engine)] == [content.file]


def test_what_a_crash_left_behind_is_removed_at_start(tmp_path: Path) -> None:
    engine = Threaded(tmp_path)
    kept = enqueue(engine, data=LARGE)
    never_enqueued = make(engine, data=LARGE)
    growing = engine.store.content.spool()
    growing.write(LARGE)
    waiting = growing.write(LARGE)
    assert waiting is not None
    engine.wait(waiting)
    assert len(content_files(engine)) == 3
    engine.reopen()
    # A file that comes in while the start still tidies up is left alone.
    new = make(engine, data=LARGE)
    for _ in range(1000):
        engine.wait(engine.store.content.read(kept.id, kept.content))
        if len(content_files(engine)) == 2:
            break
    engine.wait(engine.store.close())
    assert {path.name for path in content_files(engine)} == {kept.content.file, new.content.file}
    assert never_enqueued.content.file not in {kept.content.file, new.content.file}


def test_a_truncated_flipped_or_missing_file_is_never_given_out(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    taken = enqueue(engine, data=LARGE)
    (path,) = content_files(engine)
    path.write_bytes(LARGE[:-1] + b"y")
    with pytest.raises(ContentCorrupt):
        engine.wait(engine.store.content.read(taken.id, taken.content))
    path.write_bytes(LARGE[:-1])
    with pytest.raises(ContentCorrupt):
        engine.wait(engine.store.content.read(taken.id, taken.content))
    path.unlink()
    with pytest.raises(ContentCorrupt, match="missing"):
        engine.wait(engine.store.content.read(taken.id, taken.content))


def test_a_file_that_the_disk_does_not_give_is_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Direct(tmp_path)
    taken = enqueue(engine, data=LARGE)

    def fail_to_read(path: Path) -> bytes:
        raise OSError(errno.EIO, "injected")

    monkeypatch.setattr(Path, "read_bytes", fail_to_read)
    with pytest.raises(ContentCorrupt, match="cannot be read"):
        engine.wait(engine.store.content.read(taken.id, taken.content))


def test_directories_that_were_not_made_durable_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_to_sync(directory: Path) -> None:
        raise OSError(errno.EIO, "injected")

    with monkeypatch.context() as patch:
        patch.setattr("smtpeter.store.files.sync_directory", fail_to_sync)
        with pytest.raises(OSError):
            make_parts(tmp_path)
    assert list(tmp_path.iterdir()) == []
    make_parts(tmp_path)
    make_parts(tmp_path)
    assert len(list(tmp_path.iterdir())) == 256


def test_a_file_that_cannot_be_read_now_is_temporary_trouble(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    taken = enqueue(engine, data=LARGE)
    (path,) = content_files(engine)
    path.unlink()
    path.mkdir()
    with pytest.raises(StorageUnavailable):
        engine.wait(engine.store.content.read(taken.id, taken.content))
