"""The features that ``--enable`` and ``--disable`` name, by any of their names."""

from __future__ import annotations

from collections.abc import Iterable

from smtpeter.errors import NotPossible
from smtpeter.model.switches import canonical_name


def feature_options(names: Iterable[str], installed: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """The options that switch these features on, as a credential keeps them.

    :raises NotPossible: where one of them is not installed here.
    """
    options = {}
    for name in names:
        canonical = canonical_name(name)
        if canonical not in installed:
            raise NotPossible(f"feature {name} is not installed here")
        options[canonical] = "true"
    return tuple(options.items())


def features_of(options: Iterable[tuple[str, str]]) -> list[str]:
    """The names of the features that these options switch on."""
    return [name for name, value in options if value == "true"]
