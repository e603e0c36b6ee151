"""What cannot be read is never prepared nor sent as it came, and does not hold up what can."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import capturedLogs

from smtpeter.errors import ContentCorrupt
from smtpeter.model.event import EventKind
from smtpeter.model.submission import Content, Submission
from smtpeter.store.content import ContentStore
from tests.contract.engines import (
    Direct,
    Engine,
    Threaded,
    claim,
    claim_incoming,
    enqueue,
    made_of,
    store,
)

BAD_TEXT = "CAST(x'61e4' AS TEXT)"


@pytest.fixture(params=[Direct, Threaded])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    engine: Engine = request.param(tmp_path)
    yield engine
    engine.wait(engine.store.close())


def messages(engine: Engine) -> tuple[Submission, Submission]:
    return (
        enqueue(engine, "a@example.net", prepare=True, options=(("x", "true"),)),
        enqueue(engine, "b@example.net", prepare=True),
    )


def damage(engine: Engine, change: str, *values: object) -> None:
    engine.wait(engine.store.close())
    disk = sqlite3.connect(engine.directory / "mail.db")
    with disk:
        disk.execute(change, values)
    disk.close()
    engine.open()


def depths(engine: Engine) -> tuple[int, int, int]:
    found = engine.wait(engine.store.queue.depths())
    return found["due"], found["leased"], found["held"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE submission SET time = 'a' WHERE id = ?",
        "UPDATE submission SET options = '[[1' WHERE id = ?",
        f"UPDATE submission SET reverse_path = {BAD_TEXT} WHERE id = ?",
        "UPDATE submission SET id = 'another' WHERE id = ?",
    ],
)
def test_an_octet_that_flipped_in_a_row_keeps_nothing_else_from_being_prepared(engine: Engine, change: str) -> None:
    broken, sound = messages(engine)
    damage(engine, change, broken.id)
    with capturedLogs() as logs:
        assert [each.submission for each in claim_incoming(engine)] == [sound.id]
    assert [each["event"] for each in logs if each.get("event") == "damage"] == ["damage"]
    assert depths(engine) == (1, 0, 1)
    kinds = [each.kind for each in engine.wait(engine.store.journal.of_submission(broken.id, None))]
    assert kinds[-1:] == [EventKind.HELD]
    late = enqueue(engine, "c@example.net", prepare=True)
    assert [each.submission for each in claim_incoming(engine, limit=1)] == [late.id]


def test_what_was_prepared_and_is_missing_is_held_and_never_goes_as_it_came(engine: Engine) -> None:
    broken, sound = messages(engine)
    assert store(engine, *[made_of(engine, each, b"made") for each in claim_incoming(engine)]) == 2
    damage(engine, "DELETE FROM prepared WHERE submission = ?", broken.id)
    assert [job.submission for job in claim(engine)] == [sound.id]
    assert depths(engine) == (0, 1, 1)


@pytest.mark.parametrize("slots", ["'[[1,2'", "'[[1]]'", BAD_TEXT])
def test_slots_that_cannot_be_read_are_held(engine: Engine, slots: str) -> None:
    broken, sound = messages(engine)
    assert store(engine, *[made_of(engine, each, b"made") for each in claim_incoming(engine)]) == 2
    damage(engine, f"UPDATE prepared SET slots = {slots} WHERE submission = ?", broken.id)
    assert [job.submission for job in claim(engine)] == [sound.id]
    assert depths(engine) == (0, 1, 1)


def test_prepared_content_that_flipped_is_found(engine: Engine) -> None:
    taken, _ = messages(engine)
    claimed = claim_incoming(engine)
    assert store(engine, *[made_of(engine, each, each.submission.encode()) for each in claimed]) == 2
    damage(engine, "UPDATE content SET data = CAST('other' AS BLOB) WHERE data = CAST(? AS BLOB)", taken.id)
    job = next(job for job in claim(engine) if job.submission == taken.id)
    for content in (job.content, job.content._replace(data=None)):
        with pytest.raises(ContentCorrupt):
            engine.wait(engine.store.content.read(taken.id, content))


def test_damage_of_one_does_not_keep_others_from_being_stored(engine: Engine) -> None:
    broken, sound = messages(engine)
    claimed = claim_incoming(engine)
    damage(engine, f"UPDATE recipient SET domain = {BAD_TEXT} WHERE submission = ?", broken.id)
    assert store(engine, *[made_of(engine, each, b"made") for each in claimed]) == 1
    assert [job.submission for job in claim(engine)] == [sound.id]
    assert depths(engine) == (0, 1, 1)


def test_a_file_of_prepared_content_whose_name_is_damaged_in_one_place_is_not_taken_for_left_behind(
    tmp_path: Path,
) -> None:
    for which in (0, 1):  # the row, and the index of files
        engine = Threaded(tmp_path / str(which))
        enqueue(engine, prepare=True)
        made = made_of(engine, claim_incoming(engine)[0], b"x" * 100_000)
        assert store(engine, made) == 1
        assert isinstance(made.content, Content)
        name = made.content.file or ""
        engine.wait(engine.store.close())
        path = engine.directory / "mail.db"
        octets = path.read_bytes()
        assert octets.count(name.encode()) == 2
        before, _, after = octets.rpartition(name.encode()) if which else octets.partition(name.encode())
        path.write_bytes(before + name.upper().replace("0", "O").encode() + after)
        engine.open()
        assert isinstance(engine.store.content, ContentStore)
        assert engine.wait(engine.store.content.remove_orphans()) == 0
        engine.wait(engine.store.close())
        assert (engine.directory / "content" / name[:2] / name).exists()
