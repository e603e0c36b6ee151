"""Features in modules of a directory of their own, in place of those of the checkout."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from smtpeter import plugins

SOURCE = """
from zope.interface import implementer

from smtpeter.api import (
    ConfigError, FailurePolicy, ICheckingFeature, IEnvelopeFeature, IFeaturePlugin, IMessageFeature,
    IPersonalizingFeature, IPreparingFeature, IResourceFeature, Option, OptionKind,
)


@implementer(IMessageFeature)
class Feature:
    on_failure = FailurePolicy.SEND

    def __init__(self, section, services):
        self.section, self.services = section, services

    def wants(self, options):
        return options.get("NAME") == "true"

    def check(self, summary, options):
        pass

    def prepare(self, message, context):
        pass

    def values(self, keys, addressee):
        return keys

    def reverse_path(self, reverse_path, addressee):
        return reverse_path

    def serve(self, request):
        pass


@implementer(IFeaturePlugin)
class Plugin:
    name = "NAME"
    options = (Option("NAME", "what it does"),)
    after = ()
    before = ()

    def configure(self, section, services):
        return Feature(section, services)


plugin = Plugin()
"""


class Modules:
    """Writes features as modules, and gives their files."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, name: str, *changes: tuple[str, str], file: str = "", directory: Path | None = None) -> Path:
        """A sound feature, with (old, new) pieces of its source exchanged."""
        source = SOURCE
        for old, new in changes:
            assert old in source, old
            source = source.replace(old, new)
        return self.write_source(file or name, source.replace("NAME", name), directory)

    def write_source(self, file: str, source: str, directory: Path | None = None) -> Path:
        """Any module."""
        path = (directory or self.directory) / f"{file}.py"
        path.write_text(source)
        path.chmod(0o644)
        return path


@contextlib.contextmanager
def only_these(directory: Path) -> Iterator[Modules]:
    """Whatever looks for features finds those that are written here, and nothing of what was imported here stays."""
    directory.mkdir(mode=0o755)
    paths, plugins.__path__ = plugins.__path__, [str(directory)]
    before = {name: module for name, module in sys.modules.items() if name.startswith("smtpeter.plugins.")}
    _forget()
    try:
        yield Modules(directory)
    finally:
        _forget()
        sys.modules.update(before)
        plugins.__path__ = paths


def _forget() -> None:
    for name in [name for name in sys.modules if name.startswith("smtpeter.plugins.")]:
        del sys.modules[name]
