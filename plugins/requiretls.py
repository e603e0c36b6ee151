"""Lets a message say that it must not travel in clear.

It then goes only over connections that are encrypted, to hosts whose certificates are valid for their names; where
there is none, it waits, and in the end comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from smtpeter.api import (
    ConfigError,
    IFeaturePlugin,
    IFeatureServices,
    ITransportFeature,
    Option,
    Options,
    TlsPolicy,
    switched_on,
)

NAME = "requiretls"


@implementer(ITransportFeature)
class RequireTls:
    """Tells delivery."""

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return switched_on(options, NAME)

    def tls_policy(self, options: Options) -> TlsPolicy:
        """See the interface."""
        return TlsPolicy.REQUIRE


@implementer(IFeaturePlugin)
class RequireTlsPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "delivered only over encrypted connections to hosts that prove who they are"),)
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> RequireTls:
        """See the interface."""
        for key in section:
            raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        return RequireTls()


plugin = RequireTlsPlugin()
