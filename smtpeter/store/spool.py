"""A message on its way into the store: in memory as long as it is small, then written to a file as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IContentSpool
from smtpeter.model.submission import Content
from smtpeter.store.files import IncomingFile, trouble

BUFFER = 64 * 1024
"""Octets.  So much of a large message may wait in memory while a thread writes what came before."""

CallInThread = Callable[[Callable[[], Any]], "Deferred[Any]"]


@implementer(IContentSpool)
class ContentSpool:
    """See :class:`smtpeter.interfaces.IContentSpool`.

    ``call`` runs what works on files, in a thread where there is one.  ``discard`` is given the name of a file that was
    finished and is not wanted.
    """

    def __init__(self, directory: Path, call: CallInThread, discard: Callable[[str], None], small_content: int) -> None:
        self.size = 0
        self._directory = directory
        self._call = call
        self._discard = discard
        self._small_content = small_content
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._file: IncomingFile | None = None
        self._busy = False
        self._durable = False
        self._aborted = False
        self._waiting: Deferred[None] | None = None
        self._error: Exception | None = None

    def write(self, chunk: bytes) -> Deferred[None] | None:
        """See the interface.  The Deferred fails with StorageUnavailable where the file cannot be written."""
        if self._error is not None:
            return fail(self._error)
        self.size += len(chunk)
        self._buffered += len(chunk)
        self._chunks.append(chunk)
        if self.size <= self._small_content:
            return None
        if self._file is None:
            self._file = IncomingFile(self._directory)
        if not self._busy:
            self._write_on(self._file)
        if self._error is not None:
            return fail(self._error)
        return self._wait() if self._buffered > BUFFER else None

    def finish(self) -> Deferred[Content]:
        """See the interface."""
        if self._error is not None:
            return fail(self._error)
        if self._file is None:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            self._chunks = []
            return succeed(Content(self.size, hashlib.sha256(data).digest(), data))
        return Deferred.fromCoroutine(self._finish(self._file))

    def abort(self) -> None:
        """See the interface."""
        if self._aborted:
            return
        self._aborted = True
        self._error = self._error or StorageUnavailable("this message was given up")
        self._chunks, self._buffered = [], 0
        if self._file is not None and not self._busy:
            self._remove(self._file)

    async def _finish(self, file: IncomingFile) -> Content:
        while self._busy:
            await self._wait()
        if self._error is None:
            self._run(file, file.finish)
        while self._busy:
            await self._wait()
        if self._error is not None:
            raise self._error
        return Content(self.size, file.digest, None, file.name)

    def _wait(self) -> Deferred[None]:
        """Fires when what is being written now has been written, or has failed."""
        self._waiting = Deferred()
        return self._waiting

    def _write_on(self, file: IncomingFile) -> None:
        chunks, self._chunks, self._buffered = self._chunks, [], 0
        self._run(file, lambda: file.write(chunks))

    def _run(self, file: IncomingFile, step: Callable[[], bool]) -> None:
        self._busy = True
        self._call(step).addCallbacks(self._went_well, self._went_wrong).addCallback(self._go_on, file)

    def _went_well(self, durable: bool) -> None:
        self._durable = durable

    def _went_wrong(self, failure: Failure) -> None:
        self._error = self._error or trouble(failure.value)

    def _go_on(self, result: None, file: IncomingFile) -> None:
        self._busy = False
        if self._error is not None:
            self._chunks, self._buffered = [], 0
            self._remove(file)
        elif self._chunks:
            self._write_on(file)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            if self._error is None:
                waiting.callback(None)
            else:
                waiting.errback(self._error)

    def _remove(self, file: IncomingFile) -> None:
        if self._durable:
            self._discard(file.name)
        else:
            # What cannot be removed now is removed at the next start.
            self._call(file.remove).addErrback(lambda failure: None)
