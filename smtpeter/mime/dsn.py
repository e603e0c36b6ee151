"""Reports of failed delivery: multipart/report as RFC 3464 and RFC 6522 have it, or as RFC 6533 where mail is UTF-8.

The octets are written by hand.  What peers and submitters put into a report (diagnostics, ORCPT, ENVID, addresses)
goes through :func:`_field` or :func:`_paragraph`, so that none of it can add a field, a line or a part of its own.
"""

from __future__ import annotations

import re
import textwrap
from binascii import b2a_qp
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from smtpeter.mime.header import find_header_end, read_header
from smtpeter.mime.trace import format_date
from smtpeter.mime.words import decode_field
from smtpeter.model.reply import clean_text

LINE_LIMIT = 998  # RFC 5322 section 2.1.1, without CRLF
_FOLD_AT = 78
_ADDRESS_LIMIT = 320

_ENHANCED = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9!#$%&'*/?^_`{|}~.-]{1,64}")
_XTEXT_OCTETS = re.compile(r"(?:\+[0-9A-Fa-f]{2})+")
_EMBEDDED_CHARACTER = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_WORD = re.compile(r" *[^ ]+")

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


class ReportedRecipient(NamedTuple):
    """One recipient whom the message did not reach.

    ``address`` is the mailbox as it was given to us, ``orcpt`` is ``type;xtext`` or None.  ``status`` is an enhanced
    status code (RFC 3463), empty where there is none.  ``diagnostic`` is the reply as one line
    (``550 5.1.1 no such user``), empty where there was none; ``remote_mta`` the host that gave it, or empty.
    ``last_attempt`` is in seconds since the epoch, 0 where there was no attempt.  ``expired`` tells that we gave up
    because of the time that had passed.
    """

    address: str
    orcpt: str | None
    status: str
    diagnostic: str
    remote_mta: str
    last_attempt: float
    expired: bool


def compose_failure(
    *,
    reporting_mta: str,
    postmaster: str,
    to: str,
    message_id: str,
    date: float,
    boundary: str,
    envid: str | None,
    arrival: float,
    recipients: Sequence[ReportedRecipient],
    original: bytes,
    full: bool,
    smtputf8: bool,
) -> bytes:
    """A whole message that tells ``to`` what could not be delivered, with the message or its header behind it.

    ``message_id`` goes between angle brackets, which are added where they are missing.  ``boundary`` is a random token
    of at most 50 characters; it is lengthened where it occurs in the content.  ``envid`` is xtext as it was given.
    Times are seconds since the epoch.  ``original`` is canonical (CRLF).  Of a message with lines that no multipart can
    carry only the header is returned, as with ``full`` False.  With ``smtputf8`` addresses are written in UTF-8, and
    whoever passes the report on has to speak SMTPUTF8; without it all but the returned message is ASCII.
    """
    header_end = find_header_end(original)
    header = original if header_end is None else original[:header_end]
    full = full and _longest_line(original) <= LINE_LIMIT
    parts = (
        _readable_part(reporting_mta, postmaster, arrival, recipients, header, full),
        _machine_part(reporting_mta, envid, arrival, recipients, smtputf8),
        _returned_message(original, smtputf8) if full else _returned_header(header, smtputf8),
    )
    boundary = _absent_boundary(boundary, parts)
    top = b"".join(
        (
            _field("From", f"Mail Delivery System <{_address(postmaster)}>", smtputf8),
            _field("To", f"<{_address(to)}>", smtputf8),
            _field("Subject", "Your message could not be delivered", smtputf8),
            _field("Date", format_date(date), smtputf8),
            _field("Message-ID", f"<{message_id.strip('<>')}>", smtputf8),
            _field("Auto-Submitted", "auto-replied", smtputf8),
            _field("MIME-Version", "1.0", smtputf8),
            _field("Content-Type", f'multipart/report; report-type=delivery-status; boundary="{boundary}"', smtputf8),
            _field("Content-Transfer-Encoding", "7bit" if all(map(bytes.isascii, parts)) else "8bit", smtputf8),
        )
    )
    delimiter = f"\r\n--{boundary}".encode()
    # The CRLF in front of a delimiter belongs to it (RFC 2046 section 5.1.1): no part is changed by what follows it.
    return b"".join((top, *(piece for part in parts for piece in (delimiter, b"\r\n", part)), delimiter, b"--\r\n"))


