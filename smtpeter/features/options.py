"""The options of all features: by which names they are known, and what may be their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smtpeter.model.feature import CORE_OPTIONS, Option, OptionKind, option_key
from smtpeter.model.tags import read_tags

TEXT_LIMIT = 1000
"""Characters of an option that is a text."""

_SWITCH_VALUES = dict.fromkeys(("true", "1", "yes", "on"), "true") | dict.fromkeys(("false", "0", "no", "off"), "false")
_NO_DEFAULTS = {
    "maxdelivertime": "a point in time cannot be a default: give it with each message",
    "send_at": "a point in time cannot be a default: give it with each message",
    "idempotency_key": "a key cannot be a default: give it with each message",
}


class OptionTable:
    """Finds options by their names and aliases, of which no two are the same.  Iterating gives each option once."""

    def __init__(self, options: Iterable[Option] = ()) -> None:
        self._options = tuple(options)
        self._by_name = {name: option for option in self._options for name in (option.name, *option.aliases)}

    def find(self, name: str) -> Option | None:
        """The option with this name or alias, however people write it."""
        return self._by_name.get(option_key(name))

    def __iter__(self) -> Iterator[Option]:
        return iter(self._options)


def read_value(option: Option, text: str) -> str:
    """The value of an option that a text means.

    :raises ValueError: where it means none; the error's text tells what is expected.
    """
    if option.kind is OptionKind.SWITCH:
        value = _SWITCH_VALUES.get(text.strip().lower())
        if value is None:
            raise ValueError("write true or false")
        return value
    if len(text) > TEXT_LIMIT or not text.isprintable():
        raise ValueError(f"write one line of at most {TEXT_LIMIT} characters")
    return text


def find_default(options: OptionTable, name: str) -> Option | None:
    """The option with this name that can be a login's or token's default: a feature's or the core's.

    :raises ValueError: where it is one that cannot; its text tells why.
    """
    core = CORE_OPTIONS.get(option_key(name))
    if core is None:
        return options.find(name)
    if core in _NO_DEFAULTS:
        raise ValueError(_NO_DEFAULTS[core])
    return Option(core, "", OptionKind.TEXT)


def read_default(option: Option, text: str) -> str:
    """The same as :func:`read_value` of what :func:`find_default` has found."""
    if option.name == "tags":
        tags = read_tags(text)
        if not tags:
            raise ValueError("write at least one tag")
        return ",".join(tags)
    if option.name == "images":
        value = text.strip().lower()
        if value != "default":
            raise ValueError("only default is possible here")
        return value
    return read_value(option, text)
