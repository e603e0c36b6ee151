"""How the rooms are put together: the only module that knows all of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from smtpeter import __version__
from smtpeter.assembly import Assembly
from smtpeter.auth.access import build_portal
from smtpeter.auth.attempts import Attempts
from smtpeter.auth.certificate import ensure_certificate
from smtpeter.auth.directory import Directory
from smtpeter.auth.domains import DomainReader, SenderDomains
from smtpeter.auth.guard import GuardedPortal
from smtpeter.auth.keys import KeyRing, load_or_create
from smtpeter.auth.making import SecretMaker
from smtpeter.auth.tls import ServerTls
from smtpeter.clock import WallClock
from smtpeter.delivery import shaping
from smtpeter.delivery.resolver import AT_ONCE
from smtpeter.delivery.sites import SiteBook
from smtpeter.eager import EagerTransport
from smtpeter.errors import SmtpeterError, StorageUnavailable
from smtpeter.features.catalog import Catalog, configure, find_features
from smtpeter.features.services import services_of
from smtpeter.intake.gate import Gate
from smtpeter.intake.late import LateFactory
from smtpeter.intake.listener import Sessions, SmtpFactory
from smtpeter.intake.submit import Intake
from smtpeter.intake.tls import TlsFactory
from smtpeter.ownership import refuse_what_is_closed
from smtpeter.ports import Ports, raise_open_files
from smtpeter.settings import Settings
from smtpeter.store.opening import Store, open_for_server, result_of
from smtpeter.upkeep import Upkeep
from smtpeter.web.blocks import Blocks, read_lists
from smtpeter.web.front import FrontFactory
from smtpeter.web.metrics import Metrics
from smtpeter.web.recorder import Recorder
from smtpeter.web.rest.carrier import Carrier, longest_body
from smtpeter.web.rest.openapi import describe, encode, page
from smtpeter.web.rest.routes import RouteTable
from smtpeter.web.rest.values import JSON
from smtpeter.web.site import Document, Documents, make_site
from smtpeter.web.tracking import Tracking
from smtpeter.web.uploads import Uploads

START_INTERVAL = 2.0  # seconds between attempts to use a store that is locked, full or in trouble
SESSION_GRACE = 10.0  # seconds that sessions may take to end when we stop
UPLOADS = "uploads"  # below the data directory
STORE_TROUBLE = 10.0  # seconds for which /healthz tells of an error of the store


class CannotStart(SystemExit, Exception):
    """Ends the process with one line and the status 1.

    It is an Exception too: only of those does twistd tell whoever started a daemon, and waits for ever otherwise.
    """


class Gateway(Service):
    """The whole program.

    ``privilegedStartService`` binds the ports; ``startService``, by then as the user that twistd was told to
    become, opens the store and lets mail in, or waits until the store can be used.  ``when_ready`` is called once mail
    comes in.
    """

    _log = Logger()

    def __init__(self, settings: Settings, reactor: Any, when_ready: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._reactor = reactor
        self._clock = WallClock()
        self._when_ready = when_ready
        self._metrics = Metrics()
        early = f"421 4.3.2 {settings.hostname} The service is starting; try again later\r\n".encode()
        self._doors = {name: LateFactory(name, early) for name in ("smtp", "mx")}
        self._doors |= {name: LateFactory(name) for name in ("smtps", "https", "http")}
        self._ports = Ports(reactor)
        self._tls: ServerTls | None = None
        self._dns_threads = ThreadPool(0, AT_ONCE, "dns")  # name servers may take long, and others want theirs
        self._started = False
        self._start_again: IDelayedCall | None = None
        self._store_failed = -STORE_TROUBLE
        self._stopped: Deferred[None] | None = None

    # --- starting ---

    def privilegedStartService(self) -> None:
        """Bind every port, and read the certificate that is configured: both may need privileges."""
        raise_open_files()
        tls = self._settings.tls
        try:
            if tls.certificate is not None and tls.private_key is not None:
                self._tls = ServerTls(tls.certificate, tls.private_key, self._reactor.seconds)
            for name, factory in self._doors.items():
                for description in getattr(self._settings.listen, name):
                    self._ports.listen(name, description, factory)
        except SmtpeterError as error:
            raise self._refusal(error) from None
        super().privilegedStartService()

    def startService(self) -> None:
        """Open the store and let mail in."""
        os.umask(0o077)
        super().startService()
        try:
            self._look_at_privileges()
            self._findings = find_features(self._settings.features)
            self._open_web()
            self._start()
        except (SmtpeterError, OSError) as error:
            raise self._refusal(error) from None

    def _open_web(self) -> None:
        """Answer over HTTP: /healthz tells that we are starting, and so does what features will serve."""
        settings, limits = self._settings.web, self._settings.limits
        self._tracking = Tracking(self._clock, settings.trusted_proxies)
        self._uploads = Uploads(self._settings.data_dir / UPLOADS)
        self._carrier = Carrier(
            self._uploads, longest_body(limits.message_size), self._reactor, settings.trusted_proxies
        )
        self._documents: Documents = {}
        site = make_site(
            trouble=self._trouble,
            metrics=self._metrics,
            metrics_allow=settings.metrics_allow,
            tracking=self._tracking,
            carrier=self._carrier,
            documents=self._documents,
            reactor=self._reactor,
            data_rate=limits.data_rate,
        )
        self._front = FrontFactory(
            site, self._tracking, self._clock, self._reactor, settings.trusted_proxies, EagerTransport
        )
        self._doors["http"].inner = self._front

    def _look_at_privileges(self) -> None:
        """By now we are whom twistd was told to become: can that user go on with what others have made?"""
        if 0 in os.getresuid() and not self._settings.demo:
            self._log.warn("the server runs with the rights of root: start it with twistd's --uid", event="privileges")
        refuse_what_is_closed(self._settings)
        if self._tls is not None:
            self._tls.warn_of_privileges()

    def _refusal(self, error: Exception) -> CannotStart:
        """Why there is no start, for the log and, by what is returned, for whoever waits for the start.

        Standard error is by now a part of the log, so it is told there too, as it was in the beginning.
        """
        line = f"smtpeter: {error}"
        if sys.__stderr__ is not None and sys.stderr is not sys.__stderr__:
            print(line, file=sys.__stderr__, flush=True)
        return CannotStart(line)

    def _start(self) -> None:
        self._start_again = None
        try:
            keys = self._open_store()
        except StorageUnavailable as error:
            self._wait_for_store(error)
            return
        self._furnish(keys)
        self._begin()

    def _wait_for_store(self, error: Exception) -> None:
        self._log.error("storage: the start waits: {reason}", event="storage", reason=str(error))
        self._start_again = self._reactor.callLater(START_INTERVAL, self._start_after_all)

    def _start_after_all(self) -> None:
        try:
            self._start()
        except (SmtpeterError, OSError) as error:
            # Nobody waits for the start any more: what is wrong is told until somebody mends it.
            self._wait_for_store(error)

    def _open_store(self) -> KeyRing:
        settings = self._settings
        keys = load_or_create(settings.keys.file, create=not settings.store.is_made)

        def prepare(store: Store) -> None:
            # Before anything else happens: with the wrong store, all content here would look left behind.
            result_of(store.accounts.bind_keys(keys.fingerprint))
            # Everything that was interrupted is due again: nobody else can be at work on it.
            recovered = result_of(store.queue.recover())
            if recovered:
                self._log.info(
                    "{count} recipients were interrupted and are due again", event="recovered", count=recovered
                )
            # Here, for what fails here gives up the store, and can be tried again.
            self._tls = self._tls or self._own_certificate()
            self._uploads.prepare()
            # No link that must not work may work before that is known.
            self._blocked = result_of(Deferred.fromCoroutine(read_lists(store.blocks, store.accounts)))
            # No mail may leave unsigned that is to be signed.
            self._found_domains = result_of(store.domains.domains())
            self._known_sites = result_of(store.sites.states())

        self._store = open_for_server(
            settings.store.url,
            settings.data_dir,
            self._clock,
            self._reactor.callFromThread,
            on_trouble=self._store_trouble,
            call_soon=partial(self._reactor.callLater, 0),
            prepare=prepare,
        )
        return keys

    def _furnish(self, keys: KeyRing) -> None:
        """Put the rooms together."""
        settings, clock, reactor, store, tls = self._settings, self._clock, self._reactor, self._store, self._tls
        assert tls is not None, "the store was opened"
        self._metrics.gauge(
            "certificate_expires", "When the certificate in use ends, in seconds since 1970", "hostname", self._expiry
        )
        self._gate = Gate(_volumes(settings), settings.limits.free_space, self._in_thread)
        self._directory = Directory(store.accounts, clock)
        self._sessions = Sessions(settings.limits.connections, settings.limits.connections_per_address)
        self._recorder = Recorder(store.journal, self._metrics, reactor)
        self._front.is_behind = self._recorder.is_behind
        self._blocks = Blocks(store.blocks, store.accounts, reactor, self._blocked)
        self._domains = SenderDomains(keys, self._found_domains)
        self._domain_reader = DomainReader(store.domains, self._domains, reactor)
        self._catalog = self._configure_features(keys)
        assembly = Assembly(
            settings=settings,
            reactor=reactor,
            clock=clock,
            metrics=self._metrics,
            store=store,
            catalog=self._catalog,
            domains=self._domains,
            in_thread=self._in_thread,
        )
        self._book = SiteBook(store.sites, clock, reactor)
        self._book.recall(self._known_sites)
        outgoing = assembly.outgoing(
            book=self._book,
            shaping=shaping.load(settings.delivery.shaping),
            listening=self._ports.addresses,
            in_dns_thread=self._in_dns_thread,
        )
        self._scheduler = assembly.scheduler(outgoing)
        self._preparer = assembly.preparer(keys, self._scheduler.wake)
        self._upkeep = Upkeep(
            settings=settings,
            reactor=reactor,
            clock=clock,
            queue=store.queue,
            changing=(self._directory, self._scheduler, self._blocks, self._domain_reader, self._book),
            directory=self._directory,
            gate=self._gate,
            tls=tls,
        )
        self._metrics.gauge("queue", "Recipients in each state that is not final", "state", self._depths)
        self._metrics.gauge("sites", "Sites that are slowed or paused now", "condition", self._book.counts)
        self._metrics.gauge(
            "delivery_connections", "Places for connections to receivers", "place", outgoing.connections
        )
        attempts = Attempts()
        portal = GuardedPortal(
            build_portal(self._directory, keys, clock, settings.hostname, self._in_thread, attempts), attempts, reactor
        )
        intake = Intake(store.queue, self._scheduler.wake, self._metrics, self._preparer.wake)
        door = assembly.door(portal=portal, intake=intake, gate=self._gate, tls=tls)
        self._elsewhere = assembly.elsewhere(self._uploads.directory)
        self._api, table = assembly.api(
            portal=portal,
            intake=assembly.whole_intake(intake=intake, gate=self._gate, header_room=door.header_room),
            secrets=SecretMaker(keys, self._in_thread),
            elsewhere=self._elsewhere,
        )
        self._describe_api(table)
        self._doors["smtp"].inner = SmtpFactory(door, self._sessions)
        self._doors["mx"].inner = SmtpFactory(door, self._sessions, mx=True)
        self._doors["smtps"].inner = TlsFactory(tls, SmtpFactory(door, self._sessions, encrypted=True))
        self._doors["https"].inner = TlsFactory(tls, self._front, waits=False)

    def _describe_api(self, table: RouteTable) -> None:
        description = describe(table, self._settings.web.public_url, __version__)
        self._documents[b"openapi.json"] = Document(JSON, encode(description))
        self._documents[b"docs"] = Document(b"text/html; charset=utf-8", page(description))

    def _configure_features(self, keys: KeyRing) -> Catalog:
        services = services_of(self._settings, keys, self._recorder.record, self._blocks.is_blocked, self._domains)
        return configure(self._findings, self._settings.features.tables, services)

    def _own_certificate(self) -> ServerTls:
        directory = self._settings.data_dir / "tls"
        files = ensure_certificate(directory, self._settings.hostname, self._clock.time())
        self._log.info(
            "no certificate is configured: our own one is used; clients that check it have to trust {authority}",
            authority=str(files.authority),
        )
        return ServerTls(files.certificate, files.private_key, self._reactor.seconds)

    def _begin(self) -> None:
        """Mail may go out too."""
        self._dns_threads.start()
        self._scheduler.startService()
        self._preparer.startService()
        self._tracking.open(self._catalog.resources)
        self._carrier.open(self._api)
        self._upkeep.start()
        self._started = True
        self._log.info("smtpeter is ready as {hostname}", event="ready", hostname=self._settings.hostname)
        self._when_ready()

    # --- what others ask for ---

    def _expiry(self) -> Mapping[str, float]:
        return {} if self._tls is None else {self._settings.hostname: self._tls.expires}

    def _depths(self) -> Mapping[str, int]:
        return self._upkeep.depths

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
        """Finish what was acknowledged.  Sessions and deliveries end side by side, and the store after them."""
        started, self._started = self._started, False
        if self._start_again is not None:
            self._start_again.cancel()
        steps = [self._step(close) for close in self._ports.closing()]
        if started:
            self._log.info("smtpeter is stopping", event="stopping")
            self._gate.stop()
            self._upkeep.stop()
            self._blocks.stop()
            self._domain_reader.stop()
            self._book.stop()
            steps += [
                self._step(self._stop_sessions),
                self._step(self._stop_api),
                self._step(self._preparer.stopService),
                self._step(self._scheduler.stopService),
                self._step(self._recorder.stop),
            ]
        await DeferredList([Deferred.fromCoroutine(step) for step in steps])
        if started:
            await self._step(self._stop_dns)
            await self._step(self._directory.flush)
            await self._step(self._store.close)
            self._log.info("smtpeter has ended", event="ended")

    def _in_dns_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._dns_threads, function, *arguments)

    async def _step(self, step: Callable[[], Any]) -> None:
        """One step of the end; where it fails, the others are taken all the same."""
        try:
            await maybeDeferred(step)
        except Exception:
            self._log.failure("{name} failed while the server stopped", name=step.__qualname__)

    async def _stop_dns(self) -> None:
        await self._in_thread(self._dns_threads.stop)  # it waits for look-ups that are under way

    async def _stop_sessions(self) -> None:
        """Let sessions finish what they are at; cut those that take too long."""
        sessions = self._sessions.stop()
        sessions.addTimeout(SESSION_GRACE, self._reactor, onTimeoutCancel=lambda result, timeout: None)
        await sessions
        self._sessions.abort()

    async def _stop_api(self) -> None:
        """Let requests be answered; those that take too long are not."""
        ended = self._carrier.stop()
        ended.addTimeout(SESSION_GRACE, self._reactor, onTimeoutCancel=lambda result, timeout: None)
        await ended
        self._elsewhere.stop()

    def stopService(self) -> Deferred[None]:
        """Fires when everything has come to its end."""
        if self._stopped is None:
            super().stopService()
            self._stopped = Deferred.fromCoroutine(self._stop())
        return self._stopped


def _volumes(settings: Settings) -> list[Path]:
    """The directories that have to have room for mail to be taken."""
    database = settings.store.sqlite_file
    return [settings.data_dir] if database is None else [settings.data_dir, database.parent]
