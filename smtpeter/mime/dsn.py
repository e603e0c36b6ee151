"""Delivery status notifications: multipart/report as RFC 3464 and RFC 6522 have it, or RFC 6533 where mail is UTF-8.

The octets are written by hand.  What peers and submitters put into a report (diagnostics, ORCPT, ENVID, addresses)
goes through :func:`_field` or :func:`_paragraph`, so that none of it can add a field, a line or a part of its own.
"""

from __future__ import annotations

import re
import textwrap
from binascii import b2a_qp
from collections.abc import Collection, Sequence
from enum import StrEnum
from ipaddress import ip_address
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from smtpeter.mime.header import find_header_end, read_header
from smtpeter.mime.trace import format_date
from smtpeter.mime.words import decode_field
from smtpeter.model.reply import clean_text

LINE_LIMIT = 998  # RFC 5322 section 2.1.1, without CRLF
_FOLD_AT = 78
_ADDRESS_LIMIT = 320

_ENHANCED = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~.-]{1,64}")
_XTEXT_OCTETS = re.compile(r"(?:\+[0-9A-Fa-f]{2})+")
_EMBEDDED_CHARACTER = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_WORD = re.compile(r" *[^ ]+")
_MESSAGE_ID = re.compile(rb"<[!-;=?-~]{1,200}@[!-;=?-~]{1,200}>")

# What an enhanced status code means to the person who wrote the message (RFC 3463); the longest that fits is taken.
_MEANINGS = {
    "1": "There is something wrong with the address; please check how it is written.",
    "1.1": "There is no such mailbox; please check how the address is written.",
    "1.2": "The domain of this address does not exist or cannot be used; please check how it is written.",
    "1.10": "The domain of this address does not accept any mail.",
    "2": "The mailbox cannot take the message.",
    "2.1": "The mailbox is disabled.",
    "2.2": "The mailbox is full.",
    "2.3": "The message is larger than the mailbox allows.",
    "3.4": "The message is larger than the receiving system allows.",
    "4": "The receiving system could not be reached, or the connection broke.",
    "6": "The receiving system cannot take a message in this form.",
    "6.7": "The receiving system cannot take international (UTF-8) addresses.",
    "7": "The receiving system does not accept the message for reasons of security or policy.",
}


class Action(StrEnum):
    """What is told of a recipient (RFC 3464 section 2.3.3), in the order in which a report tells it.

    RELAYED: a receiver took the message that will not tell the sender what becomes of it.
    """

    FAILED = "failed"
    DELAYED = "delayed"
    RELAYED = "relayed"
    DELIVERED = "delivered"


_ORDER = list(Action)
_CLASSES = {Action.FAILED: "45", Action.DELAYED: "4", Action.RELAYED: "2", Action.DELIVERED: "2"}
_SUBJECTS = {
    Action.FAILED: "Your message could not be delivered",
    Action.DELAYED: "Your message is delayed",
    Action.RELAYED: "Your message was passed on",
    Action.DELIVERED: "Your message was delivered",
}
_SAID = {
    Action.FAILED: "It could not be delivered to {whom}, and will not be tried again:",
    Action.DELAYED: "It could not be delivered to {whom} so far. It will be tried again{until}. This is only a notice "
    "of the delay: there is nothing that you need to do, and you should not send the message again:",
    Action.RELAYED: "For {whom} it was passed on to a mail system that does not report what it delivers. So no further "
    "report will come to tell you that it arrived:",
    Action.DELIVERED: "It was delivered to {whom}:",
}


class ReportedRecipient(NamedTuple):
    """One recipient, and what became of the message there.

    ``address`` is the mailbox as it was given to us, ``orcpt`` is ``type;xtext`` or None.  ``status`` is an enhanced
    status code (RFC 3463), empty where there is none.  ``diagnostic`` is why, as one line, empty where that is not
    known: the receiver's reply (``550 5.1.1 no such user``) where it ``replied``, else our own words.  ``remote_mta``
    is the host that it was about, or empty.  ``last_attempt`` is in seconds since the epoch, 0 where there was none.
    ``expired`` tells that we gave up because of the time that had passed.
    """

    address: str
    action: Action
    orcpt: str | None = None
    status: str = ""
    diagnostic: str = ""
    replied: bool = True
    remote_mta: str = ""
    last_attempt: float = 0.0
    expired: bool = False


