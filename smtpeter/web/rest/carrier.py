"""Carries requests from twisted.web to the API, and its answers back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.logger import Logger
from twisted.web.http import datetimeToString
from zope.interface import implementer

from smtpeter.locations import Network
from smtpeter.web.clients import client_of
from smtpeter.web.rest.api import Api
from smtpeter.web.rest.values import ApiError, Request, Response, error_response
from smtpeter.web.uploads import Body, TooLarge, TooMany, Uploads

T = TypeVar("T")

UNKNOWN = 64 * 1024
"""Octets of a body that are taken before it is known who sends them."""

LINGER = 30.0
"""Seconds for which the rest of a refused body is read, so that its sender comes to read the answer."""

STALLED = 60.0
"""Seconds after which a client that takes nothing of its answer is cut off."""

ALWAYS = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
_STARTING = ApiError(503, "The service is starting; try again later")


def longest_body(message_size: int) -> int:
    """Octets of a request that may carry a message of this size: in base64, between other fields."""
    return message_size * 3 // 2 + 1_000_000


class Carrier:
    """What all requests share.  Until :meth:`open` they are told to come again.

    ``longest`` is how many octets a body may have; ``timers`` is the reactor.
    """

    def __init__(self, uploads: Uploads, longest: int, timers: Any, trusted_proxies: Sequence[Network] = ()) -> None:
        self.uploads = uploads
        self.longest = longest
        self.timers = timers
        self._trusted = trusted_proxies
        self._api: Api | None = None
        self._under_way = 0
        self._stopped = False
        self._ended: Deferred[None] = Deferred()

    def open(self, api: Api) -> None:
        """From now on requests are answered."""
        self._api = api

    def stop(self) -> Deferred[None]:
        """Answer nothing more; fires when what is under way is answered."""
        self._api = None
        self._stopped = True
        if self._under_way == 0 and not self._ended.called:
            self._ended.callback(None)
        return self._ended

    @property
    def api(self) -> Api:
        """The API.

        :raises ApiError: while there is none.
        """
        if self._api is None:
            raise _STARTING
        return self._api

    def upload(self, request: Any, method: bytes, target: bytes, length: int | None) -> Upload:
        """A request whose header is there; ``length`` is that of its body, None where it is not known yet."""
        return Upload(self, request, method, target, length)

    def describe(
        self, method: bytes, target: bytes, fields: Any, peer: str, secure: bool, body: bytes, file: Path | None = None
    ) -> Request:
        """A request as the API wants it."""
        client = client_of(peer, secure, fields, self._trusted)
        return Request(method, target, fields, client.address, client.secure, peer, body, file)

    def answer(self, request: Request) -> Deferred[Response]:
        """The answer to a request, which is there as a whole.  Cancel it when nobody waits for it any more."""
        if self._api is None:
            return succeed(error_response(_STARTING))
        self._under_way += 1
        return Deferred.fromCoroutine(self._api.answer(request)).addBoth(self._done)

    def _done(self, result: T) -> T:
        self._under_way -= 1
        if self._stopped and self._under_way == 0 and not self._ended.called:
            self._ended.callback(None)
        return result


class Upload:
    """One request of twisted.web's, on its way to the API."""

    _log = Logger()

    def __init__(self, carrier: Carrier, request: Any, method: bytes, target: bytes, length: int | None) -> None:
        self._carrier = carrier
        self._request = request
        self._method = method
        self._target = target
        self._body = Body(carrier.uploads, carrier.longest)
        self._asked = self._refused = self._lost = False
        self._admission: Deferred[None] | None = None
        self._work: Deferred[Response] | None = None
        self._linger: IDelayedCall | None = None
        self._stream: _Stream | None = None
        if length is not None and length > carrier.longest:
            self._refuse(self._too_large())

    # --- what comes in ---

    @property
    def is_refused(self) -> bool:
        """Whether it was answered before all of it was there."""
        return self._refused

    def write(self, data: bytes) -> None:
        """More of the body."""
        if self._refused:
            return
        try:
            self._body.write(data)
        except TooLarge:
            self._refuse(self._too_large())
        except TooMany:
            self._refuse(ApiError(503, "Too many large requests are under way; try again later"))
        except OSError as error:
            self._log.error("storage: an upload cannot be kept: {reason}", event="storage", reason=str(error))
            self._refuse(ApiError(503, "There is not enough room for this request now; try again later"))
        else:
            if self._body.size > UNKNOWN and not self._asked:
                self._asked = True
                self._pause(True)
                self._admission = Deferred.fromCoroutine(self._admit())

    async def _admit(self) -> None:
        """Large bodies are taken of those whom we know."""
        try:
            self._body.account = await self._carrier.api.admit(self._described(b"", None))
        except ApiError as error:
            if not self._lost:
                self._refuse(error)
        finally:
            if not self._lost:
                self._pause(False)

    async def complete(self) -> None:
        """All is there: have it answered."""
        if self._admission is not None and not self._refused:
            # What comes after the body waits meanwhile.
            await self._admission
        if self._lost:
            return
        if self._refused:
            self._end_refused()
            return
        try:
            octets = self._body.finish()
            self._work = self._carrier.answer(self._described(octets, self._body.file))
            response = await self._work
            self._body.discard()  # whoever has the answer finds nothing left behind
            await self._send(response)
        except CancelledError:
            pass
        except Exception:
            self._log.failure("an answer could not be sent")
            if not self._lost:
                self._request.channel.forceAbortClient()
        finally:
            self._body.discard()

    def lost(self) -> None:
        """The client is gone: nobody waits for the answer."""
        self._lost = True
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._work is not None:
            self._work.cancel()
        else:
            self._body.discard()

    def _described(self, body: bytes, file: Path | None) -> Request:
        request = self._request
        return self._carrier.describe(
            self._method, self._target, request.fields, request.peer, request.is_encrypted, body, file
        )

    def _pause(self, paused: bool) -> None:
        producer = self._request.channel._networkProducer
        producer.pauseProducing() if paused else producer.resumeProducing()

    def _too_large(self) -> ApiError:
        return ApiError(413, f"This request is too large: at most {self._carrier.longest} octets are taken")

    # --- what goes out ---

    def _refuse(self, error: ApiError) -> None:
        """Answer before all is there, and let the rest come to nothing."""
        self._refused = True
        self._body.discard()
        self._request.channel.persistent = False
        response = error_response(error)
        self._head(response)
        self._request.setHeader(b"connection", b"close")
        self._request.write(response.body)
        self._linger = self._carrier.timers.callLater(LINGER, self._end_refused)

    def _end_refused(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
        if not self._lost:
            self._request.finish()

    def _head(self, response: Response) -> None:
        request = self._request
        request.method = self._method
        if not request.clientproto.startswith(b"HTTP/"):
            request.clientproto = b"HTTP/1.1"  # of a request that has not come to its end
        request.setResponseCode(response.status, HTTPStatus(response.status).phrase.encode("ascii"))
        headers = request.responseHeaders
        headers.setRawHeaders(b"date", [datetimeToString()])
        headers.setRawHeaders(b"content-type", [response.content_type])
        for name, value in (*ALWAYS, *response.fields):
            headers.addRawHeader(name, value)
        if isinstance(response.body, bytes):
            headers.setRawHeaders(b"content-length", [b"%d" % len(response.body)])

    async def _send(self, response: Response) -> None:
        if self._lost:
            await _close(response.body)
            return
        self._head(response)
        request = self._request
        if isinstance(response.body, bytes):
            request.write(response.body)
        elif self._method == b"HEAD":
            await _close(response.body)
        else:
            self._stream = _Stream(request, response.body, self._carrier.timers)
            await self._stream.run()
        if not self._lost and not (self._stream and self._stream.stopped):
            request.finish()


async def _close(body: bytes | AsyncIterator[bytes]) -> None:
    """Tell whoever makes a body that nothing more of it is wanted."""
    close = getattr(body, "aclose", None)
    if close is not None:
        await close()


@implementer(IPushProducer)
class _Stream:
    """An answer that is fetched piece by piece, no faster than the client takes it.  ``stopped``: the client is gone,
    which a producer is told before anybody else."""

    def __init__(self, request: Any, body: AsyncIterator[bytes], timers: Any) -> None:
        self._request = request
        self._body = body
        self._timers = timers
        self._taken: Deferred[None] | None = None
        self.stopped = False

    async def run(self) -> None:
        """Send all of it, or as much as the client wants."""
        request = self._request
        request.registerProducer(self, True)
        try:
            async for piece in self._body:
                if self.stopped:
                    break
                request.write(piece)
                if self._taken is not None:
                    await self._wait()
        finally:
            await _close(self._body)
            if not self.stopped:
                request.unregisterProducer()

    async def _wait(self) -> None:
        assert self._taken is not None
        stalled = self._timers.callLater(STALLED, self._request.channel.forceAbortClient)
        try:
            await self._taken
        finally:
            if stalled.active():
                stalled.cancel()

    def pauseProducing(self) -> None:
        """The client takes its time."""
        if self._taken is None:
            self._taken = Deferred()

    def resumeProducing(self) -> None:
        """The client took it."""
        taken, self._taken = self._taken, None
        if taken is not None:
            taken.callback(None)

    def stopProducing(self) -> None:
        """The client is gone."""
        self.stopped = True
        self.resumeProducing()
