"""A store, real worker processes and what feeds them, without the rest of the server; the test is the reactor."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from itertools import count
from pathlib import Path

from twisted.internet.epollreactor import EPollReactor
from twisted.python.failure import Failure

from smtpeter.clock import WallClock
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.features.pipeline import Limits
from smtpeter.features.pool import WorkerPool
from smtpeter.features.preparer import Preparer
from smtpeter.features.services import FeatureKeys, Surroundings
from smtpeter.features.setup import Setup
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Submission
from smtpeter.settings import Features
from smtpeter.store.opening import open_for_server
from smtpeter.web.metrics import Metrics

HOSTILE = Path(__file__).parents[1] / "plugins" / "hostile"
MESSAGE = b"From: me@example.com\r\nSubject: hello\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"

_entropy = count(1)


class Loop:
    """A reactor that turns only while a test waits for something."""

    def __init__(self):
        self.reactor = EPollReactor()
        self.reactor.seconds = time.monotonic
        self.reactor.startRunning(installSignalHandlers=True)
        self.longest_turn = 0.0

    def turn(self):
        begun = time.thread_time()
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0)
        self.longest_turn = max(self.longest_turn, time.thread_time() - begun)

    def wait_until(self, what, timeout=60.0, message="it did not happen in time"):
        """Turn until the answer is true, and give it back."""
        end = time.monotonic() + timeout
        while not (answer := what()):
            assert time.monotonic() < end, message
            self.reactor.runUntilCurrent()
            self.reactor.doIteration(min(0.02, self.reactor.timeout() or 0.0))
        return answer

    def wait_for(self, deferred, timeout=60.0):
        """What a Deferred fires with."""
        results = []
        deferred.addBoth(results.append)
        self.wait_until(lambda: results, timeout)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def close(self):
        self.reactor.fireSystemEvent("shutdown")
        self.reactor.disconnectAll()


def copy_plugins(directory, source=HOSTILE):
    """Features in a directory that nobody but us can write to."""
    plugins = directory / "plugins"
    shutil.copytree(source, plugins, ignore=shutil.ignore_patterns("__pycache__"))
    for each in (plugins, *plugins.rglob("*")):
        each.chmod(each.stat().st_mode & ~0o022)
    return plugins


class Keys(dict):
    """A key for each feature that there may be."""

    def __missing__(self, name):
        return FeatureKeys("k", {"k": hashlib.sha256(name.encode()).digest()})


class Workshop:
    """Like a server whose mail is never delivered: what is prepared can be claimed, and looked at."""

    def __init__(self, loop, directory, names, workers=2, deadline=30.0, paths=None, retry=(60.0,)):
        self.loop = loop
        self.directory = directory
        self.clock = WallClock()
        self.metrics = Metrics()
        self.reports = []
        self.url = f"sqlite://{directory / 'mail.db'}"
        features = Features(paths=(copy_plugins(directory),) if paths is None else paths)
        keys = {name: Keys()[name] for name in names}
        setup = Setup(
            os.getpid(), self.url, directory, Surroundings("localhost", "http://t.example.com", "b.example.com"),
            features, keys, Limits(),
        )  # fmt: skip
        reactor = loop.reactor
        self.store = open_for_server(
            self.url, directory, self.clock, reactor.callFromThread, call_soon=lambda f: reactor.callLater(0, f)
        )
        self.pool = WorkerPool(
            processes=reactor,
            timers=reactor,
            metrics=self.metrics,
            command=[sys.executable, "-P", "-m", "smtpeter.worker"],
            environment=dict(os.environ),
            setup=setup.encode(),
            workers=workers,
            deadline=deadline,
        )
        self.preparer = Preparer(
            queue=self.store.queue,
            workers=self.pool,
            report=self._report,
            clock=self.clock,
            timers=reactor,
            metrics=self.metrics,
            policy=RetryPolicy(retry),
            random=lambda: 0.5,
            more_due=lambda: None,
        )
        self.preparer.startService()

    async def _report(self, job, failed, now):
        self.reports.append((job, failed))

    def submit(self, content=MESSAGE, recipients=1, lifetime=86400.0, **options):
        """A message with these options; its id."""
        store, wait = self.store, self.loop.wait_for
        spool = store.content.spool()
        for start in range(0, len(content), 65536):
            writing = spool.write(content[start : start + 65536])
            if writing is not None:
                wait(writing)
        now = self.clock.time()
        addresses = tuple(Recipient(f"r{number}@example.net", "example.net") for number in range(recipients))
        submission = Submission(
            id=make_submission_id(int(now * 1000), next(_entropy).to_bytes(10, "big")),
            account=None,
            login="",
            channel="smtp",
            envelope=Envelope("me@example.com", addresses),
            content=wait(spool.finish()),
            time=now,
            due=now,
            expires=now + lifetime,
            options=tuple((name, "true" if value is True else str(value)) for name, value in options.items()),
            prepare=True,
        )
        wait(store.queue.enqueue(submission))
        self.preparer.wake()
        return submission.id

    def events(self, id, kind):
        """The data of a submission's events of this kind."""
        entries = self.loop.wait_for(self.store.journal.of_submission(id, 1))
        return [entry.data for entry in entries if entry.kind == kind]

    def wait_for_event(self, id, kind, timeout=60.0):
        end = time.monotonic() + timeout
        while not (events := self.events(id, kind)):
            assert time.monotonic() < end, self.loop.wait_for(self.store.journal.of_submission(id, 1))
            self.turn_for(0.02)
        return events[0]

    def turn_for(self, seconds):
        end = time.monotonic() + seconds
        self.loop.wait_until(lambda: time.monotonic() >= end)

    def prepared(self, id, timeout=60.0):
        """What the event tells, and the octets that go."""
        data = self.wait_for_event(id, "prepared", timeout)
        now = self.clock.time()
        jobs = self.loop.wait_for(self.store.queue.claim_due(["example.net"], 1000, now, now + 900))
        (job,) = [job for job in jobs if job.submission == id]
        return data, self.loop.wait_for(self.store.content.read(id, job.content)), job

    def close(self):
        self.loop.wait_for(self.preparer.stopService())
        self.loop.wait_for(self.store.close())
