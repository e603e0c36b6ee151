"""Messages over a stream of octets: each is led by its length, four octets with the most significant one first."""

from __future__ import annotations

from smtpeter.errors import SmtpeterError

LONGEST = 4 * 1024 * 1024
"""Octets.  What is said is much shorter: small content with its slots, or the configuration of all features."""

_LENGTH = 4


class BadFrame(SmtpeterError):
    """The other side sends what is no frame; nothing that follows can be understood."""


def frame(payload: bytes) -> bytes:
    """A payload as it is written.

    :raises BadFrame: where it is too long to be read at the other end.
    """
    if len(payload) > LONGEST:
        raise BadFrame(f"a frame of {len(payload)} octets is too long")
    return len(payload).to_bytes(_LENGTH, "big") + payload


class FrameReader:
    """Takes octets as they come, gives frames when they are complete."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._buffer = bytearray()

    def feed(self, octets: bytes) -> list[bytes]:
        """The payloads that are complete with these octets.

        :raises BadFrame: as soon as a length is over the limit; the reader is of no use afterwards.
        """
        buffer = self._buffer
        buffer += octets
        payloads, start = [], 0
        while len(buffer) - start >= _LENGTH:
            length = int.from_bytes(buffer[start : start + _LENGTH], "big")
            if length > self._longest:
                raise BadFrame(f"a frame of {length} octets is announced")
            end = start + _LENGTH + length
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[start + _LENGTH : end]))
            start = end
        del buffer[:start]
        return payloads
