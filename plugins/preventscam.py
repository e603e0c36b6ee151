"""Leaves links alone whose visible text is itself an address.

A link that says ``www.bank.example`` and leads somewhere else looks like a scam, and mail programs warn.  So its
address is kept as it is, and clicks on it are not tracked.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from zope.interface import implementer

from smtpeter.api import (
    ConfigError,
    FailurePolicy,
    IEditableMessage,
    IFeaturePlugin,
    IFeatureServices,
    IPrepareContext,
    IPreparingFeature,
    Option,
    Options,
    switched_on,
    visible_text,
)

NAME = "preventscam"
_LONGEST = 2000  # characters; what says more is no address
_AROUND = " \t.,;:!?'\"()[]{}<>«»‹›“”„‘’→➔►▶|*_-"
_ADDRESS = re.compile(
    r"""[a-z][a-z0-9+.-]*+://\S+      # with a scheme
    | www\.\S+
    | (?:[^\s@]++@)?                  # an e-mail address, or a host
      (?:(?:[^\W_][\w-]*+\.)++(?:[^\W\d_]{2,63}|xn--[a-z0-9-]{2,59}) | [0-9]{1,3}(?:\.[0-9]{1,3}){3})
      (?:[:/?\#]\S*)?                 # and more
    """,
    re.IGNORECASE | re.VERBOSE,
)


@implementer(IPreparingFeature)
class PreventScam:
    """Asks the features that follow to leave such links alone."""

    on_failure = FailurePolicy.SEND

    def wants(self, options: Options) -> bool:
        """See the interface.  Where links are not tracked, there is nothing to prevent."""
        return switched_on(options, NAME) and switched_on(options, "trackclicks")

    def prepare(self, message: IEditableMessage, context: IPrepareContext) -> None:
        """See the interface."""
        count = 0
        for leaf in message.html:
            octets, encoding = leaf.octets, leaf.encoding
            for link in leaf.links():
                if link.value[:4].lower() != b"http":
                    continue
                if says_address(visible_text(octets, link.inner_start, link.inner_end, encoding)):
                    leaf.protect(link.start, link.end)
                    count += 1
        if count:
            context.note(f"{count} link{'' if count == 1 else 's'} protected, whose text is an address")


def says_address(text: str) -> bool:
    """Whether a link's text is an address and nothing else, but for marks around it and characters without a width."""
    if not text.isascii():
        text = "".join(character for character in text if unicodedata.category(character) != "Cf")
    text = text.strip(_AROUND)
    return len(text) <= _LONGEST and _ADDRESS.fullmatch(text) is not None


@implementer(IFeaturePlugin)
class PreventScamPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "links whose text is itself an address are left alone, so that nobody is warned"),)
    after = ("inlinecss",)
    before = ("trackclicks",)

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> PreventScam:
        """See the interface."""
        for key in section:
            raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        return PreventScam()


plugin = PreventScamPlugin()
