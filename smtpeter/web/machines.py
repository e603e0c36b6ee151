"""Whether a click or an open was caused by a machine, as far as can be told.

Programs follow links before people do: scanners of the receiver, previews in chats, programs that fetch ahead.  What
they cause is recorded like everything else, with the reasons for which we take it for a machine's.  A reason is a
stable word; people who count may leave out what has one, or see for themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from smtpeter.model.event import EventKind

HEAD = "head"
"""A HEAD request: whoever reads mail sends GET."""

PREFETCH = "prefetch"
"""Fetched ahead, before anybody asked for it."""

USER_AGENT = "user-agent"
"""The program says that it is a scanner, a crawler, a library; or it does not say what it is."""

PROXY = "proxy"
"""An image that a mail provider's proxy fetched, for a person most likely: address and fields are the proxy's."""

BEFORE_DELIVERY = "before-delivery"
"""The receiver had not taken the message yet, or had not said so."""

AT_DELIVERY = "at-delivery"
"""The receiver had taken it only a moment before."""

ALL_LINKS = "all-links"
"""Several links of one recipient at once."""

AT_ONCE = 3.0
"""Seconds after its delivery in which nobody has found, opened and read a message."""

MANY_LINKS = 3
"""So many different links of one recipient, within a second, are more than a person clicks."""

_AHEAD = (b"prefetch", b"preview", b"prerender")
_PURPOSES = frozenset({b"purpose", b"sec-purpose", b"x-purpose", b"x-moz"})

_PROXIES = (
    "googleimageproxy",
    "yahoomailproxy",
    "imageproxy",
    "imgproxy",
)

_PROGRAMS = (
    # What crawlers and previews call themselves
    "bot", "crawl", "spider", "slurp", "preview", "externalhit", "facebookcatalog", "whatsapp", "embedly",
    "ia_archiver", "+http", "meta-external", "fetcher", "lighthouse", "synthetic", "uptime",
    "validator", "linkcheck", "urlcheck", "scanner", "google-safety", "google-read-aloud", "googleother", "pingdom",
    # Scanners of mail
    "barracuda", "mimecast", "proofpoint", "symantec", "messagelabs", "fireeye", "trellix", "trendmicro", "trend micro",
    "forcepoint", "websense", "zscaler", "sophos", "fortinet", "fortimail", "ironport", "cisco-", "cloudmark",
    "mailscanner", "mailguard", "spamassassin", "urldefense", "safelinks", "virustotal", "urlscan", "netcraft",
    "phishtank", "checkpoint", "bitdefender", "kaspersky", "dr.web", "clamav", "vade", "hornetsecurity", "appriver",
    # Libraries and commands
    "curl/", "wget", "python-requests", "python-urllib", "python-httpx", "aiohttp", "libwww", "lwp::", "perl", "httpie",
    "go-http-client", "java/", "apache-httpclient", "node-fetch", "node.js", "axios", "undici", "got (", "guzzle",
    "php/", "ruby", "faraday", "winhttp", "powershell", "scrapy", "twisted", "headless", "phantomjs", "puppeteer",
    "playwright", "selenium",
)  # fmt: skip
"""Parts of what programs say of themselves in ``User-Agent``, in lower case."""

_PEOPLE = (
    "cubot", "superlite", "htc ruby", "htc_ruby", "bitdefendersafepay", "firephp", "libwww-fm",
)  # fmt: skip
"""Names of telephones and browsers, and of what people add to them, that look like such a part."""

_AGENT = 1000
"""Octets of ``User-Agent`` that are looked at."""

_FETCHES_ALL_IMAGES = "mozilla/5.0"
"""All that Apple's privacy proxy says: it fetches the images of each message, whether somebody reads it or not."""


def reasons_of_request(kind: EventKind, method: str, fields: Sequence[tuple[bytes, bytes]]) -> tuple[str, ...]:
    """What a request tells by itself; names of ``fields`` are in lower case."""
    given = dict(fields)
    reasons = _reasons_of_agent(kind, given.get(b"user-agent", b"")[:_AGENT])
    ahead = not _PURPOSES.isdisjoint(given) and any(
        word in value.lower() for name, value in fields if name in _PURPOSES for word in _AHEAD
    )
    if ahead and PREFETCH not in reasons:
        reasons = (PREFETCH, *reasons)
    return (HEAD, *reasons) if method == "HEAD" else reasons


def reasons_of_time(time: float, delivered: float | None) -> tuple[str, ...]:
    """What the time of a request tells; ``delivered`` is None where the message was not delivered yet."""
    if delivered is None or time < delivered:
        return (BEFORE_DELIVERY,)
    return (AT_DELIVERY,) if time < delivered + AT_ONCE else ()


@lru_cache(4096)
def _reasons_of_agent(kind: EventKind, agent: bytes) -> tuple[str, ...]:
    said = agent.decode("latin-1").strip().lower()
    if kind is EventKind.OPEN:
        if said == _FETCHES_ALL_IMAGES:
            return (PREFETCH,)
        if any(word in said for word in _PROXIES):
            return (PROXY,)
    for name in _PEOPLE:
        said = said.replace(name, "")
    if not said or said == _FETCHES_ALL_IMAGES or any(word in said for word in _PROGRAMS):
        return (USER_AGENT,)
    return ()
