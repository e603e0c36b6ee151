"""The web server: what operators and their machines ask for, and what features serve to mail readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from twisted.web.http import FORBIDDEN, NO_BODY_CODES, NOT_ALLOWED, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from smtpeter.locations import Network
from smtpeter.web.channel import Channel, SiteRequest
from smtpeter.web.clients import is_within
from smtpeter.web.metrics import CONTENT_TYPE, Metrics
from smtpeter.web.rest.carrier import Carrier
from smtpeter.web.tracking import PREFIX, Tracking


class Document(NamedTuple):
    """A page that is made once."""

    content_type: bytes
    octets: bytes


Documents = dict[bytes, Document]
"""By their names; not there until the server has started."""


def make_site(
    trouble: Callable[[], str | None],
    metrics: Metrics,
    metrics_allow: Sequence[Network],
    tracking: Tracking,
    carrier: Carrier,
    documents: Documents,
    reactor: Any,
    data_rate: int = 0,
) -> Site:
    """``trouble`` tells why mail cannot be accepted, None while it can.  A request has to bring ``data_rate`` octets a
    second (0: any) once the time is over that all have."""
    root = _NotFound()
    root.putChild(b"healthz", _Health(trouble))
    root.putChild(b"metrics", _Metrics(metrics, metrics_allow))
    root.putChild(b"t", _Tracked(tracking))
    root.putChild(b"robots.txt", _Robots())
    for name in (b"openapi.json", b"docs"):
        root.putChild(name, _Document(documents, name))
    return _Site(root, reactor, carrier, data_rate)


class _Site(Site):
    noisy = False
    displayTracebacks = False
    protocol = Channel  # type: ignore[assignment]  # Twisted's own adds HTTP/2, which we have not

    def __init__(self, root: Resource, reactor: Any, carrier: Carrier, data_rate: int) -> None:
        super().__init__(root, requestFactory=SiteRequest, reactor=reactor)
        self.carrier = carrier
        self.data_rate = data_rate

    def log(self, request: Any) -> None:
        """Nothing: URLs have secrets in them."""


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

    def render(self, request: Request) -> Any:
        if request.method not in (b"GET", b"HEAD"):
            # Twisted's own answer would repeat the URL, which may have a token in it.
            request.setHeader(b"allow", b"GET, HEAD")
            return _plain(request, NOT_ALLOWED, "This page has GET and HEAD only")
        return super().render(request)


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
        return is_within(cast(SiteRequest, request).peer, self._allow)


class _Robots(_Page):
    """Who asks before it crawls need not follow what was written to one person."""

    def render_GET(self, request: Request) -> bytes:
        return _plain(request, 200, f"User-agent: *\nDisallow: {PREFIX.decode()}")


class _Document(_Page):
    def __init__(self, documents: Documents, name: bytes) -> None:
        super().__init__()
        self._documents = documents
        self._name = name

    def render_GET(self, request: Request) -> bytes:
        document = self._documents.get(self._name)
        if document is None:
            return _plain(request, SERVICE_UNAVAILABLE, "starting")
        request.setHeader(b"content-type", document.content_type)
        request.setHeader(b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'")
        request.setHeader(b"x-content-type-options", b"nosniff")
        return document.octets


class _Tracked(Resource):
    isLeaf = True

    def __init__(self, tracking: Tracking) -> None:
        super().__init__()
        self._tracking = tracking

    def render(self, request: Request) -> int:
        told = cast(SiteRequest, request)
        answer = self._tracking.answer(told.method, told.uri, told.fields, told.peer, told.is_encrypted, told.kept)
        request.setResponseCode(answer.status)
        request.responseHeaders.removeHeader(b"server")
        for name, value in answer.fields:
            request.responseHeaders.addRawHeader(name, value)
        if answer.status not in NO_BODY_CODES:
            request.setHeader(b"content-length", b"%d" % len(answer.body))
        request.write(answer.body)
        request.finish()
        return NOT_DONE_YET
