"""Which requests to send are so little work that they are composed at once, in the server.

Nothing else is done in the server meanwhile, so this is about the worst that can be made of a body: a few milliseconds.
It is a matter of how many things a body has, more than of its octets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from smtpeter.web.rest.bodies import JSON, URLENCODED, read_tree, read_type

IN_HERE = 32 * 1024
"""Octets of a body."""

MULTIPART = 4 * 1024
"""Octets of one in ``multipart/form-data``, where lines of headers may be most of it."""

STRUCTURE = 400
"""Octets of JSON outside of texts: about so many stand around 60 files or 400 recipients."""

VALUES = 100
"""Of a form."""

ADDRESSES = 100
"""In all fields together."""

ENCODED = 50
"""Encoded words, or what looks like them."""

FOREIGN = 200
"""Characters of domains that are not ASCII: to make A-labels takes a hundred times longer than anything else."""

TEXTS = 8 * 1024
"""Characters of all texts but the content: what goes into a header is looked at more closely."""

_FEW = 60  # values of any kind
_WHITE = b" \t\r\n"
_JSON_TEXT = re.compile(rb'"(?:[^"\\]++|\\.)*+"?+', re.S)  # one that is not closed goes to the end
_DOMAIN = re.compile(r'@([^@,<>"\s]+)')
_CONTENT = frozenset(("text", "html", "mime", "body", "data"))


def read_if_light(content_type: bytes, octets: bytes) -> dict[str, Any] | None:
    """What a body says, as of :func:`smtpeter.web.rest.bodies.read_tree`; None where it may be too much work.

    :raises ApiError: 400 or 415, as the same.
    """
    if len(octets) > IN_HERE:
        return None
    kind = read_type(content_type, octets).name
    if kind == JSON:
        if _structure(octets) > STRUCTURE:
            return None
    elif kind == URLENCODED:
        if octets.count(b"&") > VALUES:
            return None
    elif len(octets) > MULTIPART:
        return None
    tree = read_tree(content_type, octets)
    return tree if _is_light(tree) else None


def _structure(octets: bytes) -> int:
    """Octets outside of texts, or a few where there are certainly few."""
    few = octets.count(b",") + octets.count(b"{") + octets.count(b"[")
    return few if few <= _FEW else len(_JSON_TEXT.sub(b"", octets).translate(None, _WHITE))


def _is_light(tree: Mapping[str, Any]) -> bool:
    texts = "\n".join(_texts(tree))
    if len(texts) > TEXTS or texts.count("@") > ADDRESSES or texts.count("=?") > ENCODED:
        return False
    return texts.isascii() or sum(len(each) for each in _DOMAIN.findall(texts) if not each.isascii()) <= FOREIGN


def _texts(tree: Mapping[str, Any]) -> list[str]:
    """All texts but the content, names too."""
    texts: list[str] = []
    left: list[Any] = [tree]
    while left:
        each = left.pop()
        if isinstance(each, str):
            texts.append(each)
        elif isinstance(each, dict):
            texts += each
            left += [value for name, value in each.items() if name.lower() not in _CONTENT]
        elif isinstance(each, list):
            left += each
    return texts
