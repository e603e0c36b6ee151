"""How the rooms are put together: the only module that knows all of them."""

from __future__ import annotations

import os
import random
import resource
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, serverFromString
from twisted.internet.interfaces import IAddress, IListeningPort, ILoggingContext
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.auth.access import build_portal
from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.directory import Directory
from smtpeter.auth.keys import load_or_create
from smtpeter.auth.tls import ServerTls
from smtpeter.clock import WallClock
from smtpeter.delivery.agent import RelayAgent
from smtpeter.delivery.capture import CaptureAgent
from smtpeter.delivery.connection import ConnectionSettings
from smtpeter.delivery.notify import FailureNotifier
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.route import Security, parse_relay_route
from smtpeter.delivery.scheduler import Scheduler
from smtpeter.errors import ConfigError, SmtpeterError, StorageUnavailable
from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.eager import EagerTls
from smtpeter.intake.gate import Gate
from smtpeter.intake.listener import Sessions, SmtpFactory
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.smtp import SmtpDoor
from smtpeter.intake.submit import Intake
from smtpeter.interfaces import IDeliveryAgent
from smtpeter.settings import Limits, Settings
from smtpeter.smtp.client_events import ClientProfile
from smtpeter.smtp.server import SessionLimits
from smtpeter.store.opening import Store, open_for_command, open_for_server, result_of
from smtpeter.web.metrics import Metrics
from smtpeter.web.site import make_site

GENERATION_INTERVAL = 0.5  # what a command changed takes effect within a second
ROOM_INTERVAL = 5.0
DEPTHS_INTERVAL = 10.0
USED_INTERVAL = 30.0
RENEWAL_INTERVAL = 86400.0
PURGE_INTERVAL = 60.0
PURGE_STEP = 200
SESSION_GRACE = 10.0  # seconds that sessions may take to end when we stop
STORE_TROUBLE = 10.0  # seconds for which /healthz tells of an error of the store
CONNECT_TIMEOUT = 30.0
OPEN_FILES = 65536


def refuse_what_cannot_run(settings: Settings) -> None:
    """Refuse settings that are valid but not for this version.

    :raises ConfigError: one line.
    """
    if settings.delivery.mode == "direct":
        raise ConfigError(
            'delivery.mode: "direct" cannot deliver yet; set "relay" with delivery.relay, or "capture" to keep mail'
        )


class CannotStart(SystemExit, Exception):
    """Ends the process with one line and the status 1.

    It is an Exception too: only of those does twistd tell whoever started a daemon, and waits for ever otherwise.
    """


@implementer(ILoggingContext)
class LateFactory(Factory):
    """Lets a port be bound while we have the privileges for it, before there is what serves it."""

    noisy = False

    def __init__(self, name: str) -> None:
        self.inner: Any = None
        self._name = name

    def logPrefix(self) -> str:
        """What Twisted logs about the port begins with this."""
        return f"listen.{self._name}"

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return None if self.inner is None else self.inner.buildProtocol(addr)


