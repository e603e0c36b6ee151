"""Encoded words of header fields (RFC 2047), read for display."""

from __future__ import annotations

import base64
import binascii
import re

from smtpeter.model.reply import clean_text

_WORD = re.compile(r"=\?([A-Za-z0-9_-]{1,40})(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([!->@-~]*)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


def decode_field(value: bytes, limit: int = 998) -> str:
    """The text of an unstructured field, unfolded and decoded, without controls, at most ``limit`` characters.

    Never fails, and what comes out can be stored, logged and shown on one line whatever the words spell.
    """
    text = _FOLD.sub(b"", value).decode("utf-8", "replace").strip()[:limit]
    if "=?" in text:
        text = _WORD.sub(_decode_word, _BETWEEN.sub(r"\1\2", text))
        # Some charsets can spell lone surrogates, which are no text.
        text = text.encode("utf-8", "replace").decode("utf-8")
    return clean_text(text, limit)


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    try:
        if encoding in "Bb":
            octets = base64.b64decode(text + "=" * (-len(text) % 4))
        else:
            octets = binascii.a2b_qp(text, header=True)
        decoded = octets.decode(charset, "replace")
    except (binascii.Error, ValueError, LookupError):
        return match[0]
    return decoded if isinstance(decoded, str) else match[0]
