"""How rooms that need much of the configuration are put together; :mod:`smtpeter.service` says when."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator

from smtpeter.auth.keys import KeyRing
from smtpeter.delivery import classify
from smtpeter.delivery.form import FormMaker
from smtpeter.delivery.notify import Notifier
from smtpeter.delivery.retry import RetryPolicy
from smtpeter.delivery.scheduler import Scheduler
from smtpeter.delivery.shaping import Shaping
from smtpeter.delivery.sites import SiteBook
from smtpeter.features.catalog import Catalog
from smtpeter.features.personal import Personalizer
from smtpeter.features.pool import WorkerPool
from smtpeter.features.preparer import Preparer
from smtpeter.features.process import COMMAND, environment_of_worker
from smtpeter.features.sent import SentMessages
from smtpeter.features.setup import Setup
from smtpeter.features.signing import Signer
from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.door import SmtpDoor
from smtpeter.intake.features import FeatureIntake
from smtpeter.intake.gate import Backlog, Gate
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import MessagePolicy
from smtpeter.intake.whole import WholeIntake, WholeLimits
from smtpeter.interfaces import (
    IClock,
    IMessageIntake,
    IMetrics,
    ISecretMaker,
    ISenderDomains,
    ISubmissionIntake,
)
from smtpeter.locations import is_loopback
from smtpeter.model.delivery import Job
from smtpeter.outgoing import Outgoing
from smtpeter.settings import Settings
from smtpeter.smtp.server import SessionLimits
from smtpeter.store.opening import Store
from smtpeter.web.rest.api import Api
from smtpeter.web.rest.elsewhere import Elsewhere
from smtpeter.web.rest.exchange import Setup as ComposerSetup
from smtpeter.web.rest.outgoing import make_rules
from smtpeter.web.rest.rates import Rates
from smtpeter.web.rest.routes import RouteTable
from smtpeter.web.rest.table import make_table

COMPOSER = (sys.executable, "-P", "-m", "smtpeter.composer")

InThread = Callable[..., Deferred[Any]]


class Assembly:
    """Makes rooms of what they all share."""

    def __init__(
        self,
        *,
        settings: Settings,
        reactor: Any,
        clock: IClock,
        metrics: IMetrics,
        store: Store,
        catalog: Catalog,
        domains: ISenderDomains,
        in_thread: InThread,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._catalog = catalog
        self._domains = domains
        self._in_thread = in_thread
        delivery = settings.delivery
        self._policy = RetryPolicy(delivery.retry, delivery.in_doubt == "hold", delivery.expire, delivery.delay_notice)
        self._personalizer = Personalizer(catalog)
        self._signer = Signer(catalog)
        self._backlog = Backlog(settings.limits.unprepared_age)
        self._notifier = Notifier(
            hostname=settings.hostname,
            content=store.content,
            entropy=os.urandom,
            lifetime=delivery.expire,
            in_thread=in_thread,
            submission=store.queue.submission,
            travelling=self._travelling,
        )

    def _travelling(self, job: Job) -> tuple[tuple[str, str], ...]:
        """Those of a job's options that tell how it is to be encrypted on its way: they hold for reports of it, too."""
        return tuple([(name, value) for name, value in job.options if self._catalog.securing({name: value})])

    def scheduler(self, outgoing: Outgoing) -> Scheduler:
        """What has mail delivered."""
        return Scheduler(
            queue=self._store.queue,
            agent=outgoing.agent,
            notifier=self._notifier,
            clock=self._clock,
            timers=self._reactor,
            metrics=self._metrics,
            policy=self._policy,
            random=random.random,
            personalizer=self._personalizer,
        )

    def outgoing(
        self,
        *,
        book: SiteBook,
        shaping: Shaping,
        listening: Callable[[], Sequence[tuple[str, int]]],
        in_dns_thread: InThread,
    ) -> Outgoing:
        """What carries it away."""
        return Outgoing(
            settings=self._settings,
            reactor=self._reactor,
            shaping=shaping,
            classifier=classify.load(),
            forms=FormMaker(self._store.content, self._personalizer, self._in_thread, self._signer),
            book=book,
            catalog=self._catalog,
            mark=self._store.queue.mark_in_doubt,
            listening=listening,
            in_dns_thread=in_dns_thread,
        )

    def preparer(self, keys: KeyRing, wake: Callable[[Iterable[str]], None]) -> Preparer:
        """What has mail prepared by its features; ``wake`` is told when there is something to deliver."""
        settings = self._settings
        setup = Setup.of(settings, keys, [each.name for each in self._catalog.features])
        return Preparer(
            queue=self._store.queue,
            workers=WorkerPool(
                processes=self._reactor,
                timers=self._reactor,
                metrics=self._metrics,
                command=COMMAND,
                environment=environment_of_worker(os.environ),
                setup=setup.encode(),
                workers=settings.features.workers or os.cpu_count() or 1,
            ),
            report=self._notifier.report,
            clock=self._clock,
            timers=self._reactor,
            metrics=self._metrics,
            policy=self._policy,
            random=random.random,
            more_due=lambda: wake(()),
            measured=self._backlog.measured,
        )

    def door(
        self, *, portal: Portal, intake: ISubmissionIntake, gate: Gate, tls: IOpenSSLServerConnectionCreator
    ) -> SmtpDoor:
        """What all SMTP sessions share."""
        limits = self._settings.limits
        return SmtpDoor(
            portal=portal,
            intake=intake,
            gate=gate,
            tls=tls,
            content=self._store.content,
            clock=self._clock,
            timers=self._reactor,
            metrics=self._metrics,
            limits=SessionLimits(
                message_size=limits.message_size,
                recipients=limits.recipients,
                command_line=limits.command_line,
                errors=limits.errors,
                auth_failures=limits.auth_failures,
                junk_commands=limits.junk_commands,
            ),
            policy=self._message_policy(),
            timeouts=Timeouts(limits.command_timeout, limits.handshake_timeout, limits.data_rate),
        )

    def whole_intake(self, *, intake: ISubmissionIntake, gate: Gate, header_room: HeaderRoom) -> IMessageIntake:
        """What takes messages from doors that have them as a whole."""
        limits = self._settings.limits
        return WholeIntake(
            intake=intake,
            queue=self._store.queue,
            content=self._store.content,
            gate=gate,
            clock=self._clock,
            timers=self._reactor,
            policy=self._message_policy(),
            limits=WholeLimits(limits.message_size, limits.recipients),
            header_room=header_room,
        )

    def elsewhere(self, uploads: Path) -> Elsewhere:
        """What reads large requests, which are in ``uploads``."""
        limits = self._settings.limits
        rules = make_rules(self._catalog, limits.recipients)
        return Elsewhere(
            processes=self._reactor,
            timers=self._reactor,
            directory=uploads,
            setup=ComposerSetup(os.getpid(), rules, limits.message_size),
            command=COMPOSER,
            environment=environment_of_worker(os.environ),
        )

    def api(
        self, *, portal: Portal, intake: IMessageIntake, secrets: ISecretMaker, elsewhere: Elsewhere
    ) -> tuple[Api, RouteTable]:
        """The REST API, and what there is in it."""
        settings, store = self._settings, self._store
        table = make_table(
            intake=intake,
            queue=store.queue,
            content=store.content,
            sent=SentMessages(
                store.queue, store.content, store.journal, lambda: self._catalog, self._in_thread, self._signer
            ),
            journal=store.journal,
            accounts=store.accounts,
            secrets=secrets,
            catalog=self._catalog,
            clock=self._clock,
            rules=make_rules(self._catalog, settings.limits.recipients),
            elsewhere=elsewhere,
            in_thread=self._in_thread,
        )
        rates = Rates(settings.limits.token_requests, self._reactor.seconds)
        is_local = is_loopback if settings.demo else lambda peer: False
        return Api(table, portal, self._metrics, rates, is_local), table

    def _message_policy(self) -> MessagePolicy:
        """What holds for every message."""
        settings = self._settings
        return MessagePolicy(
            settings.hostname,
            settings.limits.header_size,
            settings.limits.received_fields,
            settings.delivery.expire,
            FeatureIntake(self._catalog, self._backlog),
            self._domains if settings.sending.require_domain else None,
        )
