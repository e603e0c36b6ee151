"""Content that cannot be read is never sent, and does not hold up what can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.model.submission import Content, Submission
from tests.contract.engines import Direct, Engine, claim, enqueue

PAGE = 4096
MARK = b"here the disk will break"


def damage(engine: Engine, replacement: bytes, at: int) -> None:
    """Overwrite octets of the page that holds ``MARK``, while nobody has the database open."""
    engine.wait(engine.store.close())
    path = engine.directory / "mail.db"
    octets = bytearray(path.read_bytes())
    page = octets.index(MARK) // PAGE * PAGE
    octets[page + at : page + at + len(replacement)] = replacement
    path.write_bytes(octets)
    engine.open()


def messages(engine: Engine) -> tuple[Submission, Submission]:
    broken = enqueue(engine, "a@example.net", data=b"x" * 2 * PAGE + MARK + b"x" * 2 * PAGE)
    return broken, enqueue(engine, "b@example.net")


def read(engine: Engine, submission: Submission, content: Content) -> Any:
    return engine.wait(engine.store.content.read(submission.id, content))


def test_a_flipped_octet_is_found_by_the_checksum(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    broken, sound = messages(engine)
    damage(engine, b"?", 2000)
    contents = {job.submission: job.content for job in claim(engine)}
    assert read(engine, sound, contents[sound.id]) == sound.content.data
    with pytest.raises(ContentCorrupt):
        read(engine, broken, contents[broken.id])


def test_a_broken_page_of_content_does_not_stop_claims(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    broken, sound = messages(engine)
    damage(engine, b"\xff\xff\xff\xff", 0)  # where the content goes on
    with pytest.raises(StorageUnavailable):
        claim(engine)
    contents = {job.submission: job.content for job in claim(engine)}
    assert read(engine, sound, contents[sound.id]) == sound.content.data
    with pytest.raises(ContentCorrupt):
        read(engine, broken, contents[broken.id])
    later = enqueue(engine, "c@example.net")
    assert claim(engine)[0].content == later.content
