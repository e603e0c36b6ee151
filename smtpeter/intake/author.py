"""The rule that mail is from whom its account may send for (``[sending] require_domain``)."""

from __future__ import annotations

from smtpeter.errors import Refusal
from smtpeter.interfaces import ISenderDomains
from smtpeter.mime.authors import author_domains, read_fields
from smtpeter.mime.header import find_header_end
from smtpeter.smtp.grammar import parse_mailbox


def refuse_foreign_author(header: bytes, account: int, domains: ISenderDomains) -> None:
    """Look at a header block: every address in its one From field has to be in a domain of the account.

    :raises Refusal: where that is not so, or cannot be told.
    """
    try:
        found = author_domains(read_fields(header), parse_mailbox)
    except ValueError as error:
        text = f"The message has to have one From field with an address of yours: {error}"
        raise Refusal(550, "5.7.1", text) from None
    for domain in found:
        if not domains.owns(account, domain):
            text = (
                f"Your account may not send from {domain}: use a domain of yours in From, or ask to have this one added"
            )
            raise Refusal(550, "5.7.1", text)


def header_of(content: bytes) -> bytes:
    """The header block of a whole message; empty where it has none."""
    end = find_header_end(content)
    return content if end is None else content[:end]
