"""Whom a message says that it is from, where all readers have to agree on it (RFC 5322 section 3.6.2).

It decides in whose name a message is signed, and whether it may be sent at all: whatever could be read in two ways is
told, and not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from smtpeter.mime.addresses import read_addresses
from smtpeter.mime.transfer import has_bare_newline

FROM_LIMIT = 8192
"""Octets of a From field that is looked at."""

_MOST_COMMAS = 20  # to read an address may take a tenth of a millisecond

_NAME = re.compile(rb"[!-9;-~]+")
# What cron and others write: a@example.com (a name without anything that means something in an address)
_NAME_BEHIND = re.compile(r"([^\s()<>\",:;@]+@[^\s()<>\",:;@]+) +\([^()<>\\\",:;@]*\)")


def read_fields(header: bytes) -> list[tuple[bytes, bytes]]:
    """All fields of a header block in their order: names in lower case, values unfolded, as they are otherwise.

    :raises ValueError: with a sentence for people, where a line is no field, or readers may see other lines.
    """
    if b"\0" in header or has_bare_newline(header):
        raise ValueError("the header holds a bare line end, or NUL")
    lines = header.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t").split(b"\r\n")
    if lines[-1] == b"":
        del lines[-1]
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.rstrip(b" \t")
        if not colon or not _NAME.fullmatch(name):
            raise ValueError("a line of the header is no field")
        fields.append((name.lower(), value))
    return fields


def author_domains(fields: Sequence[tuple[bytes, bytes]], domain_of: Callable[[str], str]) -> list[str]:
    """The domains of all addresses in the From field, in their order, as A-labels in lower case.

    ``fields`` are those of :func:`read_fields`; ``domain_of`` is as :func:`smtpeter.mime.addresses.read_addresses` has
    it.

    :raises ValueError: with a sentence for people, where there is not exactly one such field with an address in it, or
        where it could be read in several ways.
    """
    values = [value for name, value in fields if name == b"from"]
    if len(values) != 1:
        raise ValueError("there is more than one From field" if values else "there is no From field")
    if len(values[0]) > FROM_LIMIT or values[0].count(b",") > _MOST_COMMAS:
        raise ValueError("the From field is too long")
    # In what is no UTF-8 the ASCII is the same to everybody; a domain that has a replacement character in it is none.
    text = values[0].replace(b"\t", b" ").decode("utf-8", "replace").strip(" ")
    named_behind = _NAME_BEHIND.fullmatch(text)
    domains = [each.domain for each in read_addresses(text if named_behind is None else named_behind[1], domain_of)]
    if not domains:
        raise ValueError("there is no address in the From field")
    return domains
