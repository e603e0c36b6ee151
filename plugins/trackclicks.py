"""Links lead through us: whoever follows one is recorded, and sent on to where it leads.

Of a message only the addresses of its links change, to ``<tracking_url>/t/trackclicks/<token>/<destination>``.  The
destination is sealed, so that no table stands behind it and nobody can make us lead anywhere else; the token tells the
recipients apart and is filled in at delivery.  Some links stay as they are: see :meth:`_Stays.reason`; those
with the attribute ``data-no-track`` do too.

``exclude = ["example.com"]`` leaves links to this domain, and to all below it, alone; with ``text = true`` what looks
like an address in text/plain parts is tracked too.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any, NamedTuple

from zope.interface import implementer

from smtpeter.api import (
    NOT_FOUND,
    TOKEN_LENGTH,
    Addressee,
    ConfigError,
    EventKind,
    FailurePolicy,
    IEditableLeaf,
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
    canonical_host,
    switched_on,
)

NAME = "trackclicks"
LONGEST = 1500
"""Octets of an address.  What comes of it has to be an address that mail programs and proxies still take."""

REMEMBERED = 1000
"""Links of which is remembered where they lead: all recipients of a message have the same ones."""

# The host as browsers find it, for whom a backslash is a slash and an account may stand before it.
_HTTP = re.compile(
    rb"https?://(?:[^/\\?#]*@)?(\[[0-9a-f:.]+\]|[^\x00-\x20\x7f/\\?#@:\[\]<>]+)(?::[0-9]*)?(?=[/\\?#]|\Z)",
    re.IGNORECASE,
)
_SCHEME = re.compile(rb"[a-z][a-z0-9+.-]*+:", re.IGNORECASE)
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_OPT_OUT = re.compile(r"opt[-_]?out")
_PLACEHOLDER = re.compile(rb"\{\{.*\}\}|\[\[.*\]\]|%%.*%%|\*\|.*\|\*|\$\{.*\}", re.DOTALL)

_BARE = re.compile(rb"(?<![a-z0-9@/.=_-])https?://[a-z0-9\-._~:/?#\[\]@!$&'()*+,;=%|{}]+", re.IGNORECASE)
# A line that ends in a space may go on in the next one, without that space (RFC 3676 section 4.5).
_GOES_ON = re.compile(rb"[\x80-\xff]| \r?\n[^\s>]")
_SIGNATURE = re.compile(rb"(?:\A|\n)-- \r?\n")
_BRACKETS = {b")": b"(", b"]": b"[", b"}": b"{"}

_PLAIN_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")


class Place(NamedTuple):
    """An address at ``octets[start:end]`` of a leaf; ``reason``, where it is not empty, is why it has to stay."""

    start: int
    end: int
    url: bytes
    reason: str = ""


@implementer(IPreparingFeature, IPersonalizingFeature, IResourceFeature)
class TrackClicks:
    """Changes the links, fills in the tokens, and sends on whoever follows one."""

    on_failure = FailurePolicy.SEND

    def __init__(self, services: IFeatureServices, excluded: Iterable[str], text: bool) -> None:
        self._services = services
        self._links = services.links
        self._text = text
        self._stays = _Stays(f"{services.tracking_url}/t/".encode(), frozenset(excluded))

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return switched_on(options, NAME)

    def prepare(self, message: IEditableMessage, context: IPrepareContext) -> None:
        """Change the links in all parts that may be touched."""
        if message.closed:
            context.note(f"no links tracked: {message.closed}")
            return
        work = _Work(self._services, self._stays, message, context)
        for leaf in message.html:
            work.edit(leaf, _places_in_html(leaf), escape(work.url))
        for leaf in message.plain if self._text else ():
            work.edit(leaf, _places_in_text(leaf.octets), work.url)
        context.note(work.summary())

    def values(self, keys: Sequence[str], addressee: Addressee) -> Sequence[str]:
        """See the interface.  The keys are the ids of those with which the destinations were sealed."""
        return [self._links.token(key, addressee.submission, addressee.number) for key in keys]

    def serve(self, request: WebRequest) -> WebResponse:
        """Send on to exactly what was sealed, or nowhere.  What a mail program appended behind a ``?`` is ignored."""
        token, _, destination = request.tail.partition("/")
        found = self._links.read(token, destination) if request.method in ("GET", "HEAD") else None
        if found is None:
            return NOT_FOUND
        submission, number, account, url = found
        host, text, answer = _way(url)
        if not host or self._services.is_blocked(account, submission, host):
            return NOT_FOUND
        self._services.record(EventKind.CLICK, submission, number, {"destination": text}, request)
        return answer


class _Work:
    """One message whose links are changed.  ``url`` is what each of them begins with."""

    def __init__(
        self,
        services: IFeatureServices,
        stays: _Stays,
        message: IEditableMessage,
        context: IPrepareContext,
    ) -> None:
        self.url = f"{services.tracking_url}/t/{NAME}/"
        self._links = services.links
        self._stays = stays
        self._context = context
        self._slot = Slot(NAME, services.links.current, TOKEN_LENGTH)
        self._unsubscribe = {
            "".join(address.split()).encode("utf-8", "replace")
            for field in message.fields("List-Unsubscribe")
            for address in re.findall("<([^<>]*)>", field)
        }
        self._decided: dict[bytes, tuple[str, bytes]] = {}
        self._tracked = 0
        self._left: Counter[str] = Counter()

    def edit(self, leaf: IEditableLeaf, places: Iterable[Place], url: str) -> None:
        """Change addresses in a leaf; ``url`` is how ours begin there."""
        if not leaf.takes_slots:
            self._left["charset not a superset of ASCII"] += sum(1 for _ in places)
            return
        begin = url.encode()
        protected = leaf.protected
        edits: list[tuple[int, int, Sequence[bytes | Slot]]] = []
        for place in places:
            reason, destination = place.reason, b""
            if not reason and protected and _is_within(place, protected):
                reason = "protected"
            if not reason:
                reason, destination = self._decide(place.url)
            if reason:
                self._left[reason] += 1
            else:
                edits.append((place.start, place.end, (begin, self._slot, destination)))
        self._tracked += len(edits)
        if edits:
            leaf.splice(edits)

    def _decide(self, url: bytes) -> tuple[str, bytes]:
        """Why an address stays, or what stands behind the token of what it becomes; the same for all that are alike."""
        decision = self._decided.get(url)
        if decision is None:
            reason = self._stays.reason(url)
            if reason in ("", "excluded") and url in self._unsubscribe:
                reason = "unsubscribe"
            sealed = "" if reason else self._links.destination(self._context.submission, self._context.account, url)
            decision = self._decided[url] = reason, f"/{sealed}".encode("ascii")
        return decision

    def summary(self) -> str:
        """What was done, for people."""
        text = f"{self._tracked} link{'' if self._tracked == 1 else 's'} tracked"
        if self._left:
            reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self._left.items()))
            text += f", {self._left.total()} left alone: {reasons}"
        return text


class _Stays:
    """Which addresses stay as they are, whatever message they are in: those that begin with ``ours``, for example, and
    those of domains that are ``excluded``."""

    def __init__(self, ours: bytes, excluded: frozenset[str]) -> None:
        self._ours = ours
        self._excluded = excluded
        self._found_again = lru_cache(REMEMBERED)(self._found)  # many messages have the same links

    def reason(self, url: bytes) -> str:
        """Why an address is left alone; empty where it is not."""
        return self._found(url) if len(url) > LONGEST else self._found_again(url)

    def _found(self, url: bytes) -> str:
        if len(url) <= LONGEST and _PLACEHOLDER.search(url):
            return "placeholder"
        scheme = _SCHEME.match(url)
        if scheme is None:
            return "relative"
        if scheme[0].lower() not in (b"http:", b"https:"):
            return "other scheme"
        if len(url) > LONGEST:
            return f"over {LONGEST} octets"
        host = _host(url)
        if not host:
            return "not well-formed"
        if url.startswith(self._ours):
            return "tracked already"
        if _is_for_leaving(url):
            return "unsubscribe"
        if self._excluded and not self._excluded.isdisjoint(_domains(host)):
            return "excluded"
        return ""


def _places_in_html(leaf: IEditableLeaf) -> Iterator[Place]:
    """The addresses of links.  Those that stay on the same page are none."""
    octets = leaf.octets
    is_unicode = codecs.lookup(leaf.encoding).name in ("utf-8", "ascii")
    for link in leaf.links():
        if link.value.startswith(b"#"):
            continue
        reason = ""
        if link.has(b"data-no-track"):
            reason = "data-no-track"
        elif not link.value.isascii() and not (is_unicode or octets[link.start : link.end].isascii()):
            # Which octets a browser would ask for depends on the part of the address.
            reason = f"charset {leaf.encoding}"
        yield Place(link.start, link.end, link.value, reason)


def _places_in_text(octets: bytes) -> Iterator[Place]:
    """What looks like an address in the text above the signature, without the punctuation behind it."""
    signature = _SIGNATURE.search(octets)
    for match in _BARE.finditer(octets, 0, signature.start() if signature else len(octets)):
        url = match[0]
        reason = "end not clear" if _GOES_ON.match(octets, match.end()) else ""
        open_brackets = {closing: url.count(opening) - url.count(closing) for closing, opening in _BRACKETS.items()}
        end = len(url)
        while True:
            last = url[end - 1 : end]
            if open_brackets.get(last, 0) < 0:
                open_brackets[last] += 1
            elif last not in b".,;:!?'*_~|":
                break
            end -= 1
        yield Place(match.start(), match.start() + end, url[:end], reason)


def _is_within(place: Place, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether a place and one of these ranges, which are in order, overlap."""
    behind = bisect_right(ranges, (place.start, place.end))
    return (behind > 0 and ranges[behind - 1][1] > place.start) or (
        behind < len(ranges) and ranges[behind][0] < place.end
    )


