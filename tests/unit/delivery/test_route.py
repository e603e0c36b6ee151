"""The relay's URL."""

from __future__ import annotations

import pytest

from smtpeter.delivery.route import RelayRoute, Security, parse_relay_route
from smtpeter.errors import ConfigError


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("smtp://relay.example", RelayRoute("relay.example", 25, Security.CLEAR)),
        ("smtp+starttls://relay.example", RelayRoute("relay.example", 587, Security.STARTTLS)),
        ("smtps://relay.example/", RelayRoute("relay.example", 465, Security.TLS)),
        ("smtp://192.0.2.1:2525", RelayRoute("192.0.2.1", 2525, Security.CLEAR)),
        ("smtps://[2001:db8::1]:4650", RelayRoute("2001:db8::1", 4650, Security.TLS)),
        ("smtp://u:p@relay.example", RelayRoute("relay.example", 25, Security.CLEAR, "u", "p")),
        ("smtps://u%40x:p%3A%2F%20%C3%A9@r.example", RelayRoute("r.example", 465, Security.TLS, "u@x", "p:/ é")),
    ],
)
def test_good_urls(url: str, route: RelayRoute) -> None:
    assert parse_relay_route(url) == route


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example",
        "http://u:hunter2@relay.example",
        "smtp://",
        "smtp://u:hunter2@",
        "smtp://u:hunter2@relay.example:99999",
        "smtp://u:hunter2@relay.example:port",
        "smtp://u:hunter2@relay.example:0",
        "smtp://u:hunter2@relay.example/path",
        "smtp://u:hunter2@relay.example?query",
        "smtp://:hunter2@relay.example",
        "smtp://hunter2@relay.example",
        "smtp://u:hunter2%00@relay.example",
        "smtp://u%0D%0A:hunter2@relay.example",
        "smtp://u:hunter2@relay.example\r\n",
        "smtp://u:hunter2#@relay.example",
        "smtp://u:hunter2@[::1",
    ],
)
def test_bad_urls_are_refused_in_one_line_without_the_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_relay_route(url)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_the_secret_is_in_no_representation() -> None:
    route = parse_relay_route("smtps://user:hunter2@[::1]")
    assert repr(route) == "RelayRoute(smtps://[::1]:465)"
    assert str(route) == f"{route}" == "smtps://[::1]:465"
