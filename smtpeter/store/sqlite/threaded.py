"""The store in the server: one thread that writes, some that read, one of them what is long; none is the reactor's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IExecutor
from smtpeter.store.sqlite.checkpoint import Checkpointer
from smtpeter.store.sqlite.connection import translate
from smtpeter.store.sqlite.transaction import Operation, Result, Writer, run_read

CallInReactor = Callable[..., Any]
OnTrouble = Callable[[Exception], None]
CallSoon = Callable[[Callable[[], None]], object]
Waiting = tuple[Operation, "Deferred[Any]"]

READERS = 2
FILE_THREADS = 3
_MOST_TOGETHER = 1000

_PATIENCE = 0.005
"""Seconds.  The writer lets the reactor take in the results of one batch before it begins the next, but does not wait
longer than this.  Work that the reactor had on its hands meanwhile joins the batch: with 50 messages under way on one
core batches grow from 7 to 25 messages, and a message costs a fifth less."""


@implementer(IExecutor)
class ThreadedExecutor:
    """Writes are grouped: whatever waits when the writer is free is committed together, and told in one call.

    ``call_in_reactor`` is ``reactor.callFromThread``; it has to work until :meth:`close` has fired.  ``on_trouble`` is
    called in the reactor with each error that is the store's and not the caller's.  ``call_soon`` runs a function in
    the reactor when it is done with what it has at hand: with it, the writes of one round wake the writer only once.
    """

    def __init__(
        self,
        connect_writer: Callable[[], sqlite3.Connection],
        connect_reader: Callable[[], sqlite3.Connection],
        call_in_reactor: CallInReactor,
        on_trouble: OnTrouble,
        call_soon: CallSoon | None = None,
    ) -> None:
        self._call_in_reactor = call_in_reactor
        self._on_trouble = on_trouble
        self._call_soon = call_soon
        self._gathered: list[Waiting] = []
        self._writes: SimpleQueue[list[Waiting] | None] = SimpleQueue()
        self._reads: SimpleQueue[Waiting | None] = SimpleQueue()
        self._scans: SimpleQueue[Waiting | None] = SimpleQueue()
        self._files: SimpleQueue[tuple[Callable[[], Any], Deferred[Any]] | None] = SimpleQueue()
        self._connect_reader = connect_reader
        self._writer = Writer(connect_writer)
        self._checkpointer = Checkpointer(connect_reader)
        self._closing = Event()
        self._told = Event()
        self._told.set()
        self._readers = [_start(self._read_loop, f"store reader {number}", self._reads) for number in range(READERS)]
        self._scanner = _start(self._read_loop, "store scanner", self._scans)
        self._file_threads = [_start(self._file_loop, f"store files {number}") for number in range(FILE_THREADS)]
        self._write_thread = _start(self._write_loop, "store writer")

    def write(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        deferred: Deferred[Any] = Deferred()
        self._gathered.append((operation, deferred))
        if self._call_soon is None:
            self._hand_over()
        elif len(self._gathered) == 1:
            self._call_soon(self._hand_over)
        return deferred

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._writes.put(gathered)

    def read(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        deferred: Deferred[Any] = Deferred()
        self._reads.put((operation, deferred))
        return deferred

    def scan(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        deferred: Deferred[Any] = Deferred()
        self._scans.put((operation, deferred))
        return deferred

    def call(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Run what works on files, beside everything else."""
        deferred: Deferred[Any] = Deferred()
        self._files.put((function, deferred))
        return deferred

    def backlog(self) -> int:
        """How many rounds of writes are waiting for the writer."""
        return self._writes.qsize()

    def close(self) -> Deferred[None]:
        """Do what was asked for, then end the threads; fires when they have ended.  Nothing may be asked for after."""
        closed: Deferred[None] = Deferred()
        if self._closing.is_set():
            closed.callback(None)
            return closed
        self._closing.set()
        self._hand_over()

        def wait() -> None:
            self._file_threads_end()
            self._writes.put(None)
            for _ in self._readers:
                self._reads.put(None)
            self._scans.put(None)
            for thread in (self._write_thread, *self._readers, self._scanner):
                thread.join()
            self._checkpointer.close()
            self._writer.close()
            self._call_in_reactor(closed.callback, None)

        _start(wait, "store closing")
        return closed

    def _file_threads_end(self) -> None:
        for _ in self._file_threads:
            self._files.put(None)
        for thread in self._file_threads:
            thread.join()

    def _write_loop(self) -> None:
        ended = False
        while not ended:
            first = self._writes.get()
            if first is None:
                return
            self._told.wait(_PATIENCE)
            batch = first
            try:
                while len(batch) < _MOST_TOGETHER:
                    following = self._writes.get_nowait()
                    if following is None:
                        ended = True
                        break
                    batch += following
            except Empty:
                pass
            results = self._writer.run([operation for operation, _ in batch])
            self._told.clear()
            self._call_in_reactor(self._tell, batch, results)
            if self._checkpointer.committed():
                self._writer.checkpoint()

    def _read_loop(self, reads: SimpleQueue[Waiting | None]) -> None:
        connection: sqlite3.Connection | None = None
        while (waiting := reads.get()) is not None:
            try:
                if connection is None:
                    connection = self._connect_reader()
                result = Result(run_read(connection, waiting[0]))
            except Exception as error:
                result = Result(error=translate(error))
                if result.error is not error and connection is not None:
                    with suppress(Exception):
                        connection.close()
                    connection = None
            self._call_in_reactor(self._fire, (waiting,), (result,))
        if connection is not None:
            connection.close()

    def _file_loop(self) -> None:
        while (waiting := self._files.get()) is not None:
            try:
                result = Result(waiting[0]())
            except Exception as error:
                result = Result(error=error)
            self._call_in_reactor(self._fire, (waiting,), (result,))

    def _tell(self, batch: Sequence[Waiting], results: Sequence[Result]) -> None:
        try:
            self._fire(batch, results)
        finally:
            self._told.set()

    def _fire(self, batch: Sequence[tuple[Any, Deferred[Any]]], results: Sequence[Result]) -> None:
        for (_, deferred), (value, error) in zip(batch, results, strict=True):
            if error is None:
                deferred.callback(value)
            else:
                deferred.errback(error)
        for error in {id(error): error for _, error in results if isinstance(error, StorageUnavailable)}.values():
            self._on_trouble(error)


def _start(function: Callable[..., None], name: str, *arguments: Any) -> Thread:
    thread = Thread(target=_run, args=(function, *arguments), name=name, daemon=True)
    thread.start()
    return thread


def _run(function: Callable[..., None], *arguments: Any) -> None:
    """Do not push the reactor aside each time that something is to be done: on one core it has Python's lock just then.

    So a thread would wake up only to wait for it, three times for a message; without that a message costs a fifth less
    (``bench/README.md``).  Its share of the time stays the same.
    """
    # Not every system has this, and a sandbox may forbid it.
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    function(*arguments)
