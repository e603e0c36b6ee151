"""What the queue costs: CPU to claim and settle a recipient, and disk, however many others wait.

    python -m bench.claims [--queued 1000 10000 100000] [--json FILE]

So many messages with one recipient each wait in a store of their own.  Some are claimed, a hundred together, and
settled as delivered, each with an event that tells a dialogue of 400 octets.  What is counted is the CPU time of the
thread that does it, in microseconds for each recipient: on the server that is the writer's.  Checkpoints, which have a
thread there, are not in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from smtpeter.clock import WallClock
from smtpeter.model.delivery import Job, RecipientState, SettledJob, Settlement
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import Event, EventKind
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Content, Submission
from smtpeter.store.opening import Store, open_for_command, result_of
from smtpeter.store.sqlite.connection import connect
from smtpeter.store.sqlite.enqueue import Enqueue

TOGETHER = 100
ROUNDS = 5
MEASURED = 2000
"""Recipients that are delivered in each round, where there are so many."""

CLAIMS_PER_CHECKPOINT = 10
DATA = b"Subject: queued\r\n\r\n" + b"x" * 1500 + b"\r\n"
CONTENT = Content(len(DATA), hashlib.sha256(DATA).digest(), DATA)
DIALOGUE = "\n".join(f"{number:3} < 250 2.1.0 Ok, as it should be" for number in range(40))[:400]

WAYS = {"all in one lane": (1, 1), "10 each of 10 lanes": (100, 10), "1 each of 100 lanes": (1000, 100)}
"""How many lanes there are, and how many of them are claimed from together."""


class Bench:
    """A store with its queue."""

    def __init__(self, directory: Path, queued: int, lanes: int) -> None:
        self.directory = directory
        self.store: Store = open_for_command(f"sqlite://{directory / 'mail.db'}", directory, WallClock())
        result_of(self.store.executor.write(lambda connection: connection.execute("PRAGMA wal_autocheckpoint = 0")))
        self.checkpointing = connect(directory / "mail.db", query_only=True)
        self.now = time.time()
        self.seconds: dict[str, float] = {}
        begun = time.thread_time()
        for begin in range(0, queued, TOGETHER):
            taken = [Enqueue(self.submission(begin + number, queued, lanes)) for number in range(TOGETHER)]
            result_of(self.store.executor.write(lambda connection, taken=taken: Enqueue.together(connection, taken)))
            if begin % (TOGETHER * CLAIMS_PER_CHECKPOINT) == 0:
                self.checkpoint()
        self.enqueued = (time.thread_time() - begun) / queued * 1e6
        self.checkpoint()

    def submission(self, number: int, queued: int, lanes: int) -> Submission:
        moment = self.now - 3600 + number * 3500 / queued
        domain = f"d{number % lanes}.example"
        recipient = Recipient(f"somebody{number}@{domain}", domain)
        return Submission(
            id=make_submission_id(int(moment * 1000), hashlib.sha256(str(number).encode()).digest()[:10]),
            account=1,
            login="application",
            channel="smtp",
            envelope=Envelope("a@example.com", (recipient,)),
            content=CONTENT,
            time=moment,
            due=moment,
            expires=moment + 86400,
            subject="What is new this week",
            message_id=f"<{number}@example.com>",
        )

    def checkpoint(self) -> None:
        self.checkpointing.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def timed(self, what: str, work: Callable[..., Any], *arguments: Any) -> Any:
        begun = time.thread_time()
        value = result_of(work(*arguments))
        self.seconds[what] += time.thread_time() - begun
        return value

    def deliver(self, count: int, claimed_from: int) -> tuple[float, float]:
        """Microseconds to claim one, and to settle it."""
        queue, dealt_with, claims = self.store.queue, 0, 0
        self.seconds = {"claim": 0.0, "settle": 0.0}
        while dealt_with < count:
            lanes, _ = self.timed("claim", queue.due_lanes, self.now, claimed_from)
            shares = [(lane, TOGETHER // claimed_from) for lane in lanes]
            jobs = self.timed("claim", queue.claim_due, shares, self.now, self.now + 900)
            settled = [self.settled(job) for job in jobs]
            dealt_with += self.timed("settle", queue.settle, settled)
            claims += 1
            if claims % CLAIMS_PER_CHECKPOINT == 0:
                self.checkpoint()
        return self.seconds["claim"] / dealt_with * 1e6, self.seconds["settle"] / dealt_with * 1e6

    def settled(self, job: Job) -> SettledJob:
        data = {"attempt": 0, "from": "192.0.2.1", "to": "198.51.100.7", "mta": "mx.example.net", "code": 250}
        event = Event(EventKind.DELIVERY, self.now, data | {"text": "2.0.0 Ok", "dialogue": DIALOGUE})
        rows = tuple(Settlement(each.number, RecipientState.DELIVERED, 1, 0.0, event) for each in job.recipients)
        return SettledJob(job.submission, job.lease, rows)

    def size(self) -> int:
        self.checkpoint()
        return (self.directory / "mail.db").stat().st_size

    def close(self) -> None:
        self.checkpointing.close()
        result_of(self.store.close())


def measure(queued: int, lanes: int, claimed_from: int) -> dict[str, float]:
    """Medians of the rounds, in one store where it lasts for all."""
    figures: list[tuple[float, ...]] = []
    while len(figures) < ROUNDS:
        with tempfile.TemporaryDirectory() as directory:
            bench = Bench(Path(directory), queued, lanes)
            disk = bench.size() / queued - len(DATA)
            for _ in range(min(ROUNDS, max(1, queued // MEASURED))):
                figures.append((bench.enqueued, *bench.deliver(min(queued, MEASURED), claimed_from), disk))
            bench.close()
    enqueue, claim, settle, disk = (statistics.median(each) for each in zip(*figures, strict=True))
    return {"enqueue": enqueue, "claim": claim, "settle": settle, "both": claim + settle, "disk": disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queued", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--way", choices=list(WAYS), nargs="+", default=list(WAYS))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = []
    for way in arguments.way:
        print(f"\n{way}: us of CPU, and octets on disk beyond the content, for each recipient")
        print(f"{'queued':>10}{'enqueue':>10}{'claim':>10}{'settle':>10}{'both':>10}{'disk':>10}")
        for queued in arguments.queued:
            figures = measure(queued, *WAYS[way])
            results.append({"way": way, "queued": queued, **figures})
            print(f"{queued:>10}" + "".join(f"{figure:>10.1f}" for figure in figures.values()), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
