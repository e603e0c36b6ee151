"""Worker processes: kept fed, and replaced when they die, hang, or say that they are worn out."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorProcess, IReactorTime
from twisted.logger import Logger

from smtpeter.features.exchange import Answer, Task
from smtpeter.features.process import WorkerDied, WorkerProcess
from smtpeter.features.progress import ROOMS
from smtpeter.interfaces import IMetrics

AHEAD = ROOMS
"""Tasks that a worker is given at once, so that it never waits for our next turn, and has room for what it makes."""

DEADLINE = 30.0
"""Seconds in which a worker has to answer a task, whatever it waits for."""

STOP_TIMEOUT = 5.0
"""Seconds that workers have for what they are at when we stop."""

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0


class _Pending:
    """A task that is not answered."""

    __slots__ = ("answered", "task")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.answered: Deferred[Answer] = Deferred()


class WorkerPool:
    """So many worker processes, started when there is something to do for them, and then kept.

    ``command`` begins with the program and ``setup`` is the payload that each worker is told first; it may hold
    secrets.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        processes: IReactorProcess,
        timers: IReactorTime,
        metrics: IMetrics,
        command: Sequence[str],
        environment: Mapping[str, str],
        setup: bytes,
        workers: int = 2,
        deadline: float = DEADLINE,
    ) -> None:
        self._processes = processes
        self._timers = timers
        self._metrics = metrics
        self._command = command
        self._environment = environment
        self._setup = setup
        self._count = workers
        self._deadline = deadline
        self._waiting: deque[_Pending] = deque()
        self._workers: dict[WorkerProcess, deque[_Pending]] = {}
        self._number = 0
        self._failures = 0  # starts that came to nothing, one after the other
        self._pause: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None

    # --- tasks ---

    def room(self) -> int:
        """How many more tasks can be taken now, so that no worker ever has to wait for one."""
        if self._stopped is not None:
            return 0
        return max(0, self._count * AHEAD - self._unanswered())

    def carry_out(self, task: Task) -> Deferred[Answer]:
        """Have a worker do it.  Fails with WorkerDied where the worker ended at it; whatever the worker had beside it
        is given to another one."""
        self._number += 1
        pending = _Pending(task._replace(number=self._number))
        self._waiting.append(pending)
        self._feed()
        return pending.answered

    def _unanswered(self) -> int:
        return len(self._waiting) + sum(map(len, self._workers.values()))

    def _feed(self) -> None:
        """Give what waits to those that can take it, and start workers where there are too few."""
        if self._stopped is not None:
            return
        while self._waiting:
            free = [worker for worker, tasks in self._workers.items() if worker.is_ready and len(tasks) < AHEAD]
            if not free:
                break
            worker = min(free, key=lambda worker: len(self._workers[worker]))
            pending = self._waiting.popleft()
            self._workers[worker].append(pending)
            worker.give(pending.task)
        # Whoever is ready has something to do by now, or nothing is left.
        lively = sum(not worker.is_leaving for worker in self._workers)
        while self._waiting and lively < min(self._count, self._unanswered()) and self._pause is None:
            lively += 1
            self._start()

    # --- workers ---

    def _start(self) -> None:
        worker = WorkerProcess(
            timers=self._timers,
            setup=self._setup,
            deadline=self._deadline,
            on_ready=self._ready,
            on_answer=self._answered,
            on_end=self._ended,
        )
        self._workers[worker] = deque()
        try:
            worker.start(self._processes, self._command, self._environment)
        except Exception as error:  # no process, no memory, no file is left: whatever the system says
            del self._workers[worker]
            self._start_failed(str(error))

    def _ready(self, worker: WorkerProcess) -> None:
        if self._failures:
            self._failures = 0
            self._log.info("workers start again", event="workers")
        self._feed()

    def _start_failed(self, reason: str) -> None:
        """Something is wrong with this place, and not with a message: nothing is tried again soon."""
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2**self._failures)
        self._failures += 1
        self._metrics.count("workers_ended", why="start")
        self._log.error("mail waits for its features, because no worker starts: {reason}", event="workers",
                        reason=reason)  # fmt: skip
        if self._pause is None and self._stopped is None:
            self._pause = self._timers.callLater(wait, self._try_again)

    def _try_again(self) -> None:
        self._pause = None
        self._feed()

    def _answered(self, worker: WorkerProcess, answer: Answer) -> bool:
        """Whether it was asked for."""
        tasks = self._workers[worker]
        if not tasks or tasks[0].task.number != answer.number:
            return False
        pending = tasks.popleft()
        if answer.worn:
            self._log.info("a worker is replaced: {reason}", event="workers", reason=answer.worn)
            self._take_back(tasks)
        worker.expect(bool(tasks) or worker.is_leaving)  # its end, too, has to come
        pending.answered.callback(answer)
        self._feed()
        return True

    def _take_back(self, tasks: deque[_Pending]) -> None:
        """What was given to a worker that never began it."""
        self._waiting.extendleft(reversed(tasks))
        tasks.clear()

    def _ended(self, worker: WorkerProcess, how: str, feature: str) -> None:
        tasks = self._workers.pop(worker)
        if not worker.was_ready:
            if self._stopped is None:
                self._start_failed(how)
        elif worker.is_leaving:
            self._metrics.count("workers_ended", why="worn")
        else:
            self._metrics.count("workers_ended", why="died")
            if not tasks:
                self._log.warn("an idle worker ended: {reason}", event="workers", reason=how)
        culprit = tasks.popleft() if tasks and self._stopped is None else None
        self._take_back(tasks)
        if culprit is not None:
            culprit.answered.errback(WorkerDied(how, feature))
        if self._stopped is None:
            self._feed()
        elif not self._workers:
            stopped, self._stopped = self._stopped, succeed(None)
            stopped.callback(None)

    # --- the end ---

    def stop(self) -> Deferred[None]:
        """Have nothing begun any more; fires when all workers have ended.

        What was not answered by then never is.
        """
        stopped: Deferred[None] = Deferred()
        self._stopped = stopped
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if not self._workers:
            self._stopped = succeed(None)
            return succeed(None)
        for worker in self._workers:
            worker.end()
        kill = self._timers.callLater(STOP_TIMEOUT, self._kill)
        return stopped.addBoth(self._all_ended, kill)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.kill("it did not end")

    def _all_ended(self, result: Any, kill: IDelayedCall) -> None:
        if kill.active():
            kill.cancel()