def report_subject(actions: Collection[Action]) -> str:
    """The Subject of a report that tells these."""
    if len(set(actions)) == 1:
        return _SUBJECTS[next(iter(actions))]
    if Action.FAILED in actions:
        return "Your message could not be delivered to all recipients"
    return "What became of your message"


def compose_report(
    *,
    reporting_mta: str,
    postmaster: str,
    to: str,
    message_id: str,
    date: float,
    boundary: str,
    envid: str | None,
    arrival: float,
    retry_until: float,
    recipients: Sequence[ReportedRecipient],
    original: bytes,
    full: bool,
    smtputf8: bool,
) -> bytes:
    """A whole message that tells ``to`` what became of a message, with that message or its header behind it.

    ``message_id`` goes between angle brackets, which are added where they are missing.  ``boundary`` is a random token
    of at most 50 characters; it is lengthened where it occurs in the content.  ``envid`` is xtext as it was given.
    Times are seconds since the epoch; ``retry_until`` is when the delayed ones are given up, 0 where that is not told.
    ``original`` is canonical (CRLF).  Of a message with lines or octets that no multipart can carry only the header is
    returned, as with ``full`` False.  With ``smtputf8`` addresses are written in UTF-8, and whoever passes the report
    on has to speak SMTPUTF8; without it all but the returned message is ASCII.
    """
    header_end = find_header_end(original)
    header = original if header_end is None else original[:header_end]
    fields = read_header(header)
    full = full and _is_plain(original)
    recipients = sorted(recipients, key=lambda recipient: _ORDER.index(recipient.action))
    parts = (
        _readable_part(reporting_mta, postmaster, arrival, retry_until, recipients, fields.subject, full),
        _machine_part(reporting_mta, envid, arrival, retry_until, recipients, smtputf8),
        _returned_message(original, smtputf8) if full else _returned_header(header, smtputf8),
    )
    boundary = _absent_boundary(boundary, parts)
    top = b"".join(
        (
            _field("From", f"Mail Delivery System <{_address(postmaster)}>", smtputf8),
            _field("To", f"<{_address(to)}>", smtputf8),
            _field("Subject", report_subject([recipient.action for recipient in recipients]), smtputf8),
            _field("Date", format_date(date), smtputf8),
            _field("Message-ID", f"<{message_id.strip('<>')}>", smtputf8),
            *_references(fields.message_id, smtputf8),
            _field("Auto-Submitted", "auto-replied", smtputf8),
            _field("MIME-Version", "1.0", smtputf8),
            _field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"', smtputf8),
            _field("Content-Transfer-Encoding", "7bit" if all(map(bytes.isascii, parts)) else "8bit", smtputf8),
        )
    )
    delimiter = f"\r\n--{boundary}".encode()
    # The CRLF in front of a delimiter belongs to it (RFC 2046 section 5.1.1): no part is changed by what follows it.
    return b"".join((top, *(piece for part in parts for piece in (delimiter, b"\r\n", part)), delimiter, b"--\r\n"))


def _references(message_id: bytes | None, smtputf8: bool) -> list[bytes]:
    """What the report is about, for mail programs that show it beside that (RFC 3834 section 3.1.5)."""
    if message_id is None or not _MESSAGE_ID.fullmatch(message_id):
        return []
    return [_field(name, message_id.decode("ascii"), smtputf8) for name in ("In-Reply-To", "References")]


# --- the three parts --------------------------------------------------------------------------------------------------


def _readable_part(
    reporting_mta: str,
    postmaster: str,
    arrival: float,
    retry_until: float,
    recipients: Sequence[ReportedRecipient],
    subject: bytes,
    full: bool,
) -> bytes:
    shown = clean_text(decode_field(subject), 200)
    lines = [
        *_paragraph(
            f"This is an automatic report of the mail system at {reporting_mta}, about your message of "
            f"{format_date(arrival)}. If it had recipients that are not named here, they are not concerned."
        ),
        *(_paragraph(f"Subject: {shown}", 4) if shown else ()),
    ]
    until = f" until {format_date(retry_until)}" if retry_until else ""
    for action, group in groupby(recipients, attrgetter("action")):
        told = list(group)
        whom = "this recipient" if len(told) == 1 else f"these {len(told)} recipients"
        lines += _paragraph(_SAID[action].format(whom=whom, until=until))
        for recipient in told:
            lines += _explain(recipient)
    lines += _paragraph(
        f"{'The message' if full else 'The header of the message'} comes back with this report. For help, please "
        f"write to {_address(postmaster)} and include this report."
    )
    text = "\r\n".join(lines).encode("utf-8", "replace")
    if text.isascii():
        return _part("text/plain; charset=us-ascii", "Notification", text)
    return _part("text/plain; charset=utf-8", "Notification", b2a_qp(text), "quoted-printable")


