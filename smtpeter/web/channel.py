"""One connection of twisted.web's, and its requests, with limits on what they may take."""

from __future__ import annotations

import io
import re
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.server import Request

from smtpeter.web.rest.carrier import Carrier, Upload
from smtpeter.web.rest.values import PREFIX as REST
from smtpeter.web.tracking import LONGEST_BODY, PREFIX

_ABSOLUTE = re.compile(rb"\Ahttps?://[^/?#]*", re.IGNORECASE)
"""What a target begins with that is written for a proxy; servers have to take it too (RFC 9112 section 3.2.2)."""


class Channel(HTTPChannel):
    """A request has its time from its first octet on, however its octets are spread; a body for the API has as long as
    it needs, if it comes fast enough."""

    _begun = False
    _octets = 0
    _looked_at, _looked_when = 0, 0.0  # how much there was, when it was last looked at

    def dataReceived(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            self._octets = self._looked_at = 0
            self._looked_when = self._now()
            self.resetTimeout()
        self._octets += len(data)
        LineReceiver.dataReceived(self, data)

    def requestDone(self, request: Any) -> None:
        self._begun = False
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        if self._comes_fast_enough():
            self._looked_at, self._looked_when = self._octets, self._now()
            self.setTimeout(self.timeOut)
        else:
            super().timeoutConnection()

    def _comes_fast_enough(self) -> bool:
        """Whether enough came of a body for the API since it was last looked at."""
        is_wanted = bool(self.requests) and self.requests[-1].is_upload
        needed = cast(Any, self).site.data_rate * (self._now() - self._looked_when)
        return is_wanted and self._octets - self._looked_at > max(needed, 0.0)

    def _now(self) -> float:
        return float(cast(Any, self).site.reactor.seconds())


class SiteRequest(Request):
    """Keeps a body only where one is wanted, as large as it may be there; Twisted would write any to a file."""

    _kept: bytearray | None = None
    _upload: Upload | None = None
    too_large = False

    def gotLength(self, length: int | None) -> None:
        self.content = io.BytesIO()
        path = self.channel._path = _ABSOLUTE.sub(b"", self.channel._path) or b"/"
        if path.startswith(REST) or path.partition(b"?")[0] == REST[:-1]:
            carrier: Carrier = cast(Any, self.channel).site.carrier
            self._upload = carrier.upload(self, self.channel._command, path, length)
            if self._upload.is_refused:
                self.requestHeaders.removeHeader(b"expect")  # lest Twisted ask for more after the last word
        elif self.channel._command == b"POST" and path.startswith(PREFIX):
            self._kept = bytearray()

    def handleContentChunk(self, data: bytes) -> None:
        """Keep it while it is small; what is too large is read to its end, so that its sender reads the answer."""
        if self._upload is not None:
            self._upload.write(data)
        elif self._kept is None:
            return
        elif len(self._kept) + len(data) > LONGEST_BODY:
            self.too_large = True
            self._kept = None
        else:
            self._kept += data

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """For the API nothing is parsed that it would not use."""
        if self._upload is None:
            super().requestReceived(command, path, version)
            return
        # Twisted writes the target into its complaints, and a query has the token in it.
        self.method, self.uri, self.clientproto = command, path.partition(b"?")[0], version
        Deferred.fromCoroutine(self._upload.complete())

    def connectionLost(self, reason: Failure) -> None:
        if self._upload is not None:
            self._upload.lost()
        super().connectionLost(reason)

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """The header, names in lower case."""
        given = self.requestHeaders.getAllRawHeaders()
        return tuple((name.lower(), value) for name, values in given for value in values)

    @property
    def peer(self) -> str:
        """The address of whoever is at the other end of the connection, empty where it is none of IP."""
        return getattr(self.getClientAddress(), "host", "")

    @property
    def is_encrypted(self) -> bool:
        """Whether it came over TLS."""
        return bool(ISSLTransport.providedBy(self.channel.transport))

    @property
    def is_upload(self) -> bool:
        """Whether it is one for the API."""
        return self._upload is not None

    @property
    def kept(self) -> bytes | None:
        """The body, None where it was too large."""
        return None if self.too_large else bytes(self._kept or b"")
