"""What stands around an SMTP session: a portal with known people, an intake and a content store in memory."""

from __future__ import annotations

import hashlib

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.interfaces import IClock, IContentSpool, IContentStore, IMetrics, ISubmissionIntake, ISubmitter
from smtpeter.model.account import Account, AccountState, Scope
from smtpeter.model.submission import Content

ALICE = Account(7, "alice@example.com", "Alice", False, AccountState.APPROVED, "", 0.0)


@implementer(IClock)
class FixedClock:
    now = 1_700_000_000.0

    def time(self):
        return self.now


@implementer(ISubmitter)
class FakeSubmitter:
    account = ALICE
    login = "alice-login"
    options = ()
    scopes = (Scope.SEND,)
    answer = None
    checks = 0

    def check(self, sending=True):
        self.checks += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@implementer(ICredentialsChecker, IRealm)
class FakeDirectory:
    """Lets alice in; ``trouble`` is raised instead where it is set, ``pending`` keeps logins waiting."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self):
        self.submitter = FakeSubmitter()
        self.trouble = None
        self.pending = None

    def requestAvatarId(self, credentials):
        if self.trouble is not None:
            return fail(self.trouble)
        if (credentials.username, credentials.password) != (b"alice", b"secret"):
            return fail(UnauthorizedLogin())
        if self.pending is not None:
            return self.pending
        return succeed("alice")

    def requestAvatar(self, avatarId, mind, *interfaces):
        return ISubmitter, self.submitter, lambda: None

    def portal(self):
        return Portal(self, [self])


@implementer(ISubmissionIntake)
class FakeIntake:
    """Keeps submissions; with ``hold`` set, their durability waits until :meth:`commit`.  ``taken`` is the answer."""

    def __init__(self):
        self.submissions = []
        self.taken = None
        self.trouble = None
        self.hold = False
        self._waiting = []

    def submit(self, submission):
        if self.trouble is not None:
            return fail(self.trouble)
        self.submissions.append(submission)
        if not self.hold:
            return succeed(self.taken)
        waiting = Deferred()
        self._waiting.append(waiting)
        return waiting

    def commit(self, error=None):
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(self.taken) if error is None else each.errback(error)


@implementer(IContentSpool)
class FakeSpool:
    def __init__(self, store):
        self._store = store
        self._chunks = []
        self.size = 0
        self.aborted = False

    def write(self, chunk):
        self._chunks.append(chunk)
        self.size += len(chunk)
        if self._store.slow:
            self._store.waiting = Deferred()
            return self._store.waiting
        return None

    def finish(self):
        if self._store.trouble is not None:
            return fail(self._store.trouble)
        data = b"".join(self._chunks)
        return self._store.finished.addCallback(lambda result: Content(len(data), hashlib.sha256(data).digest(), data))

    def abort(self):
        self.aborted = True


@implementer(IContentStore)
class FakeContentStore:
    """``kept`` is content that can be read again, by submission."""

    def __init__(self):
        self.spools = []
        self.kept = {}
        self.slow = False
        self.waiting = None
        self.trouble = None
        self._finished = None

    @property
    def finished(self):
        """What :meth:`FakeSpool.finish` waits for: it is there at once, unless a test sets a Deferred."""
        return succeed(None) if self._finished is None else self._finished

    @finished.setter
    def finished(self, deferred):
        self._finished = deferred

    def spool(self):
        spool = FakeSpool(self)
        self.spools.append(spool)
        return spool

    def read(self, submission, content):
        octets = self.kept.get(submission, content.data)
        return fail(KeyError(submission)) if octets is None else succeed(octets)


@implementer(IMetrics)
class FakeMetrics:
    def __init__(self):
        self.counts = {}

    def count(self, name, value=1, **labels):
        key = (name, *labels.values())
        self.counts[key] = self.counts.get(key, 0) + value

    def observe(self, name, seconds):
        pass