def _explain(recipient: ReportedRecipient) -> list[str]:
    """One recipient's paragraphs: who, why, and the very words of the other side."""
    said = clean_text(recipient.diagnostic)
    why = []
    if recipient.action in (Action.FAILED, Action.DELAYED):
        if recipient.expired:
            why.append("The time in which it could be delivered is over.")
        why.append(_meaning(_status(recipient)))
        if not said and not any(why):
            why.append("No reason was recorded.")
    if said:
        by_receiver = recipient.replied and recipient.remote_mta
        why.append(f"{recipient.remote_mta} said:" if by_receiver else "What was recorded:")
    return [
        *_paragraph(f"<{_address(recipient.address)}>"),
        *(_paragraph(" ".join(filter(None, why)), 4) if any(why) else ()),
        *(_paragraph(said, 8) if said else ()),
    ]


def _machine_part(
    reporting_mta: str,
    envid: str | None,
    arrival: float,
    retry_until: float,
    recipients: Sequence[ReportedRecipient],
    smtputf8: bool,
) -> bytes:
    """RFC 3464 section 2: fields about the message, then a group of fields for each recipient."""
    fields = [_field("Original-Envelope-Id", _decode_xtext(envid), smtputf8)] if envid else []
    fields += (
        _field("Reporting-MTA", f"dns; {reporting_mta}", smtputf8),
        _field("Arrival-Date", format_date(arrival), smtputf8),
    )
    for recipient in recipients:
        fields.append(b"\r\n")
        fields += _recipient_fields(recipient, retry_until, smtputf8)
    return _part(f"message/{'global-' if smtputf8 else ''}delivery-status", "Delivery report", b"".join(fields))


def _recipient_fields(recipient: ReportedRecipient, retry_until: float, smtputf8: bool) -> list[bytes]:
    fields = []
    kind, _, given = (recipient.orcpt or "").partition(";")
    if given and _ADDRESS_TYPE.fullmatch(kind):
        fields.append(_field("Original-Recipient", _typed_address(kind, _decode_xtext(given), smtputf8), smtputf8))
    fields += (
        _field("Final-Recipient", _typed_address("rfc822", recipient.address, smtputf8), smtputf8),
        _field("Action", recipient.action, smtputf8),
        _field("Status", _status(recipient), smtputf8),
    )
    if recipient.remote_mta:
        fields.append(_field("Remote-MTA", f"dns; {_mta_name(recipient.remote_mta)}", smtputf8))
    if recipient.diagnostic:
        kind = "smtp" if recipient.replied else "x-smtpeter"
        fields.append(_field("Diagnostic-Code", f"{kind}; {recipient.diagnostic}", smtputf8))
    if recipient.last_attempt:
        fields.append(_field("Last-Attempt-Date", format_date(recipient.last_attempt), smtputf8))
    if recipient.action is Action.DELAYED and retry_until:
        fields.append(_field("Will-Retry-Until", format_date(retry_until), smtputf8))
    return fields


def _returned_message(original: bytes, smtputf8: bool) -> bytes:
    return _part("message/global" if smtputf8 else "message/rfc822", "Message", original)


def _returned_header(header: bytes, smtputf8: bool) -> bytes:
    description = "Header of the message"
    plain = _is_plain(header)
    if smtputf8 and plain:
        return _part("message/global-headers", description, header)
    if plain and header.isascii():
        return _part("text/rfc822-headers", description, header)
    # RFC 6522 section 4: a header that is not legal 7-bit content goes as quoted-printable.
    return _part("text/rfc822-headers", description, b2a_qp(header), "quoted-printable")


