"""``/t/<feature>/<tail>``: what features serve to mail readers, kept from doing harm."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import NamedTuple

from twisted.logger import Logger

from smtpeter.interfaces import IClock, IResourceFeature
from smtpeter.locations import Network
from smtpeter.model.feature import NOT_FOUND, WebRequest, WebResponse
from smtpeter.web.clients import client_of

PREFIX = b"/t/"
LONGEST_BODY = 64 * 1024

HEADERS = 1000
"""Headers of features' answers that are not looked at anew: all who follow one link have the same."""

STRICT = (
    (b"Cache-Control", b"no-store, private"),
    (b"Pragma", b"no-cache"),
    (b"Expires", b"0"),
    (b"X-Robots-Tag", b"noindex, nofollow"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Content-Security-Policy", b"sandbox; default-src 'none'"),
)
"""What every answer has: image proxies ask again each time, search engines forget, browsers run nothing."""

_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")
_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"POST": "POST"}
_OURS = frozenset(name.lower() for name, _ in STRICT) | {
    b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade", b"trailer", b"date", b"server",
}  # fmt: skip
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++")
_VALUE = re.compile(rb"[\t -~\x80-\xff]*+")
_STATUSES = frozenset(int(status) for status in HTTPStatus if status >= 200)
_COMPLAIN = 10.0  # seconds between two tracebacks in the log: whoever found a bug must not fill it


class Answer(NamedTuple):
    """A complete answer but for its length and date, with nothing in it that could be taken for two answers."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


def _static(status: int, text: bytes, *more: tuple[bytes, bytes]) -> Answer:
    return Answer(status, (*STRICT, _TEXT, *more), text)


_NOTHING = Answer(NOT_FOUND.status, STRICT + NOT_FOUND.headers, NOT_FOUND.body)
_NOT_ALLOWED = _static(405, b"Method not allowed\n", (b"Allow", b"GET, HEAD, POST"))
_TOO_LARGE = _static(413, b"Too large\n")
_BROKEN = _static(500, b"Something is broken here\n")
_STARTING = _static(503, b"The service is starting; try again later\n", (b"Retry-After", b"5"))


class Tracking:
    """Everything below ``/t/``.  Until :meth:`open` it says that it will be there soon."""

    _log = Logger()

    def __init__(self, clock: IClock, trusted_proxies: Sequence[Network] = ()) -> None:
        self._clock = clock
        self._trusted = trusted_proxies
        self._features: dict[bytes, IResourceFeature] | None = None
        self._complained = -_COMPLAIN

    def open(self, features: Mapping[str, IResourceFeature]) -> None:
        """Serve what these features have, by their names."""
        self._features = {name.encode("ascii"): feature for name, feature in features.items()}

    def answer(
        self,
        method: bytes,
        target: bytes,
        fields: tuple[tuple[bytes, bytes], ...],
        peer: str,
        secure: bool,
        body: bytes | None = b"",
    ) -> Answer:
        """What to say to a request.  ``target`` is as it was sent, names in ``fields`` are in lower case; ``body`` is
        None where it was larger than :data:`LONGEST_BODY`."""
        verb = _METHODS.get(method)
        if verb is None:
            return _NOT_ALLOWED
        path, _, query = target.partition(b"?")
        name, slash, tail = path[len(PREFIX) :].partition(b"/")
        if self._features is None:
            return _STARTING
        feature = self._features.get(name)
        if feature is None or not slash or not path.startswith(PREFIX) or not target.isascii():
            return _NOTHING
        if body is None:
            return _TOO_LARGE
        address, secure = client_of(peer, secure, fields, self._trusted) if self._trusted else (peer, secure)
        request = WebRequest(
            verb,
            tail.decode("ascii"),
            query.decode("ascii"),
            fields,
            address,
            self._clock.time(),
            secure,
            body if verb == "POST" else b"",
        )
        try:
            return _checked(feature.serve(request))
        except Exception:
            if abs(request.time - self._complained) >= _COMPLAIN:
                self._complained = request.time
                self._log.failure("the feature {name} failed to answer", name=name.decode("ascii"))
            return _BROKEN


def _checked(response: WebResponse) -> Answer:
    """A feature's answer with what every answer has.

    :raises ValueError: where it is none, or something in it would end a field.
    """
    if response is NOT_FOUND:
        return _NOTHING
    if response.status not in _STATUSES or not isinstance(response.body, bytes):
        raise ValueError("not a status, or not a body, that can be answered")
    return Answer(response.status, _with_strict(response.headers), response.body)


@lru_cache(HEADERS)
def _with_strict(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
    """A feature's headers with what every answer has; :raises ValueError: as :func:`_checked` does."""
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ValueError("a header with characters that it cannot have")
        if name.lower() in _OURS:
            raise ValueError(f"the header {name.decode()} is not for features")
    return STRICT + headers
