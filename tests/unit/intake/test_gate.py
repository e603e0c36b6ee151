"""Whether mail can be accepted now."""

from __future__ import annotations

import os
from collections import namedtuple

import pytest
from twisted.internet.defer import execute
from twisted.logger import capturedLogs

from smtpeter.intake.gate import BEHIND, FULL, STOPPING, UNAVAILABLE, Backlog, Gate
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


@pytest.mark.parametrize(("oldest", "refusal"), [(None, None), (1000.0, None), (399.0, BEHIND), (1500.0, None)])
def test_mail_that_wants_features_is_refused_while_preparing_is_behind(oldest, refusal):
    backlog = Backlog(600.0)
    backlog.measured(oldest, 1000.0)
    assert backlog.refusal is refusal


def test_the_log_tells_when_preparing_falls_behind_and_when_it_has_caught_up():
    backlog = Backlog(600.0)
    with capturedLogs() as events:
        for oldest in (None, 0.0, 1.0, 900.0, None):
            backlog.measured(oldest, 1000.0)
    assert [event["log_level"].name for event in events] == ["error", "info"]
    assert backlog.refusal is None