# --- the three parts --------------------------------------------------------------------------------------------------


def _readable_part(
    reporting_mta: str,
    postmaster: str,
    arrival: float,
    recipients: Sequence[ReportedRecipient],
    header: bytes,
    full: bool,
) -> bytes:
    subject = clean_text(decode_field(read_header(header).subject), 200)
    whom = "this recipient" if len(recipients) == 1 else f"these {len(recipients)} recipients"
    lines = [
        *_paragraph(f"This is an automatic report of the mail system at {reporting_mta}."),
        *_paragraph(
            f"Your message of {format_date(arrival)} could not be delivered to {whom}, and will not be tried again. "
            "If it had other recipients, they are not concerned."
        ),
        *(_paragraph(f"Subject: {subject}", 4) if subject else ()),
    ]
    for recipient in recipients:
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
    meaning = _meaning(_status(recipient))
    why = []
    if recipient.expired:
        why.append("It was tried for as long as the mail system is set to try, without success.")
    if meaning:
        why.append(meaning)
    if said:
        why.append(f"{recipient.remote_mta} said:" if recipient.remote_mta else "The reason that was recorded:")
    elif not why:
        why.append("No reason was recorded.")
    return [
        *_paragraph(f"<{_address(recipient.address)}>"),
        *_paragraph(" ".join(why), 4),
        *(_paragraph(said, 8) if said else ()),
    ]


def _machine_part(
    reporting_mta: str, envid: str | None, arrival: float, recipients: Sequence[ReportedRecipient], smtputf8: bool
) -> bytes:
    """RFC 3464 section 2: fields about the message, then a group of fields for each recipient."""
    fields = [_field("Reporting-MTA", f"dns; {reporting_mta}", smtputf8)]
    if envid:
        fields.append(_field("Original-Envelope-Id", _decode_xtext(envid), smtputf8))
    fields.append(_field("Arrival-Date", format_date(arrival), smtputf8))
    for recipient in recipients:
        fields.append(b"\r\n")
        fields += _recipient_fields(recipient, smtputf8)
    return _part(f"message/{'global-' if smtputf8 else ''}delivery-status", "Delivery report", b"".join(fields))


def _recipient_fields(recipient: ReportedRecipient, smtputf8: bool) -> list[bytes]:
    fields = []
    kind, _, given = (recipient.orcpt or "").partition(";")
    if given and _ADDRESS_TYPE.fullmatch(kind):
        fields.append(_field("Original-Recipient", _typed_address(kind, _decode_xtext(given), smtputf8), smtputf8))
    fields += (
        _field("Final-Recipient", _typed_address("rfc822", recipient.address, smtputf8), smtputf8),
        _field("Action", "failed", smtputf8),
        _field("Status", _status(recipient), smtputf8),
    )
    if recipient.remote_mta:
        fields.append(_field("Remote-MTA", f"dns; {_mta_name(recipient.remote_mta)}", smtputf8))
    if recipient.diagnostic:
        fields.append(_field("Diagnostic-Code", f"smtp; {recipient.diagnostic}", smtputf8))
    if recipient.last_attempt:
        fields.append(_field("Last-Attempt-Date", format_date(recipient.last_attempt), smtputf8))
    return fields


def _returned_message(original: bytes, smtputf8: bool) -> bytes:
    return _part("message/global" if smtputf8 else "message/rfc822", "Undelivered message", original)


def _returned_header(header: bytes, smtputf8: bool) -> bytes:
    description = "Header of the undelivered message"
    fits = _longest_line(header) <= LINE_LIMIT
    if smtputf8 and fits:
        return _part("message/global-headers", description, header)
    if fits and header.isascii():
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
    """RFC 3464 section 2.3.4 wants a status for every recipient; of class 4 or 5 where delivery failed."""
    if _ENHANCED.fullmatch(recipient.status):
        return recipient.status
    return "4.4.7" if recipient.expired else "5.0.0"


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


def _longest_line(content: bytes) -> int:
    """The length of the longest line, without its CRLF."""
    return max(len(line) for line in content.split(b"\r\n"))


def _absent_boundary(boundary: str, parts: Sequence[bytes]) -> str:
    """The boundary, with a number behind it where the content has it, by chance or by design."""
    candidate = boundary
    number = 0
    while any(f"--{candidate}".encode() in part for part in parts):
        number += 1
        candidate = f"{boundary}.{number}"
    return candidate
