"""Has large requests read and composed in processes of their own, of lower priority: what is wrong with one of them
ends such a process and nothing else."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IProcessProtocol, IProcessTransport, IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from smtpeter.web.rest.exchange import COMPOSED, Setup, decode_answer, decode_outgoing, encode_task
from smtpeter.web.rest.outgoing import Outgoing
from smtpeter.web.rest.rota import Rota
from smtpeter.web.rest.values import ApiError, Request
from smtpeter.web.uploads import create, new_path

PROCESSES = 2
"""At once."""

WAITING = 200
"""Requests that may wait for one; where there are more, those wait that are of accounts with fewer."""

DEADLINE = 60.0
"""Seconds in which a process answers; the first time it has to start, too."""

IDLE = 600.0
"""Seconds after which a process without work ends."""

LONG = 2.0
"""Seconds in which nearly every request is read."""

SLOW = 60.0
"""Seconds for which an account comes after others, and has no two processes, when a request of its took longer."""

_PIECE = 64 * 1024
_LINE_LIMIT = 16 * 1024 * 1024
_OVERDONE = ApiError(413, "This request takes more time to be read than a message may")
_OVERDUE = ApiError(503, "This request was not read in time; try again later")
_NO_ROOM = ApiError(503, "There is not enough room for this request now; try again later")
_STOPPING = ApiError(503, "The service is stopping; try again later")
_NONE = ApiError(503, "Large requests cannot be read now; try again later")
_TOO_MANY = ApiError(503, "Too many large requests are under way; try again later")
_BROKEN = ApiError(503, "This request could not be read; try again later")


class FromElsewhere(NamedTuple):
    """A message that is in a file.  ``digest`` is of the request; :meth:`remove` has to be called in the end."""

    outgoing: Outgoing
    digest: bytes
    remove: Callable[[], None]


class FilePieces:
    """The octets of a file, piece by piece, each time anew."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            while piece := file.read(_PIECE):
                yield piece


class _Task(NamedTuple):
    account: int
    line: bytes
    answer: Deferred[dict[str, Any]]


