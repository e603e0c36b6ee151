"""What can be wrong with a feature, each told in a few words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from zope.interface import Interface
from zope.interface.exceptions import BrokenImplementation, BrokenMethodImplementation, Invalid
from zope.interface.verify import verifyObject

from smtpeter.features.discovery import one_line
from smtpeter.interfaces import (
    ICheckingFeature,
    IEnvelopeFeature,
    IFeaturePlugin,
    IMessageFeature,
    IPersonalizingFeature,
    IPreparingFeature,
    IResourceFeature,
    ISigningFeature,
)
from smtpeter.model.feature import FailurePolicy, Option, OptionKind
from smtpeter.settings import Features

_ABILITIES = (
    IMessageFeature,
    ICheckingFeature,
    IPreparingFeature,
    IPersonalizingFeature,
    IEnvelopeFeature,
    IResourceFeature,
    ISigningFeature,
)
_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_KEYS = frozenset(key.name for key in fields(Features) if key.metadata)


def faults_of_plugin(plugin: Any) -> Iterator[str]:
    """What a plugin says of itself that cannot be."""
    missing = list(_unfulfilled(IFeaturePlugin, plugin))
    if missing:
        yield from missing
        return
    if not isinstance(plugin.name, str) or not _NAME.fullmatch(plugin.name):
        yield f"name has to be small letters, digits and _, and is {plugin.name!r}"
    elif plugin.name in _KEYS:
        yield f"name cannot be {plugin.name!r}, which is a key of [features]"
    for attribute in ("after", "before"):
        names = getattr(plugin, attribute)
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            yield f"{attribute} has to be a tuple of names, and is {names!r}"
    if not isinstance(plugin.options, tuple) or not all(isinstance(option, Option) for option in plugin.options):
        yield f"options has to be a tuple of Option, and is {plugin.options!r}"
        return
    yield from (f"this cannot be an option: {option!r}" for option in plugin.options if not _is_sound(option))


def _is_sound(option: Option) -> bool:
    names = (option.name, *option.aliases) if isinstance(option.aliases, tuple) else ()
    return (
        bool(names)
        and all(isinstance(name, str) and _NAME.fullmatch(name) for name in names)
        and isinstance(option.help, str)
        and option.help.isprintable()
        and isinstance(option.kind, OptionKind)
    )


def faults_of_feature(feature: Any) -> Iterator[str]:
    """What is wrong with the object that a plugin's configure gave back."""
    if not IMessageFeature.providedBy(feature):
        yield f"configure gave back {type(feature).__name__}, which does not provide IMessageFeature"
        return
    missing = [
        fault for ability in _ABILITIES if ability.providedBy(feature) for fault in _unfulfilled(ability, feature)
    ]
    yield from missing
    if not missing and IPreparingFeature.providedBy(feature) and not isinstance(feature.on_failure, FailurePolicy):
        yield f"on_failure has to be a FailurePolicy, and is {feature.on_failure!r}"


def _unfulfilled(interface: type[Interface], thing: Any) -> Iterator[str]:
    """What a thing lacks of an interface that it says to provide."""
    try:
        verifyObject(interface, thing)
    except Invalid as error:
        for each in getattr(error, "exceptions", (error,)):
            if isinstance(each, BrokenImplementation):
                what = f"{getattr(each.name, '__name__', each.name)} is missing"
            elif isinstance(each, BrokenMethodImplementation):
                method = getattr(each.method, "__name__", each.method)
                what = f"{method}: {each.mess}"
            else:
                what = one_line(each)
            yield f"{interface.__name__}: {what}"
    except Exception as error:
        yield f"{interface.__name__}: {one_line(error)}"
