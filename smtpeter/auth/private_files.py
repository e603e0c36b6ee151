"""Files that hold secrets: written whole or not at all, and trusted only where nobody else could touch them."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from smtpeter.errors import ConfigError


def make_directory(directory: Path) -> None:
    """Make a directory that only we can enter (mode 0700), and what is missing above it."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


def write_file(path: Path, content: bytes, mode: int = 0o600, *, replace: bool = True) -> None:
    """Write a file so that every reader sees all of it or nothing, also after a loss of power.

    :raises FileExistsError: where there is one already and ``replace`` is false.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            draft.replace(path)
        else:
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_private_file(path: Path) -> bytes:
    """Read a file of ours that nobody else may read or have written.

    It has to belong to us or to root; for root, the owner of its directory is as good, so that commands run by root
    work on a server that runs as somebody else.

    :raises FileNotFoundError: where there is none.
    :raises ConfigError: where its mode or its owner is wrong, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            owners = {0, os.geteuid()}
            if os.geteuid() == 0:
                owners.add(path.parent.stat().st_uid)
            if status.st_uid not in owners:
                raise ConfigError(f"{path} belongs to another user (uid {status.st_uid}): it cannot be trusted")
            if stat.S_IMODE(status.st_mode) & 0o077:
                raise ConfigError(f"{path} can be reached by other users: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
