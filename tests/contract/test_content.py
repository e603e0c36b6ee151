"""Content goes in and comes out the same, or not at all."""

from __future__ import annotations

import hashlib

import pytest

from smtpeter.errors import ContentCorrupt
from smtpeter.model.submission import Content
from tests.contract.engines import Engine, enqueue, make

SIZES = [0, 1, 999, 1000, 1001, 64 * 1024, 256 * 1024, 256 * 1024 + 1, 700_000]


def spooled(engine: Engine, data: bytes, step: int) -> Content:
    spool = engine.store.content.spool()
    for start in range(0, len(data), step):
        waiting = spool.write(data[start : start + step])
        if waiting is not None:
            engine.wait(waiting)
    assert spool.size == len(data)
    return engine.wait(spool.finish())


def octets(size: int) -> bytes:
    return (b"0123456789abcdef\r\n" * (size // 18 + 1))[:size]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("step", [997, 40_000, 10**6])
def test_content_of_every_size_comes_back(engine: Engine, size: int, step: int) -> None:
    data = octets(size)
    content = spooled(engine, data, step)
    assert (content.size, content.digest) == (size, hashlib.sha256(data).digest())
    assert (content.data is None) == (content.file is not None)
    submission = make(engine, content=content)
    engine.wait(engine.store.queue.enqueue(submission))
    without_data = engine.wait(engine.store.queue.submission(submission.id)).content
    assert engine.wait(engine.store.content.read(submission.id, without_data)) == data
    assert engine.wait(engine.store.content.read(submission.id, content)) == data


@pytest.mark.parametrize("size", [10, 300_000])
def test_content_survives_a_restart(engine: Engine, size: int) -> None:
    submission = enqueue(engine, data=octets(size))
    engine.reopen()
    content = submission.content._replace(data=None)
    assert engine.wait(engine.store.content.read(submission.id, content)) == octets(size)


@pytest.mark.parametrize("size", [10, 300_000])
def test_content_that_is_not_what_was_taken_in_is_never_given_out(engine: Engine, size: int) -> None:
    submission = enqueue(engine, data=octets(size))
    content = submission.content._replace(data=None)
    for other in (content._replace(digest=bytes(32)), content._replace(size=size + 1)):
        with pytest.raises(ContentCorrupt):
            engine.wait(engine.store.content.read(submission.id, other))
    if submission.content.data is not None:
        with pytest.raises(ContentCorrupt):
            engine.wait(engine.store.content.read(submission.id, submission.content._replace(digest=bytes(32))))


def test_content_of_nobody_is_a_key_error(engine: Engine) -> None:
    with pytest.raises(KeyError):
        engine.wait(engine.store.content.read("0" * 26, Content(1, bytes(32))))
