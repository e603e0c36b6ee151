"""What server and workers say to each other comes back as it was, and nothing else is believed."""

from __future__ import annotations

import json

import pytest

from smtpeter.features.exchange import Answer, AnswerKind, Task
from smtpeter.features.frames import BadFrame
from smtpeter.model.feature import PlacedSlot, Slot
from smtpeter.model.submission import Content
from tests.fakes.jobs import make_content
from tests.fakes.workers import make_task

SLOTS = (
    PlacedSlot(3, Slot("trackclicks", "k1", 24)),
    PlacedSlot(40, Slot("trackopens", "k1", 24)),
    PlacedSlot(80, Slot("trackclicks", "k1", 24)),
)


@pytest.mark.parametrize(
    "task",
    [
        make_task(),
        make_task(account=None, reverse_path="", options={"tags": "a\u00e9\n", "inlinecss": "true"}),
        make_task(number=9, content=Content(70_000, b"\x01" * 32, None, "f" * 32), without={"": "why", "x": "died"}),
    ],
)
def test_a_task_comes_back(task):
    assert Task.decode(task.encode()) == task


SMALL = make_content()._replace(prepared=True)
LARGE = Content(70_000, b"\x01" * 32, None, "f" * 32, prepared=True)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(1, AnswerKind.PREPARED),
        Answer(
            2, AnswerKind.PREPARED, SMALL, SLOTS, {"features": "a;b", "description": "caf\u00e9"}, cpu=0.25, peak=10
        ),
        Answer(3, AnswerKind.PREPARED, LARGE, worn="it has grown"),
        Answer(4, AnswerKind.PREPARED, make_content(b"")._replace(prepared=True)),
        Answer(5, AnswerKind.DEFER, reason="a failed: no"),
        Answer(6, AnswerKind.STORAGE, reason="disk"),
    ],
)
def test_an_answer_comes_back(answer):
    assert Answer.decode(answer.encode()) == answer


def test_the_checksum_of_what_came_along_is_our_own():
    answer = Answer.decode(spoilt(content=[SMALL.size, "00" * 32, None, None]))
    assert answer.content == SMALL


def test_slots_that_are_alike_are_told_once():
    slots = tuple(PlacedSlot(offset, Slot("trackclicks", "a rather long key", 24)) for offset in range(0, 30_000, 30))
    assert len(Answer(1, AnswerKind.PREPARED, SMALL, slots).encode()) < 15 * len(slots)


def test_no_content_of_a_task_goes_through_the_server():
    task = make_task(content=make_content(b"x" * 1000))
    assert Task.decode(task.encode()).content.data is None
    assert len(task.encode()) < 500


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b"nonsense", b"\xff", b'{"content": [1, "zz", null]}'])
def test_what_is_no_task_is_refused(payload):
    with pytest.raises(BadFrame):
        Task.decode(payload)


def spoilt(**changes):
    head, _, octets = Answer(2, AnswerKind.PREPARED, SMALL, SLOTS).encode().partition(b"\n")
    return json.dumps(json.loads(head) | changes).encode() + b"\n" + octets


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"nonsense",
        b"{}\n",
        b"[1]\n",
        spoilt(kind="delivered"),
        spoilt(kind=None),
        spoilt(surprise=1),
        spoilt(content=[1]),
        spoilt(content="x"),
        spoilt(content=[1, "no hex", None]),
        spoilt(slots=[[7, 1]]),
        spoilt(slots=[["x", "y"]]),
        spoilt(slots=None),
        spoilt(kinds=[["a"]]),
        spoilt(number="2"),
        spoilt(data=None),
        spoilt(data=["failed"]),
        spoilt(data={"features": ["x"]}),
        spoilt(reason=None),
        spoilt(worn=1),
        spoilt(content=["1", "00" * 32, None]),
        spoilt(content=[-1, "00" * 32, None]),
        spoilt(content=[1, "00", None]),
        spoilt(content=[SMALL.size + 1, "", None, None]),
        spoilt(content=[SMALL.size, "00", "f" * 32, None]),
        spoilt(content=[1, "00" * 32, "../../smtpeter.db"]),
        spoilt(content=[1, "00" * 32, 7]),
        b"[" * 100_000 + b"\n",
    ],
)
def test_what_is_no_answer_is_refused(payload):
    with pytest.raises(BadFrame):
        Answer.decode(payload)
