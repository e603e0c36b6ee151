"""One spelling for all hosts that are the same to a browser (URL standard, section 3.5)."""

from __future__ import annotations

import ipaddress
from urllib.parse import unquote

import idna

_LONGEST = 1000  # characters of a name that is looked at closely; none that works has more than 253
_DIGITS = {8: frozenset("01234567"), 10: frozenset("0123456789"), 16: frozenset("0123456789abcdef")}


def canonical_host(host: str) -> str:
    """A host as it is compared: names in A-labels and lower case, IPv4 addresses dotted, IPv6 addresses without
    brackets and in their short form; no dot at the end.

    What no browser takes comes out as something, too.
    """
    host = unquote(host).strip().lower()
    if not host.isascii() and len(host) <= _LONGEST:
        host = _a_labels(host)
    host = host.rstrip(".")
    if host.startswith("[") or ":" in host:
        return _ipv6(host.strip("[]"))
    # Whoever is blocked by an address must not come back by 0x7f.1 or 2130706433.
    return _ipv4(host) or host


def _a_labels(host: str) -> str:
    """Each label by itself, as browsers do it: they map characters and do not ask whether a label may be registered,
    so that one that may not changes nothing about the others."""
    try:
        host = idna.uts46_remap(host, std3_rules=False, transitional=False)
        return ".".join(
            [
                label if label.isascii() else f"xn--{label.encode('punycode').decode('ascii')}"
                for label in host.split(".")
            ]
        )
    except (idna.IDNAError, UnicodeError):
        return host


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return host
    return str(address.ipv4_mapped or address)  # a connection to either goes to the same machine


def _ipv4(host: str) -> str:
    """An address of one to four numbers, each decimal, octal or hexadecimal; the last one stands for all octets that
    are left.  Empty where it is none."""
    numbers = [_number(part) for part in host.split(".", 4)] if host[:1].isdecimal() else []
    if not 0 < len(numbers) <= 4:
        return ""
    *first, last = numbers
    left = 4 - len(first)
    if any(not 0 <= number < 256 for number in first) or not 0 <= last < 256**left:
        return ""
    return ".".join(map(str, (*first, *last.to_bytes(left, "big"))))


def _number(text: str) -> int:
    """-1 for what is none.  ``0x`` alone is zero."""
    base = 10
    if text.startswith("0x"):
        text, base = text[2:] or "0", 16
    elif text.startswith("0"):
        base = 8
    digits = text.lstrip("0") or text[:1]
    return int(digits, base) if digits and len(digits) <= 11 and _DIGITS[base].issuperset(digits) else -1
