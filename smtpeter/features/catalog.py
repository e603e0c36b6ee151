"""The features that are there: found, verified, put in order, configured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from zope.interface import Interface, implementer

from smtpeter.errors import ConfigError
from smtpeter.features.discovery import CatalogError, discover, one_line
from smtpeter.features.faults import faults_of_feature, faults_of_plugin
from smtpeter.features.options import OptionTable, find_default, read_default, read_value
from smtpeter.features.order import Cycle, running_order
from smtpeter.interfaces import (
    ICheckingFeature,
    IEnvelopeFeature,
    IFeatureCatalog,
    IFeaturePlugin,
    IFeatureServices,
    IMessageFeature,
    IPersonalizingFeature,
    IPreparingFeature,
    IResourceFeature,
    ISigningFeature,
    ITransportFeature,
)
from smtpeter.model.feature import CORE_OPTIONS, Options
from smtpeter.settings import Features, Settings


class Found(NamedTuple):
    """A feature that is installed, as yet without its configuration."""

    name: str
    plugin: IFeaturePlugin
    origin: Path


class Installed(NamedTuple):
    """A feature that is ready."""

    name: str
    plugin: IFeaturePlugin
    feature: IMessageFeature
    origin: Path


class Findings(NamedTuple):
    """What is installed: features in the order in which they run, disabled ones by name, and remarks for people."""

    features: tuple[Found, ...]
    disabled: tuple[Found, ...]
    options: OptionTable
    remarks: tuple[str, ...]


@implementer(IFeatureCatalog)
class Catalog:
    """The features that run, in their order, and who of them wants a message."""

    def __init__(
        self,
        features: Iterable[Installed] = (),
        options: OptionTable | None = None,
        disabled: Iterable[Found] = (),
    ) -> None:
        self.features = tuple(features)
        self.disabled = tuple(disabled)
        self.options = options or OptionTable()
        self.resources: Mapping[str, IResourceFeature] = MappingProxyType(dict(self._able(IResourceFeature)))
        self._preparing = _Wanting(self._able(IPreparingFeature))
        self._checking = _Wanting(self._able(ICheckingFeature))
        self._enveloping = _Wanting(self._able(IEnvelopeFeature))
        self._signing = _Wanting(self._able(ISigningFeature))
        self._securing = _Wanting(self._able(ITransportFeature))
        self._personalizing: Mapping[str, IPersonalizingFeature] = dict(self._able(IPersonalizingFeature))

    def canonical(self, name: str) -> str | None:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.canonical`."""
        option = self.options.find(name)
        return None if option is None else option.name

    def read(self, name: str, text: str) -> str:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.read`."""
        option = self.options.find(name)
        if option is None:
            raise ValueError("there is no such option")
        return read_value(option, text)

    def read_default(self, name: str, text: str) -> str:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.read_default`."""
        option = find_default(self.options, name)
        if option is None:
            raise ValueError("there is no such option")
        return read_default(option, text)

    def known(self, options: Iterable[tuple[str, str]]) -> dict[str, str]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.known`."""
        return {name: value for name, value in options if self.options.find(name) is not None}

    def preparing(self, options: Options) -> tuple[tuple[str, IPreparingFeature], ...]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.preparing`."""
        return self._preparing.of(options)

    def checking(self, options: Options) -> tuple[tuple[str, ICheckingFeature], ...]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.checking`."""
        return self._checking.of(options)

    def enveloping(self, options: Options) -> tuple[tuple[str, IEnvelopeFeature], ...]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.enveloping`."""
        return self._enveloping.of(options)

    def signing(self, options: Options) -> tuple[tuple[str, ISigningFeature], ...]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.signing`."""
        return self._signing.of(options)

    def securing(self, options: Options) -> tuple[tuple[str, ITransportFeature], ...]:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.securing`."""
        return self._securing.of(options)

    def personalizing(self, name: str) -> IPersonalizingFeature | None:
        """See :meth:`smtpeter.interfaces.IFeatureCatalog.personalizing`."""
        return self._personalizing.get(name)

    def _able(self, ability: type[Interface]) -> Iterator[tuple[str, Any]]:
        return ((each.name, each.feature) for each in self.features if ability.providedBy(each.feature))


class _Wanting:
    """Features of one ability.  Most mail has no options: for that it is asked once and remembered."""

    def __init__(self, features: Iterable[tuple[str, Any]]) -> None:
        self._features = tuple(features)
        self._plain = self._ask({})

    def of(self, options: Options) -> tuple[tuple[str, Any], ...]:
        return self._ask(options) if options else self._plain

    def _ask(self, options: Options) -> tuple[tuple[str, Any], ...]:
        return tuple(each for each in self._features if each[1].wants(options))


def find_features(settings: Features) -> Findings:
    """Look for features and verify what they say of themselves; none is configured.

    :raises CatalogError: where one of them is broken, or two contradict each other, or the configuration names one that
        is not there.
    """
    discovered, remarks = discover(settings.paths)
    _raise([f"{each.origin}: {each.variable}: {what}" for each in discovered for what in faults_of_plugin(each.plugin)])
    found = sorted((Found(each.plugin.name, each.plugin, each.origin) for each in discovered), key=lambda each: each[0])
    _raise([*_twice(found), *_unknown(settings, {each.name for each in found})])
    disabled = tuple(each for each in found if each.name in settings.disabled)
    enabled = {each.name: each for each in found if each.name not in settings.disabled}
    _raise(list(_taken_options(enabled.values())))
    try:
        order = running_order(_earlier(enabled))
    except Cycle as cycle:
        files = ", ".join(str(enabled[name].origin) for name in dict.fromkeys(cycle.path))
        raise CatalogError([f"features cannot be put in order: {cycle} (see after and before in {files})"]) from None
    features = tuple(enabled[name] for name in order)
    options = OptionTable(option for each in features for option in each.plugin.options)
    return Findings(features, disabled, options, tuple(remarks))


def load_catalog(settings: Settings, services_for: Callable[[str], IFeatureServices]) -> Catalog:
    """Find all features and configure those that are not disabled.

    :raises CatalogError: as :func:`find_features` has it, and where a table or a feature is wrong.
    """
    return configure(find_features(settings.features), settings.features.tables, services_for)


def configure(
    findings: Findings, tables: Mapping[str, Mapping[str, Any]], services_for: Callable[[str], IFeatureServices]
) -> Catalog:
    """Make features of what was found.

    :raises CatalogError: where a table or a feature is wrong.
    """
    problems: list[str] = []
    features = []
    for each in findings.features:
        table = tables.get(each.name, MappingProxyType({}))
        try:
            feature: Any = each.plugin.configure(table, services_for(each.name))
            faults = list(faults_of_feature(feature))
            if not faults:
                feature.wants({})
        except ConfigError as error:
            text, key = " ".join(str(error).split()), f"features.{each.name}"
            problems.append(text if text.startswith(key) else f"{key}: {text}")
        except Exception as error:
            problems.append(f"{each.origin}: feature {each.name} cannot be configured: {one_line(error)}")
        else:
            problems += [f"{each.origin}: feature {each.name}: {fault}" for fault in faults]
            features.append(Installed(each.name, each.plugin, feature, each.origin))
    _raise(problems)
    return Catalog(features, findings.options, findings.disabled)


def _raise(problems: Sequence[str]) -> None:
    if problems:
        raise CatalogError(problems)


def _twice(found: Sequence[Found]) -> Iterator[str]:
    origins: dict[str, Path] = {}
    for each in found:
        if each.name in origins:
            yield f"{each.origin}: there is a feature {each.name} in {origins[each.name]} already"
        origins.setdefault(each.name, each.origin)


def _taken_options(found: Iterable[Found]) -> Iterator[str]:
    owners = dict.fromkeys(CORE_OPTIONS, "smtpeter itself")
    for each in found:
        for option in each.plugin.options:
            for name in (option.name, *option.aliases):
                if name in owners:
                    yield f"{each.origin}: feature {each.name}: the option {name} is one of {owners[name]} already"
                owners.setdefault(name, f"feature {each.name}")


def _unknown(settings: Features, names: set[str]) -> Iterator[str]:
    for key, mentioned in (("features.disabled: ", settings.disabled), ("features.", settings.tables)):
        for name in mentioned:
            if name not in names:
                near = get_close_matches(name, names, n=1)
                known = f"did you mean {near[0]}?" if near else f"installed: {', '.join(sorted(names)) or 'none'}"
                yield f"{key}{name}: there is no such feature ({known})"


def _earlier(found: Mapping[str, Found]) -> dict[str, set[str]]:
    """For each feature those that come before it."""
    earlier = {name: set(each.plugin.after) for name, each in found.items()}
    for name, each in found.items():
        for later in each.plugin.before:
            if later in earlier:
                earlier[later].add(name)
    return earlier
