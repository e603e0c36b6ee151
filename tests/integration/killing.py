"""Killing the server at random under load, and counting what came of every message that it had said yes to.

The short form is a test.  The long one, with as many rounds as you like:

    python -m tests.integration.killing --rounds 1000 [--queued 100000] [--mode direct]

Each tenth message goes to somebody who is not there, so that its sender has to be told.
"""

from __future__ import annotations

import argparse
import random
import re
import smtplib
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.campaigns.large_queue import fill
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver
from tests.integration.world import World

WINDOW = 2.0
"""Seconds before a kill in which a first copy may have arrived without its outcome having been written down."""


SLACK = 0.5
"""Seconds after a kill in which a busy receiver may first look at what the server had sent before."""


START_LIMIT = 5.0
"""Seconds from a kill until mail is accepted again."""


def make_content(token):
    """Each message's content follows from its token: some are large enough to be files."""
    size = 300 if int(token.rpartition("-")[2]) % 25 == 0 else 1
    return f"Token: {token}\r\nSubject: x\r\n\r\n".encode() + (b"y" * 70 + b"\r\n") * 14 * size


class TimedReceiver(Receiver):
    """Notes when each copy came, and which were not as they had been sent; of reports to senders, their ids."""

    def __init__(self, port, address="127.0.0.1"):
        super().__init__(port, address=address)
        self.times = []
        self.reports = {}
        self.corrupt = 0

    async def handle_DATA(self, server, session, envelope):
        token = re.search(rb"^Token: (\S+)", envelope.original_content, re.MULTILINE)[1].decode()
        with self._lock:
            if b"\r\nContent-Type: multipart/report" in envelope.original_content:
                id = re.search(rb"^Message-ID: (\S+)", envelope.original_content, re.MULTILINE)[1]
                self.reports.setdefault(token, set()).add(id)
                return "250 2.0.0 Thank you"
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
                        name = "to" if count % 10 else "hard"
                        recipient = f"{name}{count % 50}@d{count % 7}.example"
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
    reported: int
    reported_twice: int
    slowest_start: float


def unfinished(gateway):
    """How many recipients are in the queue."""
    database = sqlite3.connect(gateway.directory / "data" / "smtpeter.db", timeout=20)
    [(count,)] = database.execute("SELECT count(*) FROM recipient WHERE state < 4").fetchall()
    database.close()
    return count


class Relay:
    """One receiver that all mail goes to."""

    def __init__(self, directory: Path) -> None:
        [port] = free_ports(1)
        self.receivers = [TimedReceiver(port).start()]
        self.delivery = f'mode = "relay"\nrelay = "smtp://localhost:{port}"\nretry = ["1s"]'

    def stop(self) -> None:
        for receiver in self.receivers:
            receiver.stop()


class Direct(Relay):
    """Each domain has a receiver of its own, the senders' too; the first host of one is not there."""

    def __init__(self, directory: Path) -> None:
        self._world = World(directory / "world")
        self.receivers = []
        for name in (*(f"d{number}.example" for number in range(7)), "example.com"):
            address = self._world.address()
            hosts = [self._world.host(refuses=True)] if name == "d3.example" else []
            self._world.domain(name, *hosts, self._world.place(f"mx.{name}", address))
            self.receivers.append(TimedReceiver(self._world.port, address).start())
        self._world.start()
        self.delivery = self._world.delivery('retry = ["1s"]')

    def stop(self) -> None:
        super().stop()
        self._world.stop()


WAYS = {"relay": Relay, "direct": Direct}


def run(directory: Path, rounds: int, seed: int, clients: int = 4, queued: int = 0, mode: str = "relay") -> Result:
    chance = random.Random(seed)
    way = WAYS[mode](directory)
    gateway = Gateway(directory / "gateway", way.delivery, "[limits]\nauth_failures = 10")
    gateway.login = gateway.add_login()
    fill(gateway, queued, wait=86400)
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
        wait_for(lambda: unfinished(gateway) == queued, timeout=120)
    finally:
        load.stop()
        gateway.end()
        way.stop()
    times = sorted((each for receiver in way.receivers for each in receiver.times), key=lambda each: each[1])
    copies = Counter(token for token, _ in times)
    reports = {token: ids for receiver in way.receivers for token, ids in receiver.reports.items()}
    first = {}
    for token, moment in times:
        first.setdefault(token, moment)
    twice = [token for token, count in copies.items() if count > 1]
    unexplained = [t for t in twice if not any(-SLACK <= kill - first[t] <= WINDOW for kill in kills)]
    return Result(
        rounds,
        len(load.acknowledged),
        len(load.acknowledged - set(copies) - set(reports)),
        sum(copies.values()) - len(copies),
        len(unexplained),
        len((set(copies) | set(reports)) - load.acknowledged),
        sum(receiver.corrupt for receiver in way.receivers),
        len(reports),
        sum(len(ids) > 1 for ids in reports.values()),
        slowest,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--queued", type=int, default=0, help="recipients that wait in the queue all the while")
    parser.add_argument("--mode", choices=WAYS, default="relay")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        result = run(Path(directory), arguments.rounds, arguments.seed, queued=arguments.queued, mode=arguments.mode)
    bad = result.lost or result.unexplained or result.corrupt or result.reported_twice
    print(f"killing: seed {arguments.seed}, {(time.monotonic() - began) / arguments.rounds:.1f} s a round: {result}")
    well = not bad and result.phantoms <= 4 * result.rounds and result.slowest_start < START_LIMIT
    print("killing:", "ok" if well else "FAILED")
    sys.exit(not well)


if __name__ == "__main__":
    main()