class Elsewhere:
    """A few processes, started when there is work for them.  Accounts take turns: while others wait, none has two of
    them.

    ``directory`` is where large requests are; ``command`` and ``environment`` start a process.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        processes: IReactorProcess,
        timers: IReactorTime,
        directory: Path,
        setup: Setup,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self._processes = processes
        self._timers = timers
        self._directory = directory
        self._setup = setup.encode()
        self._command = command
        self._environment = environment
        self._crew: list[_Process] = []
        self._rota: Rota[_Task] = Rota()
        self._slow: dict[int, float] = {}  # accounts, until when
        self._stopped = False

    async def compose(self, request: Request, account: int) -> FromElsewhere:
        """What a request of an account asks for.

        :raises ApiError: as :func:`smtpeter.web.rest.bodies.read_tree` and
            :func:`smtpeter.web.rest.outgoing.make_outgoing`; 413 where it takes more CPU or memory than a message may;
            503 where too many wait, or nothing has come of it for another reason.
        """
        if self._stopped:
            raise _STOPPING
        file = request.file or self._write(request.body)
        composed = Path(f"{file}{COMPOSED}")
        try:
            told = await self._have_done(account, encode_task(file, request.field(b"content-type")))
            if "error" in told:
                raise ApiError(told["status"], told["error"])
        except BaseException:
            _remove(composed)
            raise
        finally:
            if request.file is None:
                _remove(file)
        envelope, options, digest = decode_outgoing(told)
        return FromElsewhere(Outgoing(envelope, FilePieces(composed), options), digest, lambda: _remove(composed))

    def stop(self) -> None:
        """End all of them now; what waits is told to come again."""
        self._stopped = True
        self._give_up(_STOPPING)
        for process in tuple(self._crew):
            process.kill("the service is stopping")

    def _write(self, body: bytes) -> Path:
        path = new_path(self._directory)
        try:
            descriptor = create(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(body)
        except OSError as error:
            _remove(path)
            self._log.error("storage: a request cannot be kept: {reason}", event="storage", reason=str(error))
            raise _NO_ROOM from None
        return path

    def _have_done(self, account: int, line: bytes) -> Deferred[dict[str, Any]]:
        task = _Task(account, line, Deferred())
        self._rota.add(account, task)
        if len(self._rota) > WAITING:
            self._rota.drop().answer.errback(_TOO_MANY)
        self._hand_out()
        return task.answer

    def _hand_out(self) -> None:
        """Give what waits to those who have nothing to do."""
        while len(self._rota) and not self._stopped:
            idle = next((process for process in self._crew if process.is_idle), None) or self._start()
            turn = None if idle is None else self._rota.take(self._busy(), self._slow_ones())
            if idle is None or turn is None:
                return
            idle.give(turn[1])

    def _busy(self) -> set[int]:
        return {process.task.account for process in self._crew if process.task is not None}

    def _slow_ones(self) -> Collection[int]:
        now = self._timers.seconds()
        self._slow = {account: until for account, until in self._slow.items() if until > now}
        return self._slow

    def _start(self) -> _Process | None:
        """Another process, where there may be one."""
        if len(self._crew) >= PROCESSES:
            return None
        process = _Process(self._timers, self._done, self._ended)
        try:
            process.start(self._processes, self._command, self._environment, self._setup)
        except OSError as error:
            self._log.error("no composer can be started: {reason}", event="composer", reason=str(error))
            if not self._crew:
                self._give_up(_NONE)
            return None
        self._crew.append(process)
        return process

    def _done(self, task: _Task, seconds: float) -> None:
        if seconds > LONG:
            self._slow[task.account] = self._timers.seconds() + SLOW
        self._hand_out()

    def _give_up(self, why: ApiError) -> None:
        for task in self._rota.clear():
            task.answer.errback(why)

    def _ended(self, process: _Process, how: str) -> None:
        self._crew.remove(process)
        if how:
            self._log.warn("a composer has ended: {how}", event="composer", how=how)
        task = process.task
        if task is not None:
            if process.overdone or process.overdue:
                self._slow[task.account] = self._timers.seconds() + SLOW
            task.answer.errback(_OVERDONE if process.overdone else _OVERDUE if process.overdue else _BROKEN)
        self._hand_out()


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


class _Process(ProcessProtocol):
    """One process.  ``task`` is what it has at hand; ``on_answer`` is told when that is done, and how many
    seconds it took, ``on_end`` how the process ended, with an empty text where that was as it should be.

    ``overdone``: the task took all the CPU that it may have.  ``overdue``: it was not done in time, which may be for
    others that kept the machine busy.
    """

    _log = Logger()

    def __init__(
        self, timers: IReactorTime, on_answer: Callable[[_Task, float], None], on_end: Callable[[_Process, str], None]
    ) -> None:
        self.task: _Task | None = None
        self.overdone = False
        self.overdue = False
        self._leaving = False
        self._begun = 0.0
        self._timers = timers
        self._on_answer = on_answer
        self._on_end = on_end
        self._said: list[bytes] = []
        self._size = 0
        self._timer: IDelayedCall | None = None
        self._killed = ""
        self._last_line = ""
        self._process: IProcessTransport | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it can be given a task."""
        return self.task is None and not self._leaving and not self._killed

    def start(
        self, processes: IReactorProcess, command: Sequence[str], environment: Mapping[str, str], setup: bytes
    ) -> None:
        """Start the process.

        :raises OSError: where the system has none for us.
        """
        self._process = processes.spawnProcess(cast(IProcessProtocol, self), command[0], command, environment)
        self._process.write(setup)
        self._set_timer(IDLE, self._leave)

    def give(self, task: _Task) -> None:
        """Have it carry out a task."""
        assert self._process is not None and self.task is None
        self.task = task
        self._begun = self._timers.seconds()
        self._set_timer(DEADLINE, self._overdue)
        self._process.write(task.line)

    def kill(self, why: str) -> None:
        """End it now."""
        if self._process is not None and not self._killed:
            self._killed = why
            try:
                self._process.signalProcess("KILL")
            except Exception:  # it has ended by itself, and we are about to be told
                pass

    def outReceived(self, data: bytes) -> None:
        """See :class:`twisted.internet.interfaces.IProcessProtocol`: an answer, or a part of one."""
        self._said.append(data)
        self._size += len(data)
        if self._size > _LINE_LIMIT:
            self.kill("it says too much")
        if self._killed or not data.endswith(b"\n"):
            return
        line, self._said, self._size = b"".join(self._said), [], 0
        told = decode_answer(line)
        if told is None or self.task is None:
            self.kill("it says what cannot be understood")
            return
        task, self.task = self.task, None
        self._set_timer(IDLE, self._leave)
        task.answer.callback(told)
        self._on_answer(task, self._timers.seconds() - self._begun)

    def errReceived(self, data: bytes) -> None:
        """See the interface: what went wrong with it."""
        lines = data.decode("utf-8", "backslashreplace").split("\n")
        self._last_line = next((line.strip()[:500] for line in reversed(lines) if line.strip()), self._last_line)

    def processEnded(self, reason: Failure) -> None:
        """See the interface."""
        self._stop_timer()
        end: Any = reason.value
        number = getattr(end, "signal", None)
        self.overdone |= number == signal.SIGPROF
        how = self._killed
        if not how and (number or getattr(end, "exitCode", 0)):
            how = f"signal {number}" if number else f"status {end.exitCode}: {self._last_line}"
        self._on_end(self, how)

    def _overdue(self) -> None:
        self._timer = None
        self.overdue = True
        self.kill(f"no answer for {DEADLINE:g} s")

    def _leave(self) -> None:
        self._timer = None
        self._leaving = True
        if self._process is not None:
            self._process.closeStdin()

    def _set_timer(self, seconds: float, function: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._timers.callLater(seconds, function)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
