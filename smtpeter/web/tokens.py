"""Names as HTTP writes them (RFC 9110 section 5.6.2), for regular expressions."""

from __future__ import annotations

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"
"""A token, of which nothing is given back."""

QUOTED = r'"(?:[^"\\]|\\.)*+"'
"""A text in quotes, with pairs of a backslash and a character."""
