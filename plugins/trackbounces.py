"""Return addresses of our own, so that mail which comes back tells for whom it was.

Each recipient's copy has a reverse-path of its own (VERP), signed and on the bounce domain: nobody can make one up, and
no table stands behind it.  What comes back is recorded, and goes on to the reverse-path that the submitter gave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from smtpeter.api import (
    Addressee,
    ConfigError,
    IEnvelopeFeature,
    IFeaturePlugin,
    IFeatureServices,
    Option,
    Options,
    ReturnPath,
    switched_on,
)

NAME = "trackbounces"


@implementer(IEnvelopeFeature)
class TrackBounces:
    """Chooses the reverse-path."""

    def __init__(self, services: IFeatureServices) -> None:
        self._domain = services.bounce_domain
        self._paths = ReturnPath(services.key_id(), lambda key_id: services.key("return path", key_id))

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return switched_on(options, NAME)

    def reverse_path(self, reverse_path: str, addressee: Addressee) -> str:
        """Ours for every message, also where the submitter gave none."""
        return f"{self._paths.make(addressee.submission, addressee.number)}@{self._domain}"


@implementer(IFeaturePlugin)
class TrackBouncesPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "the reverse-path becomes ours, one for each recipient", aliases=("bouncetracking",)),)
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> TrackBounces:
        """See the interface."""
        for key in section:
            raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        return TrackBounces(services)


plugin = TrackBouncesPlugin()
