"""One destination does not harm the others: short forms of the campaign, with bounds for a busy machine."""

from __future__ import annotations

import pytest

from tests.campaigns import fairness


@pytest.mark.parametrize("kind", ["refuses", "busy"])
def test_a_dead_destination_costs_the_others_nothing(tmp_path, kind):
    gave = fairness.dead(tmp_path, 1000, 5000, kind, rounds=1)
    assert gave["attempts"] <= 2 * fairness.CAP, gave
    assert gave["most"] <= fairness.CAP, gave
    assert gave["percent"] > 40, gave
    assert gave["quiet"] < 0.25, gave


def test_a_limit_is_kept_and_costs_the_others_nothing(tmp_path):
    gave = fairness.limited(tmp_path, 500, 5000, 1200, 15.0, rounds=1)
    assert abs(gave["error"]) <= 0.03, gave
    assert gave["percent"] > 40, gave
    assert gave["busy"] < 0.5, gave
