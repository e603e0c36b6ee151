import pytest

from smtpeter.model.event import EventKind
from smtpeter.web.machines import AT_ONCE, reasons_of_request, reasons_of_time

FIREFOX = b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
SAFARI = (
    b"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148"
)
GMAIL = b"Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
OUTLOOK = b"Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 10.0; Win64; x64; Trident/7.0; Microsoft Outlook 16.0.5266)"


def click(agent=FIREFOX, method="GET", *fields):
    return reasons_of_request(EventKind.CLICK, method, [(b"host", b"x"), (b"user-agent", agent), *fields])


def opened(agent):
    return reasons_of_request(EventKind.OPEN, "GET", [(b"user-agent", agent)])


@pytest.mark.parametrize(
    "agent",
    [
        FIREFOX,
        SAFARI,
        OUTLOOK,
        b"Mozilla/5.0 (Linux; Android 14; CUBOT NOTE 50) AppleWebKit/537.36 Chrome/126.0.0.0 Mobile Safari/537.36",
        b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0",
        b"Thunderbird/128.0 \xff\xfe",
        b"Mozilla/5.0 (Linux; Android 14; SM-S921B) SamsungBrowser/25.0 Chrome/121.0.0.0 Mobile Safari/537.36",
        b"Mozilla/5.0 (Windows NT 10.0) Chrome/120.0 Safari/537.36 BitdefenderSafepay/2023 (like Chrome)",
        b"Mozilla/5.0 (X11; Linux x86_64; rv:49.0) Gecko/20100101 Firefox/49.0 FirePHP/0.7.4",
        b"Lynx/2.8.9rel.1 libwww-FM/2.14 SSL-MM/1.4.1 OpenSSL/1.1.1d",
        b"Mozilla/5.0 (Linux; U; Android 4.1.2; SAMSUNG-SGH-I727; CyanogenMod-SUPERLITE) Safari/534.30",
        b"Mozilla/5.0 (Linux; Android 4.0.3; HTC Ruby Build/IML74K) Chrome/39.0 Mobile Safari/537.36",
    ],
)
def test_people(agent):
    assert click(agent) == ()
    assert opened(agent) == ()


@pytest.mark.parametrize(
    "agent",
    [
        b"",
        b"  ",
        b"Mozilla/5.0",
        b"curl/8.5.0",
        b"Wget/1.21",
        b"python-requests/2.32.4",
        b"Go-http-client/2.0",
        b"Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        b"Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; bingbot/2.0) Chrome/116 Safari/537.36",
        b"Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5",
        b"facebookexternalhit/1.1",
        b"BarracudaCentral/1.0",
        b"meta-externalagent/1.1",
        b"Mozilla/5.0 (compatible; PaperLi/2.1; +https://paper.li/about)",
        b"Ruby",
        b"libwww-perl/6.05",
        b"Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/126.0.0.0",
    ],
)
def test_programs_by_what_they_say_they_are(agent):
    assert click(agent) == ("user-agent",)


def test_attack_only_the_beginning_of_an_endless_name_is_looked_at():
    assert click(b"x" * 100_000 + b"bot") == ()


def test_no_user_agent_at_all():
    assert reasons_of_request(EventKind.CLICK, "GET", [(b"host", b"x")]) == ("user-agent",)


def test_images_by_the_proxies_of_mail_providers():
    assert opened(GMAIL) == ("proxy",)
    assert opened(b"YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html") == ("proxy",)
    assert opened(b"Mozilla/5.0") == ("prefetch",)
    assert opened(b"curl/8.5.0") == ("user-agent",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"purpose", b"prefetch"),
        (b"sec-purpose", b"prefetch;prerender"),
        (b"x-purpose", b"preview"),
        (b"x-moz", b"Prefetch"),
    ],
)
def test_what_is_fetched_ahead(name, value):
    assert click(FIREFOX, "GET", (name, value)) == ("prefetch",)
    assert click(FIREFOX, "GET", (name, b"navigate")) == ()


def test_a_field_twice_hides_nothing():
    assert click(FIREFOX, "GET", (b"purpose", b"prefetch"), (b"purpose", b"x")) == ("prefetch",)


def test_head():
    assert click(method="HEAD") == ("head",)
    assert click(b"curl/8.5.0", "HEAD", (b"purpose", b"prefetch")) == ("head", "prefetch", "user-agent")


def test_times():
    assert reasons_of_time(100.0, None) == ("before-delivery",)
    assert reasons_of_time(99.9, 100.0) == ("before-delivery",)
    assert reasons_of_time(100.0, 100.0) == ("at-delivery",)
    assert reasons_of_time(99.9 + AT_ONCE, 100.0) == ("at-delivery",)
    assert reasons_of_time(100.0 + AT_ONCE, 100.0) == ()
