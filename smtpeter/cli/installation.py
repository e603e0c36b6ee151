"""What a command works on: one gateway's settings, keys and store, each made where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import click

from smtpeter.auth.domains import SenderDomains
from smtpeter.auth.keys import KeyRing, load_or_create
from smtpeter.auth.private_files import make_directory
from smtpeter.clock import WallClock
from smtpeter.demo import ensure_demo
from smtpeter.features.catalog import Catalog, Findings, configure, find_features
from smtpeter.features.services import services_of
from smtpeter.features.signing import Signer
from smtpeter.interfaces import IClock
from smtpeter.ownership import acting_as_owner, refuse_closed_python
from smtpeter.settings import DEFAULT_FILE, Settings, demo_settings, load
from smtpeter.store.opening import Store, open_for_command, result_of


class Installation:
    """A gateway as commands see it, opened only as far as a command needs it.

    ``config`` is its configuration file (None: the default one); ``demo_directory``, where it is given, is the state of
    a demonstration instead.
    """

    def __init__(self, config: Path | None, demo_directory: Path | None, clock: IClock | None = None) -> None:
        self._config = config
        self._demo_directory = demo_directory
        self.clock: IClock = clock or WallClock()

    @property
    def config_file(self) -> Path | None:
        """The configuration file, None where it is a demonstration."""
        return None if self._demo_directory is not None else self._config or DEFAULT_FILE

    @cached_property
    def settings(self) -> Settings:
        """The configuration; a demonstration is made where it is missing.

        :raises ConfigError: where there is no configuration, or it is wrong.
        """
        if self._demo_directory is None:
            return load(self.config_file or DEFAULT_FILE)
        with acting_as_owner(self._demo_directory):
            return ensure_demo(self._demo_directory).settings

    def look_at_settings(self) -> Settings:
        """As ``settings``, but nothing is made."""
        if self._demo_directory is None or (self._demo_directory / "demo.json").exists():
            return self.settings
        return demo_settings(self._demo_directory)

    @cached_property
    def keys(self) -> KeyRing:
        """The keys, made where they are missing.  Only to be asked for while the store is open."""
        return load_or_create(self.settings.keys.file, create=not self.settings.store.is_made)

    @cached_property
    def features(self) -> Findings:
        """The features that are installed; only who asks for them has their modules imported.

        :raises ConfigError: where one of them, or what the configuration says of them, is wrong.
        """
        with acting_as_owner(self.settings.data_dir):
            return find_features(self.settings.features)

    @cached_property
    def catalog(self) -> Catalog:
        """The same, configured.  Only to be asked for while the store is open.

        :raises ConfigError: as above.
        """
        return configure(self.features, self.settings.features.tables, services_of(self.settings, self.keys))

    def signer(self, store: Store, account: int | None) -> Signer | None:
        """What signs mail of an account; None where there is nothing to sign it with.

        :raises ConfigError: as above.
        """
        registered = result_of(store.domains.domains())
        if account not in {each.account for each in registered if each.keys}:
            return None
        services = services_of(self.settings, self.keys, domains=SenderDomains(self.keys, registered))
        return Signer(configure(self.features, self.settings.features.tables, services))

    @contextmanager
    def open(self) -> Iterator[Store]:
        """The store, made where it is missing, and bound to the keys.

        :raises ConfigError: where keys and store do not belong together, or cannot be used.
        """
        settings = self.settings
        with acting_as_owner(settings.data_dir):
            refuse_closed_python()
            make_directory(settings.data_dir)
            keys = self.keys
            store = open_for_command(settings.store.url, settings.data_dir, self.clock)
            try:
                result_of(store.accounts.bind_keys(keys.fingerprint))
                yield store
            finally:
                result_of(store.close())


pass_installation = click.make_pass_decorator(Installation)
