"""``/v1/recipient/ID``, ``/v1/text/ID``, ...: what was sent, read back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from smtpeter.errors import FeatureMissing
from smtpeter.interfaces import IContentStore, IQueueStore, ISentMessages
from smtpeter.mime.reading import File, MessageReader, find_file
from smtpeter.model.account import Scope
from smtpeter.model.submission import Submission
from smtpeter.web.rest.downloads import fields_of, safe_type
from smtpeter.web.rest.own import find_own
from smtpeter.web.rest.routes import Answer, Route
from smtpeter.web.rest.turns import Pieces, Turns, slices
from smtpeter.web.rest.values import TEXT, ApiError, Call, Response, json_response, text_response

T = TypeVar("T")
InThread = Callable[[Callable[[], T]], "Deferred[T]"]

LARGE = 65_536
"""Octets of a message, over which only a few are in memory at a time, from looking through them until their answers
are taken."""

_AT_ONCE = 6
_OF_ONE = 2
"""Of them, those of one account."""

_TEXT = {"type": "string"}
_FILES = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["name", "number", "type", "size"],
        "properties": {
            "name": {"type": "string", "description": "as the sender calls it; may be empty, or there twice"},
            "number": {"type": "integer", "description": "from 1"},
            "type": _TEXT,
            "size": {"type": "integer", "description": "in octets"},
        },
    },
}
_ID = {"id": "The id of a message, or of a submission"}
_AS_TAKEN_IN = (
    "The message is read as it was taken in, before features changed anything in it. 404: there is no such message, it "
    "has no such part, or its content is not kept any more."
)
_GONE = "The content of this message is not kept any more"


def routes(queue: IQueueStore, content: IContentStore, sent: ISentMessages, in_thread: InThread[Any]) -> list[Route]:
    """The routes of messages' parts.  ``in_thread`` calls what takes too long for the reactor's thread."""
    reading = _Reading(queue, content, sent, in_thread)

    def part(name: str, function: Callable[[Call], Any], summary: str, description: str = _AS_TAKEN_IN) -> Route:
        return Route(
            "GET", f"/{name}/{{id}}", Scope.READ, function, summary, description, "Reading back",
            answers={200: Answer(summary, _TEXT, "text/plain")}, parameters=_ID,
        )  # fmt: skip

    found = [
        part("recipient", reading.recipient, "The recipient's address",
             "As it was given. The id of a submission with several recipients: one a line."),
        part("envelope", reading.envelope, "The address that returned mail goes to",
             "As it was given. There is none (404) where the reverse-path is null."),
        part("text", reading.text, "The plain text"),
        part("html", reading.html, "The HTML"),
        part("header", reading.header, "The header, as it is"),
        part("headers", reading.header, "The header, as it is"),
    ]  # fmt: skip
    for name, files, what in (
        ("attachments", _attachments, "The files that came with it"),
        ("embeds", _embeds, "The files that its HTML shows"),
    ):
        found += [
            Route(
                "GET", f"/{name}/{{id}}", Scope.READ, reading.list_of(files), what, _AS_TAKEN_IN, "Reading back",
                answers={200: Answer("The files, in order", _FILES)}, parameters=_ID,
            ),
            Route(
                "GET", f"/{name}/{{id}}/{{file}}", Scope.READ, reading.content_of(files), "What is in a file",
                "Its own content type is told, except of what browsers run (HTML, SVG, scripts): that is "
                "application/octet-stream.", "Reading back",
                answers={200: Answer("The file", {"type": "string", "format": "binary"}, "*/*")},
                parameters=_ID | {"file": "The file's name, or its number"},
            ),
        ]  # fmt: skip
    found.append(
        Route(
            "GET", "/raw/{id}", Scope.READ, reading.raw, "The octets that went to a recipient",
            "Before it is sent these are the octets for a receiver that takes 8-bit content; before its features have "
            "prepared it, the octets that came in. With the id of a submission that has several recipients, the "
            "places that are different for each of them (in tracked links, for example) are not filled.",
            "Reading back",
            answers={200: Answer("The message", {"type": "string", "format": "binary"}, "message/rfc822")},
            parameters=_ID,
        )
    )  # fmt: skip
    return found


def _attachments(message: MessageReader) -> Sequence[File]:
    return message.attachments


def _embeds(message: MessageReader) -> Sequence[File]:
    return message.embeds


class _Reading:
    def __init__(
        self, queue: IQueueStore, content: IContentStore, sent: ISentMessages, in_thread: InThread[Any]
    ) -> None:
        self._queue = queue
        self._content = content
        self._sent = sent
        self._in_thread = in_thread
        self._turns = Turns(_AT_ONCE, _OF_ONE)

    async def recipient(self, call: Call) -> Response:
        submission, number = await find_own(self._queue, call.submitter, call.path["id"])
        recipients = submission.envelope.recipients
        chosen = recipients if number is None else recipients[number - 1 : number]
        return text_response("\n".join([each.address for each in chosen]))

    async def envelope(self, call: Call) -> Response:
        submission, _ = await find_own(self._queue, call.submitter, call.path["id"])
        if not submission.envelope.reverse_path:
            raise ApiError(404, "This message has no envelope address: its reverse-path is null")
        return text_response(submission.envelope.reverse_path)

    async def text(self, call: Call) -> Response:
        return await self._part(call, lambda message: message.text_pieces, "plain text")

    async def html(self, call: Call) -> Response:
        return await self._part(call, lambda message: message.html_pieces, "HTML")

    async def header(self, call: Call) -> Response:
        return await self._part(call, lambda message: (message.header,) if message.header else None, "header")

    def list_of(self, files: Callable[[MessageReader], Sequence[File]]) -> Callable[[Call], Any]:
        """The function of a route that lists files."""

        def listed(message: MessageReader) -> Response:
            return json_response(
                [
                    {"name": file.name, "number": file.number, "type": file.type, "size": file.size}
                    for file in files(message)
                ]
            )

        return lambda call: self._read(call, listed)

    def content_of(self, files: Callable[[MessageReader], Sequence[File]]) -> Callable[[Call], Any]:
        """The function of a route that gives a file's content."""

        async def answer(call: Call) -> Response:
            def find(message: MessageReader) -> Response:
                file = find_file(files(message), call.path["file"])
                if file is None:
                    raise ApiError(404, "This message has no such file: ask for the list of them")
                return Response(200, safe_type(file.type), message.content(file), fields_of(file.name))

            return await self._read(call, find)

        return answer

    async def raw(self, call: Call) -> Response:
        submission, number = await find_own(self._queue, call.submitter, call.path["id"])

        async def make() -> Response:
            try:
                octets = await self._sent.octets(submission, number)
            except KeyError:
                raise ApiError(404, _GONE) from None
            except FeatureMissing as error:
                raise ApiError(409, str(error)) from None
            return Response(200, b"message/rfc822", octets, fields_of(f"{call.path['id']}.eml"))

        return await self._in_turn(submission, make)

    async def _part(self, call: Call, part: Callable[[MessageReader], Sequence[str] | None], what: str) -> Response:
        def read(message: MessageReader) -> Response:
            pieces = part(message)
            if pieces is None:
                raise ApiError(404, f"This message has no {what}")
            return Response(200, TEXT, b"".join([piece.encode("utf-8", "replace") for piece in pieces]))

        return await self._read(call, read)

    async def _read(self, call: Call, read: Callable[[MessageReader], Response]) -> Response:
        """What ``read`` makes of a message.

        Always in a thread: four thousand octets can be six hundred parts, and these take tens of milliseconds.

        :raises ApiError: 404, and what ``read`` raises.
        """
        submission, _ = await find_own(self._queue, call.submitter, call.path["id"])

        async def make() -> Response:
            try:
                octets = await self._content.read(submission.id, submission.content)
            except KeyError:
                raise ApiError(404, _GONE) from None
            response: Response = await self._in_thread(lambda: read(MessageReader(octets)))
            return response

        return await self._in_turn(submission, make)

    async def _in_turn(self, submission: Submission, make: Callable[[], Awaitable[Response]]) -> Response:
        """An answer about a message; of large ones only a few at a time, until they are taken."""
        if submission.content.size <= LARGE:
            return await make()
        end = await self._turns.take(submission.account or 0)
        try:
            response = await make()
        except BaseException:
            end()
            raise
        octets = response.body
        assert isinstance(octets, bytes)
        length = (b"Content-Length", b"%d" % len(octets))
        return response._replace(body=Pieces(slices(octets), end), fields=(*response.fields, length))
