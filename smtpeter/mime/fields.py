"""Header fields written from text: folded, in ASCII, and never more than the one field that was asked for.

What is not ASCII becomes encoded words (RFC 2047) and parameters in the way of RFC 2231; only the local part of an
address has no such form and stays UTF-8 (RFC 6532).  Each function answers whole lines, ending in CRLF.
"""

from __future__ import annotations

import re
import string
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence

from smtpeter.mime.addresses import UNFIT, Address

FOLD_AT = 78  # characters of a line where that can be (RFC 5322 section 2.1.1)

_WORD_LIMIT = 48  # characters of what is encoded in one word: with its frame and "Reply-To:" it fits on a line
_LONGEST_WORD = 900  # of what can stand on a line as it is, since a line may have 998
_PLAIN_WORDS = re.compile(r"[!-~]++(?: ++[!-~]++)*+")
_WORD = re.compile(r" ( *[^ ]+)")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_QUOTABLE = re.compile(r"[!-~](?:[ -~]{0,60}[!-~])?")
_QUOTABLE_VALUE = re.compile(r"[!#-\[\]-~](?:[ !#-\[\]-~]{0,58}[!#-\[\]-~])?")
_NO_QUOTED_WORD = re.compile("[^A-Za-z0-9!*+/-]")  # of a phrase, the narrowest case (RFC 2047 section 5)
_SECTION_LIMIT = 52  # characters of a parameter's section, with its frame on a line
_LETTERS = string.ascii_letters + string.digits


def _escapes(mark: str, plain: str) -> list[str]:
    """How each octet is written where only ``plain`` ones stand for themselves."""
    return [chr(octet) if chr(octet) in plain else f"{mark}{octet:02X}" for octet in range(256)]


_QUOTED = _escapes("=", _LETTERS + "!*+/-")
_QUOTED[ord(" ")] = "_"
_EXTENDED = _escapes("%", _LETTERS + "!#$&+.^_`{|}~-")


def check_text(text: str, what: str) -> None:
    """Refuse what could not be told from the end of a field, or is no text.

    :raises ValueError: naming ``what``.
    """
    if not (text.isascii() and text.isprintable()) and UNFIT.search(text):
        raise ValueError(f"{what}: control characters and ends of lines cannot be in a header")


def text_field(name: str, text: str) -> str:
    """An unstructured field: what readers show is exactly the text."""
    check_text(text, name)
    if len(name) + len(text) < FOLD_AT - 1 and _is_plain(text):
        return f"{name}: {text}\r\n"
    if not text:
        return f"{name}:\r\n"
    if _is_plain(text):
        words = text.split(" ") if "  " not in text else _WORD.findall(f" {text}")
        if max(map(len, words)) <= _LONGEST_WORD:
            return fold(name, words)
    return fold(name, encoded_words(text))


def address_field(name: str, addresses: Sequence[Address]) -> str:
    """A list of addresses, their domains as A-labels."""
    chunks: list[str] = []
    for address in addresses:
        check_text(address.mailbox, name)
        if chunks:
            chunks[-1] += ","
        mailbox = wire_mailbox(address)
        if address.name:
            check_text(address.name, name)
            chunks += _phrase(address.name)
            mailbox = f"<{mailbox}>"
        chunks.append(mailbox)
    return fold(name, chunks)


def wire_mailbox(address: Address) -> str:
    """The mailbox with its domain in ASCII."""
    local, _, domain = address.mailbox.rpartition("@")
    return address.mailbox if domain.isascii() else f"{local}@{address.domain}"


def parameter(name: str, text: str) -> list[str]:
    """A parameter as RFC 2231 has it, in as many sections as it needs; chunks for :func:`fold`."""
    if _QUOTABLE_VALUE.fullmatch(text) and "=?" not in text:
        return [f'{name}="{text}"']
    sections = list(_cut(_written(text, _EXTENDED), "%", _SECTION_LIMIT))
    if len(sections) == 1:
        return [f"{name}*=utf-8''{sections[0]}"]
    sections = [f"{name}*{number}*={section}" for number, section in enumerate(sections)]
    sections[0] = sections[0].replace("=", "=utf-8''", 1)
    return [*(f"{section};" for section in sections[:-1]), sections[-1]]


def name_parameter(text: str) -> list[str]:
    """The ``name`` of a Content-Type, for mail programs that look for nothing else: with encoded words, though RFC 2047
    section 5 does not have them there."""
    if _QUOTABLE_VALUE.fullmatch(text) and "=?" not in text:
        return [f'name="{text}"']
    words = encoded_words(text)
    words[0] = f'name="{words[0]}'
    words[-1] += '"'
    return words


def fold(name: str, chunks: Iterable[str]) -> str:
    """A field of these chunks with a space before each, on lines as short as the chunks allow."""
    lines: list[str] = []
    line = f"{name}:"
    for number, chunk in enumerate(chunks):
        is_first = number == 0 and len(chunk) <= _LONGEST_WORD and not chunk.startswith("=?")
        if len(line) + len(chunk) >= FOLD_AT and not is_first:
            lines.append(line)
            line = ""
        line += f" {chunk}"
    return "".join([f"{line}\r\n" for line in (*lines, line)])


def encoded_words(text: str) -> list[str]:
    """The text as encoded words, in base64 or in what can be read where that is not longer; no character is cut."""
    octets = text.encode("utf-8")
    special = len(_NO_QUOTED_WORD.findall(text)) - text.count(" ") + len(octets) - len(text)
    if len(octets) + 2 * special > (len(octets) + 2) // 3 * 4:
        return [f"=?utf-8?B?{b64encode(piece).decode('ascii')}?=" for piece in _whole_characters(octets)]
    return [f"=?utf-8?Q?{word}?=" for word in _cut(_written(text, _QUOTED), "=", _WORD_LIMIT)]


def _is_plain(text: str) -> bool:
    return _PLAIN_WORDS.fullmatch(text) is not None and "=?" not in text


def _phrase(name: str) -> list[str]:
    if "=?" not in name:
        if _ATOMS.fullmatch(name) and len(name) <= FOLD_AT:
            return name.split(" ")
        if _QUOTABLE.fullmatch(name):
            escaped = name.replace("\\", "\\\\").replace('"', '\\"')
            return [f'"{escaped}"']
    return encoded_words(name)


def _whole_characters(octets: bytes) -> Iterator[bytes]:
    """Pieces of UTF-8 that make one word of base64 each."""
    start = 0
    while start < len(octets):
        end = start + _WORD_LIMIT // 4 * 3
        while end < len(octets) and octets[end] & 0xC0 == 0x80:
            end -= 1
        yield octets[start:end]
        start = end


def _written(text: str, octets: list[str]) -> str:
    return "".join([octets[octet] for octet in text.encode("utf-8")])


def _cut(escaped: str, mark: str, limit: int) -> Iterator[str]:
    """Pieces as long as the limit allows, each of whole characters."""
    start = 0
    while len(escaped) - start > limit:
        end = start + limit
        if escaped[end - 1] == mark:
            end -= 1
        elif escaped[end - 2] == mark:
            end -= 2
        while escaped[end] == mark and escaped[end + 1] in "89AB":  # an octet that goes on with a character
            end -= 3
        yield escaped[start:end]
        start = end
    yield escaped[start:]
