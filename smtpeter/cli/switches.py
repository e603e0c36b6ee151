"""The features that ``--enable`` and ``--disable`` name, by any of their names."""

from __future__ import annotations

from collections.abc import Iterable

from smtpeter.cli.installation import Installation
from smtpeter.errors import NotPossible
from smtpeter.features.options import OptionTable, read_value
from smtpeter.model.feature import Option, OptionKind, option_key


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
            options[option.name] = read_value(option, text if equals else "true")
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
        if kept.pop(option_key(name), None) is None:
            kept.pop(_find(name, installation).name, None)
    return kept


def features_of(options: Iterable[tuple[str, str]]) -> list[str]:
    """The names of the features that these options switch on, with the value of those that are more than a switch."""
    return [name if value == "true" else f"{name}={value}" for name, value in options if value != "false"]


def _find(name: str, installation: Installation) -> Option:
    table = installation.features.options
    option = table.find(name)
    if option is None:
        disabled = installation.features.disabled
        if OptionTable(each for feature in disabled for each in feature.plugin.options).find(name) is not None:
            raise NotPossible(f"the feature {name!r} is switched off for all, by [features] disabled")
        known = ", ".join(option.name for option in table)
        raise NotPossible(f"there is no feature {name!r} here" + (f" (there are: {known})" if known else ""))
    return option
