"""Tags of template languages in HTML and CSS, covered so that nobody takes what is in them for markup.

Mail is often sent with the tags of another system in it, which come to their values later or stand there as they are.
"""

from __future__ import annotations

import re

COVER = "\ue000"
"""What covers a template tag: a letter to CSS, and no white space, quote or delimiter to HTML."""

# Each kind ends where its own opening could begin again, and is short: nothing is looked at twice.
_TEMPLATE_TAG = re.compile(
    r"\{\{\{[^{}]{0,1000}\}\}\}|\{\{[^{}]{0,1000}\}\}"
    r"|\{%[^%]{0,1000}%\}"
    r"|<%[^%]{0,1000}%>"
    r"|<\?(?:php\b|=)[^?]{0,1000}\?>"
    r"|\*\|[^|<>]{1,200}\|\*"
    r"|%%(?=\S)[^%<>]{1,200}(?<=\S)%%"
    r"|\[\[[^\[\]<>]{1,200}\]\]"
    r"|\$\{[^{}<>]{1,200}\}"
)


def cover_templates(text: str) -> str:
    """The text with each template tag replaced by as many :data:`COVER`, so that every offset stays what it is."""
    return _TEMPLATE_TAG.sub(lambda match: COVER * len(match[0]), text)
