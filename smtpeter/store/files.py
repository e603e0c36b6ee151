"""The files of large content.  Everything here blocks, and needs nothing but the file system."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from smtpeter.errors import ContentCorrupt, StorageFull, StorageUnavailable
from smtpeter.model.submission import Content

SMALL_CONTENT = 64 * 1024
"""Octets.  Content up to this size is kept with the rows, and in memory until then: no session needs more of it.

Rows cost less up to 256 KB.  Measured with 20 messages under way and the server on one core, CPU in microseconds for
each message, as rows and as files: 16 KB 110 and 730, 32 KB 160 and 740, 64 KB 255 and 820, 128 KB 480 and 1040,
256 KB 890 and 1230, 512 KB 1690 and 1440, 1 MB 3160 and 2190.
"""

SMALL_PREPARED = 256 * 1024
"""Octets.  The same for what features made of a message: no session holds it meanwhile, and few results wait."""

INCOMING = "incoming"


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


def checked(submission: str, octets: bytes, content: Content) -> bytes:
    """The octets, where they are what ``content`` says.

    :raises ContentCorrupt: where they are not.
    """
    # A column of SQLite's gives whatever type was written to it.
    if (
        not isinstance(octets, bytes)
        or len(octets) != content.size
        or hashlib.sha256(octets).digest() != content.digest
    ):
        raise ContentCorrupt(f"the content of {submission} is not what was taken in")
    return octets
