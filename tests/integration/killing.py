"""Killing the server at random under load, and counting what came of every message that it had said yes to.

The short form is a test.  The long one, with as many rounds as you like:

    python -m tests.integration.killing --rounds 1000 [--queued 100000] [--mode direct] [--in-doubt hold]

Each tenth message goes to somebody who is not there, so that its sender has to be told.  What comes twice has to have
been under way when the server was killed, and its second event has to say so; with ``hold`` nothing comes twice, and
what might have is held.
"""

from __future__ import annotations

import argparse
import json
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
    return f"Token: {token}\r\nSubject: {token}\r\n\r\n".encode() + (b"y" * 70 + b"\r\n") * 14 * size


class TimedReceiver(Receiver):
    """Notes when each copy came, and which were not as they had been sent; of reports to senders, how often each
    came, by id."""

    def __init__(self, port, address="127.0.0.1"):
        super().__init__(port, address=address)
        self.times = []
        self.reports = {}
        self.corrupt = 0

    async def handle_DATA(self, server, session, envelope):
        token = re.search(rb"^Token: (\S+)", envelope.original_content, re.MULTILINE)[1].decode()
        with self._lock:
            if b"\r\nContent-Type: multipart/report" in envelope.original_content:
                id = re.search(rb"^Message-ID: (\S+)", envelope.original_content, re.MULTILINE)[1].decode()
                self.reports.setdefault(token, Counter())[id] += 1
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
    """``unexplained`` came twice though no kill was near, ``unmarked`` without an event that says so."""

    rounds: int
    acknowledged: int
    lost: int
    held: int
    duplicates: int
    unexplained: int
    unmarked: int
    phantoms: int
    corrupt: int
    reported: int
    reported_twice: int
    slowest_start: float


def ask(gateway, question):
    database = sqlite3.connect(gateway.directory / "data" / "smtpeter.db", timeout=20)
    rows = database.execute(question).fetchall()
    database.close()
    return rows


def unfinished(gateway):
    """How many recipients are in the queue, those that are held not counted."""
    [(count,)] = ask(gateway, "SELECT count(*) FROM recipient WHERE state < 4 AND state <> 3")
    return count


def marked(gateway):
    """What has been delivered and may have been before: tokens of messages, Message-IDs of reports."""
    rows = ask(
        gateway,
        """
        SELECT s.subject, s.message_id FROM event AS e JOIN submission AS s ON s.id = e.submission
        WHERE e.kind = 'delivery' AND json_extract(e.data, '$.possible_duplicate')
        """,
    )
    return {each for row in rows for each in row}


def held(gateway):
    """Tokens of what is held, and what its event says; of a report, the token of what it is about."""
    rows = ask(
        gateway,
        """
        SELECT s.subject, c.data, e.data FROM recipient AS r JOIN submission AS s ON s.id = r.submission
        LEFT JOIN content AS c ON c.number = s.content
        JOIN event AS e ON e.submission = r.submission AND e.number = r.number AND e.kind = 'held'
        WHERE r.state = 3
        """,
    )
    token = re.compile(rb"^Token: (\S+)", re.MULTILINE)
    return {
        token.search(content)[1].decode() if content else subject: json.loads(event) for subject, content, event in rows
    }


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


def run(
    directory: Path,
    rounds: int,
    seed: int,
    clients: int = 4,
    queued: int = 0,
    mode: str = "relay",
    in_doubt: str = "retry",
) -> Result:
    chance = random.Random(seed)
    way = WAYS[mode](directory)
    gateway = Gateway(directory / "gateway", f'{way.delivery}\nin_doubt = "{in_doubt}"', "[limits]\nauth_failures = 10")
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
        is_marked, is_held = marked(gateway), held(gateway)
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
    report_copies = sum(reports.values(), Counter())
    twice += [id for id, count in report_copies.items() if count > 1]
    unmarked = {token for token in twice if token not in is_marked}
    unmarked.update(token for token, event in is_held.items() if not event.get("possible_duplicate"))
    return Result(
        rounds=rounds,
        acknowledged=len(load.acknowledged),
        lost=len(load.acknowledged - set(copies) - set(reports) - set(is_held)),
        held=len(is_held),
        duplicates=sum(copies.values()) - len(copies) + sum(report_copies.values()) - len(report_copies),
        unexplained=len(unexplained),
        unmarked=len(unmarked),
        phantoms=len((set(copies) | set(reports)) - load.acknowledged),
        corrupt=sum(receiver.corrupt for receiver in way.receivers),
        reported=len(reports),
        reported_twice=sum(len(ids) > 1 for ids in reports.values()),
        slowest_start=slowest,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--queued", type=int, default=0, help="recipients that wait in the queue all the while")
    parser.add_argument("--mode", choices=WAYS, default="relay")
    parser.add_argument("--in-doubt", choices=("retry", "hold"), default="retry", help="as in [delivery]")
    arguments = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        result = run(
            Path(directory),
            arguments.rounds,
            arguments.seed,
            queued=arguments.queued,
            mode=arguments.mode,
            in_doubt=arguments.in_doubt,
        )
    bad = result.lost or result.unexplained or result.unmarked or result.corrupt or result.reported_twice
    bad = bad or (result.duplicates if arguments.in_doubt == "hold" else result.held)
    print(f"killing: seed {arguments.seed}, {(time.monotonic() - began) / arguments.rounds:.1f} s a round: {result}")
    well = not bad and result.phantoms <= 4 * result.rounds and result.slowest_start < START_LIMIT
    print("killing:", "ok" if well else "FAILED")
    sys.exit(not well)


if __name__ == "__main__":
    main()
