"""The web server: what operators and their machines ask for, and what features serve to mail readers."""

from __future__ import annotations

import io
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import ISSLTransport
from twisted.protocols.basic import LineReceiver
from twisted.web.http import FORBIDDEN, NO_BODY_CODES, NOT_FOUND, SERVICE_UNAVAILABLE, HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smtpeter.locations import Network
from smtpeter.web.metrics import CONTENT_TYPE, Metrics
from smtpeter.web.tracking import LONGEST_BODY, PREFIX, Tracking


def make_site(
    trouble: Callable[[], str | None],
    metrics: Metrics,
    metrics_allow: Sequence[Network],
    tracking: Tracking | None = None,
    reactor: Any = None,
) -> Site:
    """``trouble`` tells why mail cannot be accepted, None while it can."""
    root = _NotFound()
    root.putChild(b"healthz", _Health(trouble))
    root.putChild(b"metrics", _Metrics(metrics, metrics_allow))
    if tracking is not None:
        root.putChild(b"t", _Tracked(tracking))
        root.putChild(b"robots.txt", _Robots())
    site = Site(root, requestFactory=_SmallBodies, reactor=reactor)
    site.protocol = _Channel  # type: ignore[method-assign, assignment]  # Twisted's own adds HTTP/2, which we have not
    site.noisy = False
    site.displayTracebacks = False
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


class _Channel(HTTPChannel):
    """A request has its time from its first octet on, however its octets are spread."""

    _begun = False

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self.resetTimeout()
        LineReceiver.dataReceived(self, data)

    def requestDone(self, request: Any) -> None:
        self._begun = False
        super().requestDone(request)


class _SmallBodies(Request):
    """Keeps a body only where one is wanted, and only a small one; Twisted would write it to a file, however large."""

    _kept: bytearray | None = None
    too_large = False

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        if self.channel._command == b"POST" and self.channel._path.startswith(PREFIX):
            self._kept = bytearray()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep it while it is small; what is too large is read to its end, so that its sender reads the answer."""
        if self._kept is None:
            return
        if len(self._kept) + len(data) > LONGEST_BODY:
            self.too_large = True
            self._kept = None
        else:
            self._kept += data

    @property
    def kept(self) -> bytes | None:
        """The body, None where it was too large."""
        return None if self.too_large else bytes(self._kept or b"")


def _plain(request: Request, status: int, text: str) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"content-type", b"text/plain; charset=utf-8")
    return f"{text}\n".encode()


class _NotFound(Resource):
    def getChild(self, path: bytes, request: Request) -> Resource:
        # Not this one, below which something is: /x/metrics and //metrics would be other names of /metrics.
        return _NotFound()

    def render(self, request: Request) -> bytes:
        return _plain(request, NOT_FOUND, "Not found")


class _Page(Resource):
    """One name only: what is below it is not found, so that a proxy's rule for the name is a rule for all of it."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _NotFound()


class _Health(_Page):
    def __init__(self, trouble: Callable[[], str | None]) -> None:
        super().__init__()
        self._trouble = trouble

    def render_GET(self, request: Request) -> bytes:
        trouble = self._trouble()
        return _plain(request, 200, "ok") if trouble is None else _plain(request, SERVICE_UNAVAILABLE, trouble)


class _Metrics(_Page):
    def __init__(self, metrics: Metrics, allow: Sequence[Network]) -> None:
        super().__init__()
        self._metrics = metrics
        self._allow = allow

    def render_GET(self, request: Request) -> bytes:
        if not self._is_allowed(request):
            return _plain(request, FORBIDDEN, "web.metrics_allow does not name your address")
        request.setHeader(b"content-type", CONTENT_TYPE)
        return self._metrics.render()

    def _is_allowed(self, request: Request) -> bool:
        try:
            address = ipaddress.ip_address(getattr(request.getClientAddress(), "host", ""))
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._allow)


class _Robots(_Page):
    """Who asks before it crawls need not follow what was written to one person."""

    def render_GET(self, request: Request) -> bytes:
        return _plain(request, 200, f"User-agent: *\nDisallow: {PREFIX.decode()}")


class _Tracked(Resource):
    isLeaf = True

    def __init__(self, tracking: Tracking) -> None:
        super().__init__()
        self._tracking = tracking

    def render(self, request: Request) -> int:
        given = request.requestHeaders.getAllRawHeaders()
        fields = tuple((name.lower(), value) for name, values in given for value in values)
        peer = getattr(request.getClientAddress(), "host", "")
        secure = ISSLTransport.providedBy(request.channel.transport)
        body = cast(_SmallBodies, request).kept
        answer = self._tracking.answer(request.method, request.uri, fields, peer, secure, body)
        request.setResponseCode(answer.status)
        request.responseHeaders.removeHeader(b"server")
        for name, value in answer.fields:
            request.responseHeaders.addRawHeader(name, value)
        if answer.status not in NO_BODY_CODES:
            request.setHeader(b"content-length", b"%d" % len(answer.body))
        request.write(answer.body)
        request.finish()
        return NOT_DONE_YET
