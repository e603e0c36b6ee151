"""Durations, sizes and shares as people write them: ``"90s"``, ``"50MB"``, ``"5%"``."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_OCTETS = {
    "": 1, "B": 1,
    "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip

_NUMBER = r"[0-9]{1,15}(?:\.[0-9]{1,9})?"
_DURATION_PART = re.compile(rf"({_NUMBER}) ?(ms|s|m|h|d|w) ?", re.ASCII)
_DURATION = re.compile(rf"(?:{_DURATION_PART.pattern}){{1,6}}", re.ASCII)
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]{{0,3}})", re.ASCII)
_PERCENTAGE = re.compile(rf"({_NUMBER}) ?%", re.ASCII)

_LONGEST = 100 * 366 * 86400.0


class FreeSpace(NamedTuple):
    """Room that has to stay free: so many octets, or a fraction of the whole volume."""

    octets: int = 0
    fraction: float = 0.0

    def of(self, total: int) -> int:
        """The octets that have to stay free on a volume of ``total`` octets."""
        return max(self.octets, math.ceil(total * self.fraction))


def parse_duration(value: object) -> float:
    """Seconds from ``"1h30m"`` or from a plain number of seconds.

    :raises ValueError: where it is no duration, negative, or longer than a century.
    """
    seconds = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and _DURATION.fullmatch(value):
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if not 0 <= seconds <= _LONGEST:
        raise ValueError('is not a duration (try "90s", "5m", "24h" or "30d")')
    return seconds


def parse_size(value: object) -> int:
    """Octets from ``"50MB"`` (powers of ten), ``"256KiB"`` (powers of two), or from a plain number of octets.

    :raises ValueError: where it is no size, or negative.
    """
    octets = -1
    if isinstance(value, int) and not isinstance(value, bool):
        octets = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value)) and match[2].upper() in _OCTETS:
        octets = round(float(match[1]) * _OCTETS[match[2].upper()])
    if not 0 <= octets < 2**63:
        example = re.match(r"[1-9][0-9]{0,5}", value) if isinstance(value, str) else None
        raise ValueError(f'is not a size (try "{example[0] if example else 50}MB")')
    return octets


def parse_free_space(value: object) -> FreeSpace:
    """A share (``"5%"``) or a size (``"10GB"``) of a volume.

    :raises ValueError: where it is neither, or leaves no room at all.
    """
    if isinstance(value, str) and (match := _PERCENTAGE.fullmatch(value)) and float(match[1]) < 100:
        return FreeSpace(fraction=float(match[1]) / 100)
    try:
        return FreeSpace(octets=parse_size(value))
    except ValueError:
        raise ValueError('is neither a share nor a size (try "5%" or "10GB")') from None
