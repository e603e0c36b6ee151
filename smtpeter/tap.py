"""``twistd smtpeter``: its options, and the way from them to a running service.

The only module that imports the global reactor.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from twisted.python import usage

from smtpeter import __version__
from smtpeter.demo import Demo, announce, default_directory, prepare_demo
from smtpeter.errors import ConfigError, SmtpeterError
from smtpeter.service import Gateway, refuse_what_cannot_run
from smtpeter.settings import DEFAULT_FILE, Settings, load


class Options(usage.Options):
    """The command line behind ``twistd smtpeter``."""

    synopsis = "[options]"
    longdesc = (
        "A self-hosted email gateway. Without an option the configuration is read from /etc/smtpeter/smtpeter.toml; "
        "--demo needs no configuration and sends no mail."
    )
    optFlags = (("demo", None, "everything on 127.0.0.1, with mail captured instead of sent"),)
    optParameters = (
        ("config", "c", None, "the configuration file"),
        ("demo-dir", None, None, "where the demonstration keeps its state"),
    )

    settings: Settings
    demo: Demo

    def opt_version(self) -> NoReturn:
        """Tell the version and end."""
        print(f"smtpeter {__version__}")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """Read the configuration now: twistd asks for the log's form before it makes the service."""
        demo = self["demo"] or self["demo-dir"] is not None
        if demo and self["config"] is not None:
            _end("--demo and --config exclude each other")
        try:
            if demo:
                self.demo = prepare_demo(Path(self["demo-dir"]) if self["demo-dir"] else default_directory(os.environ))
                self.settings = self.demo.settings
            else:
                self.settings = load(self._config_file())
            refuse_what_cannot_run(self.settings)
        except SmtpeterError as error:
            _end(str(error))
        twistd: Any = getattr(self, "parent", None)
        if twistd is not None and not twistd.get("logger") and not twistd.get("logfile") and not twistd.get("syslog"):
            twistd["logger"] = f"smtpeter.log.{self.settings.log.format}_observer"

    def _config_file(self) -> Path:
        if self["config"] is not None:
            return Path(self["config"])
        if not DEFAULT_FILE.exists():
            raise ConfigError(
                f"there is no configuration file {DEFAULT_FILE}; make it, name another one with --config FILE, "
                "or try --demo"
            )
        return DEFAULT_FILE


def makeService(options: Options) -> Gateway:
    """The service that twistd runs."""
    from twisted.internet import reactor

    # Twisted's timers run on wall time by default, and would all ring, or none, after the clock was set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    if options.settings.demo:
        return Gateway(options.settings, reactor, partial(announce, options.demo))
    return Gateway(options.settings, reactor)


def _end(why: str) -> NoReturn:
    """Give up before the start, with the reason on standard error and nothing around it."""
    raise SystemExit("\n".join(f"smtpeter: {line}" for line in why.split("\n")))
