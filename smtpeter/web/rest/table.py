"""All routes of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from smtpeter.interfaces import (
    IAccountStore,
    IClock,
    IContentStore,
    IEventJournal,
    IFeatureCatalog,
    IMessageIntake,
    IQueueStore,
    ISecretMaker,
    ISentMessages,
)
from smtpeter.web.rest import credentials, events, logfiles, messages, people, reading, send
from smtpeter.web.rest.elsewhere import Elsewhere
from smtpeter.web.rest.outgoing import Rules
from smtpeter.web.rest.routes import RouteTable


def make_table(
    *,
    intake: IMessageIntake,
    queue: IQueueStore,
    content: IContentStore,
    sent: ISentMessages,
    journal: IEventJournal,
    accounts: IAccountStore,
    secrets: ISecretMaker,
    catalog: IFeatureCatalog,
    clock: IClock,
    rules: Rules,
    elsewhere: Elsewhere,
    in_thread: Callable[..., Deferred[Any]],
) -> RouteTable:
    """The table of routes, in the order in which people read of them."""
    return RouteTable(
        [
            *send.routes(intake=intake, queue=queue, clock=clock, catalog=catalog, rules=rules, elsewhere=elsewhere),
            *messages.routes(queue, journal),
            *reading.routes(queue, content, sent, in_thread),
            *events.routes(queue, journal, clock),
            *logfiles.routes(journal, clock),
            *people.routes(accounts, secrets),
            *credentials.routes(accounts, secrets, catalog),
        ]
    )
