"""The way in for doors that have a message as a whole: everything is then as with SMTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from smtpeter.errors import Refusal
from smtpeter.intake.author import header_of, refuse_foreign_author
from smtpeter.intake.canonical import CanonicalOctets
from smtpeter.intake.features import NO_OPTIONS
from smtpeter.intake.gate import Gate
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import IncomingMessage, MessagePolicy
from smtpeter.interfaces import (
    IClock,
    IContentSpool,
    IContentStore,
    IMessageIntake,
    IQueueStore,
    ISubmissionIntake,
    ISubmitter,
)
from smtpeter.mime.trace import Origin
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.feature import MessageSummary, Options
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.submission import Content, Idempotency, Submission, Taken, WholeMessage

CHANNEL = "rest"
PROTOCOL = "HTTP"

TURN = 64 * 1024
"""Octets.  After so many of a message everybody else has a turn."""


AGAIN = 4
"""Messages that are in memory to be taken once more."""


class WholeLimits(NamedTuple):
    """How many octets and recipients a message may have."""

    message_size: int
    recipients: int


@implementer(IMessageIntake)
class WholeIntake:
    """See :class:`smtpeter.interfaces.IMessageIntake`.  A Deferred of it that is cancelled undoes what was done."""

    _log = Logger()

    def __init__(
        self,
        *,
        intake: ISubmissionIntake,
        queue: IQueueStore,
        content: IContentStore,
        gate: Gate,
        clock: IClock,
        timers: IReactorTime,
        policy: MessagePolicy,
        limits: WholeLimits,
        header_room: HeaderRoom,
    ) -> None:
        self._intake = intake
        self._queue = queue
        self._content = content
        self._gate = gate
        self._clock = clock
        self._timers = timers
        self._policy = policy
        self._limits = limits
        self._header_room = header_room
        self._again_in_memory = DeferredSemaphore(AGAIN)

    def take(self, message: WholeMessage, submitter: ISubmitter) -> Deferred[Taken]:
        """See the interface."""
        return Deferred.fromCoroutine(self._take(message, submitter))

    def again(
        self,
        submission: Submission,
        numbers: Collection[int],
        submitter: ISubmitter,
        idempotency: Idempotency | None = None,
    ) -> Deferred[Taken]:
        """See the interface."""
        return Deferred.fromCoroutine(self._again(submission, numbers, submitter, idempotency))

    async def _take(self, message: WholeMessage, submitter: ISubmitter) -> Taken:
        try:
            before = await self._admit(submitter, message.envelope.recipients, message.idempotency)
            if before is not None:
                return before
            incoming = self._begin(message, submitter)
            submission = await self._receive(message, incoming)
        except Refusal as refusal:
            self._log.info(
                "refused: peer={peer} reply={reply} reason={reason}",
                event="refused",
                peer=message.client,
                reply=str(refusal.reply),
                reason=refusal.reason,
            )
            raise
        return await self._submit(submission, incoming.abort)

    async def _again(
        self, submission: Submission, numbers: Collection[int], submitter: ISubmitter, idempotency: Idempotency | None
    ) -> Taken:
        everyone, wanted = enumerate(submission.envelope.recipients, 1), frozenset(numbers)
        recipients = tuple(recipient for number, recipient in everyone if number in wanted)
        before = await self._admit(submitter, recipients, idempotency)
        if before is not None:
            return before
        now = self._clock.time()
        repeated = submission._replace(
            id=_new_id(now),
            account=submitter.account.number,
            login=submitter.login,
            channel=CHANNEL,
            envelope=submission.envelope._replace(recipients=recipients),
            time=now,
            due=now,
            expires=now + max(0.0, submission.expires - submission.due),
            idempotency=idempotency,
        )
        options, prepare = self._choose_again(repeated, submitter)
        await self._again_in_memory.acquire()
        try:
            spool, content = await self._copied(submission, submitter)
        finally:
            self._again_in_memory.release()
        repeated = repeated._replace(content=content, options=tuple(sorted(options.items())), prepare=prepare)
        return await self._submit(repeated, spool.abort)

    async def _copied(self, submission: Submission, submitter: ISubmitter) -> tuple[IContentSpool, Content]:
        """The octets of a submission, once more.

        :raises Refusal: where they are not from this submitter, by now.
        """
        octets = await self._content.read(submission.id, submission.content)
        if self._policy.sender_domains is not None:
            refuse_foreign_author(header_of(octets), submitter.account.number, self._policy.sender_domains)
        spool = self._content.spool()
        try:
            await self._pour([octets], spool.write)
            return spool, await spool.finish()
        except BaseException:
            spool.abort()
            raise

    async def _admit(
        self, submitter: ISubmitter, recipients: Sequence[Recipient], idempotency: Idempotency | None
    ) -> Taken | None:
        """Whether mail is accepted now, from this submitter, for so many recipients; or what became of the request when
        it was made before.

        What was taken is not judged again: it might be refused by now, and who is told so believes that it never went.

        :raises Refusal: where it is not accepted.
        """
        check = submitter.check()
        if check is not None:
            await check
        if idempotency is not None and idempotency.digest is not None:
            account, now = submitter.account.number, self._clock.time()
            before: Taken | None = await self._queue.taken(account, idempotency, recipients, now)
            if before is not None:
                return before
        if self._gate.refusal is not None:
            raise Refusal(*self._gate.refusal)
        if not recipients:
            raise Refusal(554, "5.5.1", "A message needs at least one recipient")
        if len(recipients) > self._limits.recipients:
            limit = self._limits.recipients
            raise Refusal(554, "5.5.3", f"A message has at most {limit} recipients: send to the others in another")
        return None

    def _begin(self, message: WholeMessage, submitter: ISubmitter) -> IncomingMessage:
        now = self._clock.time()
        return IncomingMessage(
            _new_id(now),
            now,
            message.envelope,
            Origin("", message.client, PROTOCOL, ""),
            submitter,
            self._content.spool(),
            self._policy,
            self._header_room,
            CHANNEL,
            message.options,
            message.idempotency,
        )

    async def _receive(self, message: WholeMessage, incoming: IncomingMessage) -> Submission:
        """Everything that comes, as a submission that says truly whether it is 8-bit."""
        octets = CanonicalOctets(self._limits.message_size)

        def write(piece: bytes) -> Deferred[None] | None:
            octets.look(piece)
            return incoming.write(piece)

        try:
            await self._pour(message.pieces, write, lambda: incoming.unfit)
            missing = b"" if incoming.unfit else octets.end()
            if missing and (written := write(missing)) is not None:
                await written
            submission: Submission = await incoming.finish()
        except BaseException:
            incoming.abort()
            raise
        return submission._replace(envelope=_declared(message.envelope, octets.seven_bit))

    async def _pour(
        self,
        pieces: Iterable[bytes],
        write: Callable[[bytes], Deferred[None] | None],
        enough: Callable[[], bool] = lambda: False,
    ) -> None:
        """Write what comes as fast as it is taken, others having their turn meanwhile, until that is ``enough``."""
        since = 0
        for piece in _cut(pieces):
            if enough():
                return
            if since >= TURN:
                await deferLater(self._timers, 0)
                since = 0
            wait = write(piece)
            if wait is not None:
                await wait
            since += len(piece)

    async def _submit(self, submission: Submission, abort: Callable[[], None]) -> Taken:
        try:
            taken = await self._intake.submit(submission)
        except CancelledError:
            # The store may be at it still: it knows best what to remove, and when.
            raise
        except Exception:
            abort()
            raise
        return Taken.whole(submission.id, submission.envelope.recipients) if taken is None else taken

    def _choose_again(self, submission: Submission, submitter: ISubmitter) -> tuple[Options, bool]:
        """The options that it had, as far as there still are such, and whether it has to be prepared.

        :raises Refusal: where that is behind, or a feature does not let it in.
        """
        features = self._policy.features
        if features is None:
            return NO_OPTIONS, False
        options, prepare = features.choose(submission.options, NO_OPTIONS)
        features.check(
            options,
            lambda: MessageSummary(
                submission=submission.id,
                account=submitter.account.email,
                login=submitter.login,
                reverse_path=submission.envelope.reverse_path,
                recipients=tuple(recipient.address for recipient in submission.envelope.recipients),
                size=submission.content.size,
                subject=submission.subject,
            ),
        )
        return options, prepare


def _new_id(now: float) -> str:
    return make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES))


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same octets, in pieces of at most ``TURN`` octets."""
    for piece in pieces:
        if len(piece) <= TURN:
            yield piece
        else:
            yield from (piece[start : start + TURN] for start in range(0, len(piece), TURN))


def _declared(envelope: Envelope, seven_bit: bool) -> Envelope:
    body = "7BIT" if seven_bit else "8BITMIME"
    return envelope if envelope.body == body else envelope._replace(body=body)
