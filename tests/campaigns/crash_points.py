"""A server that is killed before each single system call of a message's life, and what is left of the message then.

    python -m tests.campaigns.crash_points [--every N]

A life is three messages, one after the other: a small one and a large one that are delivered, and one that fails, whose
sender is told.  First a life is watched, to see which thread makes which calls how often; then there is a life for each
of those calls, in which the thread is killed, and all of the server with it, as it is about to make the call.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import re
import smtplib
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver
from tests.integration.strace import injected, threads_of

CALLS = ("fsync", "fdatasync", "pwrite64", "write", "rename", "unlink", "ftruncate", "sendto")
SENDER = "a@example.com"
LIFE = (("small", 1), ("large", 400), ("hard", 1))
START_LIMIT = 5.0
SLACK = 0.5
"""Seconds after a kill in which a busy next hop may first look at what the server had sent before."""


class Point(NamedTuple):
    """Before the ``number``-th such call of the thread that was the ``thread``-th to be made."""

    thread: int
    call: str
    number: int


def make_content(token):
    """Each message's content follows from its token."""
    return (
        f"Token: {token}\r\nSubject: x\r\n\r\n".encode() + (b"y" * 70 + b"\r\n") * 14 * dict(LIFE)[token.split("-")[0]]
    )


class Ledger(Receiver):
    """The next hop: notes each copy of each message, and each report, by tokens."""

    def __init__(self, port):
        super().__init__(port)
        self.copies = Counter()
        self.reports = {}
        self.corrupt = []

    async def handle_DATA(self, server, session, envelope):
        content = envelope.original_content
        token = re.search(rb"^Token: (\S+)", content, re.MULTILINE)[1].decode()
        with self._lock:
            if envelope.mail_from == SENDER:
                self.copies[token] += 1
                if not content.endswith(make_content(token)):
                    self.corrupt.append(token)
            else:
                id = re.search(rb"^Message-ID: (\S+)", content, re.MULTILINE | re.IGNORECASE)[1]
                self.reports.setdefault(token, Counter())[id] += 1
        return "250 2.0.0 Thank you"

    def knows(self, token):
        with self._lock:
            return self.copies[token] + sum(self.reports.get(token, {}).values()) > 0


