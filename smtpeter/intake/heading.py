"""The beginning of a message, gathered until its header is complete."""

from __future__ import annotations

from smtpeter.errors import Refusal
from smtpeter.mime.header import find_header_end

IN_HAND = 64 * 1024
"""Octets of a header that every session may hold in memory."""

SHARED_ROOM = 16 * 1024 * 1024
"""Octets that all larger headers have together: hardly any mail has one, so there is room for few at a time."""


class HeaderRoom:
    """The memory that large headers of all sessions share."""

    def __init__(self, octets: int = SHARED_ROOM) -> None:
        self._octets = octets
        self._taken = 0

    def take(self, octets: int) -> bool:
        """Whether there is room.  One header always has it, however large."""
        if self._taken and self._taken + octets > self._octets:
            return False
        self._taken += octets
        return True

    def give_back(self, octets: int) -> None:
        """What was taken is free again."""
        self._taken -= octets


class Heading:
    """Gathers octets until they hold the whole header, of at most ``limit`` octets."""

    def __init__(self, limit: int, room: HeaderRoom) -> None:
        self._limit = limit
        self._room = room
        self._borrowed = 0
        self._octets = bytearray()

    def add(self, octets: bytes) -> tuple[bytes, int] | None:
        """All that came, and where its header ends; None while that is not known.

        :raises Refusal: where the header is larger than its limit, or than the room that is left.
        """
        searched = len(self._octets)
        if not searched and (end := find_header_end(octets)) is not None:
            return octets, self._checked(end)
        self._octets += octets
        end = find_header_end(self._octets, searched) if searched else None
        if end is not None:
            return self.take_all(), self._checked(end)
        self._checked(len(self._octets))
        if not self._borrowed and len(self._octets) > IN_HAND:
            if not self._room.take(self._limit):
                raise Refusal(452, "4.3.1", "Too many messages with large headers are coming in; try again later")
            self._borrowed = self._limit
        return None

    def take_all(self) -> bytes:
        """What was gathered; nothing of it is kept."""
        octets = bytes(self._octets)
        self.forget()
        return octets

    def forget(self) -> None:
        """Keep nothing, and give back what was borrowed."""
        self._octets = bytearray()
        if self._borrowed:
            self._room.give_back(self._borrowed)
            self._borrowed = 0

    def _checked(self, size: int) -> int:
        if size > self._limit:
            raise Refusal(554, "5.6.0", f"The header is larger than {self._limit} octets")
        return size
