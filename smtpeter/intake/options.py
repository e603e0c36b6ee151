"""Core options of a message, as its X-SMTPeter-* fields give them.

These are not plugins: the journal depends on tags, and the schedule on the time after which nothing is delivered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from smtpeter.errors import Refusal
from smtpeter.mime.words import decode_field
from smtpeter.model.switches import SWITCHES, canonical_name

_TAG = re.compile(r"[^\s;,]{1,200}")
_SWITCH_VALUES = frozenset(("true", "false", "1", "0", "yes", "no", "on", "off"))
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
TAGS_LIMIT = 100


class CoreOptions(NamedTuple):
    """``expires`` is in seconds since the epoch, None where the message does not say."""

    tags: tuple[str, ...] = ()
    expires: float | None = None


NO_OPTIONS = CoreOptions()


def read_controls(controls: Iterable[tuple[str, bytes]], now: float) -> CoreOptions:
    """Read the fields that concern the core.  Those of features only have to be readable; unknown ones are ignored.

    Of several fields with the same name the last one counts.  A value that cannot be read is refused with the field's
    name: 554 5.6.0.
    """
    tags: tuple[str, ...] = ()
    expires: float | None = None
    for name, value in dict(controls).items():
        if name == "tags":
            tags = _read_tags(decode_field(value, limit=32768))
        elif name == "maxdelivertime":
            expires = _read_time(decode_field(value), now)
        elif canonical_name(name) in SWITCHES and decode_field(value).lower() not in _SWITCH_VALUES:
            raise Refusal(554, "5.6.0", f"X-SMTPeter-{name}: write true or false")
        elif name == "images" and decode_field(value).lower() != "default":
            raise Refusal(554, "5.6.0", f"X-SMTPeter-{name}: only default is possible here")
    return CoreOptions(tags, expires)


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


def _read_time(text: str, now: float) -> float:
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError
        expires = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise Refusal(554, "5.6.0", "X-SMTPeter-MaxDeliverTime: write YYYY-MM-DD hh:mm:ss, in UTC") from None
    if expires <= now:
        raise Refusal(554, "5.6.0", "X-SMTPeter-MaxDeliverTime: this time is over")
    return expires
