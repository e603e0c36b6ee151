import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.locations import (
    Relay,
    is_host_name,
    network_of,
    parse_address,
    parse_host_name,
    parse_network,
    parse_relay,
    parse_web_url,
)


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://relay.example", Relay("smtp", "relay.example", 25, "", "")),
        ("smtp+starttls://Relay.Example/", Relay("smtp+starttls", "relay.example", 587, "", "")),
        ("smtps://u%40x:p%2F%3A%25@[::1]:4650", Relay("smtps", "::1", 4650, "u@x", "p/:%")),
        ("smtp://u:p@127.0.0.1:2525", Relay("smtp", "127.0.0.1", 2525, "u", "p")),
    ],
)
def test_relays(url, relay):
    assert parse_relay(url) == relay


@pytest.mark.parametrize(
    "url",
    ["", "relay.example:25", "http://relay", "smtp://", "smtp://u@relay", "smtp://relay:0", "smtp://relay?x", None],
)
def test_not_relays(url):
    with pytest.raises(ValueError, match=r"\S"):
        parse_relay(url)


@pytest.mark.parametrize(
    "url", ["smtp://user:a%0Ab@host", "smtp://smtp .example", "smtp://a..b", "smtp://us%00er:b@host"]
)
def test_attack_relays_that_could_break_a_line_or_never_be_found(url):
    with pytest.raises(ValueError, match=r"control character|host"):
        parse_relay(url)


def test_a_relay_may_have_a_name_that_only_containers_know():
    assert parse_relay("smtp://mail_relay:2525").host == "mail_relay"


def test_representation_of_a_relay_hides_who_we_are():
    assert repr(parse_relay("smtps://user:hunter2@relay")) == "Relay(smtps://relay:465)"


@pytest.mark.parametrize(
    "name", ["localhost", "mail.example.com", "xn--bcher-kva.example", "1.example", "a" * 63 + ".b"]
)
def test_host_names(name):
    assert is_host_name(name)
    assert parse_host_name(name.upper()) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "a.", "-a.b", "a-.b", "a..b", "a_b", "a b", "bücher.example", "a" * 64, "10.0.0.1", "a\n", "a.b." * 64],
)
def test_not_host_names(name):
    assert not is_host_name(name)


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://click.example.com/", "https://click.example.com"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_urls_of_web_servers(url, read):
    assert parse_web_url(url) == read


@pytest.mark.parametrize(
    "url",
    ["", "https://", "https://a/b", "https://a?b", "https://a#b", "https://u@a", "https://a b", "https://a\"b", "https://a'b",
     "https://a&b", "https://a<b", "https://a`b", "https://b\u00fccher.example", "//a", "ftp://a", "https://a:0", "https://a:x"],
)  # fmt: skip
def test_not_urls_of_web_servers(url):
    with pytest.raises(ValueError, match="is not the URL of a web server"):
        parse_web_url(url)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text):
    for parse in (parse_relay, parse_web_url, parse_host_name, parse_address, parse_network):
        try:
            parse(text)
        except ValueError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::1", "::/64"),
        ("local", "local"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_whom_limits_by_address_count_as_one(address, network):
    assert network_of(address) == network
