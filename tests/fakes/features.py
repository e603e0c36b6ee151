"""Features that make copies personal, and a catalog that has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zope.interface import implementer

from smtpeter.interfaces import IEnvelopeFeature, IPersonalizingFeature
from smtpeter.model.delivery import Job
from smtpeter.model.feature import Addressee, Options, PlacedSlot, Slot
from tests.fakes.jobs import make_job


@implementer(IPersonalizingFeature)
class Filler:
    """Fills each slot with its key and the recipient's number, in as many characters as the key tells at its end.

    ``answer`` is given instead where it is set, or raised.  ``asked`` are the questions.
    """

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.asked: list[tuple[tuple[str, ...], Addressee]] = []

    def wants(self, options: Options) -> bool:
        return True

    def values(self, keys: Sequence[str], addressee: Addressee) -> Sequence[str]:
        self.asked.append((tuple(keys), addressee))
        if isinstance(self.answer, Exception):
            raise self.answer
        return [value_for(key, addressee.number) for key in keys] if self.answer is None else self.answer


def value_for(key: str, number: int) -> str:
    """What :class:`Filler` puts into a slot: the key ends in its length."""
    length = int(key.rpartition("-")[2])
    return f"{key}_{number}_".ljust(length, "x")[-length:] if length else ""


@implementer(IEnvelopeFeature)
class Enveloper:
    """Puts the recipient's number into the reverse-path, where an option of the message has its name."""

    def __init__(self, name: str, path: str | Exception | None = None) -> None:
        self.name = name
        self.path = path
        self.asked: list[tuple[str, Addressee]] = []

    def wants(self, options: Options) -> bool:
        return options.get(self.name) == "true"

    def reverse_path(self, reverse_path: str, addressee: Addressee) -> str:
        self.asked.append((reverse_path, addressee))
        if isinstance(self.path, Exception):
            raise self.path
        return f"{self.name}-{addressee.number}@bounces.example" if self.path is None else self.path


class FakeCatalog:
    """As much of a catalog as delivery asks."""

    def __init__(self, **features: Any) -> None:
        self.features = features
        self.questions = 0

    def enveloping(self, options: Options) -> Sequence[tuple[str, Any]]:
        self.questions += 1
        return [
            (name, each)
            for name, each in self.features.items()
            if IEnvelopeFeature.providedBy(each) and each.wants(options)
        ]

    def personalizing(self, name: str) -> Any:
        self.questions += 1
        feature = self.features.get(name)
        return feature if IPersonalizingFeature.providedBy(feature) else None


def make_personal_job(pieces: Sequence[bytes | Slot], count: int = 1, **changes: Any) -> Job:
    """A job whose content is made of these pieces; where slots are, there is filler."""
    octets, slots = b"", []
    for piece in pieces:
        if isinstance(piece, Slot):
            slots.append(PlacedSlot(len(octets), piece))
            octets += b"#" * piece.length
        else:
            octets += piece
    return make_job(count, data=octets, slots=tuple(slots), **changes)
