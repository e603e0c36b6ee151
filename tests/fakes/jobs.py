"""Jobs for delivery, and a queue that gives them out."""

from __future__ import annotations

import hashlib

from twisted.internet.defer import fail, succeed
from zope.interface import implementer

from smtpeter.interfaces import IQueueStore
from smtpeter.model.delivery import Job, LeasedRecipient, RecipientState
from smtpeter.model.submission import Content

NOW = 1_700_000_000.0
CONTENT = b"Subject: hello\r\n\r\nHello.\r\n.dot\r\n"


def make_content(data=CONTENT):
    return Content(len(data), hashlib.sha256(data).digest(), data)


def make_recipient(number=1, address=None, **changes):
    address = f"r{number}@example.net" if address is None else address
    recipient = LeasedRecipient(number, f"id-{number}", address, address.rpartition("@")[2], None, None, 0, False)
    return recipient._replace(**changes)


def make_job(count=1, *, submission="s1", data=CONTENT, recipients=None, **changes):
    if recipients is None:
        recipients = tuple(make_recipient(number) for number in range(1, count + 1))
    job = Job(
        submission, 1, NOW + 900, 7, "sender@example.org", None, None, "7BIT", False, make_content(data), NOW,
        NOW + 86400, tuple(recipients),
    )  # fmt: skip
    return job._replace(**changes)


@implementer(IQueueStore)
class FakeQueue:
    """As much of a queue as delivery uses: rows of (due, job); claims give out whole jobs.

    ``trouble`` is what every call fails with while it is set.
    """

    def __init__(self):
        self.waiting = []
        self.leased = {}
        self.settled = []
        self.settle_calls = 0
        self.released = []
        self.renewed = []
        self.marked = []
        self.claims = []
        self.is_paused = False
        self.trouble = None
        self.ours = True
        self.on_report = lambda: None
        self._lease = 0

    def add(self, *jobs, due=NOW):
        self.waiting += [(due, job) for job in jobs]

    def outcome(self, submission, number=1):
        """The last settlement of a recipient."""
        for job in reversed(self.settled):
            for settlement in job.settlements:
                if (job.submission, settlement.number) == (submission, number):
                    return settlement
        return None

    def _answer(self, value):
        return fail(self.trouble) if self.trouble is not None else succeed(value)

    def paused(self):
        return self._answer(self.is_paused)

    def due_domains(self, now, limit):
        due = [job.recipients[0].domain for at, job in self.waiting if at <= now]
        later = [at for at, job in self.waiting if at > now]
        return self._answer((list(dict.fromkeys(due))[:limit], min(later, default=None)))

    def claim_due(self, domains, limit, now, lease_until):
        if self.trouble is not None:
            return fail(self.trouble)
        self.claims.append(limit)
        jobs, rest = [], []
        for at, job in sorted(self.waiting, key=lambda row: row[0]):
            if at <= now and limit >= len(job.recipients) and job.recipients[0].domain in domains:
                limit -= len(job.recipients)
                self._lease += 1
                jobs.append(job._replace(lease=self._lease, lease_until=lease_until))
                self.leased[job.submission] = jobs[-1]
            else:
                rest.append((at, job))
        self.waiting = rest
        return succeed(jobs)

    def settle(self, jobs):
        self.settle_calls += 1
        if self.trouble is not None:
            return fail(self.trouble)
        count = 0
        for settled in jobs:
            job = self.leased.get(settled.submission)
            if job is None or job.lease != settled.lease:
                continue
            numbers = {settlement.number for settlement in settled.settlements}
            assert numbers <= {recipient.number for recipient in job.recipients}, "these are not leased"
            rest = tuple(recipient for recipient in job.recipients if recipient.number not in numbers)
            self.leased[settled.submission] = job._replace(recipients=rest)
            if not rest:
                del self.leased[settled.submission]
            self.settled.append(settled)
            count += len(settled.settlements)
            if settled.notifications:
                self.on_report()
            recipients = {recipient.number: recipient for recipient in job.recipients}
            again = {}
            for settlement in settled.settlements:
                if settlement.state is RecipientState.DUE:
                    row = recipients[settlement.number]._replace(
                        attempts=settlement.attempts, possible_duplicate=settlement.possible_duplicate
                    )
                    again.setdefault(settlement.due, []).append(row)
            for due, rows in again.items():
                self.add(job._replace(recipients=tuple(rows)), due=due)
        return succeed(count)

    def release(self, submission, lease):
        if self.trouble is not None:
            return fail(self.trouble)
        self.released.append(submission)
        self.add(self.leased.pop(submission))
        return succeed(None)

    def forget(self, job, lease_until):
        """A lease that nobody was told of."""
        self._lease += 1
        self.leased[job.submission] = job._replace(lease=self._lease, lease_until=lease_until)

    def recover_expired(self, now, in_hand):
        if self.trouble is not None:
            return fail(self.trouble)
        expired = [
            job for job in self.leased.values() if job.lease_until < now and (job.submission, job.lease) not in in_hand
        ]
        self.add(*[self.leased.pop(job.submission) for job in expired], due=min(NOW, now))
        return succeed(len(expired))

    def bring_forward(self, now, longest):
        if self.trouble is not None:
            return fail(self.trouble)
        late = sum(due > now + longest for due, _ in self.waiting)
        self.waiting = [(min(due, now + longest), job) for due, job in self.waiting]
        self.leased = {
            name: job._replace(lease_until=min(job.lease_until, now + longest)) for name, job in self.leased.items()
        }
        return succeed(late)

    def renew(self, submission, lease, lease_until):
        self.renewed.append((submission, lease, lease_until))
        return self._answer(self.ours)

    def mark_in_doubt(self, submission, lease, numbers):
        self.marked.append((submission, lease, list(numbers)))
        return self._answer(self.ours)
