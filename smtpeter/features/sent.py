"""The octets that went to a recipient, made once more: what went out is not kept for each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.features.personal import Filling
from smtpeter.interfaces import IContentStore, IEventJournal, IFeatureCatalog, IQueueStore, ISentMessages, ISigner
from smtpeter.mime.convert import convert
from smtpeter.model.feature import Addressee
from smtpeter.model.submission import Submission


@implementer(ISentMessages)
class SentMessages:
    """Fills, converts and signs as delivery does: the same octets always give the same octets.  Only where the keys of
    a domain are others by now, its signatures are too.

    ``catalog`` is only asked for where a message needs it; ``in_thread`` calls what may take long for the reactor.
    """

    def __init__(
        self,
        queue: IQueueStore,
        content: IContentStore,
        journal: IEventJournal,
        catalog: Callable[[], IFeatureCatalog],
        in_thread: Callable[[Callable[[], bytes]], Deferred[bytes]],
        signer: ISigner | None = None,
    ) -> None:
        self._queue = queue
        self._content = content
        self._journal = journal
        self._catalog = catalog
        self._in_thread = in_thread
        self._signer = signer

    def octets(self, submission: Submission, number: int | None) -> Deferred[bytes]:
        """See the interface."""
        return Deferred.fromCoroutine(self._octets(submission, number))

    async def _octets(self, submission: Submission, number: int | None) -> bytes:
        prepared = await self._queue.prepared(submission.id)
        kept, slots = prepared or (submission.content, ())
        is_ready = prepared is not None or not submission.prepare
        content = await self._content.read(submission.id, kept)
        eight_bit = True
        if number is not None:
            events: Any = await self._journal.of_submission(submission.id, number)
            forms = [event.data.get("converted") for event in events if event.data.get("state") == "end"]
            eight_bit = forms[-1:] != ["7bit"]
        catalog = self._catalog() if slots and number is not None else None

        def make() -> bytes:
            filled = content
            if catalog is not None and number is not None:
                address = submission.envelope.recipients[number - 1].address
                addressee = Addressee(submission.id, number, address, submission.account)
                filled = Filling(catalog, submission.id, slots, content).fill(addressee)
            converted = convert(filled, eight_bit=eight_bit)
            return self._signed(submission, converted) if is_ready and number is not None else converted

        return await self._in_thread(make)  # what is small may have many parts, and not be done at once

    def _signed(self, submission: Submission, octets: bytes) -> bytes:
        account, options = submission.account, dict(submission.options)
        if self._signer is None or not self._signer.wants(account, options):
            return octets
        return self._signer.sign(submission.id, account, options, octets) + octets
