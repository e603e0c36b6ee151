"""Where mail for a domain goes."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class TlsPolicy(StrEnum):
    """What a connection to a receiver must be.

    NONE: in clear.  MAY: encrypted where the receiver can, whatever its certificate.  ENCRYPT: encrypted, whatever its
    certificate.  REQUIRE: encrypted, with a certificate that is valid for the receiver's name.
    """

    NONE = "none"
    MAY = "may"
    ENCRYPT = "encrypt"
    REQUIRE = "require"


class Target(NamedTuple):
    """One address of one host.  ``host`` is its name, for TLS and reports; ``address`` an IP address, or empty where
    the system looks the name up when it connects."""

    host: str
    address: str
    port: int
    preference: int = 0


class Route(NamedTuple):
    """How to reach a domain.

    ``site`` names all domains that share limits: those with the same hosts, or with hosts of one provider.  ``targets``
    are in the order in which they are to be tried, those of the same preference in any.  ``relay`` is the key of the
    relay's settings, empty for a receiver's own servers.  ``hosts`` names the set of hosts, where that is not the site:
    what goes to some hosts of a provider need not be welcome at others.
    """

    site: str
    targets: tuple[Target, ...]
    relay: str = ""
    hosts: str = ""

    @property
    def group(self) -> str:
        """What has this in common may go over the same connections."""
        return self.hosts or self.site


class SiteCondition(StrEnum):
    """What is out of the ordinary with a site."""

    SLOWED = "slowed"
    PAUSED = "paused"


class SiteState(NamedTuple):
    """What operators are told of a site that is slowed or paused, and what outlasts a restart.

    ``source`` is the source address that it holds for, empty: for all.  ``reason`` is a sentence.  Times in seconds
    since the epoch.  ``resumed``: an operator wants it to be over.
    """

    site: str
    source: str
    condition: SiteCondition
    reason: str
    since: float
    until: float
    resumed: bool = False
