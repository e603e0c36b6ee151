"""What is remembered for a while."""

from __future__ import annotations

from twisted.internet.task import Clock

from smtpeter.delivery.remembered import Remembered


def test_a_value_is_there_until_its_time_is_over():
    clock = Clock()
    remembered = Remembered(clock.seconds, 10)
    remembered.put("a", 1, 5.0)
    clock.advance(4)
    assert remembered.get("a") == (1, 1.0)
    clock.advance(1)
    assert remembered.get("a") is None
    assert len(remembered) == 0
    assert remembered.get("b") is None


def test_attack_room_is_bounded_and_those_in_use_stay():
    clock = Clock()
    remembered = Remembered(clock.seconds, 10)
    remembered.put("kept", 0, 5.0)
    for number in range(1000):
        remembered.put(number, number, 5.0)
        assert remembered.get("kept") is not None
    assert len(remembered) == 10
    remembered.put("large", 0, 5.0, 9)
    assert len(remembered) == 2
    remembered.put("larger than all", 0, 5.0, 11)
    assert len(remembered) == 0


def test_a_value_that_is_told_again_takes_its_room_once():
    remembered = Remembered(Clock().seconds, 10)
    for number in range(20):
        remembered.put("a", number, 5.0, 6)
    assert remembered.get("a") == (19, 5.0)
