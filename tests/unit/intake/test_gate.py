"""Whether mail can be accepted now."""

from __future__ import annotations

import os
from collections import namedtuple

import pytest
from twisted.internet.defer import execute
from twisted.logger import capturedLogs

from smtpeter.intake.gate import FULL, STOPPING, UNAVAILABLE, Gate
from smtpeter.quantities import FreeSpace

Volume = namedtuple("Volume", "f_blocks f_bavail f_frsize")


@pytest.fixture
def volumes(monkeypatch):
    """What each directory's volume says; an exception is raised."""
    volumes = {}

    def statvfs(directory):
        if isinstance(volumes[directory], Exception):
            raise volumes[directory]
        return volumes[directory]

    monkeypatch.setattr(os, "statvfs", statvfs)
    return volumes


def make_gate(*directories):
    return Gate(directories, FreeSpace(fraction=0.05), execute)


def test_there_is_room_until_less_than_needed_is_free(volumes):
    gate = make_gate("data")
    assert gate.refusal is None
    volumes["data"] = Volume(1000, 50, 4096)
    gate.measure()
    assert gate.refusal is None
    volumes["data"] = Volume(1000, 49, 4096)
    gate.measure()
    assert gate.refusal == FULL and gate.refusal.code == 452
    volumes["data"] = Volume(1000, 50, 4096)
    gate.measure()
    assert gate.refusal is None


@pytest.mark.parametrize("full", ["content", "database"])
def test_each_volume_has_to_have_room(volumes, full):
    volumes.update(content=Volume(1000, 500, 4096), database=Volume(1000, 500, 4096))
    volumes[full] = Volume(1000, 1, 4096)
    gate = make_gate("content", "database")
    with capturedLogs() as events:
        gate.measure()
    assert gate.refusal == FULL
    assert f"in {full}," in events[0]["why"]


def test_a_volume_that_cannot_be_looked_at_refuses_mail_for_now(volumes):
    volumes["data"] = OSError(5, "Input/output error")
    gate = make_gate("data")
    gate.measure()
    assert gate.refusal == UNAVAILABLE and gate.refusal.code == 451


def test_the_log_has_a_line_for_each_change_only(volumes):
    gate = make_gate("data")
    volumes["data"] = Volume(1000, 1, 4096)
    with capturedLogs() as events:
        gate.measure()
        gate.measure()
        volumes["data"] = Volume(1000, 500, 4096)
        gate.measure()
        gate.measure()
    assert [event["log_level"].name for event in events] == ["error", "info"]


def test_a_gate_that_was_stopped_stays_shut(volumes):
    gate = make_gate("data")
    gate.stop()
    volumes["data"] = Volume(1000, 500, 4096)
    gate.measure()
    assert gate.refusal is STOPPING
    volumes["data"] = OSError(5, "Input/output error")
    gate.measure()
    assert gate.refusal is STOPPING
