"""What a message asks for by its X-SMTPeter-* fields.

The options of the core are no features: the journal depends on tags, and the schedule on when delivery begins and ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from smtpeter.errors import Refusal
from smtpeter.interfaces import IFeatureCatalog
from smtpeter.mime.words import decode_field
from smtpeter.model.feature import CORE_OPTIONS, option_key

_TAG = re.compile(r"[^\s;,]{1,200}")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
TAGS_LIMIT = 100
LONGEST_WAIT = 366 * 86400.0
"""So many seconds ahead may a message be submitted."""
_VALUE_LIMIT = 1001
"""Characters of a feature's option that are read: one more than it may have."""


class Asked(NamedTuple):
    """What a message asks for itself.  Times are in seconds since the epoch, None where it does not say.

    ``due``: nothing is delivered before; always in the future.  ``expires``: nothing is delivered after.  ``features``
    are their options by canonical names.
    """

    tags: tuple[str, ...] = ()
    due: float | None = None
    expires: float | None = None
    features: Mapping[str, str] = {}


NOTHING_ASKED = Asked()


def read_controls(controls: Iterable[tuple[str, bytes]], now: float, features: IFeatureCatalog | None) -> Asked:
    """Read the fields of core and features; unknown ones are ignored.

    Of several fields for the same option the last one counts.

    :raises Refusal: 554 5.6.0 with the field's name, where a value cannot be read.
    """
    tags: tuple[str, ...] = ()
    due = expires = None
    asked: dict[str, str] = {}
    for key, (name, value) in _last_ones(controls, features).items():
        if key == "tags":
            tags = _read_tags(decode_field(value, limit=32768))
        elif key == "maxdelivertime":
            expires = _read_time("MaxDeliverTime", value)
        elif key == "send_at":
            due = _read_time("Send-At", value)
        elif key == "images":
            if decode_field(value).lower() != "default":
                raise Refusal(554, "5.6.0", f"X-SMTPeter-{name}: only default is possible here")
        elif features is not None:
            try:
                asked[key] = features.read(key, decode_field(value, limit=_VALUE_LIMIT))
            except ValueError as error:
                raise Refusal(554, "5.6.0", f"X-SMTPeter-{name}: {error}") from None
    if due is not None and due > now + LONGEST_WAIT:
        raise Refusal(554, "5.6.0", "X-SMTPeter-Send-At: this time is more than 366 days ahead")
    if expires is not None and expires <= now:
        raise Refusal(554, "5.6.0", "X-SMTPeter-MaxDeliverTime: this time is over")
    if expires is not None and due is not None and expires <= due:
        raise Refusal(554, "5.6.0", "X-SMTPeter-MaxDeliverTime: this time is not after X-SMTPeter-Send-At")
    return Asked(tags, due if due is not None and due > now else None, expires, asked)


def _last_ones(controls: Iterable[tuple[str, bytes]], features: IFeatureCatalog | None) -> dict[str, tuple[str, bytes]]:
    """Name and value of the last field for each option that somebody knows, by its canonical name."""
    last = {}
    for name, value in controls:
        key = CORE_OPTIONS.get(option_key(name)) or (features and features.canonical(name))
        if key:
            last[key] = (name, value)
    return last


def _read_tags(text: str) -> tuple[str, ...]:
    tags = [tag for tag in (part.strip() for part in text.split(",")) if tag]
    if len(tags) > TAGS_LIMIT:
        raise Refusal(554, "5.6.0", f"X-SMTPeter-Tags: at most {TAGS_LIMIT} tags")
    for tag in tags:
        if _TAG.fullmatch(tag) is None or not tag.isprintable():
            raise Refusal(
                554, "5.6.0", "X-SMTPeter-Tags: separate tags by commas; a tag has no white space and no semicolon"
            )
    return tuple(dict.fromkeys(tags))


def _read_time(name: str, value: bytes) -> float:
    text = decode_field(value)
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refusal(554, "5.6.0", f"X-SMTPeter-{name}: write YYYY-MM-DD hh:mm:ss, in UTC") from None
