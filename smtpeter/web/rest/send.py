"""Routes that hand over mail: send, resend, cancel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field
from twisted.internet.defer import Deferred

from smtpeter.interfaces import IClock, IFeatureCatalog, IMessageIntake, IQueueStore, ISubmitter
from smtpeter.model.account import Scope
from smtpeter.model.delivery import RecipientState
from smtpeter.model.listing import Filter, MessageRow, Verb
from smtpeter.model.submission import IDEMPOTENCY_KEY, Idempotency, Submission, Taken, WholeMessage
from smtpeter.web.rest.bodies import digest_of
from smtpeter.web.rest.elsewhere import Elsewhere
from smtpeter.web.rest.fields import body_schema
from smtpeter.web.rest.outgoing import Outgoing, Rules, make_outgoing
from smtpeter.web.rest.own import find_own
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.values import ApiError, Call, Request, Response, json_response
from smtpeter.web.rest.weight import read_if_light

_ROWS = 1000  # of one call of the store
_KEY_FIELD = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    "description": "Your own name for this request: to send it again within 24 hours does no harm.",
}
_TAKEN = {
    "type": "object",
    "description": "The recipients' addresses by the ids of their messages, in the order of the request.",
    "additionalProperties": {"type": "string"},
    "examples": [
        {"0hn4w3gk2m8r6t1v5x7z9b0c2d-1": "jane@example.com", "0hn4w3gk2m8r6t1v5x7z9b0c2d-2": "joe@example.org"}
    ],
}
_STATES = {
    "type": "object",
    "additionalProperties": {"type": "string", "enum": [str(state) for state in RecipientState]},
}
_CANCELLED = {
    "type": "object",
    "properties": {
        "cancelled": {"type": "array", "items": {"type": "string"}, "description": "Ids of recipients' messages."},
        "others": _STATES | {"description": "The states of the others, by ids."},
    },
    "required": ["cancelled", "others"],
}
_NOT_CANCELLED = {
    "type": "object",
    "properties": {"error": {"type": "string"}, "others": _STATES},
    "required": ["error", "others"],
}

T = TypeVar("T")


class Resend(BaseModel):
    """Which message to send again."""

    model_config = ConfigDict(hide_input_in_errors=True)
    message: str = Field(
        description="The id of a recipient's message, or of a submission: then it goes to all its recipients."
    )


def routes(
    *,
    intake: IMessageIntake,
    queue: IQueueStore,
    clock: IClock,
    catalog: IFeatureCatalog,
    rules: Rules,
    elsewhere: Elsewhere,
) -> list[Route]:
    """The routes of this module."""
    sending = _Sending(intake, queue, clock, rules, elsewhere)
    send = Route(
        "POST",
        "/send",
        Scope.SEND,
        sending.send,
        "Send a message",
        "Takes a message over for delivery: it is durable when this is answered. With an `Idempotency-Key` field (1 to "
        "255 printable ASCII characters) the same request within 24 hours is answered as the first time, and nothing "
        "more is sent; another request under the same key is answered 409.",
        "Sending",
        body_schema=body_schema(catalog),
        headers=(_KEY_FIELD,),
        answers={200: Answer("Taken over.", _TAKEN)},
    )
    resend = Route(
        "POST",
        "/resend",
        Scope.SEND,
        sending.resend,
        "Send a message again",
        "The same message once more, under new ids. An `Idempotency-Key` field is honoured as for `/send`.",
        "Sending",
        body=Resend,
        headers=(_KEY_FIELD,),
        answers={200: Answer("Taken over.", _TAKEN)},
    )
    cancel = Route(
        "DELETE",
        "/message/{id}",
        Scope.SEND,
        sending.cancel,
        "Cancel a message",
        "Cancels what has not left yet, for one recipient or for all of a submission.",
        "Sending",
        parameters={"id": "The id of a recipient's message, or of a submission."},
        answers={
            200: Answer("At least one recipient's message is cancelled, now or before.", _CANCELLED),
            409: Answer("Nothing of it can be cancelled any more.", _NOT_CANCELLED),
        },
    )
    return [send, resend, cancel]


class _Sending:
    def __init__(
        self, intake: IMessageIntake, queue: IQueueStore, clock: IClock, rules: Rules, elsewhere: Elsewhere
    ) -> None:
        self._intake = intake
        self._queue = queue
        self._clock = clock
        self._rules = rules
        self._elsewhere = elsewhere

    async def send(self, call: Call) -> Response:
        """``POST /v1/send``."""
        request = call.request
        key = read_key(request)
        content_type = request.field(b"content-type")
        tree = read_if_light(content_type, request.body) if request.file is None else None
        if tree is None:
            return _answer(await _to_its_end(Deferred.fromCoroutine(self._send_large(request, call.submitter, key))))
        outgoing = make_outgoing(tree, self._rules, os.urandom(16).hex())
        # One piece costs less than several, each of which is looked at.
        outgoing = outgoing._replace(pieces=(b"".join(outgoing.pieces),))
        digest = digest_of(content_type, request.body) if key else b""
        return _answer(await _to_its_end(self._take(request, call.submitter, outgoing, key, digest)))

    async def _send_large(self, request: Request, submitter: ISubmitter, key: str) -> Taken:
        outgoing, digest, remove = await self._elsewhere.compose(request, submitter.account.number)
        try:
            return await self._take(request, submitter, outgoing, key, digest)
        finally:
            remove()

    def _take(
        self, request: Request, submitter: ISubmitter, outgoing: Outgoing, key: str, digest: bytes
    ) -> Deferred[Taken]:
        envelope, pieces, options = outgoing
        idempotency = Idempotency(key, digest) if key else None
        message = WholeMessage(envelope, pieces, options, request.address, idempotency)
        return self._intake.take(message, submitter)

    async def resend(self, call: Call) -> Response:
        """``POST /v1/resend``."""
        key = read_key(call.request)
        submission, number = await find_own(self._queue, call.submitter, call.body.message)
        count = len(submission.envelope.recipients)
        numbers = tuple(range(1, count + 1)) if number is None else (number,)
        idempotency = Idempotency(key, _digest_of_resend(submission.id, numbers)) if key else None
        again = self._again(submission, numbers, call.submitter, idempotency)
        return await _to_its_end(Deferred.fromCoroutine(again))

    async def _again(
        self, submission: Submission, numbers: tuple[int, ...], submitter: ISubmitter, idempotency: Idempotency | None
    ) -> Response:
        try:
            return _answer(await self._intake.again(submission, numbers, submitter, idempotency))
        except KeyError:
            raise ApiError(404, "The content of this message is not kept any more") from None

    async def cancel(self, call: Call) -> Response:
        """``DELETE /v1/message/{id}``."""
        submission, number = await find_own(self._queue, call.submitter, call.path["id"])
        meant = Filter(account=call.submitter.account.email, submission=submission.id, number=number)
        while await self._queue.apply(meant, Verb.CANCEL, self._clock.time(), _ROWS) == _ROWS:
            pass
        rows = await self._rows(meant)
        cancelled = [row.id for row in rows if row.state is RecipientState.CANCELLED]
        others = {row.id: str(row.state) for row in rows if row.state is not RecipientState.CANCELLED}
        if not cancelled:
            return json_response({"error": f"Nothing of this can be cancelled any more: {_summary(others)}",
                                  "others": others}, 409)  # fmt: skip
        return json_response({"cancelled": cancelled, "others": others})

    async def _rows(self, meant: Filter) -> list[MessageRow]:
        """All of them, in the order of their numbers."""
        rows: list[MessageRow] = []
        before = None
        while found := await self._queue.select(meant, _ROWS, before):
            rows += found
            before = (found[-1].submission, found[-1].number)
            if len(found) < _ROWS:
                break
        return sorted(rows, key=lambda row: row.number)


def read_key(request: Request) -> str:
    """The idempotency key of a request, empty where it has none.

    :raises ApiError: 400.
    """
    given = [value.decode("latin-1") for name, value in request.fields if name == b"idempotency-key"]
    if not given:
        return ""
    if len(given) > 1 or IDEMPOTENCY_KEY.fullmatch(given[0]) is None:
        raise ApiError(400, "Idempotency-Key: write one, of 1 to 255 printable ASCII characters")
    return given[0]


def _digest_of_resend(submission: str, numbers: tuple[int, ...]) -> bytes:
    """What tells such requests apart, from one another and from those to send."""
    wanted = " ".join(map(str, numbers))
    return hashlib.sha256(b"resend\0%s\0%s" % (submission.encode("ascii"), wanted.encode("ascii"))).digest()


def _answer(taken: Taken) -> Response:
    return json_response(dict(taken.recipients))


def _summary(others: Mapping[str, str]) -> str:
    states = sorted(set(others.values()))
    return f"it is {states[0]}" if len(states) == 1 else f"its recipients are {', '.join(states)}"


def _to_its_end(work: Deferred[T]) -> Deferred[T]:
    """Carry something out to its end, whether or not anybody still waits for it then: a client that goes away must not
    take back what may be durable already, under a key by which he asks for it again."""
    waiting: Deferred[T] = Deferred()
    work.addCallbacks(waiting.callback, waiting.errback)
    return waiting
