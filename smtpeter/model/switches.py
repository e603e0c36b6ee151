"""The options that switch a feature on or off, by the names that clients know: two generations of them."""

from __future__ import annotations

SWITCHES = frozenset(("inlinecss", "trackclicks", "trackopens", "trackbounces", "preventscam"))

_ALIASES = {
    "inlinizecss": "inlinecss",
    "clicktracking": "trackclicks",
    "openstracking": "trackopens",
    "bouncetracking": "trackbounces",
}


def canonical_name(name: str) -> str:
    """The name under which an option is kept; names compare without case."""
    return _ALIASES.get(name.lower(), name.lower())
