"""What the REST API and whoever carries its octets say to each other: values only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

from smtpeter.interfaces import ISubmitter

PREFIX = b"/v1/"

JSON = b"application/json"
"""Without a charset parameter: existing clients compare the whole string."""

TEXT = b"text/plain; charset=utf-8"

Fields = tuple[tuple[bytes, bytes], ...]


class Request(NamedTuple):
    """A request, all of it.

    ``target`` is as it was sent, path and query; ``fields`` have names in lower case.  ``address`` is the client's and
    ``secure`` tells whether it speaks TLS, proxies that are trusted taken into account; ``peer`` is whoever is at the
    other end of the connection.  A body that is large is in ``file``, to be read and not kept; then ``body`` is empty.
    """

    method: bytes
    target: bytes
    fields: Fields
    address: str
    secure: bool
    peer: str
    body: bytes = b""
    file: Path | None = None

    def field(self, name: bytes) -> bytes:
        """The value of the first header field with this name, empty where there is none."""
        return next((value for field, value in self.fields if field == name), b"")


class Response(NamedTuple):
    """An answer.  A body that is an iterator is fetched piece by piece, as the client takes it."""

    status: int
    content_type: bytes
    body: bytes | AsyncIterator[bytes]
    fields: Fields = ()


RETRY_AFTER = 10
"""Seconds that a client is asked to wait where nobody knows better."""

_RETRY_AFTER = ((b"Retry-After", b"%d" % RETRY_AFTER),)


class ApiError(Exception):
    """A request that is not carried out: its status, and a sentence that says what was wrong and what to do.

    Whoever may come again (429, 503) is told when: unless ``fields`` say so, after :data:`RETRY_AFTER`.
    """

    def __init__(self, status: int, text: str, fields: Fields = ()) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.fields = fields or (_RETRY_AFTER if status in (429, 503) else ())


class Call(NamedTuple):
    """A request that found its route, from somebody who may: what the route's function is given.

    ``path`` are the path's parameters, decoded; ``query`` and ``body`` are instances of the route's models, None where
    it has none.
    """

    request: Request
    submitter: ISubmitter
    path: Mapping[str, str]
    query: Any = None
    body: Any = None


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def json_response(value: Any, status: int = 200, fields: Fields = ()) -> Response:
    """An answer in JSON."""
    # What is no character, because some log had it, must not be what breaks an answer.
    return Response(status, JSON, _ENCODER.encode(value).encode("utf-8", "replace"), fields)


def text_response(text: str) -> Response:
    """An answer for people, and for scripts that want just this."""
    return Response(200, TEXT, text.encode("utf-8", "replace"))


def error_response(error: ApiError) -> Response:
    """What a client reads of an error."""
    return json_response({"error": error.text or HTTPStatus(error.status).phrase}, error.status, error.fields)
