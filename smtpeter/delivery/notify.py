"""Tells a sender what could not be delivered (RFC 3461 section 5.2.3, RFC 3464)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from smtpeter.delivery.retry import Conclusion
from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.interfaces import IContentStore
from smtpeter.mime.dsn import ReportedRecipient, compose_failure
from smtpeter.model.delivery import Job, RecipientState
from smtpeter.model.envelope import NULL_PATH, Envelope, Recipient
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.submission import Submission
from smtpeter.smtp.grammar import SENDER, parse_path

FULL_LIMIT = 50_000  # octets of a message that RET=FULL returns whole
LONG = 20  # recipients in a report above which composing it would hold the reactor: 50 us each


class FailureNotifier:
    """Makes one report for all recipients of a job that failed together.

    ``entropy`` gives so many random octets; ``lifetime`` is how long (seconds) delivery of a report is tried;
    ``in_thread`` calls what takes too long for the reactor's thread; ``submission`` finds what was taken in.
    """

    def __init__(
        self,
        *,
        hostname: str,
        content: IContentStore,
        entropy: Callable[[int], bytes],
        lifetime: float,
        in_thread: Callable[[Callable[[], bytes]], Deferred[Any]],
        submission: Callable[[str], Awaitable[Submission]],
    ) -> None:
        self._hostname = hostname
        self._content = content
        self._entropy = entropy
        self._lifetime = lifetime
        self._in_thread = in_thread
        self._submission = submission

    async def report(self, job: Job, failed: Sequence[Conclusion], now: float) -> Submission | None:
        """The report to enqueue with the outcomes, None where nobody wants one.

        :raises smtpeter.errors.StorageUnavailable: where the report cannot be kept now.
        """
        wanted = [conclusion for conclusion in failed if _is_wanted(conclusion)]
        if job.reverse_path == NULL_PATH or not wanted:
            return None
        original = await self._read_original(job)
        full = job.ret == "FULL" and 0 < len(original) <= FULL_LIMIT
        # Only where the sender can have it: a report that needs SMTPUTF8 may fail where the message itself did.
        smtputf8 = not job.reverse_path.isascii()
        id = make_submission_id(int(now * 1000), self._entropy(ENTROPY_BYTES))
        message_id = f"<{id}@{self._hostname}>"
        compose = partial(
            compose_failure,
            reporting_mta=self._hostname,
            postmaster=f"postmaster@{self._hostname}",
            to=job.reverse_path,
            message_id=message_id,
            date=now,
            boundary=self._entropy(16).hex(),
            envid=job.envid,
            arrival=job.time,
            recipients=[_describe(conclusion, now) for conclusion in wanted],
            original=original,
            full=full,
            smtputf8=smtputf8,
        )
        octets = compose() if len(wanted) <= LONG else await self._in_thread(compose)
        spool = self._content.spool()
        wait = spool.write(octets)
        if wait is not None:
            await wait
        content = await spool.finish()
        address, domain, _ = parse_path(f"<{job.reverse_path}>", SENDER)
        recipient = Recipient(address, domain or self._hostname, "NEVER")
        body = "7BIT" if octets.isascii() else "8BITMIME"
        return Submission(
            id=id,
            account=job.account,
            login="",
            channel="internal",
            envelope=Envelope(NULL_PATH, (recipient,), body, smtputf8),
            content=content,
            time=now,
            due=now,
            expires=now + self._lifetime,
            subject="Your message could not be delivered",
            message_id=message_id,
        )

    async def _read_original(self, job: Job) -> bytes:
        content = job.content
        try:
            if content.prepared:  # its sender never saw that, and its slots are nobody's
                content = (await self._submission(job.submission)).content
            return await self._content.read(job.submission, content)
        except (ContentCorrupt, KeyError, StorageUnavailable):
            return b""  # the report is worth more than what it returns


def _is_wanted(conclusion: Conclusion) -> bool:
    notify = conclusion.recipient.notify
    return notify is None or "FAILURE" in notify.split(",")


def _describe(conclusion: Conclusion, now: float) -> ReportedRecipient:
    recipient, outcome, settlement = conclusion
    expired = settlement.state is RecipientState.EXPIRED
    status = outcome.enhanced or ("4.4.7" if expired else "5.0.0")
    diagnostic = " ".join(filter(None, (str(outcome.code), outcome.enhanced, outcome.text))) if outcome.code else ""
    attempted = settlement.attempts > recipient.attempts
    return ReportedRecipient(
        recipient.address,
        recipient.orcpt,
        status,
        diagnostic,
        outcome.remote_mta,
        now if attempted else 0.0,
        expired,
    )
