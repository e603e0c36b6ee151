"""What is asked for of a message: by its own X-SMTPeter-* fields, and by the request that it came with.

The options of the core are no features: the journal depends on tags, the schedule on when delivery begins and ends, and
the queue on the idempotency key.
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
from smtpeter.model.submission import IDEMPOTENCY_KEY
from smtpeter.model.tags import read_tags

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
LONGEST_WAIT = 366 * 86400.0
"""So many seconds ahead may a message be submitted."""
_VALUE_LIMIT = 1001
"""Characters of a feature's option that are read: one more than it may have."""
_LIMITS = {"tags": 32768, "maxdelivertime": 998, "send_at": 998, "images": 998}
_FIELDS = {
    "tags": "Tags",
    "maxdelivertime": "MaxDeliverTime",
    "send_at": "Send-At",
    "idempotency_key": "Idempotency-Key",
}


class Asked(NamedTuple):
    """What is asked for of a message.  Times are in seconds since the epoch, None where nobody says.

    ``due``: nothing is delivered before; always in the future.  ``expires``: nothing is delivered after.  ``features``
    are their options by canonical names.  ``key`` is the idempotency key of the message itself.
    """

    tags: tuple[str, ...] = ()
    due: float | None = None
    expires: float | None = None
    features: Mapping[str, str] = {}
    key: str | None = None


NOTHING_ASKED = Asked()


def read_asked(
    controls: Iterable[tuple[str, bytes]],
    request: Mapping[str, str],
    now: float,
    features: IFeatureCatalog | None,
    defaults: Iterable[tuple[str, str]] = (),
) -> Asked:
    """Read the options of core and features; unknown ones are ignored.

    ``controls`` are the fields of the message, ``request`` is what its request asks for, by any of their names: of
    several values of one option the last one counts, and the message's before the request's.  ``defaults`` are those of
    the login or token: of them only the tags are asked for here, where nobody else names any.

    :raises Refusal: 554 5.6.0, naming the option as it was written, where its value cannot be read.
    """
    tags: tuple[str, ...] = ()
    due = expires = key = None
    asked: dict[str, str] = {}
    written = _written(controls, request, features, defaults)
    for option, (field, text) in written.items():
        try:
            if option == "tags":
                tags = read_tags(text)
            elif option == "maxdelivertime":
                expires = _read_time(text)
                if expires <= now:
                    raise ValueError("this time is over")
            elif option == "send_at":
                due = _read_time(text)
                if due > now + LONGEST_WAIT:
                    raise ValueError("this time is more than 366 days ahead")
            elif option == "images":
                if text.strip().lower() != "default":
                    raise ValueError("only default is possible here")
            elif option == "idempotency_key":
                key = _read_key(text)
            elif features is not None:
                asked[option] = features.read(option, text)
        except ValueError as error:
            raise Refusal(554, "5.6.0", f"{field}: {error}") from None
    if expires is not None and due is not None and expires <= due:
        last, first = written["maxdelivertime"][0], written["send_at"][0]
        raise Refusal(554, "5.6.0", f"{last}: this time is not after {first}")
    return Asked(tags, due if due is not None and due > now else None, expires, asked, key)


def _written(
    controls: Iterable[tuple[str, bytes]],
    request: Mapping[str, str],
    features: IFeatureCatalog | None,
    defaults: Iterable[tuple[str, str]],
) -> dict[str, tuple[str, str]]:
    """What counts of each option that somebody knows, by its canonical name: the field, as it was written, and the
    text in it."""
    written = {name: (name, text) for name, text in defaults if name == "tags"}
    for name, text in request.items():
        option = _canonical(name, features)
        if option and option != "idempotency_key":
            written[option] = name, text
    last = {option: control for control in controls if (option := _canonical(control[0], features))}
    for option, (name, value) in last.items():
        if option == "idempotency_key":
            text = value.decode("latin-1")
        else:
            text = decode_field(value, _LIMITS.get(option, _VALUE_LIMIT))
        written[option] = f"X-SMTPeter-{_FIELDS.get(option, name)}", text
    return written


def _canonical(name: str, features: IFeatureCatalog | None) -> str | None:
    core = CORE_OPTIONS.get(option_key(name))
    return core if core is not None or features is None else features.canonical(name)


def _read_time(text: str) -> float:
    text = text.strip()
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise ValueError("write YYYY-MM-DD hh:mm:ss, in UTC") from None


def _read_key(text: str) -> str:
    if IDEMPOTENCY_KEY.fullmatch(text) is None:
        raise ValueError("write 1 to 255 printable ASCII characters")
    return text
