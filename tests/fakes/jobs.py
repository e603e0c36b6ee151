"""Jobs for delivery, and a queue that gives them out."""

from __future__ import annotations

import hashlib

from twisted.internet.defer import fail, succeed
from zope.interface import implementer

from smtpeter.interfaces import IQueueStore
from smtpeter.model.delivery import Job, Lane, LeasedRecipient, RecipientState
from smtpeter.model.listing import Parking
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


def lane_of(job):
    return Lane(job.recipients[0].domain, job.account or 0)


@implementer(IQueueStore)
class FakeQueue:
    """As much of a queue as delivery uses: rows of (due, job), each in the lane of its first recipient; claims give out
    whole jobs.

    ``claims`` has how many recipients each claim asked for, ``parked`` the site and end of each parking, by lane.
    ``trouble`` is what every call fails with while it is set.
    """

    def __init__(self):
        self.waiting = []
        self.leased = {}
        self._dues = {}
        self.settled = []
        self.settle_calls = 0
        self.released = []
        self.renewed = []
        self.marked = []
        self.claims = []
        self.parked = {}
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

    def due_lanes(self, now, limit):
        ready = {}
        for due, job in self.waiting:
            lane = lane_of(job)
            _, parked = self.parked.get(lane, ("", 0.0))
            ready[lane] = min(max(due, parked), ready.get(lane, float("inf")))
        lanes = sorted((at, lane) for lane, at in ready.items() if at <= now)
        later = [at for at in ready.values() if at > now]
        return self._answer(([lane for _, lane in lanes][:limit], min(later, default=None)))

    def claim_due(self, shares, now, lease_until):
        if self.trouble is not None:
            return fail(self.trouble)
        self.claims.append(sum(share for _, share in shares))
        left = dict(shares)

        def wanted(job):
            if left.get(lane_of(job), 0) <= 0:
                return ()
            left[lane_of(job)] -= len(job.recipients)
            return job.recipients

        return self._claim(wanted, now, lease_until)

    def claim_overdue(self, lanes, limit, now, delayed, until):
        if self.trouble is not None:
            return fail(self.trouble)
        left = limit

        def wanted(job):
            nonlocal left
            if lane_of(job) not in lanes:
                return ()
            chosen = [
                each
                for each in job.recipients
                if job.expires <= now
                or ("DELAY" in (each.notify or "") and not each.delay_told and job.began < delayed)
            ][:left]
            left -= len(chosen)
            return tuple(chosen)

        return self._claim(wanted, now, until)

    def _claim(self, wanted, now, lease_until):
        jobs, rest = [], []
        for at, job in sorted(self.waiting, key=lambda row: row[0]):
            recipients = wanted(job) if at <= now else ()
            left = tuple(each for each in job.recipients if each not in recipients)
            if recipients:
                self._dues |= {(job.submission, each.number): at for each in recipients}
                self._lease += 1
                jobs.append(job._replace(lease=self._lease, lease_until=lease_until, recipients=recipients))
                self.leased[job.submission] = jobs[-1]
            if left:
                rest.append((at, job._replace(recipients=left)))
        self.waiting = rest
        return succeed(jobs)

    def park(self, lanes, site, until):
        if self.trouble is None:
            self.parked |= dict.fromkeys(lanes, Parking(site, until))
        return self._answer(None)

    def parking(self, lane):
        return self._answer(self.parked.get(lane))

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
                        attempts=settlement.attempts,
                        possible_duplicate=settlement.possible_duplicate,
                        delay_told=settlement.delay_told,
                    )
                    due = settlement.due
                    if due is None:
                        due = self._dues[settled.submission, settlement.number]
                    again.setdefault(due, []).append(row)
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

    def recover(self):
        """The start is at NOW; what is leased is not looked at."""
        self.parked = {lane: Parking(site, min(until, NOW + 15)) for lane, (site, until) in self.parked.items()}
        return self._answer(0)

    def recover_expired(self, now, in_hand):
        if self.trouble is not None:
            return fail(self.trouble)
        expired = [
            job for job in self.leased.values() if job.lease_until < now and (job.submission, job.lease) not in in_hand
        ]
        self.add(*[self.leased.pop(job.submission) for job in expired], due=min(NOW, now))
        return succeed(len(expired))

    def bring_forward(self, now, longest, back=0.0):
        if self.trouble is not None:
            return fail(self.trouble)

        def earlier(at):
            return min(at - back, now + longest) if at > (now if back else now + longest) else at

        before = self.waiting
        self.waiting = [(earlier(due), job) for due, job in before]
        self.leased = {name: job._replace(lease_until=earlier(job.lease_until)) for name, job in self.leased.items()}
        self.parked = {lane: Parking(site, earlier(until)) for lane, (site, until) in self.parked.items()}
        return succeed(sum(was != now for was, now in zip(before, self.waiting, strict=True)))

    def renew(self, submission, lease, lease_until):
        self.renewed.append((submission, lease, lease_until))
        return self._answer(self.ours)

    def mark_in_doubt(self, submission, lease, numbers):
        self.marked.append((submission, lease, list(numbers)))
        return self._answer(self.ours)
