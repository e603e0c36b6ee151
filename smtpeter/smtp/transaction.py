"""One mail transaction as a client asks for it, put into the commands that a receiver understands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import idna

from smtpeter.model.delivery import LeasedRecipient


class Transaction(NamedTuple):
    """An envelope with some of its recipients, and the content: canonical CRLF, no dot-stuffing.

    ``mark``: the session asks its host, with a MarkEvent, before it sends the final dot.
    """

    reverse_path: str
    recipients: Sequence[LeasedRecipient]
    content: bytes
    body: str = "7BIT"
    smtputf8: bool = False
    ret: str | None = None
    envid: str | None = None
    mark: bool = False


class Unsendable(NamedTuple):
    """Why something cannot be put to this receiver at all; always permanent."""

    code: int
    enhanced: str
    text: str


class Commands(NamedTuple):
    """What to send: MAIL, and one RCPT for each of ``recipients``.  ``refused`` are those that cannot be sent to."""

    mail: bytes
    rcpts: list[bytes]
    recipients: Sequence[LeasedRecipient]
    refused: Sequence[tuple[LeasedRecipient, Unsendable]]


_NEEDS_SMTPUTF8 = Unsendable(550, "5.6.7", "The receiver does not take internationalized addresses or headers")
_NEEDS_8BITMIME = Unsendable(554, "5.6.3", "Conversion required but not possible: the receiver takes no 8-bit content")
_BAD_SENDER = Unsendable(553, "5.1.7", "The sender address cannot be sent")
_BAD_RECIPIENT = Unsendable(553, "5.1.3", "The recipient address cannot be sent")


def compose_commands(transaction: Transaction, offers: Mapping[str, str]) -> Commands:
    """Put a transaction into commands, with the parameters of those extensions only that ``offers`` names.

    ``offers`` has the keywords of EHLO, in upper case, and what followed each.

    Each command ends in CRLF.  An address that would break its command is never sent.
    """
    content = transaction.content
    recipients = transaction.recipients
    reverse_path = transaction.reverse_path
    refused: list[tuple[LeasedRecipient, Unsendable]] = []
    mail_parameters = ""
    if "SIZE" in offers:
        limit = offers["SIZE"]
        # No number, or 0, tells of no limit (RFC 1870 section 4).
        if limit.isascii() and limit.isdigit() and len(limit) <= 20 and 0 < int(limit) < len(content):
            return _refuse_all(recipients, _too_large(len(content), int(limit)))
        mail_parameters = f" SIZE={len(content)}"
    if "8BITMIME" in offers and (transaction.body == "8BITMIME" or not content.isascii()):
        mail_parameters += " BODY=8BITMIME"
    if transaction.smtputf8:
        if "SMTPUTF8" in offers:
            mail_parameters += " SMTPUTF8"
        else:
            ascii_path = _ascii_address(reverse_path)
            if ascii_path is None or not _header(content).isascii():
                return _refuse_all(recipients, _NEEDS_SMTPUTF8)
            reverse_path = ascii_path
            recipients, refused = _ascii_recipients(recipients)
    if "8BITMIME" not in offers and not content.isascii():
        # What can be converted was: an 8-bit header never can be, having no charset, and something signed must not.
        why = _NEEDS_8BITMIME if _header(content).isascii() else _NEEDS_SMTPUTF8
        return Commands(b"", [], (), [*refused, *_refuse_all(recipients, why).refused])
    dsn = "DSN" in offers
    if dsn:
        if transaction.ret is not None:
            mail_parameters += f" RET={transaction.ret}"
        if transaction.envid is not None:
            mail_parameters += f" ENVID={transaction.envid}"
    mail = f"MAIL FROM:<{reverse_path}>{mail_parameters}"
    if not mail.isprintable():
        return _refuse_all(transaction.recipients, _BAD_SENDER)
    rcpts, sendable = [], []
    for recipient in recipients:
        rcpt = f"RCPT TO:<{recipient.address}>"
        if dsn:
            if recipient.notify is not None:
                rcpt += f" NOTIFY={recipient.notify}"
            if recipient.orcpt is not None:
                rcpt += f" ORCPT={recipient.orcpt}"
        if not rcpt.isprintable():
            refused.append((recipient, _BAD_RECIPIENT))
            continue
        rcpts.append(f"{rcpt}\r\n".encode())
        sendable.append(recipient)
    return Commands(f"{mail}\r\n".encode(), rcpts, sendable, refused)


def _refuse_all(recipients: Sequence[LeasedRecipient], why: Unsendable) -> Commands:
    return Commands(b"", [], (), [(recipient, why) for recipient in recipients])


def _too_large(size: int, limit: int) -> Unsendable:
    return Unsendable(552, "5.3.4", f"The message has {size} octets; the receiver takes no more than {limit}")


def _header(content: bytes) -> bytes:
    return content[: content.find(b"\r\n\r\n")] if b"\r\n\r\n" in content else content


def _ascii_recipients(
    recipients: Sequence[LeasedRecipient],
) -> tuple[list[LeasedRecipient], list[tuple[LeasedRecipient, Unsendable]]]:
    """Those that can be written in ASCII, so written, and the others (RFC 6531 section 3.2).

    ORCPT stays behind where it is not ASCII: it is for information only.
    """
    written, refused = [], []
    for recipient in recipients:
        address = _ascii_address(recipient.address)
        if address is None:
            refused.append((recipient, _NEEDS_SMTPUTF8))
            continue
        orcpt = recipient.orcpt if recipient.orcpt is None or recipient.orcpt.isascii() else None
        written.append(recipient._replace(address=address, orcpt=orcpt))
    return written, refused


def _ascii_address(address: str) -> str | None:
    """The address with its domain as A-labels; None where its local part is not ASCII."""
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    if not local.isascii():
        return None
    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"
    except (idna.IDNAError, UnicodeError):
        return None
