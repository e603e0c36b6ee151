"""The options of all features: by which names they are known, and what may be their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from smtpeter.model.feature import Option, OptionKind, option_key

TEXT_LIMIT = 1000
"""Characters of an option that is a text."""

_SWITCH_VALUES = dict.fromkeys(("true", "1", "yes", "on"), "true") | dict.fromkeys(("false", "0", "no", "off"), "false")


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
