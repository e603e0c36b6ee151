"""The messages that whoever asks may see: those of his account, and no others."""

from __future__ import annotations

from typing import NamedTuple

from smtpeter.interfaces import IQueueStore, ISubmitter
from smtpeter.model.ids import parse_id
from smtpeter.model.submission import Submission
from smtpeter.web.rest.values import ApiError

NO_SUCH_MESSAGE = "There is no message with this id"
"""The same for ids that never were, are not kept any more, and belong to somebody else."""


class Found(NamedTuple):
    """What an id means.  ``number`` is None for all recipients of a submission."""

    submission: Submission
    number: int | None


async def find_own(queue: IQueueStore, submitter: ISubmitter, id: str) -> Found:
    """The submission of this account that an id means, or one recipient of it.

    :raises ApiError: 404.
    """
    parts = parse_id(id)
    if parts is None:
        raise ApiError(404, NO_SUCH_MESSAGE)
    try:
        submission = await queue.submission(parts[0])
    except KeyError:
        raise ApiError(404, NO_SUCH_MESSAGE) from None
    number, count = parts[1], len(submission.envelope.recipients)
    # A single recipient's id is the submission's own.
    is_named = number is None or (count > 1 and number <= count)
    if submission.account != submitter.account.number or not is_named:
        raise ApiError(404, NO_SUCH_MESSAGE)
    return Found(submission, 1 if count == 1 else number)