def _part(content_type: str, description: str, content: bytes, encoding: str = "") -> bytes:
    encoding = encoding or ("7bit" if content.isascii() else "8bit")
    head = (
        f"Content-Type: {content_type}\r\nContent-Description: {description}\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    )
    return head.encode("ascii") + content


# --- words ------------------------------------------------------------------------------------------------------------


def _status(recipient: ReportedRecipient) -> str:
    """RFC 3464 section 2.3.4 wants a status for every recipient, of the class that fits what became of it.

    A refusal that was said for good may be tried again all the same: then its class is 4, and its detail stays.
    """
    action, given = recipient.action, recipient.status
    if _ENHANCED.fullmatch(given):
        if given[0] in _CLASSES[action]:
            return given
        if action is Action.DELAYED and given[0] == "5":
            return f"4{given[1:]}"
    if action is Action.FAILED:
        return "4.4.7" if recipient.expired else "5.0.0"
    return "4.0.0" if action is Action.DELAYED else "2.0.0"


def _meaning(status: str) -> str:
    subject_and_detail = status[2:]
    if subject_and_detail == "4.7":
        return ""  # the time is over, which is said anyway
    return _MEANINGS.get(subject_and_detail) or _MEANINGS.get(subject_and_detail.partition(".")[0], "")


def _paragraph(text: str, indent: int = 0) -> list[str]:
    margin = " " * indent
    lines = textwrap.wrap(clean_text(text), 74, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)
    return [*lines, ""]


def _address(address: str) -> str:
    """An address as text: never longer than one can be (RFC 5321 section 4.5.3.1.3), without brackets of its own."""
    return clean_text(address, _ADDRESS_LIMIT).replace("<", "").replace(">", "")


def _typed_address(kind: str, address: str, smtputf8: bool) -> str:
    """``type; address``.  What is not ASCII has a type of its own, and a spelling in ASCII (RFC 6533 section 3)."""
    address = clean_text(address, _ADDRESS_LIMIT)
    if kind.lower() == "utf-8" and smtputf8:
        address = _EMBEDDED_CHARACTER.sub(_extract_character, address)
    if not address.isascii() and kind.lower() in ("rfc822", "utf-8"):
        kind = "utf-8"
        if not smtputf8:
            address = "".join(map(_embed_character, address))
    return f"{kind}; {address}"


def _mta_name(host: str) -> str:
    """A host as RFC 3464 section 2.1.3 names it: an address that has no name stands in brackets (RFC 5321)."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    return f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"


def _extract_character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number < 0x110000 and chr(number).isprintable() else match[0]


def _embed_character(character: str) -> str:
    if "!" <= character <= "~" and character not in "\\+=":
        return character
    return f"\\x{{{ord(character):02X}}}"


def _decode_xtext(value: str) -> str:
    """The text behind xtext (RFC 3461 section 4).  What is not xtext stays as it is: it was checked when it came in."""
    return _XTEXT_OCTETS.sub(lambda run: bytes.fromhex(run[0].replace("+", "")).decode("utf-8", "replace"), value)


def _field(name: str, value: str, smtputf8: bool) -> bytes:
    """One field, cleaned and folded (RFC 5322 section 2.2.3): unfolding gives back the same text.

    A word that no line can hold is cut, which is the one case in which a space is added.
    """
    text = clean_text(value)
    if not smtputf8:
        text = text.encode("ascii", "replace").decode("ascii")
    lines = [f"{name}:"]
    for word in _WORD.findall(" " + text):
        if len(lines[-1]) + len(word) > _FOLD_AT and lines[-1] != f"{name}:":
            lines.append("")
        width = 900 if word.isascii() else 220
        lines[-1] += word[:width]
        lines += (" " + word[begin : begin + width] for begin in range(width, len(word), width))
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8", "replace")


def _is_plain(content: bytes) -> bool:
    """Whether a part can have it as it is, 7bit or 8bit (RFC 2045 sections 2.7 and 2.8)."""
    return b"\0" not in content and max(len(line) for line in content.split(b"\r\n")) <= LINE_LIMIT


def _absent_boundary(boundary: str, parts: Sequence[bytes]) -> str:
    """The boundary, with a number behind it where the content has it, by chance or by design."""
    candidate = boundary
    number = 0
    while any(f"--{candidate}".encode() in part for part in parts):
        number += 1
        candidate = f"{boundary}.{number}"
    return candidate
