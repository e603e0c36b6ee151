"""Whether a server is at work beside a command."""

from __future__ import annotations

import fcntl

from smtpeter.settings import Settings


def is_served(settings: Settings) -> bool:
    """Whether a server has the store open: it holds a lock beside the database."""
    if settings.store.sqlite_file is None:
        return False
    try:
        with settings.store.sqlite_file.with_name(f"{settings.store.sqlite_file.name}.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False
