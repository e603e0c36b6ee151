"""What the REST API reads from, in memory, and a way to ask its routes."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.interfaces import IClock, IContentStore, IEventJournal, IQueueStore, ISentMessages, ISubmitter
from smtpeter.model.account import USUAL_SCOPES, Account, AccountState
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import EventKind
from smtpeter.model.ids import make_submission_id, recipient_id
from smtpeter.model.listing import Record
from smtpeter.model.submission import Submission
from smtpeter.web.rest.api import read_query
from smtpeter.web.rest.bodies import validated
from smtpeter.web.rest.routes import RouteTable
from smtpeter.web.rest.values import Call, Request
from tests.fakes.jobs import make_content

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
DAY = 86400.0
MINE, OTHERS = 7, 8


def make_account(number=MINE, created=NOW - 100 * DAY):
    return Account(number, f"account{number}@example.org", "", False, AccountState.APPROVED, "", created)


def make_id(count):
    return make_submission_id(int(NOW * 1000) + count, b"0123456789")


def make_submission(count=1, recipients=1, account=MINE, reverse_path="sender@example.org", data=b"\r\n", **changes):
    addresses = tuple(Recipient(f"r{each}@example.net", "example.net") for each in range(1, recipients + 1))
    submission = Submission(
        make_id(count), account, "", "rest", Envelope(reverse_path, addresses), make_content(data), NOW, NOW, NOW + DAY
    )
    return submission._replace(**changes)


def make_record(cursor, kind=EventKind.ATTEMPT, time=NOW, *, data=None, tags=(), options=(), recipient="r1@example.net",
                submission=None):  # fmt: skip
    id = submission or make_id(1)
    return Record(cursor, kind, time, id, "sender@example.org", recipient, tags, options, data or {})


@implementer(ISubmitter)
class FakeSubmitter:
    login = "token"
    options = ()
    scopes = USUAL_SCOPES

    def __init__(self, account=MINE, created=NOW - 100 * DAY):
        self.account = account if isinstance(account, Account) else make_account(account, created)

    def check(self, sending=True):
        return None


@implementer(IClock)
class FakeClock:
    def time(self):
        return NOW


@implementer(IEventJournal)
class FakeJournal:
    """Records of (account, Record).  ``trouble``: what is raised once so many calls were answered."""

    def __init__(self, *records, account=MINE):
        self.held = [(account, record) for record in records]
        self.calls = []
        self.trouble: tuple[int, Exception] | None = None
        self.entries = []

    def records(self, filter, after, limit, render):
        self.calls.append((filter, after, limit))
        if self.trouble is not None and len(self.calls) > self.trouble[0]:
            return fail(self.trouble[1])
        behind = [(account, each) for account, each in self.held if each.cursor > after]
        looked_at = behind[:limit]
        rendered = render([each for account, each in looked_at if wants(filter, account, each)])
        return succeed((rendered, looked_at[-1][1].cursor if len(behind) > limit else None))

    def last(self):
        return succeed(max((each.cursor for _, each in self.held), default=0))

    def kinds(self, account, since, until):
        return succeed(frozenset(each.kind for owner, each in self.held if owner == account
                                 and since <= each.time < until))  # fmt: skip

    def first_time(self):
        return succeed(min((each.time for _, each in self.held), default=None))

    def of_submission(self, submission, number):
        return succeed([each for each in self.entries if each.submission == submission
                        and number in (None, each.number)])  # fmt: skip


def wants(filter, account, record):
    submission = record.id.partition("-")[0]
    return (
        filter.account == account
        and (filter.kinds is None or record.kind in filter.kinds)
        and (filter.since is None or record.time >= filter.since)
        and (filter.until is None or record.time < filter.until)
        and filter.submission in (None, submission)
        and (filter.number is None or record.id in (submission, recipient_id(submission, filter.number, 2)))
        and filter.recipient in (None, record.recipient)
        and set(filter.tags) <= set(record.tags)
    )


@implementer(IQueueStore)
class FakeQueue:
    """Submissions by their ids, and rows for listings.  ``asked`` is what was selected."""

    def __init__(self, *submissions, rows=()):
        self.submissions = {each.id: each for each in submissions}
        self.rows = rows
        self.asked = []

    def submission(self, id):
        return succeed(self.submissions[id]) if id in self.submissions else fail(KeyError(id))

    def select(self, filter, limit, before=None):
        self.asked.append((filter, limit, before))
        return succeed([
            row for row in self.rows
            if filter.account in (None, row.account)
            and filter.submission in (None, row.submission) and filter.number in (None, row.number)
            and (before is None or row.submission < before[0]
                 or (row.submission == before[0] and row.number > before[1]))
        ][:limit])  # fmt: skip


@implementer(IContentStore)
class FakeContent:
    gone = False

    def read(self, submission, content):
        return fail(KeyError(submission)) if self.gone else succeed(content.data)


@implementer(ISentMessages)
class FakeSent:
    def __init__(self, octets=b"Subject: sent\r\n\r\n", trouble=None):
        self.sent = octets
        self.trouble = trouble
        self.asked = []

    def octets(self, submission, number):
        self.asked.append((submission.id, number))
        return fail(self.trouble) if self.trouble else succeed(self.sent)


class Answered(NamedTuple):
    """An answer with its whole body."""

    status: int
    content_type: bytes
    body: bytes
    fields: dict[bytes, bytes]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


async def ask(routes, target, account=MINE):
    """The answer to a GET, or the exception, as the API has it from a route."""
    path, _, query_text = target.encode("ascii").partition(b"?")
    route, parameters = RouteTable(routes).find(b"GET", path)
    query = None if route.query is None else validated(route.query, read_query(query_text))
    request = Request(b"GET", b"/v1" + target.encode("ascii"), (), "192.0.2.1", True, "192.0.2.1")
    submitter = account if isinstance(account, FakeSubmitter) else FakeSubmitter(account)
    return await route.function(Call(request, submitter, parameters, query))


def begin(routes, target, account=MINE):
    """The same, of routes that answer at once."""
    return result_of(ask(routes, target, account))


def get(routes, target, account=MINE):
    """The same, with its body fetched."""
    return result_of(fetch(routes, target, account))


async def fetch(routes, target, account=MINE):
    """The same, of routes that may take their time."""
    response = await ask(routes, target, account)
    body = response.body
    if not isinstance(body, bytes):
        body = b"".join([piece async for piece in body])
    return Answered(response.status, response.content_type, body, dict(response.fields))


def result_of(coroutine):
    results = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]
