"""Nothing that was acknowledged is lost by kill -9, and duplicates come only from the window of the final dot."""

import pytest

from tests.integration.gateway import Gateway, send
from tests.integration.killing import run


@pytest.mark.parametrize(
    ("mode", "in_doubt", "rounds"), [("relay", "retry", 6), ("direct", "retry", 6), ("direct", "hold", 3)]
)
def test_random_kills_lose_nothing(tmp_path, mode, in_doubt, rounds):
    result = run(tmp_path, rounds, seed=20, mode=mode, in_doubt=in_doubt)
    assert result.acknowledged > 50, result
    assert result.lost == 0, result
    assert result.corrupt == 0, result
    assert result.unexplained == result.unmarked == 0, result
    assert (result.duplicates if in_doubt == "hold" else result.held) == 0, result
    assert result.phantoms <= 4 * result.rounds, result  # the client died with its connection, after its final dot
    assert result.reported > 5 and result.reported_twice == 0, result
    assert result.slowest_start < 15, result


def test_commands_beside_a_server_take_nothing_from_it(tmp_path):
    """A command that takes itself for the last user of the database removes the log, and with it what the server says
    yes to from then on."""
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    login = gateway.add_login()
    gateway.run("queue", "pause")
    ids = []
    try:
        for _ in range(3):
            gateway.start()
            for size in (1, 10_000):  # the second is a file, which the next start looks after
                gateway.run("queue", "list")
                with gateway.connect(login) as client:
                    ids.append(send(client, "a@example.com", ["b@example.net"], (b"y" * 70 + b"\r\n") * size))
            gateway.run("queue", "pause")
            gateway.kill()
        assert {row["id"] for row in gateway.json("queue", "list")} == set(ids)
    finally:
        gateway.end()
