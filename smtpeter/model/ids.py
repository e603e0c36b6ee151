"""Ids of submissions and recipients: safe in URLs, ordered in time, not to be guessed."""

from __future__ import annotations

import re

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_SUBMISSION = "[0-9a-hjkmnp-tv-z]{26}"
_ID = re.compile(rf"({_SUBMISSION})(?:-([1-9][0-9]{{0,8}}))?")

ENTROPY_BYTES = 10
# To the digits that int() knows for base 32.
_AS_BASE_32 = str.maketrans(_ALPHABET, "0123456789abcdefghijklmnopqrstuv")


def make_submission_id(milliseconds: int, entropy: bytes) -> str:
    """A submission's id: 48 bits of time, then 80 random bits, as 26 letters and digits that sort by time."""
    value = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(entropy, "big")
    high, low = value >> 60, value & 0xFFF_FFFF_FFFF_FFFF
    pairs = _PAIRS
    return (
        pairs[high >> 60 & 1023] + pairs[high >> 50 & 1023] + pairs[high >> 40 & 1023] + pairs[high >> 30 & 1023]
        + pairs[high >> 20 & 1023] + pairs[high >> 10 & 1023] + pairs[high & 1023]
        + pairs[low >> 50] + pairs[low >> 40 & 1023] + pairs[low >> 30 & 1023]
        + pairs[low >> 20 & 1023] + pairs[low >> 10 & 1023] + pairs[low & 1023]
    )  # fmt: skip


def first_id(seconds: float) -> str:
    """The least id that a submission of a time (seconds since the epoch) or later can have."""
    return make_submission_id(min(max(int(seconds * 1000), 0), 0xFFFF_FFFF_FFFF), bytes(ENTROPY_BYTES))


def pack_submission_id(id: str) -> bytes:
    """A submission's id as 16 octets.

    :raises ValueError: where it is none.
    """
    value = int(id.translate(_AS_BASE_32), 32)
    return value.to_bytes(16, "big")


def unpack_submission_id(octets: bytes) -> str:
    """What :func:`pack_submission_id` was given."""
    return make_submission_id(int.from_bytes(octets[:6], "big"), octets[6:])


def recipient_id(submission: str, number: int, count: int) -> str:
    """The id of recipient ``number`` (from 1) of a submission with ``count`` recipients."""
    return submission if count == 1 else f"{submission}-{number}"


def parse_id(text: str) -> tuple[str, int | None] | None:
    """Split an id into the submission's id and the recipient's number; None where it is no id at all."""
    match = _ID.fullmatch(text)
    if match is None:
        return None
    return match[1], int(match[2]) if match[2] else None
