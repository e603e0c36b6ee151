"""A message on its way in: its header is read and completed, its octets go into the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from twisted.internet.defer import Deferred

from smtpeter.errors import Refusal
from smtpeter.intake.author import refuse_foreign_author
from smtpeter.intake.features import NO_OPTIONS, FeatureIntake
from smtpeter.intake.heading import HeaderRoom, Heading
from smtpeter.intake.options import NOTHING_ASKED, Asked, read_asked
from smtpeter.interfaces import IContentSpool, ISenderDomains, ISubmitter
from smtpeter.mime.header import Header, count_fields, read_header
from smtpeter.mime.trace import Origin, trace_fields
from smtpeter.mime.words import decode_field
from smtpeter.model.envelope import Envelope
from smtpeter.model.feature import MessageSummary, Options
from smtpeter.model.submission import Content, Idempotency, Submission

FIELDS = 1000
"""Fields that a header may have."""

LINES = 10_000
"""Lines that they may have together."""


class MessagePolicy(NamedTuple):
    """What holds for every message: our name, limits, how long delivery is tried (seconds), the features, and who owns
    which domain, where a message has to be from one of its account's."""

    hostname: str
    header_size: int
    received_fields: int
    expire: float
    features: FeatureIntake | None = None
    sender_domains: ISenderDomains | None = None


class IncomingMessage:
    """Takes the octets of one message as they come, and ends as a Submission.

    With no option asked for, what is stored is what came in, with trace fields on top and without the fields that must
    not leave.  A message found unfit is swallowed; :meth:`finish` then raises the Refusal.

    ``channel`` and ``idempotency`` are the Submission's.  ``request`` are options that its request asks for: they
    override the submitter's, and the message's own fields override both.
    """

    def __init__(
        self,
        id: str,
        now: float,
        envelope: Envelope,
        origin: Origin,
        submitter: ISubmitter,
        spool: IContentSpool,
        policy: MessagePolicy,
        room: HeaderRoom,
        channel: str = "smtp",
        request: Mapping[str, str] = NO_OPTIONS,
        idempotency: Idempotency | None = None,
    ) -> None:
        self.id = id
        self._now = now
        self._envelope = envelope
        self._origin = origin
        self._submitter = submitter
        self._spool = spool
        self._policy = policy
        self._channel = channel
        self._request = request
        self._idempotency = idempotency
        self._heading: Heading | None = Heading(policy.header_size, room)
        self._subject = self._message_id = ""
        self._asked: Asked = NOTHING_ASKED
        self._options: Options = NO_OPTIONS
        self._prepare = False
        self._refusal: Refusal | None = None

    @property
    def unfit(self) -> bool:
        """Whether it is known by now that :meth:`finish` will refuse it."""
        return self._refusal is not None

    def write(self, octets: bytes) -> Deferred[None] | None:
        """Take the next octets; a Deferred asks to wait for it before writing more."""
        if self._refusal is not None:
            return None
        if self._heading is None:
            return self._spool.write(octets)
        try:
            found = self._heading.add(octets)
            return None if found is None else self._take_header(*found)
        except Refusal as refusal:
            self._refuse(refusal)
            return None

    def finish(self) -> Deferred[Submission]:
        """All is there.  Fires with the Submission; fails with the store's errors.

        :raises Refusal: where the message is unfit.
        """
        if self._heading is not None and self._refusal is None:
            octets = self._heading.take_all()
            try:
                written = self._take_header(octets, len(octets))
                if written is not None:
                    written.addErrback(lambda failure: None)  # finish() tells it again
            except Refusal as refusal:
                self._refuse(refusal)
        if self._refusal is None and self._policy.features is not None:
            try:
                self._policy.features.check(self._options, self._summary)
            except Refusal as refusal:
                self._refuse(refusal)
        if self._refusal is not None:
            self._spool.abort()
            raise self._refusal
        return self._spool.finish().addCallback(self._submission)

    def abort(self) -> None:
        """The message will not be taken."""
        self._forget_heading()
        self._spool.abort()

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = refusal
        self._forget_heading()

    def _forget_heading(self) -> None:
        if self._heading is not None:
            self._heading.forget()
            self._heading = None

    def _take_header(self, head: bytes, end: int) -> Deferred[None] | None:
        self._forget_heading()
        header = self._read_header(head[:end])
        if self._policy.features is not None:
            self._options, self._prepare = self._policy.features.choose(self._submitter.options, self._asked.features)
        recipients = self._envelope.recipients
        fields = trace_fields(
            self._origin,
            self._policy.hostname,
            self.id,
            self._now,
            recipients[0].address if len(recipients) == 1 else None,
            add_date=not header.has_date,
            add_message_id=header.message_id is None,
        )
        # A body without any header needs the empty line, lest its first lines be read as fields.
        gap = b"\r\n" if end == 0 and not head.startswith(b"\r\n") else b""
        # Of what is written nothing but these is kept.
        self._subject = decode_field(header.subject) if header.subject else ""
        self._message_id = (
            f"<{self.id}@{self._policy.hostname}>"
            if header.message_id is None
            else decode_field(header.message_id, limit=998)
        )
        return self._spool.write(b"".join((fields, header.block, gap, head[end:])))

    def _read_header(self, block: bytes) -> Header:
        fields, lines = count_fields(block)
        if fields > FIELDS or lines > LINES:
            raise Refusal(554, "5.6.0", f"The header has more than {FIELDS} fields, or {LINES} lines")
        header = read_header(block)
        if header.received > self._policy.received_fields:
            raise Refusal(554, "5.4.6", "Too many hops: the message seems to go in a circle")
        if self._policy.sender_domains is not None:
            refuse_foreign_author(header.block, self._submitter.account.number, self._policy.sender_domains)
        defaults = self._submitter.options
        if header.controls or self._request or defaults:
            features = self._policy.features
            catalog = features.catalog if features else None
            self._asked = read_asked(header.controls, self._request, self._now, catalog, defaults)
            if self._asked.key is not None and self._idempotency is None:
                self._idempotency = Idempotency(self._asked.key, None)
        return header

    def _summary(self) -> MessageSummary:
        return MessageSummary(
            submission=self.id,
            account=self._submitter.account.email,
            login=self._submitter.login,
            reverse_path=self._envelope.reverse_path,
            recipients=tuple(recipient.address for recipient in self._envelope.recipients),
            size=self._spool.size,
            subject=self._subject,
        )

    def _submission(self, content: Content) -> Submission:
        due = self._asked.due or self._now
        return Submission(
            id=self.id,
            account=self._submitter.account.number,
            login=self._submitter.login,
            channel=self._channel,
            envelope=self._envelope,
            content=content,
            time=self._now,
            due=due,
            expires=self._asked.expires or due + self._policy.expire,
            subject=self._subject,
            message_id=self._message_id,
            tags=self._asked.tags,
            options=tuple(sorted(self._options.items())) if self._options else (),
            prepare=self._prepare,
            idempotency=self._idempotency,
        )
