"""The octets of messages: small ones become durable with the rows that name them, large ones are files."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.errors import ContentCorrupt, StorageFull, StorageUnavailable
from smtpeter.interfaces import IContentSpool, IContentStore
from smtpeter.model.submission import Content

SMALL_CONTENT = 128 * 1024
"""Octets.  Content up to this size is kept with the rows."""

BUFFER = 64 * 1024
"""Octets.  So much of a large message waits in memory while a thread writes what came before."""


class Rows(Protocol):
    """What the store of files asks of the database."""

    def find(self, submission: str) -> Deferred[tuple[bytes | None, str | None]]:
        """A submission's small content and the name of its file, either or both None."""

    def named(self, files: Sequence[str]) -> Deferred[Sequence[str]]:
        """Which of these files a submission names."""


CallInThread = Callable[[Callable[[], Any]], "Deferred[Any]"]


@implementer(IContentStore)
class ContentStore:
    """Content in ``directory``: ``incoming/<name>`` while it comes, then ``<xx>/<name>``."""

    def __init__(self, directory: Path, call: CallInThread, rows: Rows, small_content: int = SMALL_CONTENT) -> None:
        self._directory = directory
        self._call = call
        self._rows = rows
        self._small_content = small_content

    def prepare(self) -> None:
        """Make the directories where they are missing."""
        for directory in (self._directory, self._directory / "incoming"):
            directory.mkdir(mode=0o700, exist_ok=True)

    def spool(self) -> IContentSpool:
        """See :class:`smtpeter.interfaces.IContentStore`."""
        return ContentSpool(self._directory, self._call, self._discard, self._small_content)

    def read(self, submission: str, content: Content) -> Deferred[bytes]:
        """See :class:`smtpeter.interfaces.IContentStore`."""
        if content.data is not None:
            try:
                return succeed(_checked(content.data, content))
            except ContentCorrupt as error:
                return fail(error)
        return Deferred.fromCoroutine(self._read(submission, content))

    async def _read(self, submission: str, content: Content) -> bytes:
        data, file = await self._rows.find(submission)
        if data is None and file is None:
            raise KeyError(submission)
        if data is not None:
            return _checked(data, content)
        path = self._path(str(file))
        try:
            octets: bytes = await self._call(lambda: _checked(path.read_bytes(), content))
        except FileNotFoundError:
            if await self._rows.find(submission) == (None, None):
                raise KeyError(submission) from None
            raise ContentCorrupt(f"the content file {path} is missing") from None
        except OSError as error:
            raise _trouble(error) from error
        return octets

    def remove(self, files: Sequence[str]) -> Deferred[None]:
        """Remove files that no row names any more."""
        paths = [self._path(file) for file in files]

        def remove() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        return self._call(remove)

    def remove_orphans(self) -> Deferred[int]:
        """Remove what a crash left behind: files that were coming in, and those whose row was never committed.

        What is there now is looked at, before this returns: call it before the first message comes in.
        """
        incoming = list((self._directory / "incoming").iterdir())
        files = [
            path.name
            for part in self._directory.iterdir()
            if part.name != "incoming" and part.is_dir()
            for path in part.iterdir()
        ]

        async def remove() -> int:
            for path in incoming:
                await self._call(path.unlink)
            removed = len(incoming)
            for start in range(0, len(files), 500):
                some = files[start : start + 500]
                orphans = set(some) - set(await self._rows.named(some))
                await self.remove(sorted(orphans))
                removed += len(orphans)
            return removed

        return Deferred.fromCoroutine(remove())

    def _path(self, file: str) -> Path:
        return _path(self._directory, file)

    async def _remove_if_unnamed(self, file: str) -> None:
        # The outcome of a commit may have been unknown: only what no row names is thrown away.
        if file not in await self._rows.named([file]):
            await self.remove([file])

    def _discard(self, file: str) -> None:
        # Where this fails the file is an orphan, which the next start removes.
        Deferred.fromCoroutine(self._remove_if_unnamed(file)).addErrback(lambda failure: None)


@implementer(IContentSpool)
class ContentSpool:
    """One message coming in: in memory as long as it is small, then written by threads as it comes."""

    def __init__(
        self, directory: Path, call: CallInThread, discard: Callable[[str], None], small_content: int
    ) -> None:
        self.size = 0
        self._directory = directory
        self._call = call
        self._discard = discard
        self._small_content = small_content
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._hash = hashlib.sha256()
        self._file: _File | None = None
        self._writing: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._error: Exception | None = None
        self._finished = False
        self._aborted = False

    def write(self, chunk: bytes) -> Deferred[None] | None:
        """See :class:`smtpeter.interfaces.IContentSpool`."""
        if self._error is not None:
            return fail(self._error)
        self.size += len(chunk)
        self._chunks.append(chunk)
        if self._file is None:
            if self.size <= self._small_content:
                self._hash.update(chunk)
                return None
            # What is in memory goes to the file; the thread goes on with the digest.
            self._file = _File(self._directory, self._hash, skip=self.size - len(chunk))
            self._buffered = self.size
        else:
            self._buffered += len(chunk)
        if self._writing is None:
            self._write_buffered()
        return self._wait() if self._buffered > BUFFER or self._error is not None else None

    def finish(self) -> Deferred[Content]:
        """See :class:`smtpeter.interfaces.IContentSpool`."""
        self._finished = True
        if self._file is None:
            data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
            return succeed(Content(self.size, self._hash.digest(), data))
        return Deferred.fromCoroutine(self._finish(self._file))

    async def _finish(self, file: _File) -> Content:
        while self._writing is not None or self._chunks:
            await self._wait()
        if self._error is None:
            self._writing = self._call(file.finish)
            await self._ended()
        if self._error is not None:
            raise self._error
        return Content(self.size, file.digest(), None, file.name)

    def abort(self) -> None:
        """See :class:`smtpeter.interfaces.IContentSpool`."""
        if self._aborted:
            return
        self._aborted = True
        self._chunks = []
        self._error = self._error or StorageUnavailable("this message was given up")
        if self._file is not None and self._writing is None:
            self._remove(self._file)
