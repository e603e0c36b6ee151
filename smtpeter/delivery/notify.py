"""Tells a sender what became of his message, as far as he wants to know (RFC 3461 section 5.2, RFC 3464)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from smtpeter.delivery.retry import Conclusion
from smtpeter.errors import ContentCorrupt, StorageUnavailable
from smtpeter.interfaces import IContentStore
from smtpeter.mime.dsn import Action, ReportedRecipient, compose_report, report_subject
from smtpeter.model.delivery import Job, LeasedRecipient, RecipientState
from smtpeter.model.envelope import NULL_PATH, Envelope, Recipient
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.submission import Submission
from smtpeter.smtp.grammar import SENDER, parse_path

FULL_LIMIT = 50_000  # octets of a message that RET=FULL returns whole
LONG = 20  # recipients in a report above which composing it would hold the reactor: 50 us each


def action_of(conclusion: Conclusion) -> Action | None:
    """What the sender is to be told of a recipient, None: nothing, or nothing now.

    Without NOTIFY a sender is told of failures and of nothing else: what delays are, and when they matter, only those
    know who ask for it.  With SUCCESS he is told what was delivered, or what went where nobody will tell him more: a
    receiver that offered DSN tells him itself.  NEVER is kept to the letter.
    """
    recipient, outcome, settlement = conclusion
    match settlement.state:
        case RecipientState.DELIVERED:
            if outcome.notifies or not _wants(recipient, "SUCCESS"):
                return None
            return Action.RELAYED if outcome.code else Action.DELIVERED
        case RecipientState.FAILED | RecipientState.EXPIRED:
            return Action.FAILED if recipient.notify is None or _wants(recipient, "FAILURE") else None
        case RecipientState.DUE:
            return Action.DELAYED if settlement.delay_told and not recipient.delay_told else None
    return None


def _wants(recipient: LeasedRecipient, what: str) -> bool:
    return recipient.notify is not None and what in recipient.notify.split(",")


class Notifier:
    """Makes one report for recipients of a message that something is to be told of together.

    ``entropy`` gives so many random octets; ``lifetime`` is how long (seconds) delivery of a report is tried;
    ``in_thread`` calls what takes too long for the reactor's thread; ``submission`` finds what was taken in;
    ``travelling`` tells which options of a message hold for reports of it, which may return all of it.
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
        travelling: Callable[[Job], tuple[tuple[str, str], ...]] = lambda job: (),
    ) -> None:
        self._hostname = hostname
        self._content = content
        self._entropy = entropy
        self._lifetime = lifetime
        self._in_thread = in_thread
        self._submission = submission
        self._travelling = travelling

    async def report(self, job: Job, conclusions: Sequence[Conclusion], now: float) -> Submission | None:
        """The report to enqueue with the outcomes, None where nobody wants one.

        A null reverse-path never gets any (RFC 5321 section 6.1), and a report has one: so it is never reported itself.
        The whole message comes back only with failures (RFC 3461 section 4.3).

        :raises smtpeter.errors.StorageUnavailable: where the report cannot be kept now.
        """
        if job.reverse_path == NULL_PATH:
            return None
        recipients = [
            _describe(conclusion, action, now)
            for conclusion in conclusions
            if (action := action_of(conclusion)) is not None
        ]
        if not recipients:
            return None
        actions = {recipient.action for recipient in recipients}
        original = await self._read_original(job)
        full = job.ret == "FULL" and Action.FAILED in actions and 0 < len(original) <= FULL_LIMIT
        # Only where the sender can have it: a report that needs SMTPUTF8 may fail where the message itself did.
        smtputf8 = not job.reverse_path.isascii()
        id = make_submission_id(int(now * 1000), self._entropy(ENTROPY_BYTES))
        message_id = f"<{id}@{self._hostname}>"
        compose = partial(
            compose_report,
            reporting_mta=self._hostname,
            postmaster=f"postmaster@{self._hostname}",
            to=job.reverse_path,
            message_id=message_id,
            date=now,
            boundary=self._entropy(16).hex(),
            envid=job.envid,
            arrival=job.time,
            retry_until=job.expires if job.expires > now else 0.0,  # the clock may have been set
            recipients=recipients,
            original=original,
            full=full,
            smtputf8=smtputf8,
        )
        octets = compose() if len(recipients) <= LONG else await self._in_thread(compose)
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
            subject=report_subject(actions),
            message_id=message_id,
            options=self._travelling(job),
        )

    async def _read_original(self, job: Job) -> bytes:
        content = job.content
        try:
            if content.prepared:  # its sender never saw that, and its slots are nobody's
                content = (await self._submission(job.submission)).content
            return await self._content.read(job.submission, content)
        except (ContentCorrupt, KeyError, StorageUnavailable):
            return b""  # the report is worth more than what it returns


def _describe(conclusion: Conclusion, action: Action, now: float) -> ReportedRecipient:
    recipient, outcome, settlement = conclusion
    said = (str(outcome.code), outcome.enhanced, outcome.text) if outcome.code else (outcome.text,)
    return ReportedRecipient(
        address=recipient.address,
        action=action,
        orcpt=recipient.orcpt,
        status=outcome.enhanced,
        diagnostic=" ".join(filter(None, said)),
        replied=outcome.code != 0,
        remote_mta=outcome.remote_mta,
        last_attempt=now if settlement.attempts > recipient.attempts else 0.0,
        expired=settlement.state is RecipientState.EXPIRED,
    )
