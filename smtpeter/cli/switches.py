"""What ``--enable`` and ``--disable`` name: features, by any of their names, and tags."""

from __future__ import annotations

from collections.abc import Iterable

from smtpeter.cli.installation import Installation
from smtpeter.errors import NotPossible
from smtpeter.features.options import OptionTable, find_default, read_default
from smtpeter.model.feature import CORE_OPTIONS, Option, OptionKind, option_key


def feature_options(entries: Iterable[str], installation: Installation) -> tuple[tuple[str, str], ...]:
    """What ``NAME`` and ``NAME=VALUE`` switch on, as a credential keeps it.

    :raises NotPossible: where one of them is not installed here, or its value cannot be.
    """
    options = {}
    for entry in entries:
        name, equals, text = entry.partition("=")
        option = _find(name, installation)
        if option.kind is OptionKind.TEXT and not equals:
            raise NotPossible(f"{option.name} is given as {option.name}=VALUE")
        try:
            options[option.name] = read_default(option, text if equals else "true")
        except ValueError as error:
            raise NotPossible(f"{option.name}: {error}") from None
    return tuple(options.items())


def without_features(
    options: Iterable[tuple[str, str]], names: Iterable[str], installation: Installation
) -> dict[str, str]:
    """A credential's options after these were switched off; those that are not installed any more can be, too.

    :raises NotPossible: where one of them is neither installed here nor among the options.
    """
    kept = dict(options)
    for name in names:
        known = CORE_OPTIONS.get(option_key(name), option_key(name))
        if kept.pop(known, None) is None and known not in CORE_OPTIONS:
            kept.pop(_find(name, installation).name, None)
    return kept


def features_of(options: Iterable[tuple[str, str]]) -> list[str]:
    """The names of the features that these options switch on, with the value of those that are more than a switch."""
    return [
        name if value == "true" and name not in CORE_OPTIONS else f"{name}={value}"
        for name, value in options
        if value != "false" or name in CORE_OPTIONS
    ]


def _find(name: str, installation: Installation) -> Option:
    table = installation.features.options
    try:
        option = find_default(table, name)
    except ValueError as error:
        raise NotPossible(f"{CORE_OPTIONS[option_key(name)]}: {error}") from None
    if option is None:
        disabled = installation.features.disabled
        if OptionTable(each for feature in disabled for each in feature.plugin.options).find(name) is not None:
            raise NotPossible(f"the feature {name!r} is switched off for all, by [features] disabled")
        known = ", ".join(option.name for option in table)
        raise NotPossible(f"there is no feature {name!r} here" + (f" (there are: {known})" if known else ""))
    return option
