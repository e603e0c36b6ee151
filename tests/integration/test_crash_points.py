"""A server killed in the middle of a message's life takes it up where it was: some points of all there are.

All of them: ``python -m tests.campaigns.crash_points``.
"""

from tests.campaigns.crash_points import run


def some(points):
    """Around what makes a file durable, and some of the syncs and answers."""
    rare = [point for point in points if point.call in ("fsync", "rename")]
    syncs = [point for point in points if point.call == "fdatasync"]
    answers = [point for point in points if point.call == "sendto"]
    return [*rare, *syncs[1::5], *answers[3::10]]


def test_a_kill_before_any_call_loses_nothing(tmp_path):
    result = run(tmp_path, some)
    assert result.wrong == []
    assert result.kills >= 6, result
    assert result.acknowledged > result.kills, result
    assert result.slowest_start < 15, result
