"""A store, real worker processes and what feeds them, without the rest of the server; the test is the reactor."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.process import reapAllProcesses
from twisted.python.failure import Failure

from smtpeter.clock import WallClock
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.features.catalog import find_features
from smtpeter.features.pool import WorkerPool
from smtpeter.features.preparer import Preparer
from smtpeter.features.process import COMMAND, environment_of_worker
from smtpeter.features.setup import Setup
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Submission
from smtpeter.settings import Features, Settings, StoreSettings
from smtpeter.store.opening import open_for_server, result_of
from smtpeter.web.metrics import Metrics

HOSTILE = Path(__file__).parents[1] / "plugins" / "hostile"
MESSAGE = b"From: me@example.com\r\nSubject: hello\r\nContent-Type: text/plain\r\n\r\nHello.\r\n"

_entropy = count(1)


class Loop:
    """A reactor that turns only while a test waits for something."""

    def __init__(self):
        self.reactor = EPollReactor()
        self.reactor.seconds = time.monotonic
        self.reactor.startRunning(installSignalHandlers=False)
        self.longest_turn = 0.0

    def turn(self, longest_sleep=0.02):
        """Do what there is to do; ``longest_turn`` are the seconds of CPU that this took at most."""
        timeout = self.reactor.timeout()
        begun = time.thread_time()
        self.reactor.doIteration(longest_sleep if timeout is None else min(longest_sleep, timeout))
        reapAllProcesses()  # another reactor of this process, such as that of a plugin, may have taken SIGCHLD
        self.reactor.runUntilCurrent()
        self.longest_turn = max(self.longest_turn, time.thread_time() - begun)

    def wait_until(self, what, timeout=60.0, message="it did not happen in time"):
        """Turn until the answer is true, and give it back."""
        end = time.monotonic() + timeout
        while not (answer := what()):
            assert time.monotonic() < end, message
            self.turn()
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


def child_processes(pid):
    """The processes that this one has started, by their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = (path / "stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) == pid and stat.rpartition(")")[2].split()[0] != "Z":
                found[int(path.name)] = (path / "cmdline").read_bytes()
        except OSError:
            pass
    return found


def copy_plugins(directory, source=HOSTILE):
    """Features in a directory that nobody but us can write to."""
    plugins = directory / "plugins"
    if plugins.exists():
        return plugins
    shutil.copytree(source, plugins, ignore=shutil.ignore_patterns("__pycache__"))
    for each in (plugins, *plugins.rglob("*")):
        each.chmod(each.stat().st_mode & ~0o022)
    return plugins


class Keys:
    """A source of keys that are always the same."""

    current = "k"
    ids = ("k",)

    def derive(self, purpose, key_id=None):
        return hashlib.sha256(purpose.encode()).digest()


class _RecordingPool(WorkerPool):
    """Remembers what workers answered, by submission, and how they died."""

    def __init__(self, answers, deaths, **fields):
        super().__init__(**fields)
        self._answers = answers
        self._deaths = deaths

    def carry_out(self, task):
        def died(failure):
            self._deaths.setdefault(task.submission, []).append(failure.value)
            return failure

        def answered(answer):
            self._answers[task.submission] = answer
            return answer

        return super().carry_out(task).addCallbacks(answered, died)


class Workshop:
    """Like a server whose mail is never delivered: what is prepared can be claimed, and looked at."""

    def __init__(self, loop, directory, *, hostile=True, workers=2, deadline=30.0, retry=(60.0,), tables=None):
        self.loop = loop
        self.directory = directory
        self.clock = WallClock()
        self.metrics = Metrics()
        self.reports = []
        self.answers = {}
        self.deaths = {}
        self._jobs = {}
        self.url = f"sqlite://{directory / 'mail.db'}"
        paths = (copy_plugins(directory),) if hostile else ()
        settings = replace(
            Settings.default(),
            data_dir=directory,
            store=StoreSettings(self.url),
            features=Features(paths=paths, tables=tables or {}),
        )
        setup = Setup.of(settings, Keys(), [each.name for each in find_features(settings.features).features])
        reactor = loop.reactor
        self.store = open_for_server(
            self.url,
            directory,
            self.clock,
            reactor.callFromThread,
            call_soon=lambda function: reactor.callLater(0, function),
            prepare=lambda store: result_of(store.queue.recover()),
        )
        self.pool = _RecordingPool(
            self.answers,
            self.deaths,
            processes=reactor,
            timers=reactor,
            metrics=self.metrics,
            command=COMMAND,
            environment=environment_of_worker(os.environ),
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
        lanes, _ = self.loop.wait_for(self.store.queue.due_lanes(now, 1000))
        shares = [(lane, 1000) for lane in lanes if lane.domain == "example.net"]
        for job in self.loop.wait_for(self.store.queue.claim_due(shares, now, now + 900)):
            self._jobs[job.submission] = job
        job = self._jobs[id]
        return data, self.loop.wait_for(self.store.content.read(id, job.content)), job

    def stop(self):
        if self.preparer.running:
            self.loop.wait_for(self.preparer.stopService())

    def close(self):
        self.stop()
        self.loop.wait_for(self.store.close())


def main():
    """A server that is there to be killed: it tells the ids of the messages that it has taken."""
    directory, *options = sys.argv[1:]
    workshop = Workshop(Loop(), Path(directory))
    given = dict(option.split("=", 1) for option in options)
    for _ in range(5):
        print(workshop.submit(zz_marks=True, **given), flush=True)
    workshop.turn_for(3600)


if __name__ == "__main__":
    main()
