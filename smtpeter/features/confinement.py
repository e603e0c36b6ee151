"""What keeps a worker in its place: less important than the server, with bounds on memory and on time for each message.

Everything here is about the process that calls it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

from smtpeter.features.progress import Progress

T = TypeVar("T")

SECONDS = 0.8
"""Of CPU, for one message; then the feature that is at work is cut off."""

REST = 0.2
"""Of CPU, for all that still has to be done with a message when a feature was cut off."""

FIRST_TIME = 1.0
"""More of it, for a feature's first message in this process: it may have modules to import."""

HARD_SECONDS = 1.0
"""Of CPU (outside of the system) over what is allowed; then the process is killed: C code may never come back to be cut
off.  Where it stays in the system, the server's deadline ends it."""

MEMORY = 250 * 1024 * 1024
"""Octets of address space, over what the process has before its first message."""

# While the server is at its limit, mail waits for its features and plain mail goes on.  There is a sixteenth of a core
# left beside one busy thread: so a message that takes all its time is done before the server's deadline.
_NICE = 12
_REPEAT = 0.02  # whoever catches everything is cut off again
_PR_SET_PDEATHSIG = 1


class OutOfTime(BaseException):
    """A feature has used up the time of its message.  No ``Exception``, lest it be caught for one."""


def take_descriptors() -> tuple[int, int]:
    """Where to read and to write frames, out of everybody's way: what a feature prints comes to standard error."""
    incoming, outgoing = os.dup(0), os.dup(1)  # not inherited by what a feature may start
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


def step_back(parent: int) -> None:
    """Come after the server in everything, end with it, and leave nothing behind.

    ``parent`` is the server's process id.
    """
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of us; the server tells us in time
        signal.signal(number, signal.SIG_IGN)
    # Not every system has these, and a sandbox may forbid them.
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    with suppress(OSError):
        os.nice(_NICE)
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            raise SystemExit("the server has gone")


def bound_memory(octets: int = MEMORY) -> None:
    """Let nobody have more than so many octets over what there is by now."""
    size = memory().get("VmSize")
    if size is not None:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, (size + octets, size + octets))


def memory() -> dict[str, int]:
    """What the system tells of the memory of this process, in octets: ``VmSize``, ``VmRSS``, ``VmHWM`` (the most that
    VmRSS ever was) and others; nothing where it tells nothing."""
    try:
        with open("/proc/self/status", "rb") as file:  # noqa: PTH123 (for each message)
            lines = file.read().split(b"\n")
    except OSError:
        return {}
    fields = [line.split() for line in lines if line.startswith(b"Vm")]
    return {name[:-1].decode("ascii"): int(size) * 1024 for name, size, *_ in fields}


class Stopwatch:
    """The time of CPU that each message may take, softly by an exception, hard by the process's end.

    ``progress`` is told what is at work.  Made once in a process: it has timers and signals to itself.
    """

    def __init__(self, progress: Progress, seconds: float = SECONDS, rest: float = REST) -> None:
        self.cut_off = False
        self._progress = progress
        self._seconds = seconds
        self._rest = rest
        self._task = 0
        self._left = 0.0
        self._running = False
        self._seen: set[str] = set()
        signal.signal(signal.SIGPROF, self._ring)
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)

    def begin(self, task: int) -> None:
        """A message's time begins."""
        self._task = task
        self._left = self._seconds
        self.cut_off = False
        self._move_end(self._seconds)
        self._progress.tell(task, "")

    def end(self) -> None:
        """It is over; what is done now is not for a message."""
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        self._progress.tell(0, "")

    def _move_end(self, seconds: float) -> None:
        # RLIMIT_CPU is of no use here.  It is an absolute figure and Linux holds against it what it counts by ticks,
        # which after many short messages is seconds more than what was used.
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds + HARD_SECONDS)

    def __call__(self, feature: str, work: Callable[[], T]) -> T:
        """Have something done, by a feature or (empty) by ourselves, in the time that is left.

        :raises OutOfTime: in the middle of it.
        """
        if feature and feature not in self._seen:
            self._seen.add(feature)
            self._left += FIRST_TIME
            self._move_end(self._left)
        self._progress.tell(self._task, feature)
        was_cut_off = self.cut_off
        # Signals are looked at when a function begins or has returned.  So this stands in one function, and none begins
        # before the last line is reached: else the exception could come where nobody expects it any more.
        try:
            self._running = True
            signal.setitimer(signal.ITIMER_PROF, max(self._left, _REPEAT), _REPEAT)
            return work()
        finally:
            self._running = False
            left = signal.setitimer(signal.ITIMER_PROF, 0)[0]
            if not self.cut_off:
                self._left = min(self._left, left)
            else:
                self._left = left if was_cut_off else self._rest
            self._progress.tell(self._task, "")

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._running:
            self.cut_off = True
            raise OutOfTime("it took more CPU than a message may")
