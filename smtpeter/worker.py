"""The process in which features work on mail: ``python -m smtpeter.worker``, started by the server and by nobody else.

It is told its set-up and then tasks on standard input, and answers on standard output, until its input ends.
"""

from __future__ import annotations

import gc
import os
import resource
import sys
from collections import deque

from smtpeter.errors import ContentCorrupt, SmtpeterError, StorageUnavailable
from smtpeter.features.catalog import Catalog, configure, find_features
from smtpeter.features.confinement import Stopwatch, bound_memory, memory, step_back, take_descriptors
from smtpeter.features.exchange import READY, Answer, AnswerKind, Task
from smtpeter.features.frames import FrameReader, frame
from smtpeter.features.pipeline import Result, describe, give_up, prepare
from smtpeter.features.progress import ROOM, ROOMS, Progress
from smtpeter.features.services import FeatureServices
from smtpeter.features.setup import Setup
from smtpeter.interfaces import IPreparingFeature
from smtpeter.model.feature import FailurePolicy
from smtpeter.store.outside import Outside, open_outside

PAGE = 3
"""The descriptor of the memory in which the server sees what we are at."""

TASKS = 10_000
"""After so many a worker is replaced: what leaks a little in foreign code never becomes much."""

GROWTH = 100 * 1024 * 1024
"""Octets.  Who has so much more memory after a message than before the first one is replaced."""

_LONG, _OFTEN = 0.02, 50  # what took so many seconds, and each so many messages: has the process grown?
_READ = 64 * 1024
_KINDS = {FailurePolicy.DEFER: AnswerKind.DEFER, FailurePolicy.FAIL: AnswerKind.FAIL}
_GONE = "The stored message is damaged or gone; it is not sent"


class Channel:
    """Frames from and to the server."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._reader = FrameReader()
        self._payloads: deque[bytes] = deque()

    def receive(self) -> bytes | None:
        """The next payload; None where nothing comes any more."""
        while not self._payloads:
            octets = os.read(self._incoming, _READ)
            if not octets:
                return None
            self._payloads += self._reader.feed(octets)
        return self._payloads.popleft()

    def send(self, payload: bytes) -> None:
        """Write a frame."""
        octets = memoryview(frame(payload))
        while octets:
            octets = octets[os.write(self._outgoing, octets) :]


class Worker:
    """Carries out tasks, one by one; ``done`` counts them."""

    def __init__(self, setup: Setup, catalog: Catalog, store: Outside, watch: Stopwatch) -> None:
        self._limits = setup.limits
        self._catalog = catalog
        self._store = store
        self._watch = watch
        self._fillers = frozenset(each.name for each in catalog.features if catalog.personalizing(each.name))
        self._all = tuple(
            (each.name, each.feature) for each in catalog.features if IPreparingFeature.providedBy(each.feature)
        )
        self.done = 0
        self._had = memory().get("VmRSS", 0)
        self._peak = 0

    def carry_out(self, task: Task) -> Answer:
        """Prepare a message and keep what came of it."""
        before = _cpu()
        self._watch.begin(task.number)
        try:
            answer, worn = self._prepare(task)
        finally:
            self._watch.end()
        self.done += 1
        cpu = _cpu() - before
        if cpu > _LONG or self.done % _OFTEN == 1:  # it takes a tenth of a millisecond to find out
            now = memory()
            self._peak = now.get("VmHWM", 0)
            worn = worn or self._wear(now.get("VmRSS", 0))
        return answer._replace(cpu=cpu, peak=self._peak, worn=worn)

    def _prepare(self, task: Task) -> tuple[Answer, str]:
        """The answer, and whether this process had better end now."""
        number = task.number
        try:
            features = self._catalog.preparing(task.options)
        except Exception as error:
            features = self._all  # whoever it is may be the strictest of them
            task = task._replace(without={"": f"a feature does not know whether it is wanted: {describe(error)}"})
        try:
            if "" in task.without:
                result = give_up(features, task.without[""])
            else:
                content = self._store.read(task.submission, task.content)
                result = prepare(task, content, features, self._fillers, self._watch, self._limits)
            for line in result.errors:
                print(f"submission={task.submission} {line}", file=sys.stderr, flush=True)
            if result.policy is not None:
                return Answer(number, _KINDS[result.policy], reason=result.reason), self._hurt(result)
            kept = None if result.octets is None else self._store.keep(result.octets)
            return Answer(number, AnswerKind.PREPARED, kept, result.slots, result.data), self._hurt(result)
        except StorageUnavailable as error:
            return Answer(number, AnswerKind.STORAGE, reason=str(error)), ""
        except (ContentCorrupt, KeyError) as error:
            print(f"submission={task.submission} {describe(error)}", file=sys.stderr, flush=True)
            # Whether delivery would find it in the same state, nobody knows: it must not go unprepared.
            return Answer(number, AnswerKind.DAMAGED, reason=_GONE), ""

    def _hurt(self, result: Result) -> str:
        if self._watch.cut_off:
            return "a feature was cut off"
        return "no memory was left" if result.exhausted else ""

    def _wear(self, has: int) -> str:
        if self.done >= TASKS:
            return f"it has prepared {self.done} messages"
        return "it has grown" if has > self._had + GROWTH else ""


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Work until nothing comes any more."""
    channel = Channel(*take_descriptors())
    payload = channel.receive()
    if payload is None:
        return
    setup = Setup.decode(payload)
    step_back(setup.parent)
    progress = Progress(PAGE)
    os.close(PAGE)
    watch = Stopwatch(progress)
    try:
        store = open_outside(setup.store_url, setup.data_dir)
        catalog = configure(
            find_features(setup.features),
            setup.features.tables,
            lambda name: FeatureServices(setup.surroundings, setup.keys[name]),
        )
    except SmtpeterError as error:
        raise SystemExit(str(error)) from None
    worker = Worker(setup, catalog, store, watch)
    bound_memory()
    gc.collect()
    gc.freeze()
    channel.send(READY)
    while (payload := channel.receive()) is not None:
        answer = worker.carry_out(Task.decode(payload))
        sys.stdout.flush()
        room = None
        octets = answer.content.data if answer.content is not None else None
        if octets is not None and len(octets) <= ROOM:
            room = worker.done % ROOMS
            progress.put(room, octets)
        channel.send(answer.encode(room))
        if answer.worn:
            break
    # Nothing of what features left behind, such as threads, keeps us.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
