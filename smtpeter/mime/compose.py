"""A whole message made of what an application says of it: addresses, subject, text, HTML, attachments.

Everything is checked before it is written; nothing that is given can add a field, a line of the header or a part.
Date and Message-ID are not written here: trace fields bring them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote

from smtpeter.mime.addresses import Address
from smtpeter.mime.attachment import Attachment, attach
from smtpeter.mime.fields import address_field, check_text, fold, text_field, wire_mailbox
from smtpeter.mime.parts import Boundaries, NewPart, Pieces, multipart, text_part, utf8, with_crlf, without_nul
from smtpeter.mime.structure import HEADER_LIMIT
from smtpeter.mime.transfer import has_long_line

URL_LIMIT = 900
"""Characters of a URL to unsubscribe: it has to stand on one line."""

__all__ = ["Attachment", "Composed", "Letter", "Unsubscribe", "canonical", "compose"]

_EXTRA_NAME = re.compile(r"[Xx]-[!-9;-~]{1,74}")
_OURS = "x-smtpeter-"
_WEB_URL = re.compile(r"https?://[!-~]+", re.I)
_NOT_IN_URLS = re.compile(r'[<>"\\^`{|}]')
_UNESCAPED = "@!$*+.:[]"  # in the address of a mailto URL (RFC 6068 section 2)


class Unsubscribe(NamedTuple):
    """How to get no more of these: an address, a URL, or both; ``one_click`` as RFC 8058 has it."""

    email: Address | None = None
    url: str = ""
    one_click: bool = False


class Letter(NamedTuple):
    """What a message is made of.  What is None or empty is not there.  ``extra`` are further fields, ``X-...``."""

    sender: Address
    to: Sequence[Address] = ()
    cc: Sequence[Address] = ()
    reply_to: Sequence[Address] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    unsubscribe: Unsubscribe | None = None
    extra: Sequence[tuple[str, str]] = ()
    attachments: Sequence[Attachment] = ()


class Composed(NamedTuple):
    """A message in canonical octets, in pieces that can be gone through more than once.

    ``smtputf8``: its header holds an address that only SMTPUTF8 carries (RFC 6531).
    """

    pieces: Iterable[bytes]
    smtputf8: bool


def compose(letter: Letter, entropy: str) -> Composed:
    """The message.

    ``entropy`` is random, 16 to 40 letters and digits, and new for each message: nobody can write into a text what
    would end the part that it is in.

    :raises ValueError: naming the field that cannot be used, and why.
    """
    body = _body(letter, Boundaries(entropy))
    fields = [*_fields(letter), "MIME-Version: 1.0\r\n"]
    header = "".join(fields) + body.header
    octets = f"{header}\r\n".encode()
    _check_header(octets, len(fields) + (2 if "\r\nContent-T" in body.header else 1))
    pieces = [octets, *body.body]
    last = pieces[-1]
    if isinstance(last, bytes) and not last.endswith(b"\r\n"):
        pieces.append(b"\r\n")
    return Composed(Pieces(pieces), not header.isascii())


def canonical(message: str | bytes) -> bytes:
    """A whole message as canonical octets: text as UTF-8, every line ending in CRLF.

    :raises ValueError: where it holds what no message may.
    """
    octets = with_crlf(utf8(message, "mime") if isinstance(message, str) else without_nul(message, "mime"))
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def _fields(letter: Letter) -> Iterator[str]:
    yield address_field("From", (letter.sender,))
    for name, addresses in (("To", letter.to), ("Cc", letter.cc), ("Reply-To", letter.reply_to)):
        if addresses:
            yield address_field(name, addresses)
    if letter.subject:
        yield text_field("Subject", letter.subject)
    if letter.unsubscribe is not None:
        yield from _unsubscribe_fields(letter.unsubscribe)
    for name, value in letter.extra:
        yield _extra_field(name, value)


def _unsubscribe_fields(given: Unsubscribe) -> Iterator[str]:
    """List-Unsubscribe (RFC 2369 section 3.2), and what makes it need one click only (RFC 8058 section 3.1)."""
    ways = []
    if given.url:
        if not _WEB_URL.fullmatch(given.url) or _NOT_IN_URLS.search(given.url):
            raise ValueError("unsubscribe.url: this has to be a URL like https://example.com/unsubscribe?id=1, with "
                             "percent signs for what is not ASCII")  # fmt: skip
        if len(given.url) > URL_LIMIT:
            raise ValueError(f"unsubscribe.url: this may have {URL_LIMIT} characters")
        ways.append(f"<{given.url}>")
    if given.email is not None:
        check_text(given.email.mailbox, "unsubscribe.email")
        ways.append(f"<mailto:{quote(wire_mailbox(given.email), safe=_UNESCAPED)}>")
    if given.one_click and not given.url.lower().startswith("https://"):
        raise ValueError("unsubscribe.oneclick: this needs an unsubscribe.url that begins with https://")
    if ways:
        yield fold("List-Unsubscribe", [*(f"{way}," for way in ways[:-1]), ways[-1]])
    if given.one_click:
        yield "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"


def _extra_field(name: str, value: str) -> str:
    if _EXTRA_NAME.fullmatch(name) is None:
        raise ValueError("extra: a field has a name like X-Campaign: at most 76 of ASCII, without spaces and colons")
    if name.lower().startswith(_OURS):
        raise ValueError("extra: X-SMTPeter-... is not taken here: give the option as a field of the request")
    return text_field(name, value)


def _body(letter: Letter, boundaries: Boundaries) -> NewPart:
    """Alternatives, the plain one first; HTML together with what it shows; files behind all that."""
    shown, others = attach(letter.attachments, letter.html or "")
    alternatives: list[NewPart] = []
    if letter.text is not None:
        alternatives.append(text_part(with_crlf(utf8(letter.text, "text")), "plain"))
    if letter.html is not None:
        html = text_part(with_crlf(utf8(letter.html, "html")), "html")
        if shown:
            html = multipart('related; type="text/html"', [html, *shown], boundaries)
        alternatives.append(html)
    if len(alternatives) > 1:
        alternatives = [multipart("alternative", alternatives, boundaries)]
    if others:
        return multipart("mixed", [*alternatives, *others], boundaries)
    return alternatives[0] if alternatives else text_part(b"", "plain")


def _check_header(octets: bytes, expected: int) -> None:
    """The last look at a header: as many fields as were meant to be there, and lines that end in one way only."""
    lines = octets.count(b"\r\n")
    fields = lines - octets.count(b"\r\n ") - 1
    if fields != expected or octets.count(b"\n") != lines or octets.count(b"\r") != lines or b"\0" in octets:
        raise ValueError("the fields of the header could not be told apart")
    if has_long_line(octets):
        raise ValueError("a field of the header is too long for mail")
    if len(octets) > HEADER_LIMIT:
        raise ValueError(f"the fields of the header may have {HEADER_LIMIT // 1024} KiB together")
