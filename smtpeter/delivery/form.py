"""The form in which a message goes: read from the store, made each recipient's own, converted, signed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.delivery.waiting import Form, Work
from smtpeter.errors import ContentCorrupt, FeatureMissing, StorageUnavailable
from smtpeter.interfaces import IContentStore, ICopies, IPersonalizer, ISigner
from smtpeter.mime.convert import convert
from smtpeter.model.delivery import Job, LeasedRecipient, Outcome, OutcomeKind

SIGNED_HERE = 32_768  # octets of content that are signed in half a millisecond by whoever is quick
SMALL = 262_144  # octets of content that are looked through, or filled, in a fraction of a millisecond

InThread = Callable[[Callable[[], Any]], "Deferred[Any]"]


class _NotSigned(Exception):
    """A message that should have been signed was not."""


@implementer(IPersonalizer)
class Impersonal:
    """All recipients get the same."""

    def is_personal(self, job: Job) -> bool:
        """See :meth:`smtpeter.interfaces.IPersonalizer.is_personal`."""
        return False

    def personalize(self, job: Job, content: bytes) -> ICopies:
        """Never asked for."""
        raise NotImplementedError


class FormMaker:
    """Puts messages into the form that a connection can take.

    ``in_thread`` calls what takes too long for the reactor's thread.
    """

    _log = Logger()

    def __init__(
        self, content: IContentStore, personalizer: IPersonalizer, in_thread: InThread, signer: ISigner | None = None
    ) -> None:
        self._content = content
        self._personalizer = personalizer
        self._in_thread = in_thread
        self._signer = signer

    def make(self, work: Work, eight_bit: bool) -> Deferred[None] | None:
        """See to the form of a job's next transaction, for a receiver that takes 8-bit content, or does not.

        None: ``work.form`` is right, or nothing is left to be sent.  Otherwise ask again when the Deferred has fired.
        Recipients whose message cannot be had get their outcomes.
        """
        if not work.left:
            return None
        if work.content is None:
            reading = self._content.read(work.job.submission, work.job.content)
            reading.addCallbacks(self._content_read, self._content_missing, callbackArgs=(work,), errbackArgs=(work,))
            if not reading.called or isinstance(reading.result, Failure):
                return reading  # type: ignore[return-value]
        while work.left and not work.has_form(eight_bit):
            recipient = work.left[0] if work.copies is not None else None
            try:
                wait = self._make(work, recipient, eight_bit)
            except FeatureMissing as error:
                self._feature_missing(error, work)
                continue
            if wait is not None:
                return wait
        return None

    def _make(self, work: Work, recipient: LeasedRecipient | None, eight_bit: bool) -> Deferred[None] | None:
        job, content, copies = work.job, work.content, work.copies
        assert content is not None
        path = job.reverse_path if recipient is None or copies is None else copies.reverse_path(recipient)
        options = dict(job.options)
        signer = self._signer if self._signer is not None and self._signer.wants(job.account, options) else None

        def fill() -> bytes:
            return content if recipient is None or copies is None else copies.fill(recipient)

        def render() -> Form:
            filled = fill()
            converted = convert(filled, eight_bit=eight_bit)
            return Form(eight_bit, recipient, path, signed(converted), not eight_bit and converted is not filled)

        def signed(octets: bytes) -> bytes:
            if signer is None:
                return octets
            try:
                fields = signer.sign(job.submission, job.account, options, octets)
            except FeatureMissing as error:
                raise _NotSigned(str(error)) from error
            return fields + octets if fields else octets

        # The way to a thread and back costs more than signing what is as small as most mail, with most keys.
        is_quick = signer is None or signer.is_quick(job.account, options)
        most = SMALL if signer is None else SIGNED_HERE
        if is_quick and len(content) <= most and work.fits(content, eight_bit):
            try:
                work.form = Form(eight_bit, recipient, path, signed(fill()), False)
            except _NotSigned:
                self._not_signed(work)
            return None
        rendering = self._in_thread(render)
        rendering.addCallbacks(work.set_form, self._not_rendered, errbackArgs=(work,))
        return rendering

    def _content_read(self, content: bytes, work: Work) -> None:
        work.content = content
        if self._personalizer.is_personal(work.job):
            try:
                work.copies = self._personalizer.personalize(work.job, content)
            except ContentCorrupt:
                self._content_missing(Failure(), work)

    def _content_missing(self, failure: Failure, work: Work) -> None:
        error = failure.value
        if isinstance(error, StorageUnavailable):
            outcome = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "The message cannot be read from the store now")
        elif isinstance(error, ContentCorrupt | KeyError):
            outcome = Outcome(OutcomeKind.HOLD, 0, "4.3.0", "The stored message is damaged or gone; it is not sent")
            self._log.error("content: submission={submission} reason={reason}", event="content",
                            submission=work.job.submission, reason=str(error))  # fmt: skip
        else:
            failure.raiseException()
        work.settle_rest(outcome)

    def _not_rendered(self, failure: Failure, work: Work) -> None:
        if failure.check(_NotSigned):
            self._not_signed(work)
        else:
            failure.trap(FeatureMissing)
            self._feature_missing(failure.value, work)

    def _not_signed(self, work: Work) -> None:
        """Without its signature a message might be refused for good, or taken for a forgery; it can wait."""
        self._log.error("dkim: submission={submission} waits, for it cannot be signed", event="dkim",
                        submission=work.job.submission)  # fmt: skip
        work.settle_rest(Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "The message cannot be signed now"))

    def _feature_missing(self, error: BaseException | None, work: Work) -> None:
        """Nobody gets a message with holes in it; the next recipient's may be whole."""
        recipient, work.left = work.left[0], work.left[1:]
        work.outcomes[recipient.number] = Outcome(OutcomeKind.HOLD, 0, "4.3.5", str(error))
