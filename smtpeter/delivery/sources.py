"""Which of our addresses mail goes out from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from smtpeter.locations import version_of
from smtpeter.model.route import Target
from smtpeter.settings import SourceAddress

ANY = SourceAddress("")
"""The system's choice."""


def order_sources(site: str, sources: Iterable[SourceAddress]) -> Sequence[SourceAddress]:
    """The addresses for a site, first the one that it usually sees.

    Each site has an order of its own (rendezvous hashing), so that sites spread over the addresses, stay where they
    are, and only those of an address that goes away move.
    """

    def weight(source: SourceAddress) -> bytes:
        return hashlib.sha256(f"{site} {source.address}".encode()).digest()

    return sorted(sources, key=weight) or [ANY]


def reaches(source: SourceAddress, target: Target) -> bool:
    """Whether a connection can be made from one to the other."""
    if not source.address or not target.address:
        return True
    return version_of(source.address) == version_of(target.address)
