"""Messages that are made to cost time and memory, with all features on: ``python -m tests.campaigns.bombs``.

Each goes through a real worker process, and what it cost is what the worker and the system say.  Nothing may be lost,
no worker may die, and the server's thread must go on all the while.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from smtpeter.features.catalog import find_features
from smtpeter.model.feature import OptionKind
from smtpeter.settings import Features
from tests.campaigns.command import Figures, Found, main
from tests.fakes.bombs import BOMBS
from tests.integration.workshop import Loop, Workshop

CPU = 1.0
"""Seconds for a message.  Reading and keeping it are in it; a feature that takes too long is cut off in time."""

SLACK = 0.3
"""Seconds more before it is called wrong: Linux counts in ticks, and other work on the machine slows this down."""

MEMORY = 300_000_000
"""Octets that a worker may ever have."""

TURN = 0.05
"""Seconds for which the server's thread may be held."""

ORDINARY = (
    b"From: a@example.com\r\nSubject: x\r\nContent-Type: text/html\r\n\r\n<html><head><style>p {color: red}</style>"
    b'</head><body><p><a href="https://www.example.com/">text</a></p></body></html>\r\n'
)


def switches() -> dict[str, bool]:
    """All options of all features that are switches, on."""
    found = find_features(Features()).features
    return {option.name: True for each in found for option in each.plugin.options if option.kind is OptionKind.SWITCH}


def campaign(seed: int, first: int, count: int) -> Figures:
    """Bombs number ``first`` and on, by name."""
    loop = Loop()
    with tempfile.TemporaryDirectory() as directory:
        workshop = Workshop(loop, Path(directory), hostile=False, workers=1)
        try:
            return _explode(workshop, sorted(BOMBS)[first : first + count])
        finally:
            workshop.close()
            loop.close()


def _explode(workshop: Workshop, names: list[str]) -> Figures:
    options = switches()
    figures = {"max CPU": 0.0, "max MB": 0.0, "max ms of a turn": 0.0, "cut off": 0.0, "untouched": 0.0}
    is_warm = False
    for name in names:
        if not is_warm:  # a feature's first message in a process has more time
            workshop.prepared(workshop.submit(ORDINARY, **options))
        content = BOMBS[name]()
        workshop.loop.longest_turn = 0.0
        begin = time.monotonic()
        id = workshop.submit(content, **options)
        data = workshop.wait_for_event(id, "prepared")
        seconds = time.monotonic() - begin
        answer = workshop.answers.get(id)
        turn = workshop.loop.longest_turn
        if id in workshop.deaths or answer is None:
            raise Found(f"{name}: a worker died: {[death.reason for death in workshop.deaths[id]]}")
        shown = f"{name}: {answer.cpu:.2f} s of CPU, {answer.peak / 1e6:.0f} MB, {turn * 1000:.0f} ms, {seconds:.1f} s"
        print(f"{shown}; {data['description'][:150]}", flush=True)
        if answer.cpu > CPU + SLACK or answer.peak > MEMORY or turn > TURN:
            raise Found(shown)
        is_warm = not answer.worn
        figures["cut off"] += "OutOfTime" in data["description"]
        figures["untouched"] += answer.content is None
        figures["max CPU"] = max(figures["max CPU"], answer.cpu)
        figures["max MB"] = max(figures["max MB"], answer.peak / 1e6)
        figures["max ms of a turn"] = max(figures["max ms of a turn"], turn * 1000)
    return figures


if __name__ == "__main__":
    main("bombs", campaign, len(BOMBS), "bombs")