class Campaign:
    """One server and its next hop; what is wrong is collected in ``wrong``."""

    def __init__(self, directory):
        [port] = free_ports(1)
        self.ledger = Ledger(port).start()
        self.gateway = Gateway(
            directory,
            f'mode = "relay"\nrelay = "smtp://localhost:{port}"\nretry = ["1s"]',
            "[limits]\nauth_failures = 10",
        )
        self.gateway.login = self.gateway.add_login()
        self.acknowledged = set()
        self.offered = []
        self.wrong = []
        self.kills = self.duplicates = self.phantoms = 0
        self.slowest_start = 0.0
        self._lives = 0
        self._begin()

    def close(self):
        self.gateway.end()
        self.ledger.stop()

    def _begin(self):
        began = time.monotonic()
        self.gateway.start()
        self.slowest_start = max(self.slowest_start, time.monotonic() - began)

    # --- a life ---

    def _live(self, client):
        """Send the messages of a life, each after the end of the one before; the tokens that were offered."""
        self._lives += 1
        for kind, _ in LIFE:
            token = f"{kind}-{self._lives}"
            self.offered.append(token)
            send(client, SENDER, [f"{kind}@example.net"], make_content(token))
            self.acknowledged.add(token)
            wait_for(lambda token=token: (self.ledger.knows(token) and self._is_done()) or self._is_dead())
            if self._is_dead():
                return

    def _is_dead(self):
        return self.gateway.process.poll() is not None

    def _open(self):
        return contextlib.closing(sqlite3.connect(self.gateway.directory / "data" / "smtpeter.db", timeout=20))

    def _is_done(self):
        with self._open() as database:
            return database.execute("SELECT count(*) FROM recipient WHERE state < 4").fetchone() == (0,)

    def watch(self, trace):
        """Which points there are."""
        with self.gateway.connect(self.gateway.login) as client:
            threads = list(threads_of(self.gateway.process.pid))
            with injected(self.gateway.process.pid, *CALLS, output=trace):
                self._live(client)
                time.sleep(1.5)  # a checkpoint
        counts = Counter(
            (threads.index(int(thread)), call)
            for thread, call in re.findall(r"^(\d+) +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE)
            if int(thread) in threads
        )
        return [Point(*key, number) for key, count in sorted(counts.items()) for number in range(1, count + 1)]

    def kill_at(self, point):
        """Live until the server is killed there; whether it came to that."""
        known = dict(self.ledger.copies)
        client = self.gateway.connect(self.gateway.login)
        thread = list(threads_of(self.gateway.process.pid))[point.thread]
        with injected(thread, f"{point.call}:signal=KILL:when={point.number}", threads=False):
            try:
                self._live(client)
                # What comes after a life: a checkpoint, for example.
                end = time.monotonic() + 1.5
                while not self._is_dead() and time.monotonic() < end:
                    time.sleep(0.05)
            except (OSError, smtplib.SMTPException, AssertionError):
                with contextlib.suppress(AssertionError):
                    wait_for(self._is_dead, 5)
        client.close()
        if not self._is_dead():
            self.check(point, known, False)
            return False
        self.gateway.process.wait()
        time.sleep(SLACK)
        before = Counter(self.ledger.copies)
        self.kills += 1
        self._begin()
        self.check(point, before, True)
        return True

    # --- what has to be true ---

    def check(self, point, before, killed):
        """After a restart everything comes to its end by itself; ``before`` are the copies that came before that."""
        try:
            wait_for(lambda: all(map(self.ledger.knows, self.acknowledged)) and self._is_done(), 60)
        except AssertionError:
            lost = sorted(token for token in self.acknowledged if not self.ledger.knows(token))
            self.wrong.append(f"{point}: lost or stuck: {lost}")
        this = {f"{kind}-{self._lives}" for kind, _ in LIFE}
        for token in this & set(self.ledger.copies):
            extra = self.ledger.copies[token] - 1
            self.duplicates += extra
            if extra > (1 if killed and before.get(token) else 0):
                self.wrong.append(f"{point}: {token} came {extra + 1} times")
        for token in this & set(self.ledger.reports):
            ids = self.ledger.reports[token]
            self.duplicates += sum(ids.values()) - 1
            if len(ids) > 1 or sum(ids.values()) > 1 + killed:
                self.wrong.append(f"{point}: {token} was reported {dict(ids)}")
        phantoms = {token for token in this if self.ledger.knows(token)} - self.acknowledged
        self.phantoms += len(phantoms)
        if not phantoms <= set(self.offered[-1:]):
            self.wrong.append(f"{point}: never acknowledged, yet sent: {sorted(phantoms)}")
        if self.ledger.corrupt:
            self.wrong.append(f"{point}: not as it was sent: {self.ledger.corrupt}")
            self.ledger.corrupt = []
        self._check_store(point)

    def _check_store(self, point):
        with self._open() as database:
            for question, answer in (
                ("PRAGMA integrity_check", [("ok",)]),
                ("SELECT count(*) FROM recipient WHERE state NOT BETWEEN 1 AND 7", [(0,)]),
                ("SELECT count(*) FROM recipient WHERE state <> 2 AND lease IS NOT NULL", [(0,)]),
                (
                    "SELECT count(*) FROM submission AS s WHERE unfinished <> "
                    "(SELECT count(*) FROM recipient AS r WHERE r.submission = s.id AND state < 4)",
                    [(0,)],
                ),
            ):
                found = database.execute(question).fetchall()
                if found != answer:
                    self.wrong.append(f"{point}: {question}: {found}")
            files = {file for (file,) in database.execute("SELECT file FROM submission WHERE file IS NOT NULL")}
        there = {file.name for file in (self.gateway.directory / "data" / "content").rglob("*") if file.is_file()}
        if files - there:
            self.wrong.append(f"{point}: files are missing: {files - there}")


class Result(NamedTuple):
    points: int
    kills: int
    acknowledged: int
    duplicates: int
    phantoms: int
    slowest_start: float
    wrong: list[str]


def run(directory: Path, choose=lambda points: points, progress=lambda point: None) -> Result:
    """Kill at the points that ``choose`` takes of all."""
    campaign = Campaign(directory)
    try:
        points = choose(campaign.watch(directory / "trace"))
        for point in points:
            progress(point)
            campaign.kill_at(point)
    finally:
        campaign.close()
    return Result(
        len(points),
        campaign.kills,
        len(campaign.acknowledged),
        campaign.duplicates,
        campaign.phantoms,
        campaign.slowest_start,
        campaign.wrong,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="only each N-th point (default: all)")
    options = parser.parse_args()

    def choose(points):
        counts = Counter((point.thread, point.call) for point in points)
        print(len(points), "points:", ", ".join(f"{thread} {call} {n}" for (thread, call), n in counts.items()))
        return points[random.randrange(options.every) :: options.every]

    with tempfile.TemporaryDirectory() as directory:
        result = run(Path(directory), choose)
    print("\n".join(result.wrong))
    figures = ", ".join(f"{name} {value}" for name, value in zip(result._fields[:-1], result[:-1], strict=True))
    well = not result.wrong and result.slowest_start < START_LIMIT
    print(f"crash_points: {'ok' if well else 'FAILED'}: {figures}")
    sys.exit(not well)


if __name__ == "__main__":
    main()
