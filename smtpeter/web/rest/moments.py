"""Times and tags as they are written in a query."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})Z?)?")


def read_moment(value: Any) -> float:
    """Seconds since the epoch of a date, or a date and a time, in UTC.

    :raises ValueError: where it is neither.
    """
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        try:
            return datetime.fromisoformat(f"{match[1]}T{match[2] or '00:00:00'}").replace(tzinfo=UTC).timestamp()
        except ValueError:
            pass
    raise ValueError("must be a date YYYY-MM-DD or a time YYYY-MM-DD hh:mm:ss, in UTC")


def read_tags(value: Any) -> tuple[str, ...]:
    """Tags that stand between semicolons, in one value or in several.

    :raises ValueError: where it is something else.
    """
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in values):
        raise ValueError("must be tags with semicolons between them")
    return tuple(dict.fromkeys(tag for each in values for tag in each.split(";") if tag))


Moment = Annotated[
    float,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "pattern": f"^{_MOMENT.pattern}$", "examples": ["2026-01-31"]}),
]
"""A time in a query, in seconds since the epoch."""

Tags = Annotated[
    tuple[str, ...], BeforeValidator(read_tags), WithJsonSchema({"type": "string", "examples": ["invoice;june"]})
]
"""Tags in a query."""
