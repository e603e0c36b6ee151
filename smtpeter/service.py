"""How the rooms are put together: the only module that knows all of them."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from smtpeter.auth.access import build_portal
from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.directory import Directory
from smtpeter.auth.keys import load_or_create
from smtpeter.auth.tls import ServerTls
from smtpeter.clock import WallClock
from smtpeter.errors import ConfigError, SmtpeterError, StorageUnavailable
from smtpeter.intake.gate import Gate
from smtpeter.intake.listener import Sessions, SmtpFactory
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.smtp import SmtpDoor
from smtpeter.intake.submit import Intake
from smtpeter.settings import Settings
from smtpeter.smtp.server import SessionLimits
from smtpeter.store.opening import Store, open_for_server
from smtpeter.web.metrics import Metrics
from smtpeter.web.site import make_site

GENERATION_INTERVAL = 0.5  # what a command changed takes effect within a second
ROOM_INTERVAL = 5.0
DEPTHS_INTERVAL = 10.0
USED_INTERVAL = 30.0
PURGE_INTERVAL = 60.0
PURGE_STEP = 200
SESSION_GRACE = 10.0  # seconds that sessions may take to end when we stop
OPEN_FILES = 65536


def refuse_what_cannot_run(settings: Settings) -> None:
    """Refuse settings that are valid but not for this version.

    :raises ConfigError: one line.
    """
    if settings.delivery.mode == "direct":
        raise ConfigError(
            'delivery.mode: "direct" cannot deliver yet; set "relay" with delivery.relay, or "capture" to keep mail'
        )


class LateFactory(Factory):
    """Lets a port be bound while we have the privileges for it, before there is what serves it."""

    noisy = False

    def __init__(self) -> None:
        self.inner: Factory | None = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if self.inner is None else self.inner.buildProtocol(addr)  # type: ignore[arg-type]


class Gateway(Service):
    """The whole program.

    ``privilegedStartService`` binds the ports; ``startService``, by then as the user that twistd was told to become, opens the
    store and lets mail in.  ``when_ready`` is called once that is so.
    """

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, when_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._reactor = reactor
        self._clock = WallClock()
        self._when_ready = when_ready
        self._doors = {name: LateFactory() for name in ("smtp", "mx", "smtps", "https", "http")}
        self._ports: list[IListeningPort] = []
        self._tls: ServerTls | None = None
        self._loops: list[LoopingCall] = []
        self._generation = -1
        self._depths: Mapping[str, int] = {}
