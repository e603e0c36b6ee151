"""What cannot be read is never sent, and does not hold up what can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import capturedLogs

from smtpeter.errors import ContentCorrupt, StoreDamaged
from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.submission import Content, Submission
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
