"""Whether mail can be accepted now, as every door asks before it takes a message."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from smtpeter.model.reply import Reply
from smtpeter.quantities import FreeSpace

FULL = Reply(452, "4.3.1", "Not enough room to keep mail; try again later")
UNAVAILABLE = Reply(451, "4.3.0", "Mail cannot be stored now; try again later")
BEHIND = Reply(
    451, "4.3.2", "Preparing is behind: mail with features cannot be taken now; try again later, or send without them"
)
STOPPING = Reply(421, "4.3.2", "The service is shutting down; try again later")


class Gate:
    """Open while mail can be made durable.

    ``refusal`` is None, or the temporary reply that mail gets meanwhile.  :meth:`measure` looks at the volumes
    that hold ``directories`` by way of ``in_thread``, since a sick file system may take its time.
    """

    _log = Logger()

    def __init__(self, directories: Sequence[Path], needed: FreeSpace, in_thread: Callable[..., Deferred[Any]]) -> None:
        self.refusal: Reply | None = None
        self._directories = directories
        self._needed = needed
        self._in_thread = in_thread

    def measure(self) -> Deferred[None]:
        """Look again whether there is room; fires when that is known."""
        return self._in_thread(self._look).addCallbacks(self._measured, self._failed)

    def stop(self) -> None:
        """Take no more mail, for good."""
        self.refusal = STOPPING

    def _look(self) -> list[os.statvfs_result]:
        return [os.statvfs(directory) for directory in self._directories]

    def _measured(self, volumes: Sequence[os.statvfs_result]) -> None:
        for directory, volume in zip(self._directories, volumes, strict=True):
            needed = self._needed.of(volume.f_blocks * volume.f_frsize)
            free = volume.f_bavail * volume.f_frsize
            if free < needed:
                self._set(FULL, f"{free} octets free in {directory}, {needed} needed")
                return
        self._set(None, "there is room again")

    def _failed(self, failure: Any) -> None:
        self._set(UNAVAILABLE, f"the volume cannot be looked at: {failure.value}")

    def _set(self, refusal: Reply | None, why: str) -> None:
        if self.refusal is STOPPING or refusal == self.refusal:
            return
        self.refusal = refusal
        if refusal is None:
            self._log.info("mail is accepted again: {why}", why=why)
        else:
            self._log.error("mail is refused with {code}: {why}", code=refusal.code, why=why)


class Backlog:
    """Whether mail that has to be prepared can be taken, while all other mail is.

    ``refusal`` is None, or the temporary reply for it while what waits has waited longer than ``longest`` seconds.
    """

    _log = Logger()

    def __init__(self, longest: float) -> None:
        self.refusal: Reply | None = None
        self._longest = longest

    def measured(self, oldest: float | None, now: float) -> None:
        """Since when the oldest waits (None: nothing does), as it was found at ``now``."""
        age = 0.0 if oldest is None else now - oldest
        refusal = BEHIND if age > self._longest else None
        if refusal == self.refusal:
            return
        self.refusal = refusal
        if refusal is None:
            self._log.info("mail that wants features is accepted again", event="preparing")
        else:
            self._log.error(
                "mail that wants features is refused with {code}: preparing is {age:.0f} seconds behind",
                event="preparing",
                code=refusal.code,
                age=age,
            )
