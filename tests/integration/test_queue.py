"""What an operator does to the queue while mail flows: it takes effect, and neither mail nor clients suffer."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from tests.integration.gateway import Gateway, send, wait_for

CONTENT = b"Subject: x\r\n\r\nx\r\n"
FINAL_EVENTS = {"delivery", "failure", "cancelled"}


@pytest.fixture
def gateway(tmp_path, receiver):
    gateway = Gateway(
        tmp_path / "gateway", f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"\nretry = ["1s"]'
    )
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


class Sender(threading.Thread):
    """Sends to new recipients without rest, and keeps what was refused and the longest time that a message took."""

    def __init__(self, gateway, name):
        super().__init__(daemon=True)
        self._gateway, self._name = gateway, name
        self._stopping = threading.Event()
        self.sent, self.refused, self.slowest = [], [], 0.0
        self.start()

    def run(self):
        with self._gateway.connect(self._gateway.login) as client:
            while not self._stopping.is_set():
                recipient = f"{self._name}{len(self.sent)}@flow.example"
                began = time.monotonic()
                try:
                    send(client, "a@example.com", [recipient], CONTENT)
                except AssertionError as error:
                    self.refused.append(str(error))
                    client.rset()
                else:
                    self.sent.append(recipient)
                self.slowest = max(self.slowest, time.monotonic() - began)
                time.sleep(0.01)

    def stop(self):
        self._stopping.set()
        self.join(30)


def test_a_pause_holds_back_all_mail_and_takes_it_in_across_restarts(gateway, receiver):
    assert gateway.json("queue", "pause") == {"paused": True}
    time.sleep(1.5)  # what a command changed takes effect within a second
    for number in range(3):
        with gateway.connect(gateway.login) as client:
            send(client, "a@example.com", [f"to{number}@example.net"], CONTENT)
        gateway.stop()
        gateway.start()
    time.sleep(1.5)
    assert receiver.messages == []
    assert [row["state"] for row in gateway.json("queue", "list")] == ["due"] * 3
    gateway.json("queue", "resume")
    wait_for(lambda: len(receiver.messages) == 3)


def test_ten_thousand_recipients_are_changed_while_mail_flows(gateway, receiver):
    """Neither are clients turned away, nor does delivery stop meanwhile."""
    gateway.json("queue", "pause")
    time.sleep(1.5)
    with gateway.connect(gateway.login) as client:
        for batch in range(10):
            recipients = [f"user{batch}-{number}@bulk.example" for number in range(1000)]
            client.mail("a@example.com")
            client.send(b"".join(b"RCPT TO:<%s>\r\n" % recipient.encode() for recipient in recipients))
            assert all(client.getreply()[0] == 250 for _ in recipients)
            assert client.data(CONTENT)[0] == 250
    assert gateway.json("queue", "hold", "--domain", "bulk.example", "--yes") == {"count": 10_000}
    gateway.json("queue", "resume")
    sender = Sender(gateway, "flow")
    try:
        wait_for(lambda: len(receiver.messages) > 20)
        for verb, options, count in (("release", ("--limit", "3000"), 3000), ("cancel", ("--state", "held"), 7000)):
            before = len(receiver.messages)
            assert gateway.json("queue", verb, "--domain", "bulk.example", *options, "--yes") == {"count": count}
            assert len(receiver.messages) > before
    finally:
        sender.stop()
    assert sender.refused == [] and sender.slowest < 5
    wait_for(lambda: len(receiver.got(sender.sent[-1])) == 1, timeout=60)
    wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)
    ends = Counter(
        row["state"] for row in gateway.json("message", "list", "--domain", "bulk.example", "--limit", "20000")
    )
    assert ends == {"cancelled": 7000, "delivered": 3000}


def test_race_cancel_against_delivery_leaves_one_final_state_each(gateway, receiver):
    sender = Sender(gateway, "race")
    cancelled = 0
    try:
        wait_for(lambda: sender.sent)
        for _ in range(5):
            gateway.json("queue", "hold", "--domain", "flow.example", "--yes")
            cancelled += gateway.json("queue", "cancel", "--domain", "flow.example", "--yes")["count"]
    finally:
        sender.stop()
    assert sender.refused == []
    wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=60)
    rows = gateway.json("message", "list", "--domain", "flow.example", "--limit", "100000")
    assert {row["recipient"] for row in rows} == set(sender.sent)
    assert {row["state"] for row in rows} <= {"delivered", "cancelled"}
    assert sum(row["state"] == "cancelled" for row in rows) == cancelled
    copies = Counter(recipient for _, recipients, _ in receiver.messages for recipient in recipients)
    assert copies == {row["recipient"]: 1 for row in rows if row["state"] == "delivered"}
    for row in rows[:: max(1, len(rows) // 8)]:
        events = [event["event"] for event in gateway.json("message", "show", row["id"])["events"]]
        assert len(FINAL_EVENTS & set(events)) == 1 == sum(event in FINAL_EVENTS for event in events), events
