"""Taking submissions in: the path that every message goes, and the one where each statement counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from smtpeter.errors import IdempotencyConflict
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.submission import Content, Submission, Taken
from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.idempotency import Keys
from smtpeter.store.sqlite.rows import (
    DUE,
    WAITING,
    milliseconds,
    pack_options,
    seconds,
    unpack_options,
    unpack_tags,
)
from smtpeter.store.sqlite.transaction import Combinable

_CONTENT = "INSERT INTO content (number, data) VALUES (?, ?)"
_SUBMISSION = """
    INSERT INTO submission (id, account, login, channel, reverse_path, body, smtputf8, ret, envid, size, digest,
        content, file, time, due, expires, subject, message_id, tags, options, recipients, unfinished, first_event,
        prepare)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_RECIPIENT = """
    INSERT INTO recipient (submission, number, address, domain, notify, orcpt, state, attempts, due, account)
    VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)
"""
_EVENT = "INSERT INTO event (cursor, time, kind, submission, number) VALUES (?, ?, 'attempt', ?, ?)"
_PREPARATION = "INSERT INTO preparation (submission, time, due, attempts) VALUES (?, ?, ?, 0)"

_READ_SUBMISSION = """
    SELECT id, account, login, channel, reverse_path, body, smtputf8, ret, envid, size, digest, file, time, due,
        expires, subject, message_id, tags, options,
        prepare AND EXISTS (SELECT 1 FROM preparation WHERE preparation.submission = id)
    FROM submission WHERE id = ?
"""
_READ_RECIPIENTS = "SELECT address, domain, notify, orcpt FROM recipient WHERE submission = ? ORDER BY number"


Answer = bool | Taken | IdempotencyConflict
"""Whether a submission was taken in, or, where it has a key, what is told of it.  A conflict is told and not raised, or
its neighbours in a transaction would have to be taken in one by one."""


class Enqueue(Combinable):
    """One submission to be taken in; ``withdrawn`` may be set, from another thread, until it is."""

    __slots__ = ("submission", "withdrawn")

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.withdrawn = False

    @classmethod
    def together(cls, connection: sqlite3.Connection, operations: Sequence[Enqueue]) -> Sequence[Answer]:
        """See :class:`smtpeter.store.sqlite.transaction.Combinable`."""
        answers: list[Answer] = [not operation.withdrawn for operation in operations]
        wanted: list[Submission] = []
        keys: Keys | None = None
        for index, operation in enumerate(operations):
            if operation.withdrawn:
                continue
            submission: Submission | None = operation.submission
            if operation.submission.idempotency is not None:
                keys = keys or Keys(connection)
                submission, answers[index] = keys.admit(operation.submission)
            if submission is not None:
                wanted.append(submission)
        enqueue(connection, wanted)
        if keys is not None:
            keys.write()
        return answers


def enqueue(connection: sqlite3.Connection, taken: Sequence[Submission]) -> None:
    """Write submissions with their content, recipients and ``attempt`` events."""
    contents: list[tuple[int, bytes]] = []
    submissions: list[tuple[object, ...]] = []
    recipients: list[tuple[object, ...]] = []
    events: list[tuple[int, int, str, int]] = []
    preparations: list[tuple[str, int, int]] = []
    earliest: dict[LaneKey, int] = {}
    next_content = following(connection, "SELECT max(number) FROM content")
    next_event = following(connection, "SELECT max(cursor) FROM event")
    for submission in taken:
        id, envelope, content = submission.id, submission.envelope, submission.content
        time, due = milliseconds(submission.time), milliseconds(submission.due)
        kept: int | None = None
        if content.file is None:
            if content.data is None:
                raise ValueError("content without data has to name its file")
            kept = next_content
            next_content += 1
            contents.append((kept, content.data))
        state, account = DUE, submission.account or 0
        if submission.prepare:
            state = WAITING
            preparations.append((id, time, time))
        number, first_event = 0, next_event
        for address, domain, notify, orcpt in envelope.recipients:
            number += 1
            recipients.append((id, number, address, domain, notify, orcpt, state, due, account))
            events.append((next_event, time, id, number))
            next_event += 1
            if state == DUE and due < earliest.get((domain, account), due + 1):
                earliest[domain, account] = due
        submissions.append(
            (
                id,
                submission.account,
                submission.login,
                submission.channel,
                envelope.reverse_path,
                envelope.body,
                1 if envelope.smtputf8 else 0,  # sqlite3 takes long over a bool
                envelope.ret,
                envelope.envid,
                content.size,
                content.digest,
                kept,
                content.file,
                time,
                None if due == time else due,
                milliseconds(submission.expires),
                submission.subject,
                submission.message_id,
                ";".join(submission.tags),
                pack_options(submission.options),
                number,
                number,
                first_event,
                1 if submission.prepare else 0,
            )
        )
    connection.executemany(_CONTENT, contents)
    connection.executemany(_SUBMISSION, submissions)
    connection.executemany(_RECIPIENT, recipients)
    connection.executemany(_EVENT, events)
    if preparations:
        connection.executemany(_PREPARATION, preparations)
    became_due(connection, earliest)


def following(connection: sqlite3.Connection, query: str) -> int:
    """The number after the last one, which a query finds."""
    (last,) = connection.execute(query).fetchone()
    return (last or 0) + 1


def read_submission(connection: sqlite3.Connection, id: str) -> Submission:
    """A submission as it was taken in, its content without data.

    :raises KeyError: where there is none.
    """
    row = connection.execute(_READ_SUBMISSION, (id,)).fetchone()
    if row is None:
        raise KeyError(id)
    (_, account, login, channel, path, body, smtputf8, ret, envid, size, digest, file, time, due, expires) = row[:15]
    subject, message_id, tags, options, waits = row[15:]
    recipients = tuple(Recipient(*each) for each in connection.execute(_READ_RECIPIENTS, (id,)))
    return Submission(
        id=id,
        account=account,
        login=login,
        channel=channel,
        envelope=Envelope(path, recipients, body, bool(smtputf8), ret, envid),
        content=Content(size, digest, None, file),
        time=seconds(time),
        due=seconds(time if due is None else due),
        expires=seconds(expires),
        subject=subject,
        message_id=message_id,
        tags=unpack_tags(tags),
        options=unpack_options(options),
        prepare=bool(waits),
    )
