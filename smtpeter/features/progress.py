"""Memory that a worker and the server share: what the worker is at, and what it made of messages.

What it is at can still be read when the worker is dead, and telling it costs no system call, so that it can be told
before each feature of each message.  What it made would go through a pipe in pieces of 8 KiB, each with a turn of the
reactor.
"""

from __future__ import annotations

import mmap
import os
import struct
import tempfile

ROOMS = 2
"""Results that can be there at once: a worker has no more tasks than that, so that when it comes to a room again, the
server has taken what was in it."""

ROOM = 256 * 1024  # octets of a result; larger ones go another way

_PAGE = mmap.PAGESIZE
_SIZE = _PAGE + ROOMS * ROOM
_LAYOUT = struct.Struct("<QB")
_NAME = 255  # octets of a feature's name


def make_page() -> int:
    """A descriptor of memory to share; whoever is given it maps it with :class:`Progress`."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("smtpeter-worker")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, _SIZE)
    return descriptor


class Progress:
    """One side's view of the page behind a descriptor, which may be closed afterwards."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, _SIZE)

    def tell(self, task: int, feature: str) -> None:
        """This task is at hand, and in it this feature; empty: none of them."""
        name = feature.encode("utf-8")[:_NAME]
        self._page[: _LAYOUT.size + len(name)] = _LAYOUT.pack(task, len(name)) + name

    def read(self) -> tuple[int, str]:
        """What was told last; task 0 where nothing was."""
        task, length = _LAYOUT.unpack(self._page[: _LAYOUT.size])
        name = self._page[_LAYOUT.size : _LAYOUT.size + length]
        return task, name.decode("utf-8", "replace")

    def put(self, room: int, octets: bytes) -> None:
        """Put a result, of at most :data:`ROOM` octets, into a room."""
        begin = _PAGE + room * ROOM
        self._page[begin : begin + len(octets)] = octets

    def take(self, room: int, size: int) -> bytes:
        """A result of so many octets.

        :raises ValueError: where that can be in no room.
        """
        if not (0 <= room < ROOMS and 0 <= size <= ROOM):
            raise ValueError("no such room")
        begin = _PAGE + room * ROOM
        return self._page[begin : begin + size]

    def close(self) -> None:
        """Give the memory back."""
        self._page.close()
