"""Whose files these are: root starts things, others own them."""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import smtpeter
from smtpeter.errors import ConfigError
from smtpeter.settings import Settings


def user_name(uid: int) -> str:
    """The name of a user, or the number where nobody has it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


@contextmanager
def acting_as_owner(directory: Path) -> Iterator[None]:
    """Be, if root, the user to whom ``directory`` belongs, with that user's groups.

    Otherwise the files that root makes there (keys, the database and what SQLite puts beside it, a log) would be
    root's, and the server, which runs as that user, could not open them.
    """
    try:
        owner = directory.stat()
    except OSError:
        owner = None
    if owner is None or os.geteuid() != 0 or owner.st_uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups(_groups_of(owner.st_uid, owner.st_gid))
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def refuse_what_is_closed(settings: Settings) -> None:
    """Refuse files of the server that somebody else has made, so that this user cannot work with them.

    :raises ConfigError: one line, with the command that helps.
    """
    me, data_dir = user_name(os.geteuid()), settings.data_dir
    for parent in reversed(data_dir.parents):
        if parent.exists() and not os.access(parent, os.X_OK, effective_ids=True):
            raise ConfigError(f"data_dir: {data_dir} cannot be reached: {parent} is closed to the user {me}")
    for path in _files_of_the_server(settings):
        try:
            status = path.stat()
        except OSError:
            continue  # what is missing will be made
        wanted = os.R_OK | os.W_OK | (os.X_OK if stat.S_ISDIR(status.st_mode) else 0)
        if status.st_uid != os.geteuid() and not os.access(path, wanted, effective_ids=True):
            helps = f"chown -R {me}: {data_dir}" if path.is_relative_to(data_dir) else f"chown {me}: {path}"
            owner = user_name(status.st_uid)
            raise ConfigError(f"{path} belongs to {owner}, and the server, as the user {me}, cannot use it: {helps}")
    refuse_closed_python()


def refuse_closed_python() -> None:
    """Refuse a Python, or an smtpeter, that root has imported from and this user cannot: the next import would fail.

    :raises ConfigError: one line.
    """
    for path in (sys.executable, os.__file__, smtpeter.__file__):
        if not os.access(path, os.R_OK, effective_ids=True):
            raise ConfigError(
                f"the user {user_name(os.geteuid())} cannot read {os.path.realpath(path)}, which is a part of the "
                "server: install Python and smtpeter outside of home directories"
            )


def _files_of_the_server(settings: Settings) -> Iterator[Path]:
    yield settings.data_dir
    database = settings.store.sqlite_file
    if database is not None:
        yield from (database.with_name(database.name + ending) for ending in ("", "-wal", "-shm", ".lock"))
    yield settings.keys.file
    for directory in (settings.data_dir / "content", settings.data_dir / "tls"):
        yield directory
        yield from directory.glob("*")


def _groups_of(uid: int, gid: int) -> list[int]:
    try:
        return os.getgrouplist(pwd.getpwuid(uid).pw_name, gid)
    except KeyError:
        return [gid]
