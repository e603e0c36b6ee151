"""Lists of addresses as applications write them: ``a@b``, ``Name <a@b>``, ``"Last, First" <a@b>``, parted by commas.

One strict reader, linear in time, with one answer for everything that it takes.  What others read in several ways is
refused: groups, comments, quotes that are not closed, and quoted local parts that look like something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from smtpeter.errors import Refusal
from smtpeter.mime.words import decode_field

NAME_LIMIT = 256
"""Characters of a display name."""

_ENCODED_LIMIT = 16 * NAME_LIMIT  # characters of a name in encoded words

UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What no field of a header may hold: controls, ends of lines of every kind, and halves of characters."""

_QUOTED = r'"(?:[^"\\]++|\\.)*+"'
_ITEM = re.compile(rf'((?:[^",]++|{_QUOTED})*+)(?:,[, ]*+|\Z)')
_NAMED = re.compile(rf'((?:[^"<>]++|{_QUOTED})*+)<((?:[^"<>]++|{_QUOTED})*+)>')
_IN_QUOTES = re.compile(r'"((?:[^"\\]++|\\.)*+)"')
_QUOTED_PAIR = re.compile(r"\\(.)")
_GROUPED = re.compile(r"[:;]")
_SPECIAL = re.compile(r"[@<>()\[\],:;\\]")


class Address(NamedTuple):
    """A display name, empty where there is none, and a mailbox as it was written.

    ``domain`` is the mailbox's domain as a queue key: A-labels, lower case.
    """

    name: str
    mailbox: str
    domain: str


def read_addresses(value: str | Sequence[str], domain_of: Callable[[str], str]) -> list[Address]:
    """All addresses of a text, or of several; in order, none where there are none.

    ``domain_of`` checks a bare mailbox and answers its domain as a queue key, or fails with a Refusal; this is
    :func:`smtpeter.smtp.grammar.parse_mailbox`.

    :raises ValueError: with a sentence for people, which repeats nothing of what was given.
    """
    texts = (value,) if isinstance(value, str) else value
    addresses: list[Address] = []
    for text in texts:
        if UNFIT.search(text):
            raise ValueError("an address holds a control character or the end of a line")
        for item in _items(text):
            try:
                addresses.append(_read(item, domain_of))
            except Refusal as refusal:
                raise ValueError(_located(refusal.reply.text, len(addresses))) from None
            except ValueError as error:
                raise ValueError(_located(str(error), len(addresses))) from None
    return addresses


def _items(text: str) -> Iterator[str]:
    """What stands between commas; where nothing does, there is nothing."""
    position = 0
    while position < len(text):
        match = _ITEM.match(text, position)
        if match is None:
            raise ValueError("a quotation mark in an address is not closed")
        item = match[1].strip(" ")
        if item:
            yield item
        position = match.end()


def _read(item: str, domain_of: Callable[[str], str]) -> Address:
    name = ""
    mailbox = item
    if item.endswith(">"):
        match = _NAMED.fullmatch(item)
        if match is None:
            raise ValueError("there is more than one < or > in it")
        name, mailbox = _read_name(match[1]), match[2].strip(" ")
    elif not item.startswith('"') and (" " in item or "(" in item):
        raise ValueError("write it as name@example.com or as Name <name@example.com>, with commas between several")
    if mailbox.startswith('"') and _SPECIAL.search(mailbox, 0, mailbox.rfind('"')):
        # There were readers that took "a@evil.example x"@b.example for an address at evil.example.
        raise ValueError("what is in quotes before the @ could be read in several ways")
    return Address(name, mailbox, domain_of(mailbox))


def _read_name(phrase: str) -> str:
    """A name without its quotes, and without the encoded words that it may be made of."""
    if len(phrase) > _ENCODED_LIMIT:
        raise ValueError(f"a name may have {NAME_LIMIT} characters")
    outside = _IN_QUOTES.sub("", phrase) if '"' in phrase else phrase
    if _GROUPED.search(outside) or "\\" in outside:
        raise ValueError("groups are not taken, and a name with a colon, semicolon or backslash has to be in quotes")
    # Quotes within a word part nothing; neither do those around the whole.
    name = _QUOTED_PAIR.sub(r"\1", _IN_QUOTES.sub(r"\1", phrase)) if outside is not phrase else phrase
    name = name.strip(" ")
    if "=?" in name:
        name = decode_field(name.encode("utf-8"), _ENCODED_LIMIT)
    if len(name) > NAME_LIMIT:
        raise ValueError(f"a name may have {NAME_LIMIT} characters")
    return name


def _located(complaint: str, before: int) -> str:
    return f"{complaint} (address {before + 1})" if before else complaint
