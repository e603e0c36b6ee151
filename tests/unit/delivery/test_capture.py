"""Capture mode."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from smtpeter.delivery.capture import CaptureAgent
from smtpeter.delivery.plan import Plan
from smtpeter.delivery.retry import CAPTURED
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.model.delivery import Lane
from tests.fakes.jobs import make_job


def test_everything_is_delivered_at_once() -> None:
    agent = CaptureAgent()
    assert verifyObject(IDeliveryAgent, agent)
    results: list[Any] = []
    agent.deliver(make_job(2)).addCallback(results.append)
    agent.stop().addCallback(results.append)
    assert results == [{1: CAPTURED, 2: CAPTURED}, None]
    lanes = [Lane("example.net", 1), Lane("example.org", 0)]
    assert agent.plan(lanes, 10) == Plan([(lanes[0], 5), (lanes[1], 5)], ())
    assert list(agent.waiting()) == []
    assert agent.parts(make_job(2)) == (make_job(2),)
