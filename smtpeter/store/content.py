"""The octets of messages: small ones become durable with the rows that name them, large ones are files."""

from __future__ import annotations

import errno
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.errors import ContentCorrupt
from smtpeter.interfaces import IContentSpool, IContentStore
from smtpeter.model.submission import Content
from smtpeter.store.files import INCOMING, SMALL_CONTENT, checked, content_path, trouble
from smtpeter.store.spool import CallInThread, ContentSpool

_AT_ONCE = 500


class ContentRows(Protocol):
    """What the database knows of content."""

    def find(self, submission: str, prepared: bool) -> Deferred[tuple[bytes | None, str | None]]:
        """A submission's small content, or the name of its file; both None where neither is kept.

        ``prepared``: what its features made of it, else what came in.

        Fails with ContentCorrupt where its row is damaged.
        """

    def named(self, files: Sequence[str], *, surely: bool = False) -> Deferred[set[str]]:
        """Which of these files are some submission's; ``surely``: the index alone is not believed."""


RECENT = 32 * 1024 * 1024
"""Octets of prepared content that stay in memory for a while: most of it is delivered at once, some of it in parts."""


class Recent:
    """What features made last, by submission, of at most ``room`` octets together."""

    def __init__(self, room: int) -> None:
        self._left = room
        self._kept: OrderedDict[str, tuple[bytes, bytes]] = OrderedDict()  # octets and their digest

    def put(self, submission: str, octets: bytes, digest: bytes) -> None:
        """Keep it, and forget the oldest where there is no room."""
        if submission in self._kept:
            self._left += len(self._kept.pop(submission)[0])
        self._kept[submission] = octets, digest
        self._left -= len(octets)
        while self._left < 0:
            self._left += len(self._kept.popitem(last=False)[1][0])

    def clear(self) -> None:
        """Forget all of it."""
        self._left += sum(len(octets) for octets, _ in self._kept.values())
        self._kept.clear()

    def get(self, submission: str, content: Content) -> bytes | None:
        """It, if it is this content: another worker may have made something else of it."""
        octets, digest = self._kept.get(submission, (None, b""))
        return octets if digest == content.digest else None


@implementer(IContentStore)
class ContentStore:
    """Files are in ``directory``: ``incoming/<name>`` while they grow, then ``<xx>/<name>``.

    ``call`` runs what works on files, in a thread where there is one.  ``prepared`` is told what was just stored.
    """

    def __init__(
        self, directory: Path, call: CallInThread, rows: ContentRows, small_content: int = SMALL_CONTENT
    ) -> None:
        self._directory = directory
        self._call = call
        self._rows = rows
        self._small_content = small_content
        self.prepared = Recent(RECENT)

    def spool(self) -> IContentSpool:
        """See :class:`smtpeter.interfaces.IContentStore`."""
        return ContentSpool(self._directory, self._call, self.discard, self._small_content)

    def read(self, submission: str, content: Content) -> Deferred[bytes]:
        """See :class:`smtpeter.interfaces.IContentStore`."""
        if content.data is not None:
            try:
                return succeed(checked(submission, content.data, content))
            except ContentCorrupt as error:
                return fail(error)
        if content.prepared and (octets := self.prepared.get(submission, content)) is not None:
            return succeed(octets)
        return Deferred.fromCoroutine(self._read(submission, content))

    async def _read(self, submission: str, content: Content) -> bytes:
        data, file = await self._rows.find(submission, content.prepared)
        if data is not None:
            return checked(submission, data, content)
        if file is None:
            raise KeyError(submission)
        path = content_path(self._directory, file)
        try:
            octets: bytes = await self._call(lambda: checked(submission, path.read_bytes(), content))
        except FileNotFoundError:
            if (await self._rows.find(submission, content.prepared))[1] is None:
                raise KeyError(submission) from None
            raise ContentCorrupt(f"the content of {submission} is missing: {path}") from None
        except OSError as error:
            if error.errno == errno.EIO:
                raise ContentCorrupt(f"the content of {submission} cannot be read: {error}") from None
            raise trouble(error) from error
        return octets

    def remove(self, files: Sequence[str]) -> Deferred[None]:
        """Remove files that no row names any more."""
        paths = [content_path(self._directory, file) for file in files]

        def remove() -> None:
            for path in paths:
                path.unlink(missing_ok=True)

        return self._call(remove)

    def remove_orphans(self) -> Deferred[int]:
        """Remove what a crash left behind: files that were growing, and those whose row was never committed.

        Only what is there when this is called is looked at, so it has to be called before the first message comes in.
        """
        growing = list((self._directory / INCOMING).iterdir())
        parts = [part for part in self._directory.iterdir() if part.name != INCOMING and part.is_dir()]
        return Deferred.fromCoroutine(
            self._remove_orphans(growing, [file.name for part in parts for file in part.iterdir()])
        )

    async def _remove_orphans(self, growing: Sequence[Path], files: Sequence[str]) -> int:
        for path in growing:
            await self._call(path.unlink)
        removed = len(growing)
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            orphans = set(some) - await self._rows.named(some)
            if orphans:  # they may have been mail that was taken: one octet of the index that flipped must not end it
                orphans -= await self._rows.named(sorted(orphans), surely=True)
            await self.remove(sorted(orphans))
            removed += len(orphans)
        return removed

    def discard(self, file: str) -> None:
        """Remove a file, unless a row names it."""

        async def remove() -> None:
            # Where the outcome of a commit is unknown, a row may name it after all.
            if not await self._rows.named([file]):
                await self.remove([file])

        # What cannot be removed now is removed at the next start.
        Deferred.fromCoroutine(remove()).addErrback(lambda failure: None)
