"""Killing the server at random under load, and counting what came of every message that it had said yes to.

The short form is a test.  The long one, with as many rounds as you like:

    python -m tests.integration.killing --rounds 1000
"""

from __future__ import annotations

import argparse
import random
import re
import smtplib
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver

WINDOW = 2.0
"""Seconds before a kill in which a first copy may have arrived without its outcome having been written down."""


SLACK = 0.5
"""Seconds after a kill in which a busy receiver may first look at what the server had sent before."""


def make_content(token):
    """Each message's content follows from its token: some are large enough to be files."""
    size = 300 if int(token.rpartition("-")[2]) % 25 == 0 else 1
    return f"Token: {token}\r\nSubject: x\r\n\r\n".encode() + (b"y" * 70 + b"\r\n") * 14 * size


class TimedReceiver(Receiver):
    """Notes when each copy came, and which were not as they had been sent."""

    def __init__(self, port):
        super().__init__(port)
        self.times = []
        self.corrupt = 0

    async def handle_DATA(self, server, session, envelope):
        token = re.search(rb"^Token: (\S+)", envelope.original_content, re.MULTILINE)[1].decode()
        with self._lock:
            self.times.append((token, time.monotonic()))
            self.corrupt += not envelope.original_content.endswith(make_content(token))
        return "250 2.0.0 Thank you"


class Load:
    """Clients that send without rest and write down what was acknowledged."""

    def __init__(self, gateway, clients):
        self.acknowledged = set()
        self._gateway = gateway
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        count = 0
        while not self._stopping.is_set():
            try:
                with self._gateway.connect(self._gateway.login) as client:
                    while not self._stopping.is_set():
                        count += 1
                        token = f"{number}-{count}"
                        recipient = f"to{count % 50}@d{count % 7}.example"
                        send(client, "a@example.com", [recipient], make_content(token))
                        with self._lock:
                            self.acknowledged.add(token)
            except (OSError, smtplib.SMTPException, AssertionError):
                time.sleep(0.05)

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)


class Result(NamedTuple):
    rounds: int
    acknowledged: int
    lost: int
    duplicates: int
    unexplained: int
    phantoms: int
    corrupt: int
    slowest_start: float


def run(directory: Path, rounds: int, seed: int, clients: int = 4) -> Result:
    chance = random.Random(seed)
    [port] = free_ports(1)
    receiver = TimedReceiver(port).start()
    gateway = Gateway(
        directory, f'mode = "relay"\nrelay = "smtp://localhost:{port}"\nretry = ["1s"]', "[limits]\nauth_failures = 10"
    )
    gateway.login = gateway.add_login()
    gateway.start()
    load = Load(gateway, clients)
    kills = []
    slowest = 0.0
    try:
        for _ in range(rounds):
            time.sleep(chance.uniform(0.2, 2.0))
            gateway.kill()
            kills.append(time.monotonic())
            gateway.start()
            slowest = max(slowest, time.monotonic() - kills[-1])
        load.stop()
        wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)
    finally:
        load.stop()
        gateway.end()
        receiver.stop()
    copies = Counter(token for token, _ in receiver.times)
    first = {}
    for token, moment in receiver.times:
        first.setdefault(token, moment)
    twice = [token for token, count in copies.items() if count > 1]
    unexplained = [t for t in twice if not any(-SLACK <= kill - first[t] <= WINDOW for kill in kills)]
    return Result(
        rounds,
        len(load.acknowledged),
        len(load.acknowledged - set(copies)),
        sum(copies.values()) - len(copies),
        len(unexplained),
        len(set(copies) - load.acknowledged),
        receiver.corrupt,
        slowest,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(f"seed {arguments.seed}:", run(Path(directory), arguments.rounds, arguments.seed))


if __name__ == "__main__":
    main()
