"""A strict reader of delivery reports: RFC 3464 to the letter, and nothing of the code that writes them.

It takes no excuse that mail programs would: an unknown or repeated field, one that is out of place, a value that is not
of its grammar, a line that is too long or not ended by CRLF is an error.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_TEXT = r"[^\x00-\x1f\x7f]*"
_TYPED = rf"{_ATOM};{_TEXT}"
_DAYS, _MONTHS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun", "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DATE = rf"(?:{_DAYS}), [0-9]{{2}} (?:{_MONTHS}) [0-9]{{4}} [0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}} [+-][0-9]{{4}}"

# RFC 3464 sections 2.2 and 2.3: name, grammar of the value, whether it is required; in their order.
_MESSAGE = (
    ("Original-Envelope-Id", _TEXT, False),
    ("Reporting-MTA", _TYPED, True),
    ("DSN-Gateway", _TYPED, False),
    ("Received-From-MTA", _TYPED, False),
    ("Arrival-Date", _DATE, False),
)
_RECIPIENT = (
    ("Original-Recipient", _TYPED, False),
    ("Final-Recipient", _TYPED, True),
    ("Action", "failed|delayed|delivered|relayed|expanded", True),
    ("Status", r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", True),
    ("Remote-MTA", _TYPED, False),
    ("Diagnostic-Code", _TYPED, False),
    ("Last-Attempt-Date", _DATE, False),
    ("Final-Log-ID", _TEXT, False),
    ("Will-Retry-Until", _DATE, False),
)
_CLASSES = {"failed": "45", "delayed": "4", "delivered": "2", "relayed": "2", "expanded": "2"}

Group = dict[str, str]


def read_status(content: bytes) -> tuple[Group, list[Group]]:
    """The fields of a ``message/delivery-status`` (or its UTF-8 sister): the message's, then each recipient's.

    :raises AssertionError: where it is not as RFC 3464 has it.
    """
    assert b"\r" not in content.replace(b"\r\n", b"") and b"\n" not in content.replace(b"\r\n", b""), "a bare CR or LF"
    text = content.decode("utf-8")
    assert text.endswith("\r\n")
    blocks = text.removesuffix("\r\n").split("\r\n\r\n")
    groups = [_read_group(block) for block in blocks]
    assert len(groups) >= 2, "a report needs a recipient"
    _check(groups[0], _MESSAGE)
    for group in groups[1:]:
        _check(group, _RECIPIENT)
        assert group["Status"][0] in _CLASSES[group["Action"]], f"{group['Action']} with status {group['Status']}"
        assert "Will-Retry-Until" not in group or group["Action"] == "delayed"
    return groups[0], groups[1:]


def read_date(value: str) -> datetime:
    """A date-time, which has to be a real one."""
    assert re.fullmatch(_DATE, value), value
    return parsedate_to_datetime(value)


def _read_group(block: str) -> Group:
    group: Group = {}
    for line in re.sub(r"\r\n(?=[ \t])", "", block).split("\r\n"):
        name, colon, value = line.partition(":")
        assert colon and re.fullmatch(r"[!-9;-~]+", name), f"no field: {line!r}"
        assert name not in group, f"{name} comes twice"
        group[name] = value.strip(" ")
    for line in block.split("\r\n"):
        assert len(line.encode()) <= 998, "a line that is too long"
        assert line.strip(" \t"), "a line of white space only"
    return group


def _check(group: Group, grammar: tuple[tuple[str, str, bool], ...]) -> None:
    known = {name: value for name, value, _ in grammar}
    assert set(group) <= set(known), f"unknown here: {set(group) - set(known)}"
    assert list(group) == [name for name in known if name in group], "not in their order"
    assert {name for name, _, required in grammar if required} <= set(group), "a required field is missing"
    for name, value in group.items():
        assert re.fullmatch(known[name], value), f"{name}: {value!r}"
        if known[name] is _DATE:
            read_date(value)
