"""Nothing that was acknowledged is lost by kill -9, and duplicates come only from the window of the final dot."""

from tests.integration.killing import run


def test_random_kills_lose_nothing(tmp_path):
    result = run(tmp_path, rounds=6, seed=20)
    assert result.acknowledged > 50, result
    assert result.lost == 0, result
    assert result.corrupt == 0, result
    assert result.unexplained == 0, result
    assert result.phantoms <= 4 * result.rounds, result  # the client died with its connection, after its final dot
    assert result.slowest_start < 15, result
