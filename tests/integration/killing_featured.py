"""Servers and workers that are killed again and again while mail is prepared and delivered.

Nothing that was acknowledged may be lost, and every copy has to be whole: with links that are tracked for its own
recipient, and otherwise as it came in.  As a test in a few rounds; by hand in as many seconds as you like:

    python -m tests.integration.killing_featured --seconds 600

One message of three wants no feature.  Some are large enough to be files, some have a recipient who is not there.
"""

from __future__ import annotations

import argparse
import html
import os
import random
import re
import signal
import smtplib
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

from smtpeter.auth.keys import load_or_create
from smtpeter.features.services import services_of
from smtpeter.settings import load
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.killing import SLACK, START_LIMIT, WINDOW, unfinished
from tests.integration.receiver import Receiver
from tests.integration.workshop import child_processes

SENDER = "news@example.com"
OPTIONS = b"X-SMTPeter-TrackClicks: true\r\nX-SMTPeter-TrackOpens: true\r\nX-SMTPeter-Dawdle: true\r\n"
CLICK = re.compile(r'"https://localhost/t/trackclicks/([^/"]*)/([^"]*)"')
OPEN = re.compile(r'<img [^>]*"https://localhost/t/trackopens/([^/"]*)/([^"]*)"[^>]*>')
LARGE = "<p>" + "y" * 70 + "</p>\r\n"
PATIENCE = 10.0
"""Seconds in which workers have to end that have lost their server."""

DAWDLE = '''
"""A feature that takes its time, so that much is being prepared at any time."""
import time

from zope.interface import implementer

from smtpeter.api import FailurePolicy, IFeaturePlugin, IPreparingFeature, Option, switched_on


@implementer(IFeaturePlugin, IPreparingFeature)
class Dawdle:
    name, options, after, before = "dawdle", (Option("dawdle", "take your time"),), (), ()
    on_failure = FailurePolicy.SEND

    def configure(self, section, services):
        return self

    def wants(self, options):
        return switched_on(options, "dawdle")

    def prepare(self, message, context):
        time.sleep(0.01)


dawdle = Dawdle()
'''


def is_plain(token):
    return number_of(token) % 3 == 0


def number_of(token):
    return int(token.rpartition("-")[2])


def recipients_of(token):
    """What a message is follows from its token."""
    number = number_of(token)
    found = [f"r{each}@d{(number + each) % 7}.example" for each in range(1, 2 + number % 5)]
    return [*found, "hard@d1.example"] if number % 10 == 0 else found


def body_of(token):
    number = number_of(token)
    links = "".join(f'<p><a href="https://shop.example/{token}/{n}?a=1&amp;b=2">x</a></p>\r\n' for n in range(3))
    return f"<html><body>{links}{LARGE * (1500 if number % 25 == 0 else 3)}</body></html>\r\n"


def make_content(token):
    head = f"From: {SENDER}\r\nToken: {token}\r\nSubject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n"
    return (b"" if is_plain(token) else OPTIONS) + (head + body_of(token)).encode()


class Copy(NamedTuple):
    """What a receiver was given; ``fault`` is what is wrong with it, ``tracked`` whether its links are."""

    token: str
    recipient: str
    moment: float
    submission: str
    fault: str
    tracked: bool


class JudgingReceiver(Receiver):
    """Looks at each copy at once, and keeps none; of reports to senders, their ids."""

    def __init__(self, port, seals):
        super().__init__(port)
        self.copies = []
        self.reports = defaultdict(set)
        self._seals = seals

    async def handle_DATA(self, server, session, envelope):
        content = envelope.original_content
        token = re.search(rb"^Token: (\S+)", content, re.MULTILINE)[1].decode()
        with self._lock:
            if b"\r\nContent-Type: multipart/report" in content:
                self.reports[token].add(re.search(rb"^Message-ID: (\S+)", content, re.MULTILINE)[1])
            else:
                moment = time.monotonic()
                for recipient in envelope.rcpt_tos:
                    self.copies.append(Copy(token, recipient, moment, *self._judge(token, recipient, content)))
        return "250 2.0.0 Thank you"

    def _judge(self, token, recipient, content):
        """The submission, as far as its links tell; what is wrong; whether it was prepared."""
        text = message_from_bytes(content).get_payload(decode=True).decode()
        links = [("trackclicks", *each) for each in CLICK.findall(text)]
        links += [("trackopens", *each) for each in OPEN.findall(text)]
        if b"X-SMTPeter" in content:
            return "", "a control field left", False
        if not links:
            return "", "" if text == body_of(token) else "not as it came", False
        found = [self._seals[name].read(slot, destination) for name, slot, destination in links]
        if None in found:
            return "", f"a link that cannot be read: {links[found.index(None)]}", True
        ours = recipients_of(token).index(recipient) + 1
        if {(each.submission, each.number) for each in found} != {(found[0].submission, ours)}:
            return "", "somebody else's link", True
        urls = iter(found)
        back = CLICK.sub(lambda match: f'"{html.escape(next(urls).payload.decode())}"', OPEN.sub("", text))
        whole = back == body_of(token) and len(links) == 4
        return found[0].submission, "" if whole else "not what came in, prepared", True


