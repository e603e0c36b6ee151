"""A server that is stopped and started under load loses nothing, sends nothing twice, and is polite about it."""

import asyncio
import socket
import threading
import time

import pytest

from tests.campaigns.restarts import Client, TurnedAway, run
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver


@pytest.mark.parametrize("signals", [1, 3])
def test_restarts_under_load_are_noticed_by_nobody(tmp_path, signals):
    result = run(tmp_path, rounds=2, clients=8, signals=signals)
    assert result.acknowledged > 50, result
    assert result.turned_away, result
    assert (result.lost, result.duplicates, result.phantoms, result.corrupt) == (0, 0, 0, 0), result
    assert result.complaints == [], result
    assert result.slowest_stop < 30, result


class SlowReceiver(Receiver):
    """Answers a final dot only after four seconds; ``begun`` counts the messages that it has."""

    begun = 0

    async def handle_DATA(self, server, session, envelope):
        self.begun += 1
        await asyncio.sleep(4.0)
        return await super().handle_DATA(server, session, envelope)


def test_a_stop_waits_for_the_answer_to_a_final_dot(tmp_path):
    receiver = SlowReceiver(*free_ports(1)).start()
    gateway = Gateway(tmp_path, f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"\nretry = ["1s"]')
    gateway.login = gateway.add_login()
    gateway.start()
    try:
        with gateway.connect(gateway.login) as client:
            send(client, "a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nx\r\n")
        wait_for(lambda: receiver.begun)
        gateway.stop()
        assert [row["state"] for row in gateway.json("message", "list")] == ["delivered"]
        gateway.start()
        time.sleep(2.0)
        assert receiver.begun == len(receiver.messages) == 1
    finally:
        gateway.end()
        receiver.stop()


@pytest.fixture
def gateway(tmp_path):
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


def test_a_message_under_way_is_taken_and_everybody_else_sent_away_at_once(gateway):
    idle = Client(gateway.smtps, gateway.trust(), gateway.login)
    busy = Client(gateway.smtps, gateway.trust(), gateway.login)
    for command, code in (("MAIL FROM:<a@example.com>", 250), ("RCPT TO:<b@example.net>", 250), ("DATA", 354)):
        busy.ask(command, code)
    stopping = threading.Thread(target=gateway.stop)
    stopping.start()
    with pytest.raises(TurnedAway):
        idle.expect(220, "nothing")
    idle.close()
    with pytest.raises(TurnedAway, match="not let in"):
        Client(gateway.smtps, gateway.trust(), gateway.login)
    assert gateway.health() is None
    time.sleep(1.0)
    busy.send(b"Subject: late\r\n\r\nbut not too late\r\n.\r\n")
    busy.expect(250, "dot")
    with pytest.raises(TurnedAway):
        busy.expect(220, "nothing")
    busy.close()
    stopping.join()
    gateway.start()
    assert wait_for(lambda: [row["state"] for row in gateway.json("message", "list")] == ["delivered"])


def test_clients_that_do_not_listen_hold_up_no_stop(gateway):
    """Half a handshake, half a message, and sessions that never read."""
    clients = [gateway.connect(gateway.login) for _ in range(3)]
    clients[0].mail("a@example.com")
    clients[0].rcpt("b@example.net")
    clients[0].docmd("DATA")
    clients[0].send(b"Subject: never done\r\n")
    context = gateway.trust()
    raw = socket.create_connection(("127.0.0.1", gateway.smtps))
    half = context.wrap_socket(raw, server_hostname="localhost", do_handshake_on_connect=False)
    began = time.monotonic()
    gateway.stop()
    assert time.monotonic() - began < 20
    half.close()
    gateway.start()
    with gateway.connect(gateway.login) as client:
        send(client, "a@example.com", ["b@example.net"], b"Subject: x\r\n\r\nx\r\n")
    assert "Traceback" not in gateway.log.read_text()
