"""Mail with features survives kill -9 of servers and workers: nothing is lost, and every copy is whole."""

from tests.integration.killing_featured import run


def test_random_kills_of_servers_and_workers_lose_nothing_and_let_nothing_go_unprepared(tmp_path):
    result = run(tmp_path, seconds=8, seed=3)
    assert result.messages > 50 and result.server_kills > 1 and result.worker_kills > 0, result
    assert result.well, result
    assert result.phantoms <= 4 * result.server_kills, result  # the client died with its connection
    assert result.reported > 3, result
