"""Messages that are made to cost time and memory: each is read, edited and rendered in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.bombs import BOMBS, MIME_BOMBS

CHECKOUT = Path(__file__).resolve().parents[3]
SECONDS = 2.0  # of CPU; on a machine that has nothing else to do none takes one
MEGABYTES = 300
BATCHES = 4

PROGRAM = """
import json, re, sys, time
from smtpeter.mime.editing import EditableMessage
from smtpeter.model.feature import Slot
from tests.fakes.bombs import BOMBS

SLOT = Slot("tracking", "k", 24)

def used():
    # Not ru_maxrss: that begins with what the process had that started this one.
    status = open("/proc/self/status").read()
    return time.process_time(), int(re.search("VmHWM:\\s*(\\d+)", status)[1]) / 1000

def read(content):
    message = EditableMessage(content)
    message.fields("from")
    leaves = (*message.html, *message.plain)
    assert message.render()[0] is content
    return message, leaves

def edit(message, leaves):
    for leaf in leaves:
        piece = SLOT if leaf.takes_slots else b"new"
        leaf.splice([(at, at, [piece]) for at in range(0, len(leaf.octets), len(leaf.octets) // 10 + 1)])
    message.add_field("X-Test", "x")
    return message.render()

for name in json.load(sys.stdin):
    content = BOMBS[name]()
    begin, _ = used()
    message, leaves = read(content)
    middle, _ = used()
    edit(message, leaves)
    end, memory = used()
    result = [name, len(content), len(leaves), message.closed, middle - begin, end - middle, memory]
    print(json.dumps(result), flush=True)
    del content, message, leaves
"""


def explode(names: list[str]) -> list[tuple[str, int, int, str, float, float, float]]:
    """For each: name, size, leaves, why it is closed, seconds to read it, seconds to edit it, megabytes in all."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_there_are_sixty() -> None:
    assert len(MIME_BOMBS) >= 60


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_bomb_costs_little(batch: int) -> None:
    names = sorted(BOMBS)[batch::BATCHES]
    results = explode(names)
    assert [result[0] for result in results] == names
    for name, size, _, _, reading, editing, memory in results:
        assert size <= 50_000_000, name
        assert reading + editing < SECONDS, name
        assert memory < MEGABYTES, name
