"""Each recipient's own copy of a message: its slots filled, and the reverse-path that features choose.

What all copies have in common is worked out once for a job: the octets between the slots, and for each feature the keys
that it is to be asked for.  A copy then costs one question to each feature, and one joining of octets.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from operator import attrgetter

from twisted.logger import Logger, LogLevel
from zope.interface import implementer

from smtpeter.errors import ContentCorrupt, FeatureMissing
from smtpeter.interfaces import ICopies, IEnvelopeFeature, IFeatureCatalog, IPersonalizer, IPersonalizingFeature
from smtpeter.model.delivery import Job, LeasedRecipient
from smtpeter.model.feature import Addressee, PlacedSlot, Slot
from smtpeter.smtp.grammar import SENDER, parse_path

_VALUE = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


@implementer(IPersonalizer)
class Personalizer:
    """Asks the features of a catalog."""

    def __init__(self, catalog: IFeatureCatalog) -> None:
        self._catalog = catalog

    def is_personal(self, job: Job) -> bool:
        """See :meth:`smtpeter.interfaces.IPersonalizer.is_personal`."""
        try:
            return bool(job.slots or (job.options and self._catalog.enveloping(dict(job.options))))
        except Exception:
            return True  # the copies will tell what is wrong

    def personalize(self, job: Job, content: bytes) -> Copies:
        """See :meth:`smtpeter.interfaces.IPersonalizer.personalize`."""
        return Copies(self._catalog, job, content)


@implementer(ICopies)
class Copies:
    """The copies of one job."""

    def __init__(self, catalog: IFeatureCatalog, job: Job, content: bytes) -> None:
        self._job = job
        self._faults = _Faults(job.submission)
        self._filling = Filling(catalog, job.submission, job.slots, content)
        self._enveloping: Sequence[tuple[str, IEnvelopeFeature]] = ()
        self._broken: FeatureMissing | None = None
        if job.options:
            try:
                self._enveloping = catalog.enveloping(dict(job.options))
            except Exception:
                self._broken = self._faults.note("for return addresses")

    def reverse_path(self, recipient: LeasedRecipient) -> str:
        """See :meth:`smtpeter.interfaces.ICopies.reverse_path`."""
        if self._broken is not None:
            raise self._broken
        path = self._job.reverse_path
        for name, feature in self._enveloping:
            try:
                path = feature.reverse_path(path, self._addressee(recipient))
                if parse_path(f"<{path}>", SENDER)[2]:
                    raise ValueError("that is no reverse-path")
            except Exception as error:
                raise self._faults.note(name) from error
        return path

    def fill(self, recipient: LeasedRecipient) -> bytes:
        """See :meth:`smtpeter.interfaces.ICopies.fill`."""
        return self._filling.fill(self._addressee(recipient))

    def _addressee(self, recipient: LeasedRecipient) -> Addressee:
        return Addressee(self._job.submission, recipient.number, recipient.address, self._job.account)


class Filling:
    """A submission's content, ready to have its slots filled for one recipient after the other.

    :raises ContentCorrupt: where the slots do not lie within the content.
    """

    def __init__(self, catalog: IFeatureCatalog, submission: str, slots: Sequence[PlacedSlot], content: bytes) -> None:
        self._content = content
        self._faults = _Faults(submission)
        self._pieces = _pieces(submission, slots, content)
        # By feature, so that what it is asked for stands together.
        distinct = sorted({slot for _, slot in slots})
        self._asked = [
            _Asked(name, catalog.personalizing(name), tuple(each))
            for name, each in groupby(distinct, attrgetter("feature"))
        ]
        where = {slot: place for place, slot in enumerate(distinct)}
        self._places = [where[slot] for _, slot in slots]  # of each one's value among all that are asked for

    def fill(self, addressee: Addressee) -> bytes:
        """The content for this recipient.

        :raises FeatureMissing: where a feature is not there any more, or fails.
        """
        if not self._places:
            return self._content
        values: list[bytes] = []
        for asked in self._asked:
            if asked.feature is None:
                raise FeatureMissing(f"The feature {asked.name}, which this message needs, is not there")
            try:
                values += asked.ask(asked.feature, addressee)
            except Exception as error:
                raise self._faults.note(asked.name) from error
        pieces = self._pieces.copy()
        pieces[1::2] = [values[place] for place in self._places]
        return b"".join(pieces)


class _Asked:
    """What one feature is asked for: its distinct keys, and how long each value has to be."""

    def __init__(self, name: str, feature: IPersonalizingFeature | None, slots: Sequence[Slot]) -> None:
        self.name = name
        self.feature = feature
        self._keys = tuple(slot.key for slot in slots)
        self._lengths = tuple(slot.length for slot in slots)

    def ask(self, feature: IPersonalizingFeature, addressee: Addressee) -> list[bytes]:
        """The values.

        :raises ValueError: where one does not fit its slot; and whatever the feature raises.
        """
        values = []
        for value, length in zip(feature.values(self._keys, addressee), self._lengths, strict=True):
            if len(value) != length or not _VALUE.fullmatch(value):
                raise ValueError("a value that does not fit its slot")
            values.append(value.encode("ascii"))
        return values


class _Faults:
    """What went wrong with features, for the log: once for each of them, as it may happen to every recipient."""

    _log = Logger()

    def __init__(self, submission: str) -> None:
        self._submission = submission
        self._told: set[str] = set()

    def note(self, name: str) -> FeatureMissing:
        """A feature is to blame for the exception that is being dealt with."""
        if name not in self._told:
            self._told.add(name)
            self._log.failure(
                "feature: {feature} failed at delivery: submission={submission}",
                level=LogLevel.error,
                event="feature",
                feature=name,
                submission=self._submission,
            )
        return FeatureMissing(f"The feature {name}, which this message needs, failed")


def _pieces(submission: str, slots: Sequence[PlacedSlot], content: bytes) -> list[bytes | memoryview]:
    """The octets around the slots, with a place between each two of them."""
    whole = memoryview(content)
    pieces: list[bytes | memoryview] = []
    position = 0
    for offset, slot in slots:
        if not position <= offset <= offset + slot.length <= len(content):
            raise ContentCorrupt(f"the slots of {submission} do not lie within its content")
        pieces += whole[position:offset], b""
        position = offset + slot.length
    pieces.append(whole[position:])
    return pieces
