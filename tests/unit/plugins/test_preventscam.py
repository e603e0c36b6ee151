"""Links that say where they lead are left alone."""

from __future__ import annotations

import time

import pytest
from smtpeter.plugins.preventscam import plugin, says_address
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from smtpeter.api import ConfigError, FailurePolicy
from smtpeter.features.order import running_order
from smtpeter.interfaces import IFeaturePlugin, IPreparingFeature
from smtpeter.plugins import trackclicks
from tests.fakes.services import FakeContext, FakeServer, html_message

LINK = b"<a href='http://example.com/'>%b</a>"


def feature() -> IPreparingFeature:
    return plugin.configure({}, FakeServer().services)


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IFeaturePlugin, plugin) and IPlugin.providedBy(plugin)
    assert verifyObject(IPreparingFeature, feature())
    assert feature().on_failure is FailurePolicy.SEND
    assert [option.name for option in plugin.options] == ["preventscam"]


def test_it_has_no_settings() -> None:
    with pytest.raises(ConfigError, match=r"features\.preventscam\.x: there is no such key"):
        plugin.configure({"x": 1}, FakeServer().services)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"preventscam": "true", "trackclicks": "true"}, True),
        ({"preventscam": "true"}, False),
        ({"preventscam": "true", "trackclicks": "false"}, False),
        ({"trackclicks": "true"}, False),
        ({}, False),
    ],
)
def test_alone_it_has_nothing_to_do(options: dict[str, str], wanted: bool) -> None:
    assert feature().wants(options) is wanted


@pytest.mark.parametrize(
    "text",
    [
        "http://www.bank.example", "HTTPS://bank.example/login?x=1", "www.bank.example", "WWW.BANK.EXAMPLE.",
        "bank.example", "bank.example/login",
        "bank.example:8080", "www.b\u00e4nk.example", "b\u00e4nk.example", "\u4f8b\u3048.jp", "bank.xn--p1ai",
        "me@bank.example", "mailto:me@bank.example", "192.0.2.1/login",
        "http://192.0.2.1", "<http://bank.example/>", "(www.bank.example)", "\u00bbbank.example\u00ab",
        "bank.example \u2192", "www.bank\u200b.example", "bank\u00ad.exam\u200dple",
        "ftp://bank.example", "a_b.bank.example",
    ],
)  # fmt: skip
def test_texts_that_are_addresses(text: str) -> None:
    assert says_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "Click here", "Read more at www.bank.example", "www.bank.example and more", "bank", "www.", "http://",
        "@bank", "e.g.", "3.50", "v1.2", "10.30 Uhr",
        "Hello. World", "a.b", "...", "\u2192", "x" * 3000 + ".example",
    ],
)  # fmt: skip
def test_texts_that_are_none(text: str) -> None:
    assert not says_address(text)


@pytest.mark.parametrize(
    "inner",
    [
        b"www.bank.example", b" \r\n\t<b>www.bank.example</b>&nbsp;\r\n",
        b"www.<span style='x'>bank</span>.<wbr>example", b"&#119;ww&#46;bank.example",
        b"<!-- x -->www.bank.example", b"<font><u>bank.example</u></font>", b"<p>bank.example</p>",
    ],
)  # fmt: skip
def test_such_links_are_not_tracked(inner: bytes) -> None:
    html = LINK % inner + LINK % b"Click here"
    message, context = html_message(html), FakeContext()
    feature().prepare(message, context)
    assert message.html[0].octets == html
    trackclicks.plugin.configure({}, FakeServer().services).prepare(message, context)
    assert context.notes == [
        "1 link protected, whose text is an address",
        "1 link tracked, 1 left alone: 1 protected",
    ]
    assert message.html[0].octets.startswith(LINK % inner)


@pytest.mark.parametrize(
    "html",
    [
        LINK % b"Click here",
        LINK % b"<img src=x alt=www.bank.example>",
        b"<a href=mailto:me@bank.example>me@bank.example</a>",
        b"<a href='#x'>a.example</a>",
        b"",
    ],
)
def test_nothing_to_protect(html: bytes) -> None:
    message, context = html_message(html), FakeContext()
    feature().prepare(message, context)
    assert message.html[0].protected == () and context.notes == []


def test_the_text_is_read_in_its_charset() -> None:
    message = html_message(LINK % "bänk.example".encode("latin-1"), "iso-8859-1")
    feature().prepare(message, FakeContext())
    assert len(message.html[0].protected) == 1


def test_it_comes_before_links_are_tracked() -> None:
    plugins = [plugin, trackclicks.plugin]
    earlier = {
        each.name: {*each.after, *(other.name for other in plugins if each.name in other.before)} for each in plugins
    }
    assert running_order(earlier) == ["preventscam", "trackclicks"]


@pytest.mark.parametrize("start", ["", "a", "a@", "http://", "www.", "1."])
def test_attack_long_texts(start: str) -> None:
    for repeated in ("a", "a.", "@", "x@", "-", ".", "1.", "(", "xn--", "\u00e9", "\u200b", "/", " ", ":"):
        begin = time.process_time()
        says_address(start + repeated * 100_000)
        says_address(start + repeated * (1900 // len(repeated)))
        assert time.process_time() - begin < 2
