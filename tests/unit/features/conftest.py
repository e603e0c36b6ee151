"""Features in a directory of their own, in place of those of the checkout."""

import sys

import pytest

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
    """Writes features as modules; each gives the name of its feature."""

    def __init__(self, directory):
        self.directory = directory

    def write(self, name, *changes, file=None, directory=None):
        """A sound feature, with (old, new) pieces of its source exchanged."""
        source = SOURCE
        for old, new in changes:
            assert old in source, old
            source = source.replace(old, new)
        return self.write_source((file or name), source.replace("NAME", name), directory)

    def write_source(self, file, source, directory=None):
        path = (directory or self.directory) / f"{file}.py"
        path.write_text(source)
        path.chmod(0o644)
        return path


def _forget():
    for name in [name for name in sys.modules if name.startswith("smtpeter.plugins.")]:
        del sys.modules[name]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    directory = tmp_path / "installed"
    directory.mkdir(mode=0o755)
    monkeypatch.setattr(plugins, "__path__", [str(directory)])
    before = {name: module for name, module in sys.modules.items() if name.startswith("smtpeter.plugins.")}
    _forget()
    yield Modules(directory)
    _forget()
    sys.modules.update(before)
