"""What every request of the REST API goes through: is it encrypted, whose is it, may they, and what became of it."""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from zope.interface import implementer

from smtpeter.errors import (
    ContentCorrupt,
    IdempotencyConflict,
    NotPossible,
    Refusal,
    StorageFull,
    StorageUnavailable,
)
from smtpeter.interfaces import IMetrics, IRemoteCredentials, ISubmitter, ITokenCredential
from smtpeter.model.account import Scope
from smtpeter.web.rest.bodies import read_body, validated
from smtpeter.web.rest.rates import Rates
from smtpeter.web.rest.routes import Route, RouteTable
from smtpeter.web.rest.values import PREFIX, ApiError, Call, Request, Response, error_response

_REMEMBERED = 10_000  # tokens
_BEARER = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([!-~]+)")
_STATUSES = {535: 401, 550: 403, 552: 413, 454: 429}
_CHALLENGE = ((b"WWW-Authenticate", b'Bearer realm="smtpeter"'),)


@implementer(ITokenCredential, IRemoteCredentials)
class RemoteToken:
    """A token, and the address that it came from."""

    def __init__(self, token: str, address: str) -> None:
        self.token = token
        self.address = address

    def __repr__(self) -> str:
        return f"RemoteToken(from {self.address})"


class Api:
    """Answers requests.  Whatever goes wrong, :meth:`answer` gives a Response: it fails only where it is cancelled.

    ``is_local`` tells for a peer's address whether it may speak plain HTTP to us all the same.
    """

    _log = Logger()

    def __init__(
        self,
        table: RouteTable,
        portal: Portal,
        metrics: IMetrics,
        rates: Rates,
        is_local: Callable[[str], bool] = lambda peer: False,
    ) -> None:
        self._table = table
        self._portal = portal
        self._metrics = metrics
        self._rates = rates
        self._is_local = is_local
        self._known: OrderedDict[bytes, ISubmitter] = OrderedDict()

    async def answer(self, request: Request) -> Response:
        """The answer to a request below :data:`PREFIX`."""
        try:
            response = await self._answer(request)
        except CancelledError:
            raise  # nobody waits for the answer any more
        except Exception as error:
            response = error_response(self._explained(error))
        self._metrics.count("rest_requests", status=str(response.status))
        return response

    async def admit(self, request: Request) -> int:
        """Look at a request of which only the header is there, and whose body is large.  The number of its account.

        :raises ApiError: where it would not be carried out, whatever its body is.
        """
        try:
            route, _, submitter, _ = await self._find(request, counted=False)
            if route.body_schema is None:
                raise ApiError(413, "This request is too large: here at most 64 KiB are taken")
            checked = submitter.check(sending=route.scope is Scope.SEND)
            if checked is not None:
                await checked
        except CancelledError:
            raise
        except Exception as error:
            raise self._explained(error) from None
        return int(submitter.account.number)

    async def _answer(self, request: Request) -> Response:
        route, parameters, submitter, query = await self._find(request)
        body = None if route.body is None else read_body(request, route.body)
        read = None if route.query is None else validated(route.query, query)
        return await route.function(Call(request, submitter, parameters, read, body))

    async def _find(
        self, request: Request, counted: bool = True
    ) -> tuple[Route, Mapping[str, str], ISubmitter, Mapping[str, Any]]:
        path, _, query_text = request.target.partition(b"?")
        if not request.secure and not self._is_local(request.peer):
            raise ApiError(400, "This API is only there over HTTPS: whatever was sent in clear, token included, is no "
                           "secret any more")  # fmt: skip
        bearer = _BEARER.fullmatch(request.field(b"authorization").strip())
        if bearer is None:
            query = read_query(query_text)
            given = query.get("access_token", "")
            submitter = await self._submitter(given[-1] if isinstance(given, list) else given, request.address)
        else:
            submitter = await self._submitter(bearer[1].decode("ascii"), request.address)
            query = read_query(query_text)  # of a stranger's request nothing else is looked at
        wait = self._rates.take(submitter.login) if counted else 0.0
        if wait:
            after = ((b"Retry-After", b"%d" % max(1, round(wait + 0.5))),)
            raise ApiError(429, "This token sends more requests than it may: try again later", after)
        route, parameters = self._table.find(request.method, path[len(PREFIX) - 1 :])
        if route.scope not in submitter.scopes:
            scopes = ", ".join(submitter.scopes) or "nothing"
            raise ApiError(
                403, f"This token is not for this: it would have to be for {route.scope}, and is for {scopes}"
            )
        return route, parameters, submitter, query

    async def _submitter(self, token: str, address: str) -> ISubmitter:
        """Whoever the token tells, still allowed to do what is asked for."""
        if not token:
            raise ApiError(
                401, "An access token is needed: ?access_token=TOKEN or Authorization: Bearer TOKEN", _CHALLENGE
            )
        mark = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        return await self._recognise(mark) or await self._log_in(mark, token, address)

    async def _recognise(self, mark: bytes) -> ISubmitter | None:
        """Whoever had this token a while ago, if it is still good."""
        submitter = self._known.get(mark)
        try:
            checked = None if submitter is None else submitter.check(sending=False)
            if checked is not None:
                await checked
        except Refusal:
            self._known.pop(mark, None)
            return None
        return submitter

    async def _log_in(self, mark: bytes, token: str, address: str) -> ISubmitter:
        login: Deferred[Any] = self._portal.login(RemoteToken(token, address), None, ISubmitter)
        try:
            submitter: ISubmitter = (await login)[1]
        except UnauthorizedLogin:
            text = "This access token is not valid: it is mistyped, was revoked, or its account is suspended"
            raise ApiError(401, text, _CHALLENGE) from None
        self._known[mark] = submitter
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return submitter

    def _explained(self, error: Exception) -> ApiError:
        """What a client is told of an error; what is no fault of his goes to the log."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, Refusal):
            code = error.reply.code
            status = _STATUSES.get(code, 503 if code < 500 else 400)
            return ApiError(status, error.reply.text)
        if isinstance(error, IdempotencyConflict):
            return ApiError(409, "Another request was made under this Idempotency-Key: use a new key for it")
        if isinstance(error, NotPossible):
            return ApiError(409, str(error))
        if isinstance(error, StorageFull):
            return ApiError(503, "There is not enough room to keep mail now; try again later")
        if isinstance(error, StorageUnavailable):
            self._log.error("storage: {reason}", event="storage", reason=str(error))
            return ApiError(503, "The store cannot be used now; try again later")
        if isinstance(error, ContentCorrupt):
            self._log.error("storage: {reason}", event="content", reason=str(error))
        else:
            self._log.failure("a request of the REST API failed")
        return ApiError(503, "Something went wrong here; try again later")


def read_query(text: bytes) -> dict[str, Any]:
    """The parameters of a query by their names, in lower case; those that are there several times are lists.

    :raises ApiError: where it is not UTF-8, or there are too many.
    """
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, max_num_fields=100, errors="strict")
    except ValueError:
        raise ApiError(400, "The query of this URL cannot be read: write name=value&name=value, in UTF-8") from None
    query: dict[str, Any] = {}
    for name, value in pairs:
        name = name.lower().removesuffix("[]")
        if name not in query:
            query[name] = value
        elif isinstance(query[name], list):
            query[name].append(value)
        else:
            query[name] = [query[name], value]
    return query
