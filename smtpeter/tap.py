"""``twistd smtpeter``: its options, and the way from them to a running service.

The only module that imports the global reactor.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from smtpeter import __version__
from smtpeter.delivery import shaping
from smtpeter.demo import Demo, announce, default_directory, prepare_demo
from smtpeter.errors import SmtpeterError
from smtpeter.log import make_observer
from smtpeter.ownership import acting_as_owner
from smtpeter.service import Gateway
from smtpeter.settings import DEFAULT_FILE, Settings, load
from smtpeter.systemd import tell_systemd

LOG_SIZE = 10_000_000
LOG_FILES = 50
"""How large a log file of ours becomes, in octets, and how many older ones are kept."""

LOCK_SECONDS = 0.001
"""So long may a thread that computes keep Python's lock while the reactor wants it.  With Python's own 5 ms each event
would wait that long while, say, a message is converted; the rate of messages is the same."""

_log = Logger()


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
        """Read the configuration now, so that what is wrong with it is told before anything starts."""
        demo = self["demo"] or self["demo-dir"] is not None
        if demo and self["config"] is not None:
            _end("--demo and --config exclude each other")
        try:
            if demo:
                self.demo = prepare_demo(Path(self["demo-dir"]) if self["demo-dir"] else default_directory(os.environ))
                self.settings = self.demo.settings
            else:
                self.settings = load(Path(self["config"] or DEFAULT_FILE))
            shaping.load(self.settings.delivery.shaping)
        except SmtpeterError as error:
            _end(str(error))


class Program(MultiService):
    """The gateway as twistd runs it: it brings its own form of the log, unless twistd was told of another one, and
    tells systemd, if that asked, when it ends."""

    def __init__(self, gateway: Gateway, observer: ILogObserver | None) -> None:
        super().__init__()
        self._observer = observer
        self.addService(gateway)

    def setServiceParent(self, parent: Any) -> None:
        """Twistd logs with the observer of its application."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)

    def stopService(self) -> Any:
        """Fires when everything has come to its end."""
        tell_systemd("STOPPING=1", os.environ)
        return super().stopService()


def makeService(options: Options) -> Program:
    """The service that twistd runs."""
    from twisted.internet import reactor

    # Twisted's timers run on wall time by default, and would all ring, or none, after the clock was set.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    reactor.callWhenRunning(_end_on_signals, reactor)
    os.umask(0o077)  # the log tells of people's mail
    sys.setswitchinterval(LOCK_SECONDS)
    try:
        observer = _make_observer(options.settings, getattr(options, "parent", None) or {}, reactor)
    except OSError as error:
        _end(f"the log cannot be written: {error}")
    return Program(Gateway(options.settings, reactor, partial(_is_ready, options)), observer)


def _is_ready(options: Options) -> None:
    if options.settings.demo:
        announce(options.demo)
    # What is there by now stays: looking through it for garbage again and again would hold every session for 30 ms.
    gc.collect()
    gc.freeze()
    tell_systemd("READY=1", os.environ)


def _end_on_signals(reactor: Any) -> None:
    """SIGTERM and Ctrl-C end the program with status 0, however often they come; a SIGHUP only where it tells that
    the terminal has gone.

    By itself Twisted would end it by the same signal in the end, and take a second one for an error.
    """

    def stop() -> None:
        with suppress(ReactorNotRunning):
            reactor.stop()

    def stay() -> None:
        _log.info("SIGHUP: changed certificates are read without it, the configuration at a start")

    signals = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        signals[signal.SIGHUP] = stop if os.isatty(0) else stay
    for number, answer in signals.items():
        signal.signal(number, partial(_call_in_reactor, reactor, answer))


def _call_in_reactor(reactor: Any, function: Callable[[], None], number: int, frame: FrameType | None) -> None:
    reactor.callFromThread(function)


def _make_observer(settings: Settings, twistd: Mapping[str, Any], reactor: Any) -> ILogObserver | None:
    """Where the log goes is told to twistd, its form to us; None where all of it is twistd's."""
    foreground, file = twistd.get("nodaemon") or twistd.get("debug"), twistd.get("logfile")
    if twistd.get("logger") or twistd.get("syslog") or (file == "-" and not foreground):
        return None
    if file == "-" or (foreground and not file):
        return make_observer(settings.log.format, sys.stdout)
    path = Path(file or "twistd.log").absolute()
    with acting_as_owner(path.parent):  # or a server that gives up root's rights could not begin a new one
        out = LogFile.fromFullPath(str(path), rotateLength=LOG_SIZE, maxRotatedFiles=LOG_FILES)
    if not signal.getsignal(signal.SIGUSR1):  # as twistd has it
        signal.signal(signal.SIGUSR1, lambda number, frame: reactor.callFromThread(out.rotate))
    return make_observer(settings.log.format, out)


def _end(why: str) -> NoReturn:
    """Give up before the start, with the reason on standard error and nothing around it."""
    raise SystemExit("\n".join(f"smtpeter: {line}" for line in why.split("\n")))
