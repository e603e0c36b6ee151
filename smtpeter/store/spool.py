"""A message on its way into the store: in memory as long as it is small, then written to a file as it comes."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.errors import StorageFull, StorageUnavailable
from smtpeter.interfaces import IContentSpool
from smtpeter.model.submission import Content

BUFFER = 64 * 1024
"""Octets.  So much of a large message may wait in memory while a thread writes what came before."""

INCOMING = "incoming"

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


class IncomingFile:
    """A file that grows under a temporary name and gets its own when it is complete.  Its methods block."""

    def __init__(self, directory: Path) -> None:
        self.name = secrets.token_hex(16)
        self._temporary = directory / INCOMING / self.name
        self._path = content_path(directory, self.name)
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was written."""
        return self._hash.digest()

    def write(self, chunks: Sequence[bytes]) -> bool:
        """Add octets; False: they are not durable yet."""
        if self._file is None:
            self._file = open(self._temporary, "xb", opener=_open_private)  # noqa: SIM115 (kept open)
        for chunk in chunks:
            self._hash.update(chunk)
            self._file.write(chunk)
        return False

    def finish(self) -> bool:
        """Make the file durable under its own name; True when it is."""
        assert self._file is not None
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        # Opened before it is changed, so that a failure to write the change down is told to us, whoever else syncs it.
        part = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._temporary.rename(self._path)
            os.fsync(part)
        finally:
            os.close(part)
        return True

    def remove(self) -> None:
        """Close and forget it."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass
            self._temporary.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)


def content_path(directory: Path, name: str) -> Path:
    """Where a finished file is."""
    return directory / name[:2] / name


def make_parts(directory: Path) -> None:
    """Make the directories of finished files, and all of them durable.

    They are there before the first file comes: if making one failed half-way, it would look durable to the next file.
    """
    made = [directory / f"{number:02x}" for number in range(256) if not (directory / f"{number:02x}").is_dir()]
    try:
        for part in made:
            part.mkdir(mode=0o700)
        sync_directory(directory)
    except OSError:
        for part in made:
            with suppress(OSError):
                part.rmdir()
        raise


def trouble(error: BaseException | None) -> Exception:
    """What the trouble with a file means."""
    if isinstance(error, OSError):
        kind = StorageFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageUnavailable
        return kind(f"content: {error}")
    return error if isinstance(error, Exception) else StorageUnavailable(str(error))


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def sync_directory(directory: Path) -> None:
    """Make durable which files are in a directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
