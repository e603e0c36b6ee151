"""Bodies of requests: small ones stay in memory, large ones go to files, and none becomes larger than it may be."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from uuid import uuid4

IN_MEMORY = 512 * 1024
"""Octets of a body that are kept in memory, and dealt with at once."""

MOST = 50
"""Bodies in files at the same time."""

MOST_OF_ONE = 10
"""Of them, those of one account."""

_SUFFIX = ".upload"


def new_path(directory: Path) -> Path:
    """A path for a body, of which there is no file yet; what is left of such files is removed at the next start."""
    return directory / f"{uuid4().hex}{_SUFFIX}"


def create(path: Path) -> int:
    """Make its file, open for writing and for nobody else's eyes.

    :raises OSError: where that is not possible.
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


class TooLarge(Exception):
    """More came than may come."""


class TooMany(Exception):
    """Too many large bodies are under way."""


class Uploads:
    """Where large bodies are kept while their requests are dealt with: a directory of ours, for nobody else's eyes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._open: Counter[int] = Counter()

    def prepare(self) -> None:
        """Make the directory, and remove what an earlier process left in it.

        :raises OSError: where that is not possible.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for path in self.directory.glob(f"*{_SUFFIX}*"):
            path.unlink(missing_ok=True)

    def open(self, account: int) -> tuple[int, Path]:
        """A new file of an account's, open for writing.

        :raises TooMany: for now.
        :raises OSError: where there is no room, for example.
        """
        if self._open.total() >= MOST or self._open[account] >= MOST_OF_ONE:
            raise TooMany
        path = new_path(self.directory)
        descriptor = create(path)
        self._open[account] += 1
        return descriptor, path

    def remove(self, path: Path, account: int) -> None:
        """It is not needed any more."""
        self._open[account] -= 1
        if not self._open[account]:
            del self._open[account]
        path.unlink(missing_ok=True)


class Body:
    """One request's body, as far as it came.  ``account`` is whose it is, as far as that is known."""

    def __init__(self, uploads: Uploads, longest: int) -> None:
        self.size = 0
        self.account = 0
        self.file: Path | None = None
        self._uploads = uploads
        self._longest = longest
        self._kept = bytearray()
        self._descriptor = -1
        self._owner = 0

    def write(self, data: bytes) -> None:
        """Take what came.

        :raises TooLarge: where that is more than may come.
        :raises TooMany: for now.
        :raises OSError: where it cannot be kept.
        """
        self.size += len(data)
        if self.size > self._longest:
            raise TooLarge
        if self.file is None and self.size <= IN_MEMORY:
            self._kept += data
            return
        if self.file is None:
            self._owner = self.account
            self._descriptor, self.file = self._uploads.open(self._owner)
            data, self._kept = bytes(self._kept + data), bytearray()
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self) -> bytes:
        """All is there: its octets, none where they are in the file."""
        self._close()
        return bytes(self._kept)

    def discard(self) -> None:
        """It is not needed any more; may be called twice."""
        self._close()
        self._kept = bytearray()
        if self.file is not None:
            self._uploads.remove(self.file, self._owner)
            self.file = None

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
