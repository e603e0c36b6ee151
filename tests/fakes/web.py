"""A web server over transports in memory, with an API that does what a test says."""

from __future__ import annotations

from twisted.internet.task import Clock

from smtpeter.clock import WallClock
from smtpeter.locations import parse_network
from smtpeter.web.metrics import Metrics
from smtpeter.web.rest.carrier import Carrier
from smtpeter.web.rest.values import json_response
from smtpeter.web.site import make_site
from smtpeter.web.tracking import Tracking
from smtpeter.web.uploads import Uploads

ALLOWED = (parse_network("127.0.0.0/8"), parse_network("::1"))


class FakeApi:
    """Keeps requests; ``answering`` and ``admitting`` are called with each, and may be coroutines."""

    def __init__(self):
        self.requests = []
        self.heads = []
        self.bodies = []
        self.answering = self.admitting = None
        self.account = 7

    async def answer(self, request):
        self.requests.append(request)
        self.bodies.append(request.body if request.file is None else request.file.read_bytes())
        return json_response({"ok": True}) if self.answering is None else await self.answering(request)

    async def admit(self, request):
        self.heads.append(request)
        if self.admitting is not None:
            await self.admitting(request)
        return self.account


def make_fake_site(
    directory=None, *, trouble=lambda: None, metrics=None, tracking=None, clock=None, api=None, longest=2_000_000,
    data_rate=500, documents=None, proxies=(),
):  # fmt: skip
    """A site with defaults for everything; without a ``directory`` no body may be large."""
    clock = clock or Clock()
    carrier = Carrier(Uploads(directory), longest, clock, proxies)
    if api is not None:
        carrier.open(api)
    return make_site(
        trouble=trouble,
        metrics=metrics or Metrics(),
        metrics_allow=ALLOWED,
        tracking=tracking or Tracking(WallClock()),
        carrier=carrier,
        documents={} if documents is None else documents,
        reactor=clock,
        data_rate=data_rate,
    )