class Load:
    """Clients that send without rest and write down what was acknowledged, and by what id."""

    def __init__(self, gateway, clients, pace):
        self.acknowledged = {}
        self._gateway = gateway
        self._pace = pace
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
                        id = send(client, SENDER, recipients_of(token), make_content(token))
                        with self._lock:
                            self.acknowledged[token] = id
                        time.sleep(self._pace)
            except (OSError, smtplib.SMTPException, AssertionError):
                time.sleep(0.05)

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)


class Killer:
    """Ends servers and workers, and looks whether workers outlive their server."""

    def __init__(self, gateway, chance):
        self.moments = []  # at which servers were killed
        self.workers = 0
        self.survivors = 0
        self.slowest = 0.0
        self._gateway = gateway
        self._chance = chance

    def round(self):
        end = time.monotonic() + self._chance.uniform(0.2, 3.0)
        while time.monotonic() < end:
            time.sleep(self._chance.uniform(0.1, 1.0))
            if self._chance.random() < 0.5:
                self._kill_worker()
        self._kill_server()

    def _own(self):
        return [pid for pid, line in child_processes(self._gateway.process.pid).items() if b"smtpeter.worker" in line]

    def _kill_worker(self):
        workers = self._own()
        if workers:
            self.workers += _kill(self._chance.choice(workers))

    def _kill_server(self):
        workers = self._own()
        if self._chance.random() < 0.5:
            self._gateway.kill()
        else:  # its workers have to notice by themselves
            _kill(self._gateway.process.pid)
            self._gateway.process.wait(10)
        killed = time.monotonic()
        self.moments.append(killed)
        self._gateway.start()
        self.slowest = max(self.slowest, time.monotonic() - killed)
        while any(map(_is_worker, workers)) and time.monotonic() < killed + PATIENCE:
            time.sleep(0.05)
        self.survivors += sum(map(_is_worker, workers))


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _is_worker(pid):
    try:
        return b"smtpeter.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


class Result(NamedTuple):
    """``without`` are messages that went without a feature after their workers had been killed twice at them, which is
    what is promised; ``unprepared`` those for which that is not so.  ``orphans`` are files that no message names."""

    server_kills: int
    worker_kills: int
    messages: int
    recipients: int
    copies: int
    lost: int
    faulty: int
    duplicates: int
    unexplained: int
    without: int
    unprepared: int
    phantoms: int
    reported: int
    reported_twice: int
    survivors: int
    orphans: int
    slowest_start: float

    @property
    def well(self):
        bad = (self.lost, self.faulty, self.unexplained, self.unprepared, self.reported_twice)
        return not any(bad) and not self.survivors and not self.orphans


def run(directory: Path, seconds: float, seed: int, clients: int = 3, pace: float = 0.02, report=None) -> Result:
    chance = random.Random(seed)
    [port] = free_ports(1)
    plugins = directory / "plugins"
    plugins.mkdir(mode=0o700)
    (plugins / "dawdle.py").write_text(DAWDLE)
    (plugins / "dawdle.py").chmod(0o600)
    gateway = Gateway(
        directory / "gateway",
        f'mode = "relay"\nrelay = "smtp://localhost:{port}"\nretry = ["1s"]',
        f'[limits]\nauth_failures = 10\nunprepared_age = "10m"\n[features]\nworkers = 2\npaths = ["{plugins}"]',
    )
    gateway.login = gateway.add_login()
    settings = load(gateway.config)
    services = services_of(settings, load_or_create(settings.keys.file))
    receiver = JudgingReceiver(port, {name: services(name).links for name in ("trackclicks", "trackopens")}).start()
    gateway.start()
    load_ = Load(gateway, clients, pace)
    killer = Killer(gateway, chance)
    begun = time.monotonic()
    try:
        while time.monotonic() - begun < seconds:
            killer.round()
            if report is not None and len(killer.moments) % 20 == 0:
                report(killer, load_, receiver, begun)
        load_.stop()
        wait_for(lambda: unfinished(gateway) == 0, timeout=300)
        gateway.stop()
        gateway.start()  # which removes the files that nobody names
        gateway.stop()
        return _result(gateway, killer, load_, receiver)
    finally:
        load_.stop()
        gateway.end()
        receiver.stop()


