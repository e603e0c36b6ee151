"""An invisible image tells that a message was shown.

It stands at the end of the HTML body, with the address ``<tracking_url>/t/trackopens/<token>/<destination>``.  The
destination is the same for all recipients, and the token is filled in at delivery.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from zope.interface import implementer

from smtpeter.api import (
    NOT_FOUND,
    TOKEN_LENGTH,
    Addressee,
    ConfigError,
    EventKind,
    FailurePolicy,
    IEditableMessage,
    IFeaturePlugin,
    IFeatureServices,
    IPersonalizingFeature,
    IPrepareContext,
    IPreparingFeature,
    IResourceFeature,
    Option,
    Options,
    Slot,
    WebRequest,
    WebResponse,
    find_body_end,
    switched_on,
)

NAME = "trackopens"
PIXEL = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    b"!\xf9\x04\x01\x00\x00\x00\x00"  # the first of its two colours is transparent
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
_SHOWN = WebResponse(200, ((b"Content-Type", b"image/gif"),), PIXEL)


@implementer(IPreparingFeature, IPersonalizingFeature, IResourceFeature)
class TrackOpens:
    """Puts the image in, fills in the tokens, and serves it."""

    on_failure = FailurePolicy.SEND

    def __init__(self, services: IFeatureServices) -> None:
        self._services = services
        self._links = services.links

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return switched_on(options, NAME)

    def prepare(self, message: IEditableMessage, context: IPrepareContext) -> None:
        """Of several HTML parts that are shown one after the other, only the first has the image."""
        leaf = message.html[0] if message.html else None
        if message.closed or leaf is None:
            context.note(f"opens not tracked: {message.closed or 'no HTML'}")
            return
        if not leaf.takes_slots:
            context.note("opens not tracked: its charset is not a superset of ASCII")
            return
        destination = self._links.destination(context.submission, context.account, b"")
        place = find_body_end(leaf.octets)
        url = escape(f"{self._services.tracking_url}/t/{NAME}/")
        image = (
            f'<img src="{url}'.encode(),
            Slot(NAME, self._links.current, TOKEN_LENGTH),
            f'/{destination}" width="1" height="1" alt="" style="border:0">'.encode("ascii"),
        )
        leaf.splice([(place, place, image)])
        context.note("opens tracked")

    def values(self, keys: Sequence[str], addressee: Addressee) -> Sequence[str]:
        """See the interface.  The keys are the ids of those with which the destinations were sealed."""
        return [self._links.token(key, addressee.submission, addressee.number) for key in keys]

    def serve(self, request: WebRequest) -> WebResponse:
        """The image.  What a mail program appended behind a ``?`` is ignored."""
        token, _, destination = request.tail.partition("/")
        found = self._links.read(token, destination) if request.method in ("GET", "HEAD") else None
        if found is None or found.payload or self._services.is_blocked(found.account, found.submission):
            return NOT_FOUND
        self._services.record(EventKind.OPEN, found.submission, found.number, {}, request)
        return _SHOWN


@implementer(IFeaturePlugin)
class TrackOpensPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "an invisible image tells that the message was shown", aliases=("openstracking",)),)
    after = ("inlinecss", "trackclicks")
    before: tuple[str, ...] = ()

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> TrackOpens:
        """See the interface."""
        for key in section:
            raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        return TrackOpens(services)


plugin = TrackOpensPlugin()
