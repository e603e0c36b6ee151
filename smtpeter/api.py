"""What a feature may use: interfaces to provide, values, and what helps with HTML and links.

``docs/writing-a-feature.md`` explains it.  A feature imports this module and nothing else of smtpeter.
"""

from __future__ import annotations

from smtpeter.errors import ConfigError, Refusal
from smtpeter.interfaces import (
    ICheckingFeature,
    IEditableLeaf,
    IEditableMessage,
    IEnvelopeFeature,
    IFeaturePlugin,
    IFeatureServices,
    IMessageFeature,
    IPersonalizingFeature,
    IPrepareContext,
    IPreparingFeature,
    IResourceFeature,
)
from smtpeter.mime.html import Link, find_body_end, find_links, visible_text
from smtpeter.mime.inlining import Bounds, Inlined, InliningEngine, TooComplex, inline_styles
from smtpeter.mime.stencil import Stencil, apply_stencil, cut_html, make_stencil
from smtpeter.model.event import EventKind
from smtpeter.model.feature import (
    NOT_FOUND,
    Addressee,
    FailurePolicy,
    MessageSummary,
    Option,
    OptionKind,
    Options,
    Slot,
    WebRequest,
    WebResponse,
)
from smtpeter.model.hosts import canonical_host
from smtpeter.quantities import parse_size
from smtpeter.seals import TOKEN_LENGTH, Found, LinkSeal, ReturnPath

__all__ = [
    "NOT_FOUND",
    "TOKEN_LENGTH",
    "Addressee",
    "Bounds",
    "ConfigError",
    "EventKind",
    "FailurePolicy",
    "Found",
    "ICheckingFeature",
    "IEditableLeaf",
    "IEditableMessage",
    "IEnvelopeFeature",
    "IFeaturePlugin",
    "IFeatureServices",
    "IMessageFeature",
    "IPersonalizingFeature",
    "IPrepareContext",
    "IPreparingFeature",
    "IResourceFeature",
    "Inlined",
    "InliningEngine",
    "Link",
    "LinkSeal",
    "MessageSummary",
    "Option",
    "OptionKind",
    "Options",
    "Refusal",
    "ReturnPath",
    "Slot",
    "Stencil",
    "TooComplex",
    "WebRequest",
    "WebResponse",
    "apply_stencil",
    "canonical_host",
    "cut_html",
    "find_body_end",
    "find_links",
    "inline_styles",
    "make_stencil",
    "parse_size",
    "switched_on",
    "visible_text",
]


def switched_on(options: Options, name: str) -> bool:
    """Whether a switch is on for a message with these options."""
    return options.get(name) == "true"