def _result(gateway, killer, load_, receiver):
    acknowledged = load_.acknowledged
    wanted = {(token, each) for token in acknowledged for each in recipients_of(token) if not each.startswith("hard")}
    hard = {token for token in acknowledged if recipients_of(token)[-1].startswith("hard")}
    copies = Counter((copy.token, copy.recipient) for copy in receiver.copies)
    first = {}
    for copy in receiver.copies:
        first.setdefault((copy.token, copy.recipient), copy.moment)
    twice = [key for key, count in copies.items() if count > 1]
    unexplained = [k for k in twice if not any(-SLACK <= kill - first[k] <= WINDOW for kill in killer.moments)]
    faulty = [copy for copy in receiver.copies if copy.fault or (copy.tracked and is_plain(copy.token))]
    faulty += [
        copy for copy in receiver.copies if copy.submission not in ("", acknowledged.get(copy.token, copy.submission))
    ]
    bare = {copy.token for copy in receiver.copies if not copy.tracked and not is_plain(copy.token)}
    deaths = Counter(re.findall(r"error .*submission=(\S+) feature=\S+: ", gateway.log.read_text()))
    without = {token for token in bare if deaths[acknowledged.get(token, "")] >= 2}
    for copy in faulty[:5]:
        print(f"killing: {copy}", file=sys.stderr)
    for key in unexplained[:10]:
        moments = [copy.moment for copy in receiver.copies if (copy.token, copy.recipient) == key]
        kills = [kill - moments[0] for kill in killer.moments if kill > moments[0] - SLACK]
        print(f"killing: {key} came again after {moments[1] - moments[0]:.2f} s; the next kill was "
              f"{kills[0] if kills else float('nan'):.2f} s after the first copy", file=sys.stderr)  # fmt: skip
    return Result(
        server_kills=len(killer.moments),
        worker_kills=killer.workers,
        messages=len(acknowledged),
        recipients=len(wanted),
        copies=len(receiver.copies),
        lost=len(wanted - set(copies)) + len(hard - set(receiver.reports)),
        faulty=len(faulty),
        duplicates=sum(copies.values()) - len(copies),
        unexplained=len(unexplained),
        without=len(without),
        unprepared=len(bare - without),
        phantoms=len({token for token, _ in copies} - set(acknowledged)),
        reported=len(receiver.reports),
        reported_twice=sum(len(ids) > 1 for ids in receiver.reports.values()),
        survivors=killer.survivors,
        orphans=_orphans(gateway),
        slowest_start=killer.slowest,
    )


def _orphans(gateway):
    data = gateway.directory / "data"
    files = {path.name for path in (data / "content").rglob("*") if path.is_file()}
    database = sqlite3.connect(data / "smtpeter.db")
    named = database.execute("SELECT file FROM submission UNION ALL SELECT file FROM prepared").fetchall()
    database.close()
    return len(files - {name for (name,) in named})


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()

    def report(killer, load_, receiver, begun):
        print(
            f"killing: {time.monotonic() - begun:.0f} s, {len(killer.moments)} servers and {killer.workers} workers "
            f"killed, {len(load_.acknowledged)} messages taken, {len(receiver.copies)} copies came",
            flush=True,
        )

    with tempfile.TemporaryDirectory() as directory:
        result = run(Path(directory), arguments.seconds, arguments.seed, report=report)
    print(f"killing: seed {arguments.seed}: {result}")
    well = result.well and result.phantoms <= 4 * result.server_kills and result.slowest_start < START_LIMIT
    print("killing:", "ok" if well else "FAILED")
    sys.exit(not well)


if __name__ == "__main__":
    main()
