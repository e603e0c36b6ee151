"""Worker processes that a test plays, and a pool of which it plays the workers."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from smtpeter.features.exchange import READY, Answer, AnswerKind, Task
from smtpeter.features.frames import FrameReader, frame
from smtpeter.features.progress import Progress
from smtpeter.model.submission import Content
from tests.fakes.jobs import make_content


def make_task(submission="s1", **changes):
    content = make_content()
    task = Task(0, submission, 7, "me@example.org", 1, {}, Content(content.size, content.digest), {})
    return task._replace(**changes)


class FakeProcess:
    """A worker's process: what it was told, and what the test has it say."""

    def __init__(self, protocol, arguments, environment, descriptors):
        self.protocol = protocol
        self.arguments = arguments
        self.environment = environment
        self.closed = self.lost = False
        self.signals = []
        self.progress = Progress(os.dup(descriptors[3]))
        self.told = []
        self._reader = FrameReader()

    # --- the transport ---

    def write(self, octets):
        self.told += self._reader.feed(octets)

    def closeStdin(self):
        self.closed = True

    def signalProcess(self, name):
        self.signals.append(name)

    def loseConnection(self):
        self.lost = True

    # --- what the test has it do ---

    @property
    def tasks(self):
        """What it was told behind its set-up."""
        return [Task.decode(payload) for payload in self.told[1:]]

    def ready(self):
        self.protocol.outReceived(frame(READY))
        return self

    def answer(self, number, kind=AnswerKind.PREPARED, **fields):
        self.protocol.outReceived(frame(Answer(number, kind, **fields).encode()))

    def end(self, status=0, signal=None):
        reason = ProcessTerminated(status or None, signal, status) if status or signal else ProcessDone(0)
        self.protocol.processExited(Failure(reason))
        self.protocol.processEnded(Failure(reason))


class FakeProcesses:
    """Starts processes that do nothing by themselves; ``trouble`` is raised instead while it is set."""

    def __init__(self):
        self.all = []
        self.trouble = None

    def spawnProcess(self, protocol, executable, arguments, environment, childFDs):
        if self.trouble is not None:
            raise self.trouble
        process = FakeProcess(protocol, arguments, environment, childFDs)
        self.all.append(process)
        protocol.makeConnection(process)
        return process


class FakeWorkers:
    """A pool: what it was given, and what the test answers."""

    def __init__(self, places=4):
        self.places = places
        self.given = []
        self.stopped = False

    def room(self):
        return max(0, self.places - len(self.given))

    def carry_out(self, task):
        answered = Deferred()
        self.given.append((task, answered))
        return answered

    def stop(self):
        self.stopped = True
        return succeed(None)

    @property
    def tasks(self):
        return [task for task, _ in self.given]

    def answer(self, submission, kind=AnswerKind.PREPARED, **fields):
        self._take(submission).callback(Answer(0, kind, **fields))

    def fail(self, submission, error):
        self._take(submission).errback(error)

    def _take(self, submission):
        (found,) = [each for each in self.given if each[0].submission == submission]
        self.given.remove(found)
        return found[1]
