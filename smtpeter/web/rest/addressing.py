"""The envelope of a request: who gets it, and what its sender wants to hear of it, as strictly as SMTP reads it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from smtpeter.errors import Refusal
from smtpeter.mime.addresses import read_addresses
from smtpeter.model.envelope import NULL_PATH, Recipient
from smtpeter.smtp import grammar
from smtpeter.web.rest.values import ApiError

_SPECIAL = re.compile('[",<> ]|^$')
_TEXT = 1024  # characters of what is written for each recipient, at most


def read_domain(mailbox: str) -> str:
    """A bare address's domain as a queue key.

    :raises ValueError: where it is no address, with a sentence for people.
    """
    if len(mailbox) > grammar.PATH_LIMIT:
        raise ValueError("an address is longer than RFC 5321 allows")
    try:
        return grammar.parse_mailbox(mailbox)
    except Refusal as refusal:
        text = refusal.reply.text
        # SMTP's form has brackets that nobody writes here.
        raise ValueError("write it as name@example.com" if "local-part@domain" in text else text) from None


def read_recipients(given: Sequence[str], most: int, notify: str | None, orcpt: str | None) -> tuple[Recipient, ...]:
    """Bare addresses, each text one or several with commas between, in order and each once.

    Two are the same where their local parts are, octet for octet, and their domains without regard to case and to how
    they are written (RFC 5321 section 2.4).

    :raises ApiError: 400.
    """
    too_many = ApiError(400, f"recipients: a message has at most {most}; send to the others in another")
    if sum(map(len, given)) > _TEXT * most:
        raise too_many
    found: dict[tuple[str, str], Recipient] = {}
    for number, text in enumerate(given):
        try:
            for mailbox, domain in _read_bare(text):
                key = mailbox[: mailbox.rindex("@")], domain
                if key not in found:
                    if len(found) >= most:
                        raise too_many
                    found[key] = Recipient(mailbox, domain, notify, orcpt)
        except ValueError as error:
            raise _bad(number, len(given), str(error)) from None
    if not found:
        raise ApiError(400, "recipients: write at least one address: they alone decide where mail goes")
    return tuple(found.values())


def _read_bare(text: str) -> Sequence[tuple[str, str]]:
    """Mailboxes, with their domains as keys of the queue."""
    if _SPECIAL.search(text) is None:
        return ((text, read_domain(text)),)
    addresses = read_addresses(text, read_domain)
    if any(address.name for address in addresses):
        raise ValueError("write bare addresses; names belong into to and cc")
    return [(address.mailbox, address.domain) for address in addresses]


def _bad(number: int, count: int, text: str) -> ApiError:
    return ApiError(400, f"recipients.{number}: {text}" if count > 1 else f"recipients: {text}")


def read_reverse_path(text: str) -> str:
    """A bare address; nothing is the null path.

    :raises ApiError: 400.
    """
    bare = text.strip(" ")
    if bare in ("", "<>"):
        return NULL_PATH
    try:
        read_domain(bare)
    except ValueError as error:
        raise ApiError(400, f"envelope: {error}") from None
    return bare


def read_notify(words: Sequence[str]) -> str | None:
    """NOTIFY (RFC 3461 section 4.1).

    :raises ApiError: 400.
    """
    listed = ",".join(word.strip() for text in words for word in text.split(",") if word.strip())
    return _checked("notify", grammar.check_notify, listed) if listed else None


def read_ret(text: str) -> str | None:
    """RET (RFC 3461 section 4.3).

    :raises ApiError: 400.
    """
    word = grammar.upper(text.strip())
    if word not in ("", "FULL", "HDRS"):
        raise ApiError(400, "dsn.ret: write FULL or HDRS")
    return word or None


def read_envid(text: str) -> str | None:
    """ENVID (RFC 3461 section 4.4): xtext as it is, anything else made xtext.

    :raises ApiError: 400.
    """
    if not text:
        return None
    return _checked("envid", grammar.check_envid, _as_xtext(text[: grammar.ENVID_LIMIT + 1]))


def read_orcpt(text: str) -> str | None:
    """ORCPT (RFC 3461 section 4.2, RFC 6533 section 3): ``type;address``, or an address alone.

    :raises ApiError: 400.
    """
    if not text:
        return None
    text = text[: grammar.ORCPT_LIMIT + 1]  # to be refused for its length, too
    kind, semicolon, address = text.partition(";")
    if not semicolon:
        kind, address = ("rfc822", text) if text.isascii() else ("utf-8", _as_utf_8_xtext(text))
    return _checked("orcpt", grammar.check_orcpt, f"{kind};{_as_xtext(address)}")


def _as_xtext(text: str) -> str:
    try:
        grammar.decode_xtext(text)
    except ValueError:
        return "".join(_xtext_of(octet) for octet in text.encode("utf-8", "replace"))
    return text


def _xtext_of(octet: int) -> str:
    return chr(octet) if 0x21 <= octet <= 0x7E and octet not in b"+=" else f"+{octet:02X}"


def _as_utf_8_xtext(text: str) -> str:
    escaped = (
        char if char.isascii() and char not in "\\+=" and char > " " else f"\\x{{{ord(char):X}}}" for char in text
    )
    return "".join(escaped)


def _checked(name: str, check: Callable[[str], str], text: str) -> str:
    try:
        return check(text)
    except Refusal as refusal:
        raise ApiError(400, f"dsn.{name}: {refusal.reply.text}") from None
