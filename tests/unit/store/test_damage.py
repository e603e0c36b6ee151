"""What cannot be read is never sent, and does not hold up what can."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from smtpeter.errors import ContentCorrupt, StorageUnavailable, StoreDamaged
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.submission import Content, Submission
from smtpeter.store.content import ContentStore
from smtpeter.store.sqlite import claim as leases
from smtpeter.store.sqlite.detour import AVOIDED
from tests.contract.engines import START, Direct, Engine, Threaded, claim, enqueue, settled

PAGE = 4096
MARK = b"here the disk will break"


def damage(engine: Engine, replacement: bytes, at: int, mark: bytes = MARK) -> None:
    """Overwrite octets of the page that holds ``mark``, while nobody has the database open."""
    engine.wait(engine.store.close())
    path = engine.directory / "mail.db"
    octets = bytearray(path.read_bytes())
    page = octets.index(mark) // PAGE * PAGE
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


def test_content_that_somebody_made_text_is_found(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    broken, sound = messages(engine)
    engine.wait(engine.store.close())
    database = sqlite3.connect(engine.directory / "mail.db")
    database.execute(
        "UPDATE content SET data = CAST(data AS TEXT) WHERE number = (SELECT max(number) - 1 FROM content)"
    )
    database.commit()
    database.close()
    engine.open()
    contents = {job.submission: job.content for job in claim(engine)}
    assert read(engine, sound, contents[sound.id]) == sound.content.data
    for content in (contents[broken.id], contents[broken.id]._replace(data=None)):
        with pytest.raises(ContentCorrupt):
            read(engine, broken, content)


def test_a_broken_page_of_content_does_not_stop_claims(tmp_path: Path) -> None:
    engine = Direct(tmp_path)
    broken, sound = messages(engine)
    damage(engine, b"\xff\xff\xff\xff", 0)  # where the content goes on
    contents = {job.submission: job.content for job in claim(engine)}
    assert read(engine, sound, contents[sound.id]) == sound.content.data
    with pytest.raises(ContentCorrupt):
        read(engine, broken, contents[broken.id])
    later = enqueue(engine, "c@example.net")
    assert claim(engine)[0].content == later.content


# --- the rows of the queue ---


class Queue:
    """A store with so many recipients that each table has many pages, one of which is damaged."""

    def __init__(self, directory: Path, engine: type[Engine], mark: Callable[[int], str], leased: bool) -> None:
        self.engine = engine(directory)
        self.ids: dict[str, int] = {}
        for number in range(300):
            subject, time = of_submission(number) + "." * 50, START + number / 1000
            taken = enqueue(self.engine, of_recipient(number), subject=subject, time=time, due=START)
            self.ids[taken.id] = number
        self.engine.clock.now = START + 10
        if leased:
            claim(self.engine, limit=1000)
        damage(self.engine, b"\x77" * 64, 0, mark(150).encode())

    def claimed(self) -> list[str]:
        return [job.submission for job in claim(self.engine, limit=1000)]

    def states(self) -> dict[str, int]:
        return dict(self.engine.wait(self.engine.store.queue.depths()))


def of_recipient(number: int) -> str:
    return f"to{number:04}@example.net"


def of_submission(number: int) -> str:
    return f"subject {number:04}"


@pytest.fixture(params=[Direct, Threaded])
def kind(request: pytest.FixtureRequest) -> Iterator[type[Engine]]:
    yield request.param


@pytest.fixture
def opened() -> Iterator[list[Engine]]:
    opened: list[Engine] = []
    yield opened
    for engine in opened:
        engine.wait(engine.store.close())


def test_a_damaged_page_of_recipients_keeps_only_its_own_from_being_claimed(
    tmp_path: Path, kind: type[Engine], opened: list[Engine]
) -> None:
    queue = Queue(tmp_path, kind, of_recipient, leased=False)
    opened.append(queue.engine)
    with capturedLogs() as events:
        claimed = queue.claimed()
    lost = set(queue.ids) - set(claimed)
    assert len(claimed) == len(set(claimed)) and 0 < len(lost) < 100
    assert {event["submission"] for event in events if event.get("event") == "damage"} == lost
    # They are not tried over and over again.
    later = enqueue(queue.engine, "later@example.net")
    with capturedLogs() as events:
        assert queue.claimed() == [later.id]
    assert not [event for event in events if event.get("event") == "damage"]
    # But one day, lest it was the disk's mood.
    queue.engine.clock.now += AVOIDED + 1
    with capturedLogs() as events:
        assert queue.claimed() == []
    assert {event["submission"] for event in events if event.get("event") == "damage"} == lost


def test_recipients_whose_submission_is_damaged_are_held(
    tmp_path: Path, kind: type[Engine], opened: list[Engine]
) -> None:
    queue = Queue(tmp_path, kind, of_submission, leased=False)
    opened.append(queue.engine)
    claimed = queue.claimed()
    lost = sorted(set(queue.ids) - set(claimed))
    assert len(claimed) == len(set(claimed)) and 0 < len(lost) < 100
    assert queue.states() == {"due": 0, "leased": len(claimed), "held": len(lost)}
    entries = queue.engine.wait(queue.engine.store.journal.after(300, 1000))
    assert [(entry.submission, entry.kind) for entry in entries] == [(id, EventKind.HELD) for id in lost]
    assert "damaged" in entries[0].data["description"]


def test_a_damaged_page_does_not_keep_the_server_from_starting(
    tmp_path: Path, kind: type[Engine], opened: list[Engine]
) -> None:
    queue = Queue(tmp_path, kind, of_recipient, leased=True)
    opened.append(queue.engine)
    recovered = queue.engine.wait(queue.engine.store.queue.recover())
    assert 200 < recovered < 300
    assert len(queue.claimed()) == recovered


def test_leases_that_nobody_has_are_found_around_a_damaged_page(
    tmp_path: Path, kind: type[Engine], opened: list[Engine]
) -> None:
    queue = Queue(tmp_path, kind, of_recipient, leased=True)
    opened.append(queue.engine)
    ask, now = queue.engine.store.queue.recover_expired, queue.engine.clock.now
    assert queue.engine.wait(ask(now, ())) == 0
    in_hand = {(id, 1) for id, number in queue.ids.items() if number < 50}
    recovered = queue.engine.wait(ask(now + 61, in_hand))
    assert 150 < recovered < 250
    with capturedLogs() as events:
        assert queue.engine.wait(ask(now + 62, in_hand)) == 0
    assert not events


def test_an_outcome_that_cannot_be_written_keeps_no_other_from_it(tmp_path: Path, opened: list[Engine]) -> None:
    engine = Threaded(tmp_path)
    opened.append(engine)
    for number in range(300):
        enqueue(engine, of_recipient(number))
    jobs = claim(engine, limit=1000)
    damage(engine, b"\x77" * 64, 0, of_recipient(150).encode())
    waiting = [engine.store.queue.settle([settled(job, RecipientState.DELIVERED)]) for job in jobs]
    written = 0
    for each in waiting:
        try:
            written += engine.wait(each)
        except StoreDamaged:
            continue
    assert 200 < written < 300


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE recipient SET address = CAST(x'61e440' AS TEXT) WHERE submission = ?",
        "UPDATE submission SET reverse_path = CAST(x'61e440' AS TEXT) WHERE id = ?",
        "UPDATE submission SET time = 'a' WHERE id = ?",
        "UPDATE submission SET id = 'another' WHERE id = ?",
    ],
)
def test_an_octet_that_flipped_in_a_row_holds_up_nobody_else(
    tmp_path: Path, kind: type[Engine], opened: list[Engine], change: str
) -> None:
    engine = kind(tmp_path)
    broken, sound = enqueue(engine, "a@example.net"), enqueue(engine, "b@example.net")
    engine.wait(engine.store.close())
    disk = sqlite3.connect(tmp_path / "mail.db")
    with disk:
        disk.execute(change, (broken.id,))
    disk.close()
    engine.open()
    opened.append(engine)
    assert [job.submission for job in claim(engine)] == [sound.id]
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 1, "held": 1}


def test_an_octet_that_flipped_in_a_lease_does_not_keep_the_server_from_starting(
    tmp_path: Path, kind: type[Engine], opened: list[Engine]
) -> None:
    engine = kind(tmp_path)
    broken, _ = enqueue(engine, "a@example.net"), enqueue(engine, "b@example.net")
    claim(engine)
    engine.wait(engine.store.close())
    disk = sqlite3.connect(tmp_path / "mail.db")
    with disk:
        disk.execute("UPDATE recipient SET domain = CAST(x'61e4' AS TEXT) WHERE submission = ?", (broken.id,))
    disk.close()
    engine.open()
    opened.append(engine)
    assert engine.wait(engine.store.queue.recover()) == 1
    assert engine.wait(engine.store.queue.depths()) == {"due": 1, "leased": 0, "held": 1}


@pytest.mark.parametrize("which", [0, 1])  # the row, and the index of files
def test_a_file_whose_name_is_damaged_in_one_place_is_not_taken_for_left_behind(tmp_path: Path, which: int) -> None:
    engine = Threaded(tmp_path)
    taken = enqueue(engine, data=b"Subject: x\r\n\r\n" + b"x" * 100_000)
    name = taken.content.file or ""
    engine.wait(engine.store.close())
    path = engine.directory / "mail.db"
    octets = path.read_bytes()
    assert octets.count(name.encode()) == 2
    before, _, after = octets.rpartition(name.encode()) if which else octets.partition(name.encode())
    path.write_bytes(before + name.upper().replace("0", "O").encode() + after)
    engine.open()
    content = engine.store.content
    assert isinstance(content, ContentStore)
    assert engine.wait(content.remove_orphans()) == 0
    engine.wait(engine.store.close())
    assert (engine.directory / "content" / name[:2] / name).exists()


def test_trouble_on_the_way_around_damage_leaves_nothing_leased_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Direct(tmp_path)
    broken, sound, late = (enqueue(engine, f"{name}@example.net") for name in "abc")
    disk = sqlite3.connect(tmp_path / "mail.db")
    with disk:
        disk.execute("UPDATE submission SET time = 'a' WHERE id = ?", (broken.id,))
    disk.close()

    claim_one = leases.claim_one

    def claim_most(connection: sqlite3.Connection, submission: str, *rest: Any) -> Any:
        if submission == late.id:
            raise StorageUnavailable("disk I/O error")
        return claim_one(connection, submission, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(leases, "claim_one", claim_most)
        assert [job.submission for job in claim(engine)] == [sound.id]
    assert [job.submission for job in claim(engine)] == [late.id]
    assert engine.wait(engine.store.queue.depths()) == {"due": 0, "leased": 2, "held": 1}