class Gateway(Service):
    """The whole program.

    ``privilegedStartService`` binds the ports; ``startService``, by then as the user that twistd was told to
    become, opens the store and lets mail in.  ``when_ready`` is called once that is so.
    """

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, when_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._reactor = reactor
        self._clock = WallClock()
        self._when_ready = when_ready
        self._doors = {name: LateFactory(name) for name in ("smtp", "mx", "smtps", "https", "http")}
        self._ports: list[IListeningPort] = []
        self._tls: ServerTls | None = None
        self._loops: list[LoopingCall] = []
        self._generation = -1
        self._depths: Mapping[str, int] = {}
        self._started = False
        self._store_failed = -STORE_TROUBLE
        self._stopped: Deferred[None] | None = None

    # --- starting ---

    def privilegedStartService(self) -> None:
        """Bind every port, and read the certificate that is configured: both may need privileges."""
        _raise_open_files()
        tls = self._settings.tls
        try:
            if tls.certificate is not None and tls.private_key is not None:
                self._tls = ServerTls(tls.certificate, tls.private_key, self._reactor.seconds)
            for name, factory in self._doors.items():
                for description in getattr(self._settings.listen, name):
                    self._listen(name, description, factory)
        except SmtpeterError as error:
            raise self._refusal(error) from None
        super().privilegedStartService()

    def startService(self) -> None:
        """Open the store and let mail in."""
        os.umask(0o077)
        super().startService()
        try:
            self._open()
            self._recover()
            self._begin()
        except (SmtpeterError, OSError) as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> CannotStart:
        """Why there is no start, for the log and, by what is returned, for whoever waits for the start.

        Standard error is by now a part of the log, so it is told there too, as it was in the beginning.
        """
        line = f"smtpeter: {error}"
        if sys.__stderr__ is not None and sys.stderr is not sys.__stderr__:
            print(line, file=sys.__stderr__, flush=True)
        return CannotStart(line)

    def _listen(self, name: str, description: str, factory: Factory) -> None:
        where = f'listen.{name}: "{description}"'
        try:
            listening = serverFromString(self._reactor, description).listen(factory)
        except Exception as error:  # each kind of endpoint fails in its own way
            raise ConfigError(f"{where} is not an endpoint description: {error}") from None
        failures: list[Failure] = []
        listening.addCallbacks(self._ports.append, failures.append)
        if failures:
            raise ConfigError(f"{where} cannot be listened on: {failures[0].value}")

    def _open(self) -> None:
        """Put the rooms together."""
        settings, clock, reactor = self._settings, self._clock, self._reactor
        keys = load_or_create(settings.keys.file, create=not settings.store.is_made)
        # Before anything else happens: with the wrong store, all content here would look left behind.
        self._at_once(lambda store: store.accounts.bind_keys(keys.fingerprint))
        tls = self._tls or self._own_certificate()
        self._store = store = open_for_server(
            settings.store.url,
            settings.data_dir,
            clock,
            reactor.callFromThread,
            on_trouble=self._store_trouble,
            call_soon=partial(reactor.callLater, 0),
        )
        self._metrics = Metrics()
        self._metrics.gauge("queue", "Recipients in each state that is not final", "state", lambda: self._depths)
        self._gate = Gate(_volumes(settings), settings.limits.free_space, self._in_thread)
        self._directory = Directory(store.accounts, clock)
        self._sessions = Sessions(settings.limits.connections, settings.limits.connections_per_address)
        self._scheduler = self._make_scheduler()
        door = SmtpDoor(
            portal=build_portal(self._directory, keys, clock, settings.hostname, self._in_thread),
            intake=Intake(store.queue, self._scheduler.wake, self._metrics),
            content=store.content,
            gate=self._gate,
            tls=tls,
            clock=clock,
            timers=reactor,
            metrics=self._metrics,
            limits=_session_limits(settings.limits),
            policy=MessagePolicy(
                settings.hostname,
                settings.limits.header_size,
                settings.limits.received_fields,
                settings.delivery.expire,
            ),
            timeouts=Timeouts(
                settings.limits.command_timeout, settings.limits.handshake_timeout, settings.limits.data_rate
            ),
        )
        site = make_site(self._trouble, self._metrics, settings.web.metrics_allow)
        self._doors["smtp"].inner = SmtpFactory(door, self._sessions)
        self._doors["mx"].inner = SmtpFactory(door, self._sessions, mx=True)
        self._doors["smtps"].inner = _over_tls(tls, SmtpFactory(door, self._sessions, encrypted=True))
        self._doors["http"].inner = site
        self._doors["https"].inner = _over_tls(tls, site)

    def _make_scheduler(self) -> Scheduler:
        delivery, store = self._settings.delivery, self._store
        return Scheduler(
            queue=store.queue,
            agent=self._make_agent(),
            notifier=FailureNotifier(
                hostname=self._settings.hostname, content=store.content, entropy=os.urandom, lifetime=delivery.expire
            ),
            clock=self._clock,
            timers=self._reactor,
            metrics=self._metrics,
            policy=RetryPolicy(delivery.retry, delivery.in_doubt == "hold", delivery.expire),
            random=random.random,
        )

    def _make_agent(self) -> IDeliveryAgent:
        if self._settings.delivery.mode == "capture":
            return CaptureAgent()
        route = parse_relay_route(self._settings.delivery.relay)
        in_clear = route.security is Security.CLEAR
        return RelayAgent(
            connect=lambda: HostnameEndpoint(self._reactor, route.host, route.port, timeout=CONNECT_TIMEOUT),
            settings=ConnectionSettings(
                profile=ClientProfile(
                    hostname=self._settings.hostname,
                    remote_mta=route.host,
                    starttls=route.security is Security.STARTTLS,
                    username=route.username,
                    password=route.password,
                ),
                timers=self._reactor,
                tls=None if in_clear else partial(optionsForClientTLS, route.host),
                tls_first=route.security is Security.TLS,
            ),
            content=self._store.content,
            mark=self._store.queue.mark_in_doubt if self._settings.delivery.in_doubt == "hold" else None,
        )

    def _at_once(self, ask: Callable[[Store], Deferred[Any]]) -> Any:
        """Ask the store for what has to be known before the reactor runs; raises what the store fails with."""
        store = open_for_command(self._settings.store.url, self._settings.data_dir, self._clock)
        try:
            return result_of(ask(store))
        finally:
            store.close()

    def _own_certificate(self) -> ServerTls:
        directory = self._settings.data_dir / "tls"
        files = ensure_certificate(directory, self._settings.hostname, self._clock.time())
        self._log.info(
            "no certificate is configured: our own one is used; clients that check it have to trust {authority}",
            authority=str(files.authority),
        )
        return ServerTls(files.certificate, files.private_key, self._reactor.seconds)

    def _recover(self) -> None:
        """Everything that was interrupted is due again.  The store is locked: nobody else can be at work on it."""
        recovered = self._at_once(lambda store: store.queue.recover())
        if recovered:
            self._log.info("{count} recipients were interrupted and are due again", event="recovered", count=recovered)

    def _begin(self) -> None:
        """Mail may go out too."""
        self._scheduler.startService()
        for interval, task in (
            (GENERATION_INTERVAL, self._look_at_generation),
            (ROOM_INTERVAL, self._gate.measure),
            (DEPTHS_INTERVAL, self._look_at_depths),
            (USED_INTERVAL, self._directory.flush),
            (PURGE_INTERVAL, self._purge),
            (RENEWAL_INTERVAL, self._renew_certificate),
        ):
            self._repeat(interval, task)
        self._started = True
        self._log.info("smtpeter is ready as {hostname}", event="ready", hostname=self._settings.hostname)
        self._when_ready()

    # --- what is done again and again ---

    def _repeat(self, interval: float, task: Callable[[], object]) -> None:
        def attempt() -> Deferred[Any]:
            return maybeDeferred(task).addErrback(self._failed_again, task.__name__)

        loop = LoopingCall(attempt)
        loop.clock = self._reactor
        loop.start(interval)
        self._loops.append(loop)

    def _failed_again(self, failure: Failure, name: str) -> None:
        if failure.check(StorageUnavailable) is None:  # such trouble is told by the store itself
            self._log.failure("{name} failed", failure=failure, name=name)

    async def _look(self) -> None:
        generation = await self._store.queue.generation()
        if generation != self._generation:
            self._generation = generation
            self._directory.generation_changed()
            self._scheduler.generation_changed()

    def _renew_certificate(self) -> None:
        """Our own certificate is made anew in time; :class:`ServerTls` sees that its files changed."""
        if self._settings.tls.certificate is None:
            ensure_certificate(self._settings.data_dir / "tls", self._settings.hostname, self._clock.time())

    def _look_at_generation(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._look())

    def _look_at_depths(self) -> Deferred[None]:
        def seen(depths: Mapping[str, int]) -> None:
            self._depths = depths

        return self._store.queue.depths().addCallback(seen)

    def _purge(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._purge_all())

    async def _purge_all(self) -> None:
        retention = self._settings.retention
        while self.running and await self._store.queue.purge(
            self._clock.time(), retention.content, retention.captured, retention.events, PURGE_STEP
        ):
            pass

    def _store_trouble(self, error: Exception) -> None:
        self._store_failed = self._reactor.seconds()
        self._log.error("the store: {reason}", event="storage", reason=str(error))

    def _trouble(self) -> str | None:
        """Why mail cannot be accepted now, for /healthz."""
        if self._stopped is not None:
            return "stopping"
        if not self._started:
            return "starting"
        if self._gate.refusal is not None:
            return str(self._gate.refusal)
        failing = self._reactor.seconds() - self._store_failed < STORE_TROUBLE
        return "the store failed a moment ago" if failing else None

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)

    # --- stopping ---

    async def _stop(self) -> None:
        """Finish what was acknowledged, in the order in which things depend on each other."""
        started, self._started = self._started, False
        if started:
            self._gate.stop()
        for port in self._ports:
            await self._step(port.stopListening)
        if not started:
            return
        for loop in self._loops:
            loop.stop()
        await self._step(self._stop_sessions)
        await self._step(self._scheduler.stopService)
        await self._step(self._directory.flush)
        await self._step(self._store.close)
        self._log.info("smtpeter has ended", event="ended")

    async def _step(self, step: Callable[[], Any]) -> None:
        """One step of the end; where it fails, the others are taken all the same."""
        try:
            await maybeDeferred(step)
        except Exception:
            self._log.failure("{name} failed while the server stopped", name=step.__qualname__)

    async def _stop_sessions(self) -> None:
        """Let sessions finish what they are at; cut those that take too long."""
        sessions = self._sessions.stop()
        sessions.addTimeout(SESSION_GRACE, self._reactor, onTimeoutCancel=lambda result, timeout: None)
        await sessions
        self._sessions.abort()

    def stopService(self) -> Deferred[None]:
        """Fires when everything has come to its end."""
        if self._stopped is None:
            super().stopService()
            self._stopped = Deferred.fromCoroutine(self._stop())
        return self._stopped


def _over_tls(tls: ServerTls, factory: Any) -> TLSMemoryBIOFactory:
    over = TLSMemoryBIOFactory(tls, False, factory)
    # Our protocols write once for each group of replies: gathering small writes would only cost a timer for each.
    over.protocol = EagerTls
    over.noisy = False
    return over


def _volumes(settings: Settings) -> list[Path]:
    """The directories that have to have room for mail to be taken."""
    database = settings.store.sqlite_file
    return [settings.data_dir] if database is None else [settings.data_dir, database.parent]


def _session_limits(limits: Limits) -> SessionLimits:
    return SessionLimits(
        message_size=limits.message_size,
        recipients=limits.recipients,
        command_line=limits.command_line,
        errors=limits.errors,
        auth_failures=limits.auth_failures,
        junk_commands=limits.junk_commands,
    )


def _raise_open_files() -> None:
    """Every session is a file: take as many as the system lets us have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
