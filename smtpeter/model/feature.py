"""What features and the rest of the program say to each other: values only."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from smtpeter.model.event import EventKind
from smtpeter.model.submission import Content

Options = Mapping[str, str]
"""A message's effective options: canonical names, and values as :class:`OptionKind` tells.  Absent: not given."""


CORE_OPTIONS = {name: name for name in ("tags", "maxdelivertime", "send_at", "images", "idempotency_key")} | {
    "sendat": "send_at"
}
"""Options that are no feature's, since journal, schedule and queue depend on them: canonical names by
:func:`option_key`.  The idempotency key is only ever a field of a message."""


def option_key(name: str) -> str:
    """By what the names of options are compared: without case, and ``-`` is ``_``."""
    return name.lower().replace("-", "_")


class OptionKind(StrEnum):
    """What an option's value may be: SWITCH ``true`` or ``false``; TEXT one line of at most 1,000 characters."""

    SWITCH = "switch"
    TEXT = "text"


class Option(NamedTuple):
    """An option, declared once: the login's and token's default, the REST field, the ``X-SMTPeter-*`` header.

    ``name`` and ``aliases`` are lower-case letters, digits and ``_``; what people write is compared with them as
    :func:`option_key` has it.  ``help`` is one line.
    """

    name: str
    help: str
    kind: OptionKind = OptionKind.SWITCH
    aliases: tuple[str, ...] = ()


class FailurePolicy(StrEnum):
    """What becomes of a message when its feature fails, has no time left, or takes the worker down with it.

    SEND: it goes on without this feature.  DEFER: it waits and is prepared again later, until it expires.  FAIL: it is
    returned to its sender.
    """

    SEND = "send"
    DEFER = "defer"
    FAIL = "fail"


class MessageSummary(NamedTuple):
    """What a feature may look at before a message is taken.  ``account`` is an e-mail address, ``size`` in octets."""

    submission: str
    account: str
    login: str
    reverse_path: str
    recipients: tuple[str, ...]
    size: int
    subject: str


class Addressee(NamedTuple):
    """One recipient of a submission, at delivery.  ``number`` counts from 1; ``account`` is the submitter's number."""

    submission: str
    number: int
    address: str
    account: int | None


class Slot(NamedTuple):
    """A place of ``length`` octets, at most 64, that is filled for each recipient, at delivery.

    ``feature`` is the name of the feature that fills it and ``key`` what it then needs to know; both are stored.  The
    value has only letters, digits, ``-`` and ``_``, and exactly this length.
    """

    feature: str
    key: str
    length: int


class PlacedSlot(NamedTuple):
    """A slot of a prepared message: ``content[offset : offset + slot.length]`` is to be replaced by its value."""

    offset: int
    slot: Slot


class Unprepared(NamedTuple):
    """A submission that waits to be prepared, claimed.  Times in seconds since the epoch.

    ``attempt`` counts from 1 and is the fencing token: what is stored under another attempt changes nothing.
    ``content`` has no data; ``recipients`` is how many there are.
    """

    submission: str
    attempt: int
    account: int | None
    reverse_path: str
    options: tuple[tuple[str, str], ...]
    recipients: int
    content: Content
    time: float
    expires: float


class Prepared(NamedTuple):
    """What preparing made of a submission.  ``content`` is None where it goes as it came; ``data`` is told by the
    ``prepared`` event of each recipient."""

    submission: str
    attempt: int
    content: Content | None
    slots: tuple[PlacedSlot, ...]
    data: Mapping[str, Any]


class Happening(NamedTuple):
    """Something that a mail reader did with a recipient's message: a click or an open.  ``time`` as in Event."""

    kind: EventKind
    time: float
    submission: str
    number: int
    data: Mapping[str, Any]


class WebRequest(NamedTuple):
    """A request for something below ``/t/<feature>/``.

    ``tail`` is the path behind that, as it was sent; ``query`` what follows the ``?``, empty where there is none.
    ``headers`` are as they came, names in lower case.  ``address`` is the client's, proxies that are trusted taken into
    account.  ``body`` is empty unless the method is POST, and at most 64 KiB.  ``time`` is in seconds since the epoch.
    """

    method: str
    tail: str
    query: str
    headers: tuple[tuple[bytes, bytes], ...]
    address: str
    time: float
    secure: bool = False
    body: bytes = b""


class WebResponse(NamedTuple):
    """The answer.  The headers that keep it from being stored, indexed or sniffed are added to it, and its length."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


NOT_FOUND = WebResponse(404, ((b"Content-Type", b"text/plain; charset=utf-8"),), b"Not found\n")
"""The one answer to everything that is forged, blocked or unknown."""


class BlockKind(StrEnum):
    """What tracked links can be ended by."""

    ACCOUNT = "account"
    SUBMISSION = "submission"
    DOMAIN = "domain"


class Block(NamedTuple):
    """Links that must die: of an account (e-mail address), of a submission, or to a domain and all below it."""

    kind: BlockKind
    value: str
    time: float
