"""The web server: so far what operators and their machines ask for."""

from __future__ import annotations

import io
import ipaddress
from collections.abc import Callable, Sequence

from twisted.web.http import FORBIDDEN, NOT_FOUND, SERVICE_UNAVAILABLE
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from smtpeter.locations import Network
from smtpeter.web.metrics import CONTENT_TYPE, Metrics


def make_site(trouble: Callable[[], str | None], metrics: Metrics, metrics_allow: Sequence[Network]) -> Site:
    """``trouble`` tells why mail cannot be accepted, None while it can."""
    root = _NotFound()
    root.putChild(b"healthz", _Health(trouble))
    root.putChild(b"metrics", _Metrics(metrics, metrics_allow))
    site = Site(root, requestFactory=_Bodiless)
    site.noisy = False
    site.displayTracebacks = False
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


class _Bodiless(Request):
    """Nothing here reads a body, so none is kept; Twisted would write it to a file, however large."""

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Forget it."""


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
