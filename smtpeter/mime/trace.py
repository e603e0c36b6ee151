"""The fields that a submission server puts on top of a message (RFC 5321 section 4.4, RFC 6409 section 8)."""

from __future__ import annotations

import re
from email.utils import formatdate
from functools import lru_cache
from typing import NamedTuple

_UNSAFE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


class Origin(NamedTuple):
    """Where a session's mail comes from, for Received.

    ``client_name`` is what the client calls itself, empty where it does not.  ``with_protocol`` is a keyword of
    RFC 3848 or RFC 6531, or ``HTTP``, which has none; ``tls`` names version and cipher, empty without TLS.
    """

    client_name: str
    address: str
    with_protocol: str
    tls: str


def format_date(seconds: float) -> str:
    """A date-time of RFC 5322 section 3.3, in UTC; ``seconds`` since the epoch."""
    return _format_second(int(seconds))


@lru_cache(maxsize=4)
def _format_second(second: int) -> str:
    return formatdate(second).replace("-0000", "+0000")


def received_field(origin: Origin, hostname: str, id: str, date: str, only_recipient: str | None) -> str:
    """The Received field.  A recipient is named only where there is just one: no one learns of the others.

    Nor is one that is not ASCII: a receiver without SMTPUTF8 could then not have the message, though its address may
    have another spelling (RFC 6531 section 3.2).
    """
    literal = f"IPv6:{origin.address}" if ":" in origin.address else origin.address
    name = _UNSAFE.sub("?", origin.client_name or f"[{literal}]")
    tls = f" ({origin.tls})" if origin.tls else ""
    recipient = f"\r\n\tfor <{only_recipient}>" if only_recipient and only_recipient.isascii() else ""
    return (
        f"Received: from {name} ([{literal}])\r\n\tby {hostname} with {origin.with_protocol}{tls}\r\n"
        f"\tid {id}{recipient};\r\n\t{date}\r\n"
    )


def trace_fields(
    origin: Origin,
    hostname: str,
    id: str,
    now: float,
    only_recipient: str | None,
    *,
    add_date: bool,
    add_message_id: bool,
) -> bytes:
    """The whole of what goes on top: Received, and Date and Message-ID where the message has none."""
    date = format_date(now)
    fields = received_field(origin, hostname, id, date, only_recipient)
    if add_message_id:
        fields += f"Message-ID: <{id}@{hostname}>\r\n"
    if add_date:
        fields += f"Date: {date}\r\n"
    return fields.encode("utf-8")
