"""How long a client may take."""

from __future__ import annotations

import pytest

from smtpeter.intake.deadlines import RATE_GRACE, Deadlines, Timeouts

TIMEOUTS = Timeouts(command=300.0, handshake=10.0, data_rate=500)


def test_octets_move_no_deadline_of_a_command():
    deadlines = Deadlines(TIMEOUTS, 1000.0)
    deadlines.heard(1299.0, 1)
    assert deadlines.for_command(1299.0) == 1.0
    deadlines.begin(1299.0)
    assert deadlines.for_command(1299.0) == 300.0


def test_octets_move_no_deadline_of_a_handshake():
    deadlines = Deadlines(TIMEOUTS, 1000.0)
    deadlines.heard(1009.0, 500)
    assert deadlines.for_handshake(1009.0) == 1.0


@pytest.mark.parametrize(
    ("octets", "left"),
    [(0, RATE_GRACE), (1, RATE_GRACE), (500 * 30, RATE_GRACE), (500 * 100, 100.0), (500 * 1000, 300.0)],
)
def test_a_message_has_the_grace_then_what_its_octets_are_worth_and_never_more_silence_than_a_command(octets, left):
    deadlines = Deadlines(TIMEOUTS, 1000.0)
    deadlines.heard(1000.0, octets)
    assert deadlines.for_message(1000.0) == left


def test_what_came_before_the_message_is_not_counted_for_it():
    deadlines = Deadlines(TIMEOUTS, 1000.0)
    deadlines.heard(1000.0, 1_000_000)
    deadlines.begin(1001.0)
    assert deadlines.for_message(1001.0) == RATE_GRACE


def test_a_data_rate_of_nothing_asks_for_nothing():
    deadlines = Deadlines(TIMEOUTS._replace(data_rate=0), 1000.0)
    assert deadlines.for_message(1000.0) == 300.0
