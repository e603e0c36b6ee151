"""How the log is written: lines for people, or one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

_TEXT_LIMIT = 2048
_LEVEL_NAMES = {"warn": "warning"}


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line, whatever it holds: controls are escaped, long values cut."""

    def __init__(self, out: TextIO, render: Callable[[LogEvent], str]) -> None:
        self._out = out
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        try:
            self._out.write(self._render(event) + "\n")
            self._out.flush()
        except OSError:
            pass  # a log that cannot be written must not stop the mail


def render_text(event: LogEvent) -> str:
    """A line for people: time, level, room, what happened; a traceback follows on the same line, escaped."""
    text = f"{_time(event)} {_level(event)} [{_system(event)}] {formatEvent(event)}"
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        text += " | " + failure.getTraceback()
    return "".join(map(_visible, text[: 4 * _TEXT_LIMIT]))


def render_json(event: LogEvent) -> str:
    """One object: time, level, system, message, and every field that the event was given."""
    fields: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "system": _system(event),
        "message": formatEvent(event)[:_TEXT_LIMIT],
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in ("isError", "failure", "format", "message", "time", "system"):
            fields[name] = value if isinstance(value, (int, float, bool, type(None))) else str(value)[:_TEXT_LIMIT]
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        fields["traceback"] = failure.getTraceback()[: 4 * _TEXT_LIMIT]
    return json.dumps(fields, ensure_ascii=True)


def text_observer() -> LineObserver:
    """What twistd logs with when ``log.format`` is ``text``."""
    return LineObserver(sys.stdout, render_text)


def json_observer() -> LineObserver:
    """What twistd logs with when ``log.format`` is ``json``."""
    return LineObserver(sys.stdout, render_json)


def _time(event: LogEvent) -> str:
    return datetime.fromtimestamp(event["log_time"], UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    name = str(getattr(event.get("log_level"), "name", "info"))
    return _LEVEL_NAMES.get(name, name)


def _system(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
