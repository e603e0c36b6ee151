"""The store without threads: for commands and tests, where every Deferred has fired when it is returned."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.interfaces import IExecutor
from smtpeter.store.sqlite.connection import translate
from smtpeter.store.sqlite.transaction import Operation, Writer, run_read


@implementer(IExecutor)
class DirectExecutor:
    """Runs everything at once, in the thread that asks.

    ``connect_writer`` and ``connect_reader`` make connections; the reader's cannot write.
    """

    def __init__(
        self, connect_writer: Callable[[], sqlite3.Connection], connect_reader: Callable[[], sqlite3.Connection]
    ) -> None:
        self._writer = Writer(connect_writer)
        self._connect_reader = connect_reader
        self._reader: sqlite3.Connection | None = None

    def write(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        (result,) = self._writer.run([operation])
        return succeed(result.value) if result.error is None else fail(result.error)

    def read(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        try:
            if self._reader is None:
                self._reader = self._connect_reader()
            return succeed(run_read(self._reader, operation))
        except Exception as error:
            return fail(translate(error))

    def scan(self, operation: Operation) -> Deferred[Any]:
        """See :class:`smtpeter.interfaces.IExecutor`."""
        return self.read(operation)

    def call(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Run what works on files."""
        try:
            return succeed(function())
        except Exception as error:
            return fail(error)

    def close(self) -> Deferred[None]:
        """Close the connections."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        self._writer.close()
        return succeed(None)
