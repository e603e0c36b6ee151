"""A queue of 100,000: how soon a restarted server takes mail, and how long commands and /metrics take beside it.

    python -m tests.campaigns.large_queue [--recipients 100000]

Everything is done twice: with recipients that are due, and with recipients that were all leased when the server died.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
import urllib.request
from pathlib import Path

from smtpeter.clock import WallClock
from smtpeter.model.delivery import Lane
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Content, Submission
from smtpeter.store.opening import open_for_command, result_of
from smtpeter.store.sqlite.enqueue import enqueue
from tests.campaigns.stalls import WatchedGateway
from tests.integration.gateway import Gateway, free_ports, send

DATA = b"Subject: queued\r\n\r\n" + (b"x" * 72 + b"\r\n") * 14
DOMAINS = 500


def open_store(gateway):
    data = gateway.directory / "data"
    return open_for_command(f"sqlite://{data / 'smtpeter.db'}", data, WallClock())


def fill(gateway, count, wait=3600, domains=None):
    """So many messages of one recipient each, the oldest days ago, due for another attempt after ``wait`` seconds.
    Recipients are in these domains in turn; in DOMAINS of them unless they are given."""
    domains = domains or [f"d{number}.example" for number in range(DOMAINS)]
    store = open_store(gateway)
    now = time.time()
    content = Content(len(DATA), hashlib.sha256(DATA).digest(), DATA)

    def submission(number):
        moment = now - 3 * 86400 + number * 86400 / count
        domain = domains[number % len(domains)]
        return Submission(
            id=make_submission_id(int(moment * 1000), os.urandom(10)),
            account=1,
            login="",
            channel="smtp",
            envelope=Envelope("a@example.com", (Recipient(f"to{number}@{domain}", domain),)),
            content=content,
            time=moment,
            due=now + wait,
            expires=now + 5 * 86400,
            subject=f"queued {number}",
            tags=("few",) if number % 1000 == 0 else ("many",),
        )  # fmt: skip

    for begin in range(0, count, 1000):
        batch = [submission(number) for number in range(begin, min(count, begin + 1000))]
        result_of(store.executor.write(lambda connection, batch=batch: enqueue(connection, batch)))
    result_of(store.close())


def lease_all(gateway):
    """As a server leaves them that dies in the middle of its work."""
    store = open_store(gateway)
    shares = [(Lane(f"d{number}.example", 1), 10) for number in range(DOMAINS)]
    later = time.time() + 7200
    while result_of(store.queue.claim_due(shares, later, later + 900)):
        pass
    result_of(store.close())


COMMANDS = (
    ("queue", "list", "--limit", "100"),
    ("queue", "list"),
    ("queue", "list", "--domain", "d7.example"),
    ("queue", "list", "--state", "deferred"),
    ("queue", "list", "--tag", "few"),
    ("message", "list"),
    ("message", "list", "--recipient", "to5@d5.example"),
    ("message", "list", "--domain", "d7.example"),
    ("message", "list", "--account", "owner@example.com"),
    ("message", "list", "--account", "nobody@example.com"),
    ("message", "list", "--tag", "few"),
    ("message", "list", "--state", "delivered"),
    ("message", "list", "--since", "1h"),
    ("message", "list", "--until", "2020-01-01"),
    ("queue", "hold", "--domain", "d7.example", "--yes"),
    ("queue", "release", "--yes"),
    ("queue", "hold", "--yes"),
    ("queue", "cancel", "--tag", "few", "--yes"),
    ("queue", "cancel", "--yes"),
)


def report(what, seconds):
    print(f"  {what:<62}{seconds:8.2f} s", flush=True)


def measure(gateway):
    began = time.monotonic()
    with gateway.connect(gateway.login) as client:
        send(client, "a@example.com", ["new@example.net"], DATA)
    report("one message", time.monotonic() - began)
    time.sleep(11.0)  # the depths are looked at every 10 seconds
    began = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.http}/metrics", timeout=60) as answer:
        depths = [line for line in answer.read().decode().splitlines() if line.startswith("smtpeter_queue{")]
    report(f"/metrics: {' '.join(depths)}", time.monotonic() - began)
    began = time.monotonic()
    gateway.run("account", "list")
    report("(a command that has nothing to do with the queue)", time.monotonic() - began)
    for command in COMMANDS:
        gateway.held()
        began = time.monotonic()
        gateway.run(*command)
        seconds = time.monotonic() - began
        held = max((each["cpu"] for each in gateway.held()), default=0.0)
        report(" ".join(command) + (f"  (reactor held {held * 1000:.0f} ms)" if held else ""), seconds)


def run(directory, count, *, leased):
    [port] = free_ports(1)  # nobody listens there: nothing is ever delivered
    relay = f'mode = "relay"\nrelay = "smtp://localhost:{port}"'
    gateway = WatchedGateway(directory, relay)
    gateway.stop()
    fill(gateway, count)
    if leased:
        lease_all(gateway)
    began = time.monotonic()
    Gateway.start(gateway)
    report("from start to the first 200 of /healthz", time.monotonic() - began)
    try:
        gateway.kill()
        if leased:
            lease_all(gateway)
        gateway.start_watched()
        measure(gateway)
        began = time.monotonic()
        gateway.stop()
        report("stop", time.monotonic() - began)
    finally:
        gateway.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=100_000)
    count = parser.parse_args().recipients
    for leased in (False, True):
        print(f"\n{count} recipients, {'leased when the server died' if leased else 'due in an hour'}")
        with tempfile.TemporaryDirectory() as directory:
            run(Path(directory), count, leased=leased)


if __name__ == "__main__":
    main()
