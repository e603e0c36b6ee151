"""A feature's surroundings, so that it can be asked without a server, a worker or a delivery around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from zope.interface import implementer

from smtpeter.features.services import FeatureKeys, FeatureServices, Surroundings
from smtpeter.interfaces import IPersonalizingFeature, IPrepareContext
from smtpeter.mime.editing import EditableMessage
from smtpeter.model.event import EventKind
from smtpeter.model.feature import Addressee, Options, WebRequest
from smtpeter.model.ids import make_submission_id

SUBMISSION = make_submission_id(1_700_000_000_123, b"0123456789")
KEYS = FeatureKeys("k1", {"k1": bytes(range(32)), "k2": bytes(32)})


class Recorded(NamedTuple):
    """An event that a feature had written."""

    kind: EventKind
    submission: str
    number: int
    data: Mapping[str, Any]
    request: WebRequest


class FakeServer:
    """What is around a feature.  ``recorded`` are the events it wrote; ``blocked`` holds accounts, submissions and
    domains."""

    def __init__(self, tracking_url: str = "https://click.example.com", keys: FeatureKeys = KEYS) -> None:
        self.recorded: list[Recorded] = []
        self.blocked: set[int | str | None] = set()
        surroundings = Surroundings("mail.example.com", tracking_url, "bounces.example.com")
        self.services = FeatureServices(surroundings, keys, self._record, self._is_blocked)

    def _record(
        self, kind: EventKind, submission: str, number: int, data: Mapping[str, Any], request: WebRequest
    ) -> None:
        self.recorded.append(Recorded(kind, submission, number, data, request))

    def _is_blocked(self, account: int | None, submission: str, domain: str = "") -> bool:
        return not self.blocked.isdisjoint((account, submission, domain))


@implementer(IPrepareContext)
class FakeContext:
    """What a feature is told of a message; ``notes`` is what it told."""

    def __init__(
        self, options: Options | None = None, submission: str = SUBMISSION, account: int | None = 7, recipients: int = 1
    ) -> None:
        self.submission = submission
        self.account = account
        self.reverse_path = "sender@example.com"
        self.recipients = recipients
        self.options = options or {}
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def html_message(html: bytes, charset: str = "utf-8", fields: str = "") -> EditableMessage:
    """A message that is HTML, in a transfer encoding that changes nothing."""
    header = f"{fields}Content-Type: text/html; charset={charset}\r\nContent-Transfer-Encoding: binary\r\n\r\n"
    return EditableMessage(header.encode("ascii") + html)


def personal_copy(message: EditableMessage, feature: IPersonalizingFeature, number: int) -> bytes:
    """The octets that a recipient gets."""
    octets, slots = message.render()
    addressee = Addressee(SUBMISSION, number, "reader@example.net", 7)
    copy = bytearray(octets)
    for offset, slot in slots:
        (value,) = feature.values([slot.key], addressee)
        copy[offset : offset + slot.length] = value.encode("ascii")
    assert len(copy) == len(octets)
    return bytes(copy)


def web_request(
    tail: str, method: str = "GET", query: str = "", headers: Sequence[tuple[bytes, bytes]] = ()
) -> WebRequest:
    """What a mail reader asks for."""
    return WebRequest(method, tail, query, tuple(headers), "192.0.2.1", 1_700_000_100.0)
