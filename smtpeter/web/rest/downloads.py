"""Content of strangers as an answer: it is for programs and to be kept, and runs nowhere."""

from __future__ import annotations

import re
from urllib.parse import quote

from smtpeter.web.rest.values import Fields

# Nosniff is there as for all answers.
_STRICT = (
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)
_ANYTHING = b"application/octet-stream"
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
# What a browser runs, or takes for a document, a style sheet or a program of the place that it came from.
_RUNS = re.compile(
    r"html|[/+]xml|svg|script|/css|xsl|xul|wasm|mimearchive|shockwave|futuresplash|manifest|java|^multipart/"
)
_UNFIT = re.compile(r"[^ !#-\[\]-~]")


def safe_type(type: str) -> bytes:
    """A content type as it may be told: of what could run somewhere nothing is said."""
    if _TYPE.fullmatch(type) and not _RUNS.search(type):
        return type.encode("ascii")
    return _ANYTHING


def fields_of(name: str) -> Fields:
    """What keeps it from being shown where we are; ``name`` is under which to save it (RFC 6266), empty for none."""
    disposition = b"attachment"
    if name:
        plain = _UNFIT.sub("_", name)
        disposition += b'; filename="%s"' % plain.encode("ascii")
        if plain != name:
            disposition += b"; filename*=UTF-8''" + quote(name, safe="", errors="replace").encode("ascii")
    return ((b"Content-Disposition", disposition), *_STRICT)
