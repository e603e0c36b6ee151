"""How the log is written: lines for people, or one JSON object a line."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

_TEXT_LIMIT = 2048
_LEVEL_NAMES = {"warn": "warning"}
# What we write ourselves, and what events of twisted.python.log carry besides.
_RESERVED = frozenset(("time", "level", "system", "message", "traceback", "isError", "failure", "format"))


class Out(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> object: ...

    def flush(self) -> object: ...


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as one line, whatever it holds: controls are escaped, long values cut."""

    def __init__(self, out: Out, render: Callable[[LogEvent], str]) -> None:
        self._out = out
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        try:
            line = self._render(event)
        except Exception as error:
            line = self._render(_substitute(event, error))
        try:
            self._out.write(line + "\n")
            self._out.flush()
        except (OSError, ValueError):
            pass  # a log that cannot be written, or was closed, must not stop the mail


def render_text(event: LogEvent) -> str:
    """A line for people: time, level, room, what happened; a traceback follows on the same line, escaped."""
    text = f"{_time(event)} {_level(event)} [{_system(event)}] {_message(event)}"
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        text += " | " + failure.getTraceback()
    text = text[: 4 * _TEXT_LIMIT]
    return text if text.isprintable() else "".join(map(_visible, text))


def render_json(event: LogEvent) -> str:
    """One object: time, level, system, message, and every field that the event was given."""
    fields: dict[str, Any] = {
        "time": _time(event),
        "level": _level(event),
        "system": _system(event),
        "message": _message(event)[:_TEXT_LIMIT],
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _RESERVED:
            fields[name] = _json_value(value)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        fields["traceback"] = failure.getTraceback()[: 4 * _TEXT_LIMIT]
    return json.dumps(fields, ensure_ascii=True)


def make_observer(form: str, out: Out) -> LineObserver:
    """What twistd logs with: ``form`` is that of ``log.format``."""
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # lest lines be lost that hold what the locale does not know
    return LineObserver(out, render_json if form == "json" else render_text)


def _substitute(event: LogEvent, error: Exception) -> LogEvent:
    """What is logged instead of an event that cannot be."""
    return {
        "log_time": event.get("log_time"),
        "log_level": LogLevel.error,
        "log_namespace": _system(event),
        "log_format": "an event could not be written: {error}",
        "error": type(error).__name__,
    }


def _json_value(value: object) -> object:
    """A value that every reader of JSON can read."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, bytes):
        value = value.decode("utf-8", "backslashreplace")
    return str(value)[:_TEXT_LIMIT]


def _message(event: LogEvent) -> str:
    try:
        # Python's own formatting is several times faster than Twisted's, which knows more: {calls()}, for example.
        message: str = event["log_format"].format(**event)
    except Exception:
        message = formatEvent(event)
    return message


def _time(event: LogEvent) -> str:
    try:
        time = datetime.fromtimestamp(event["log_time"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        time = datetime.fromtimestamp(0.0, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    name = str(getattr(event.get("log_level"), "name", "info"))
    return _LEVEL_NAMES.get(name, name)


def _system(event: LogEvent) -> str:
    return str(event.get("log_namespace", "-"))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
