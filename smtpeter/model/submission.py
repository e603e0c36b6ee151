"""A message on its way in, and its content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import recipient_id


class Content(NamedTuple):
    """The octets of a message, checksummed: canonical CRLF, trace fields included, no dot-stuffing.

    Small content travels in ``data`` and becomes durable with the row that names it.  Large content is already durable
    in a file when this value exists: then ``data`` is None and ``file`` names it within the content store.

    ``prepared`` tells which of a submission's contents it is: what came in, or what its features made of it.
    """

    size: int
    digest: bytes
    data: bytes | None = None
    file: str | None = None
    prepared: bool = False


IDEMPOTENCY_KEY = re.compile(r"[ -~]{1,255}")
"""What may be the key of :class:`Idempotency`: printable ASCII."""


class Idempotency(NamedTuple):
    """A client's own name for what it hands over, so that to hand it over again does no harm for 24 hours.

    ``digest`` is of the whole request: all of it was taken before, or nothing, and the same key with another digest is
    a conflict.  None: each recipient stands for itself, and no conflict is ever seen, since MTAs split messages.
    """

    key: str
    digest: bytes | None


class Taken(NamedTuple):
    """What a client is told of a submission: its id, and its recipients' (id, address), in the order of the request.

    ``again``: nothing was enqueued, because all of it was taken before; then the ids are those of then.
    """

    id: str
    recipients: tuple[tuple[str, str], ...]
    again: bool = False

    @classmethod
    def whole(cls, id: str, recipients: Sequence[Recipient], *, again: bool = False) -> Taken:
        """What is told where all recipients are those of one submission, in its order."""
        count = len(recipients)
        numbered = enumerate(recipients, 1)
        return cls(id, tuple([(recipient_id(id, number, count), each.address) for number, each in numbered]), again)


class WholeMessage(NamedTuple):
    """A message that a door has as a whole.  ``pieces`` are its octets, canonical CRLF, in pieces of any size.

    ``options`` are what the request asks for beside the message, by any of their names, as text.  ``client`` is the
    address that it came from; ``idempotency`` as in Submission.
    """

    envelope: Envelope
    pieces: Iterable[bytes]
    options: Mapping[str, str]
    client: str
    idempotency: Idempotency | None = None


class Submission(NamedTuple):
    """One message as it is handed over to the queue.  Times are seconds since the epoch, UTC.

    ``channel`` is the door it came through: ``smtp``, ``rest`` or ``internal`` (our own notifications).
    ``login`` is the credential's public name, empty when there is none.  ``options`` are the effective options
    by their canonical names; ``tags`` is one of them, kept apart because the journal depends on it.  ``prepare``: it
    has to be prepared by its features before anything of it is due.  ``idempotency`` is of its account.
    """

    id: str
    account: int | None
    login: str
    channel: str
    envelope: Envelope
    content: Content
    time: float
    due: float
    expires: float
    subject: str = ""
    message_id: str = ""
    tags: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    prepare: bool = False
    idempotency: Idempotency | None = None
