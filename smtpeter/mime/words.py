"""Encoded words of header fields (RFC 2047), read for display."""

from __future__ import annotations

import base64
import binascii
import re

from smtpeter.model.reply import clean_text

_WORD = re.compile(r"=\?([A-Za-z0-9_-]{1,40})(?:\*[A-Za-z0-9-]*)?\?([BbQq])\?([!->@-~]*)\?=")
# Not every codec of Python's is a charset of mail, and some take very long for little: a sender may not choose freely.
_CHARSETS = {
    "us-ascii", "utf-8", "utf-7", "utf-16", "utf-16-be", "utf-16-le", "gb2312", "gbk", "gb18030", "big5", "hz-gb-2312",
    "shift_jis", "euc-jp", "iso-2022-jp", "euc-kr", "ks_c_5601-1987", "iso-2022-kr", "koi8-r", "koi8-u", "tis-620",
    "macintosh",
    *(f"iso-8859-{part}" for part in range(1, 17) if part != 12),
    *(f"windows-{page}" for page in range(1250, 1259)),
}  # fmt: skip
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
_FOLD = re.compile(rb"\r\n(?=[ \t])")


def decode_field(value: bytes, limit: int = 998) -> str:
    """The text of an unstructured field, unfolded and decoded, without controls, at most ``limit`` characters.

    Never fails, and what comes out can be stored, logged and shown on one line whatever the words spell.
    """
    # A character has at most four octets, and a fold of two stands before at least one: more is not looked at.
    value = value.lstrip()[: 6 * limit]
    text = _FOLD.sub(b"", value).decode("utf-8", "replace").strip()[:limit]
    if "=?" in text:
        text = _WORD.sub(_decode_word, _BETWEEN.sub(r"\1\2", text))
        # Some charsets can spell lone surrogates, which are no text.
        text = text.encode("utf-8", "replace").decode("utf-8")
    return clean_text(text, limit)


def _decode_word(match: re.Match[str]) -> str:
    charset, encoding, text = match.groups()
    if charset.lower() not in _CHARSETS:
        return match[0]
    try:
        if encoding in "Bb":
            octets = base64.b64decode(text + "=" * (-len(text) % 4))
        else:
            octets = binascii.a2b_qp(text, header=True)
        decoded = octets.decode(charset, "replace")
    except (binascii.Error, ValueError, LookupError):
        return match[0]
    return decoded if isinstance(decoded, str) else match[0]
