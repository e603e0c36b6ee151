"""As much of a queue as preparing uses."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from smtpeter.model.delivery import RecipientState
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.feature import Unprepared
from smtpeter.model.listing import MessageRow
from smtpeter.model.submission import Content, Submission
from tests.fakes.jobs import NOW, make_content


def make_submission(id, recipients=1, options=(), notify=None):
    addresses = tuple(Recipient(f"r{number}@example.net", "example.net", notify) for number in range(1, recipients + 1))
    return Submission(
        id, 7, "", "smtp", Envelope("sender@example.org", addresses), make_content(), NOW, NOW, NOW + 86400,
        options=options, prepare=True,
    )  # fmt: skip


class FakeIncoming:
    """Submissions that wait.

    ``trouble`` is what every call fails with while it is set; ``damaged`` are errors by submission.  With ``slow``,
    claims are answered when the test says so: :meth:`tell`.
    """

    def __init__(self):
        self.trouble = None
        self.damaged = {}
        self.slow = False
        self.submissions = {}
        self.due = {}
        self.attempts = {}
        self.claims = []
        self.prepared = {}
        self.batches = []
        self.postponed = []
        self.failed = {}
        self.cancelled = set()
        self.oldest = None
        self._owed = []

    def add(self, *ids, due=NOW, attempts=0, **fields):
        for id in ids:
            self.submissions[id] = make_submission(id, **fields)
            self.due[id] = due
            self.attempts[id] = attempts

    def tell(self):
        owed, self._owed = self._owed, []
        for deferred, value in owed:
            deferred.callback(value)

    def _answer(self, value):
        if self.trouble is not None:
            return fail(self.trouble)
        return succeed(value)

    def claim_incoming(self, limit, now, until):
        self.claims.append(limit)
        if self.trouble is not None:
            return fail(self.trouble)
        claimed = []
        for id in [id for id, due in self.due.items() if due <= now][:limit]:
            self.due[id] = until
            self.attempts[id] += 1
            each = self.submissions[id]
            content = Content(each.content.size, each.content.digest)
            claimed.append(
                Unprepared(
                    id,
                    self.attempts[id],
                    each.account,
                    each.envelope.reverse_path,
                    each.options,
                    len(each.envelope.recipients),
                    content,
                    each.time,
                    each.expires,
                )
            )
        if self.slow:
            deferred = Deferred()
            self._owed.append((deferred, claimed))
            return deferred
        return succeed(claimed)

    def _is_theirs(self, id, attempt):
        return id in self.due and self.attempts[id] == attempt

    def store_prepared(self, prepared):
        self.batches.append([each.submission for each in prepared])
        if self.trouble is not None:
            return fail(self.trouble)
        for each in prepared:
            if each.submission in self.damaged:
                return fail(self.damaged[each.submission])
        count = 0
        for each in prepared:
            if self._is_theirs(each.submission, each.attempt):
                del self.due[each.submission]
                self.prepared[each.submission] = each
                count += 1
        return succeed(count)

    def postpone_prepare(self, submission, attempt, until, reason):
        if self.trouble is not None:
            return fail(self.trouble)
        if not self._is_theirs(submission, attempt):
            return succeed(False)
        self.due[submission] = until
        self.postponed.append((submission, attempt, until, reason))
        return succeed(True)

    def fail_prepare(self, submission, attempt, settlement):
        if self.trouble is not None:
            return fail(self.trouble)
        if not self._is_theirs(submission, attempt):
            return succeed(False)
        del self.due[submission]
        self.failed[submission] = settlement
        return succeed(True)

    def submission(self, id):
        return self._answer(self.submissions[id])

    def select(self, filter, limit):
        assert filter.states == {RecipientState.DUE}
        each = self.submissions[filter.submission]
        rows = [
            MessageRow("", each.id, number, RecipientState.DUE, 0, "", "", recipient.address, "", NOW, None, ())
            for number, recipient in enumerate(each.envelope.recipients, 1)
            if number not in self.cancelled
        ]
        return self._answer(rows[:limit])

    def oldest_unprepared(self):
        return self._answer(self.oldest)
