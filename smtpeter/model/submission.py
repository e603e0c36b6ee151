"""A message on its way in, and its content."""

from __future__ import annotations

from typing import NamedTuple

from smtpeter.model.envelope import Envelope


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


class Submission(NamedTuple):
    """One message as it is handed over to the queue.  Times are seconds since the epoch, UTC.

    ``channel`` is the door it came through: ``smtp``, ``rest`` or ``internal`` (our own notifications).
    ``login`` is the credential's public name, empty when there is none.  ``options`` are the effective options
    by their canonical names; ``tags`` is one of them, kept apart because the journal depends on it.  ``prepare``: it
    has to be prepared by its features before anything of it is due.
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