@lru_cache(REMEMBERED)
def _way(url: bytes) -> tuple[str, str, WebResponse]:
    """The host of an address, the address as text, and the answer that leads there."""
    answer = WebResponse(302, ((b"Location", url), _PLAIN_TEXT), b"Moved\n")
    return _host(url), url.decode("utf-8", "replace"), answer


def _is_for_leaving(url: bytes) -> bool:
    """Whether an address looks like one by which people unsubscribe."""
    # A pattern without regard to case takes ten times as long, and to look for octets in octets three times.
    text = url.decode("latin-1").lower()
    return "unsubscribe" in text or "preferences" in text or ("opt" in text and _OPT_OUT.search(text) is not None)


def _host(url: bytes) -> str:
    """The host of an http address, as it is written; empty where it is none that can be trusted to lead there."""
    match = _HTTP.match(url)
    if match is None or _CONTROL.search(url):
        return ""
    try:
        url.decode("utf-8")
        return match[1].decode("utf-8").lower().rstrip(".")
    except UnicodeDecodeError:
        return ""


def _domains(host: str) -> Iterator[str]:
    """A host's domain, and those above it."""
    host = canonical_host(host)
    while host:
        yield host
        host = host.partition(".")[2]


@implementer(IFeaturePlugin)
class TrackClicksPlugin:
    """How it is found."""

    name = NAME
    options = (Option(NAME, "links lead through us, so that clicks are recorded", aliases=("clicktracking",)),)
    after = ("inlinecss", "preventscam")
    before: tuple[str, ...] = ()

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> TrackClicks:
        """See the interface."""
        for key in section:
            if key not in ("exclude", "text"):
                raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        exclude, text = section.get("exclude", []), section.get("text", False)
        if not isinstance(exclude, list) or not all(isinstance(domain, str) and domain for domain in exclude):
            raise ConfigError(f'features.{NAME}.exclude: is no list of domains (try ["example.com"])')
        if not isinstance(text, bool):
            raise ConfigError(f"features.{NAME}.text: has to be true or false")
        return TrackClicks(services, [canonical_host(domain.strip(".")) for domain in exclude], text)


plugin = TrackClicksPlugin()
