"""One worker process, as the server sees it."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.errors import SmtpeterError
from smtpeter.features.exchange import READY, Answer, Task
from smtpeter.features.frames import BadFrame, FrameReader, frame
from smtpeter.features.progress import Progress, make_page

START_DEADLINE = 60.0
"""Seconds in which a worker has to be ready: a busy machine takes its time for what has to be imported."""

COMMAND = (sys.executable, "-P", "-m", "smtpeter.worker")
"""What starts a worker, with the environment of :func:`environment_of_worker`."""

_NOT_FOR_WORKERS = ("LISTEN_", "NOTIFY_", "WATCHDOG_")  # what systemd says to the server
_LINE_LIMIT = 1000  # octets of a line that a worker writes
_LINES = 200  # so many lines of one worker in a minute are for the log
_PIPES_TIMEOUT = 1.0  # seconds for which a process that has ended may leave its pipes open, by a child of its own


def environment_of_worker(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours, and the places in which we find modules: a worker has to find the same."""
    package = importlib.util.find_spec("smtpeter")
    roots = [str(Path(each).parent) for each in (package.submodule_search_locations or ())] if package else []
    path = dict.fromkeys([each for each in sys.path if Path(each).is_absolute()] + roots)
    kept = {name: value for name, value in environment.items() if not name.startswith(_NOT_FOR_WORKERS)}
    return kept | {"PYTHONPATH": os.pathsep.join(path)}


class WorkerDied(SmtpeterError):
    """A worker ended with a task at hand.  ``feature`` was at work then; empty where that was none."""

    def __init__(self, reason: str, feature: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.feature = feature


class WorkerProcess(ProcessProtocol):
    """Speaks frames with a worker.

    ``on_answer`` tells whether the answer was one to what the worker has at hand.  ``on_end`` is told how it ended, and
    what feature was at work.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        timers: IReactorTime,
        setup: bytes,
        deadline: float,
        on_ready: Callable[[WorkerProcess], None],
        on_answer: Callable[[WorkerProcess, Answer], bool],
        on_end: Callable[[WorkerProcess, str, str], None],
    ) -> None:
        self.was_ready = False
        self.is_leaving = False
        self._timers = timers
        self._setup = setup
        self._deadline = deadline
        self._on_ready = on_ready
        self._on_answer = on_answer
        self._on_end = on_end
        self._reader = FrameReader()
        self._progress: Progress | None = None
        self._timer: IDelayedCall | None = None
        self._pipes_timer: IDelayedCall | None = None
        self._killed = ""
        self._lines = _Lines(timers)
        self._process: IProcessTransport | None = None

    @property
    def is_ready(self) -> bool:
        """Whether it can be given tasks."""
        return self.was_ready and not self.is_leaving

    # --- what the pool asks for ---

    def start(self, processes: IReactorProcess, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the process.

        :raises OSError: where the system has none for us.
        """
        page = make_page()
        try:
            self._progress = Progress(page)
            descriptors: dict[int, str | int] = {0: "w", 1: "r", 2: "r", 3: page}
            self._process = processes.spawnProcess(
                cast(IProcessProtocol, self), command[0], command, environment, childFDs=descriptors
            )
        finally:
            os.close(page)
        self._expect_within(START_DEADLINE)
        self._process.write(frame(self._setup))

    def give(self, task: Task) -> None:
        """Have it carry out a task, after those that it was given before."""
        assert self._process is not None
        if self._timer is None:
            self._expect_within(self._deadline)
        self._process.write(frame(task.encode()))

    def expect(self, more: bool) -> None:
        """It has answered; whether there is more for it to do, and be it to end."""
        self._stop_timer()
        if more:
            self._expect_within(self._deadline)

    def end(self) -> None:
        """Let it finish what it was given."""
        self.is_leaving = True
        if self._process is not None:
            self._process.closeStdin()

    def kill(self, why: str) -> None:
        """End it now."""
        if self._process is not None and not self._killed:
            self._killed = why
            try:
                self._process.signalProcess("KILL")
            except Exception:  # it has ended by itself, and we are about to be told
                pass

    # --- what the process says ---

    def outReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.IProcessProtocol`: frames."""
        if self._killed:
            return
        try:
            for payload in self._reader.feed(data):
                self._hear(payload)
        except BadFrame as error:
            self.kill(f"it says what cannot be understood: {error}")

    def _hear(self, payload: bytes) -> None:
        if not self.was_ready:
            if payload != READY:
                raise BadFrame("it is not ready")
            self.was_ready = True
            self._stop_timer()
            self._on_ready(self)
            return
        assert self._progress is not None
        answer = Answer.decode(payload, self._progress.take)
        self.is_leaving |= bool(answer.worn)
        if not self._on_answer(self, answer):
            raise BadFrame("it was not asked for this")

    def errReceived(self, data: bytes) -> None:
        """See the interface: lines for the log."""
        for line in self._lines.feed(data):
            self._log.warn("a worker says: {line}", event="worker", line=line)

    def processExited(self, reason: Failure) -> None:
        """See the interface.  What it wrote may still be on its way."""
        self._stop_timer()
        self._pipes_timer = self._timers.callLater(_PIPES_TIMEOUT, self._close_pipes)

    def _close_pipes(self) -> None:
        self._pipes_timer = None
        if self._process is not None:
            self._process.loseConnection()

    def processEnded(self, reason: Failure) -> None:
        """See the interface."""
        self._stop_timer()
        if self._pipes_timer is not None:
            self._pipes_timer.cancel()
        assert self._progress is not None
        feature = self._progress.read()[1]
        self._progress.close()
        how = self._killed or _how(reason.value)
        last = self._lines.last
        if not self.was_ready and last:
            how = f"{how}: {last}"
        self._on_end(self, how, feature)

    # --- deadlines ---

    def _expect_within(self, seconds: float) -> None:
        self._timer = self._timers.callLater(seconds, self._overdue, seconds)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _overdue(self, seconds: float) -> None:
        self._timer = None
        self.kill(f"no answer for {seconds:g} s")


def _how(end: Any) -> str:
    """How a process ended, in a few words."""
    if getattr(end, "signal", None) is None:
        return f"its worker ended with status {getattr(end, 'exitCode', None)}"
    try:
        name = signal.Signals(end.signal).name
    except ValueError:
        name = "unknown"
    if end.signal == signal.SIGVTALRM:
        return f"it took more CPU than a message may, and could only be killed ({name})"
    return f"its worker died by signal {end.signal} ({name})"


class _Lines:
    """What a worker writes to standard error, cut to what a log can bear."""

    def __init__(self, timers: IReactorTime) -> None:
        self.last = ""
        self._timers = timers
        self._buffer = b""
        self._minute = 0.0
        self._told = 0

    def feed(self, data: bytes) -> list[str]:
        """The lines that are for the log."""
        *lines, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest[:_LINE_LIMIT]
        return [text for line in lines if line.strip() for text in self._tell(line)]

    def _tell(self, line: bytes) -> list[str]:
        self.last = line[:_LINE_LIMIT].decode("utf-8", "backslashreplace").strip()
        now = self._timers.seconds()
        if now - self._minute >= 60.0:
            self._minute, self._told = now, 0
        self._told += 1
        if self._told > _LINES:
            return []
        return [self.last if self._told < _LINES else "(more lines are left out for a minute)"]
