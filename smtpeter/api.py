"""What a feature may use: interfaces to provide, values, and what helps with HTML and links.

``docs/writing-a-feature.md`` explains it.  A feature imports this module and nothing else of smtpeter.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    ISigningFeature,
    ITransportFeature,
)
from smtpeter.mime import authors
from smtpeter.mime.authors import read_fields
from smtpeter.mime.html import Link, find_body_end, find_links, visible_text
from smtpeter.mime.inlining import Bounds, Inlined, InliningEngine, TooComplex, inline_styles
from smtpeter.mime.stencil import Stencil, apply_stencil, cut_html, make_stencil
from smtpeter.model.domain import KeyAlgorithm, SigningKey
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
from smtpeter.model.route import TlsPolicy
from smtpeter.quantities import parse_size
from smtpeter.seals import TOKEN_LENGTH, Found, LinkSeal, ReturnPath
from smtpeter.smtp.grammar import parse_mailbox

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
    "ISigningFeature",
    "ITransportFeature",
    "Inlined",
    "InliningEngine",
    "KeyAlgorithm",
    "Link",
    "LinkSeal",
    "MessageSummary",
    "Option",
    "OptionKind",
    "Options",
    "Refusal",
    "ReturnPath",
    "SigningKey",
    "Slot",
    "Stencil",
    "TlsPolicy",
    "TooComplex",
    "WebRequest",
    "WebResponse",
    "apply_stencil",
    "author_domains",
    "canonical_host",
    "cut_html",
    "find_body_end",
    "find_links",
    "inline_styles",
    "make_stencil",
    "parse_size",
    "read_fields",
    "switched_on",
    "visible_text",
]


def author_domains(fields: Sequence[tuple[bytes, bytes]]) -> list[str]:
    """The domains of all addresses in the From field, as A-labels; ``fields`` are those of :func:`read_fields`.

    :raises ValueError: where there is not exactly one such field, or it could be read in several ways.
    """
    return authors.author_domains(fields, parse_mailbox)


def switched_on(options: Options, name: str) -> bool:
    """Whether a switch is on for a message with these options."""
    return options.get(name) == "true"
