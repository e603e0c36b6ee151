"""What the features have to say of a message before it is taken, the same at every door."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn

from twisted.logger import Logger

from smtpeter.errors import Refusal
from smtpeter.intake.gate import Backlog
from smtpeter.interfaces import IFeatureCatalog
from smtpeter.model.feature import MessageSummary, Options

NO_OPTIONS: Options = {}


class FeatureIntake:
    """Asks the features of a catalog.  A ``backlog`` tells when mail that has to be prepared cannot be taken."""

    _log = Logger()

    def __init__(self, catalog: IFeatureCatalog, backlog: Backlog | None = None) -> None:
        self.catalog = catalog
        self._backlog = backlog

    def choose(self, defaults: tuple[tuple[str, str], ...], asked: Mapping[str, str]) -> tuple[Options, bool]:
        """A message's effective options: its login's defaults, as far as there still are such, overridden by what it
        asks itself; and whether it has to be prepared.

        :raises Refusal: where it has to be, and that is behind.
        """
        options = {**self.catalog.known(defaults), **asked} if defaults else asked
        try:
            prepare = bool(self.catalog.preparing(options))
        except Exception:
            self._broken("a feature does not know whether it wants a message")
        if prepare and self._backlog is not None and self._backlog.refusal is not None:
            raise Refusal(*self._backlog.refusal)
        return options, prepare

    def check(self, options: Options, summarize: Callable[[], MessageSummary]) -> None:
        """Let features look at a message.

        :raises Refusal: where one does not let it in.
        """
        try:
            checking = self.catalog.checking(options)
            if checking:
                summary = summarize()
                for _, feature in checking:
                    feature.check(summary, options)
        except Refusal as refusal:
            if refusal.reply.category not in (4, 5):
                self._broken("a feature refuses a message with a reply that is no refusal")
            raise
        except Exception:
            self._broken("a feature cannot check a message")

    def _broken(self, what: str) -> NoReturn:
        self._log.failure(what)
        raise Refusal(451, "4.3.0", "Something went wrong here; try again later", what) from None
