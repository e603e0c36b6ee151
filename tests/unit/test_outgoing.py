"""How delivery is put together, as far as it decides something: ways, policies, and who is spoken to how."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from twisted.internet.task import Clock

from smtpeter.clock import WallClock
from smtpeter.delivery.agent import DeliveryAgent
from smtpeter.delivery.classify import load as load_classifier
from smtpeter.delivery.shaping import load as load_shaping
from smtpeter.delivery.sites import SiteBook
from smtpeter.features.catalog import Catalog
from smtpeter.model.route import Route, Target, TlsPolicy
from smtpeter.outgoing import Outgoing
from smtpeter.settings import Settings, SourceAddress
from tests.fakes.jobs import make_job

CLEAR, LOGIN = "smtp://relay.example:587", "smtp+starttls://ann:secret@relay.example:587"
HERE = Target("mx.example", "192.0.2.25", 25)


def outgoing(**delivery: Any) -> Outgoing:
    settings = Settings.default()
    settings = replace(settings, delivery=replace(settings.delivery, **delivery))
    clock: Any = Clock()
    return Outgoing(
        settings=settings,
        reactor=clock,
        shaping=load_shaping(),
        classifier=load_classifier(),
        forms=None,  # type: ignore[arg-type]
        book=SiteBook(None, WallClock(), clock),  # type: ignore[arg-type]
        catalog=Catalog(),
        mark=None,  # type: ignore[arg-type]
        listening=lambda: (),
        in_dns_thread=None,  # type: ignore[arg-type]
    )


def way(made: Outgoing, domain: str) -> Route:
    assert isinstance(made.agent, DeliveryAgent)
    found = made.agent._router.known(domain)
    assert isinstance(found, Route)
    return found


def profile(made: Outgoing, target: Target, policy: TlsPolicy, relay: Any = None) -> Any:
    shape = load_shaping().shape([target.host], target.host)
    return made._profile(shape, relay, target, SourceAddress(""), policy)


def test_two_logins_at_one_relay_share_its_limits_and_no_connection() -> None:
    made = outgoing(mode="relay", relay=CLEAR, relays=MappingProxyType({"b.example": LOGIN}))
    one, other = way(made, "a.example"), way(made, "b.example")
    assert one.site == other.site == "relay.example:587"
    assert one.group != other.group
    assert "secret" not in f"{one.site} {one.group} {other.site} {other.group}"


def test_a_relay_of_its_own_is_a_site_like_any_other() -> None:
    found = way(outgoing(mode="relay", relay=LOGIN), "a.example")
    assert (found.site, found.group) == ("relay.example:587", "relay.example:587")


@pytest.mark.parametrize(
    ("delivery", "domain", "policy"),
    [
        ({}, "a.example", TlsPolicy.MAY),
        ({"tls": TlsPolicy.ENCRYPT}, "a.example", TlsPolicy.ENCRYPT),
        ({"tls_domains": {"a.example": TlsPolicy.REQUIRE}}, "a.example", TlsPolicy.REQUIRE),
        ({"tls_domains": {"*.example": TlsPolicy.REQUIRE}}, "x.a.example", TlsPolicy.REQUIRE),
        ({"tls_domains": {"*.a.example": TlsPolicy.REQUIRE}}, "a.example", TlsPolicy.MAY),
        # How a relay is spoken to is told by its URL.
        ({"tls": TlsPolicy.REQUIRE, "mode": "relay", "relay": CLEAR}, "a.example", TlsPolicy.MAY),
        ({"tls": TlsPolicy.REQUIRE, "relays": {"a.example": CLEAR}}, "a.example", TlsPolicy.MAY),
        ({"tls": TlsPolicy.REQUIRE, "relays": {"a.example": CLEAR}}, "b.example", TlsPolicy.REQUIRE),
    ],
)
def test_how_strictly_mail_is_encrypted(delivery: dict[str, Any], domain: str, policy: TlsPolicy) -> None:
    assert outgoing(**delivery)._policy(make_job(), domain) is policy


@pytest.mark.parametrize(
    ("delivery", "is_strict"),
    [
        ({"tls": TlsPolicy.REQUIRE}, False),
        ({"tls": TlsPolicy.MAY}, False),
        ({"tls": TlsPolicy.MAY, "tls_domains": {"a.example": TlsPolicy.REQUIRE}}, True),
        ({"tls": TlsPolicy.REQUIRE, "tls_domains": {"lax.example": TlsPolicy.MAY}}, True),
        ({"tls": TlsPolicy.REQUIRE, "tls_domains": {"lax.example": TlsPolicy.ENCRYPT}}, True),
        ({"tls": TlsPolicy.ENCRYPT, "tls_domains": {"bank.example": TlsPolicy.REQUIRE}}, False),
        ({"tls": TlsPolicy.MAY, "tls_domains": {"lax.example": TlsPolicy.NONE}}, False),
        ({"tls": TlsPolicy.REQUIRE, "relays": {"b.example": CLEAR}}, True),
        ({"tls": TlsPolicy.REQUIRE, "mode": "relay", "relay": CLEAR}, False),
    ],
)
def test_trouble_with_tls_stops_all_mail_to_a_host_only_where_none_could_do_without(
    delivery: dict[str, Any], is_strict: bool
) -> None:
    """With a tls_domains that is laxer than tls, mail that may go in clear shared the pause of mail that may not."""
    made = outgoing(**delivery)
    assert isinstance(made.agent, DeliveryAgent)
    route = Route("mx.example", (HERE,), made._settings.delivery.relay)
    group = made.agent._group(route)
    policy = made._policy(make_job(), "a.example")
    assert made.agent._pool(group, route, policy).standing.is_strict == is_strict


def test_a_relay_in_clear_is_spoken_to_in_clear_unless_somebody_asks_for_more() -> None:
    made = outgoing(mode="relay", relay=CLEAR)
    relay = made._relays[CLEAR]
    assert profile(made, HERE, TlsPolicy.MAY, relay).profile.tls is TlsPolicy.NONE
    strict = profile(made, HERE, TlsPolicy.REQUIRE, relay)
    assert (strict.profile.tls, strict.verified) == (TlsPolicy.REQUIRE, True)


def test_a_relay_with_starttls_is_never_spoken_to_in_clear() -> None:
    made = outgoing(mode="relay", relay=LOGIN)
    for policy in TlsPolicy:
        settings = profile(made, HERE, policy, made._relays[LOGIN])
        assert (settings.profile.tls, settings.verified) == (TlsPolicy.REQUIRE, True)
        assert (settings.profile.username, settings.profile.relay) == ("ann", True)


@pytest.mark.parametrize("address", ["192.0.2.25", "2001:db8::25"])
@pytest.mark.parametrize("policy", [TlsPolicy.MAY, TlsPolicy.REQUIRE])
def test_tls_with_an_address_literal_is_about_the_address(address: str, policy: TlsPolicy) -> None:
    settings = profile(outgoing(), Target(f"[{address}]", address, 25), policy)
    assert settings.profile.remote_mta == f"[{address}]"
    assert settings.tls is not None and settings.tls() is not None


def test_a_source_has_its_own_name_and_others_the_server_s() -> None:
    made = outgoing()
    shape = load_shaping().shape(["mx.example"], "mx.example")
    named = made._profile(shape, None, HERE, SourceAddress("192.0.2.1", "out1.example"), TlsPolicy.MAY)
    other = made._profile(shape, None, HERE, SourceAddress("192.0.2.2"), TlsPolicy.MAY)
    assert named.profile.hostname == "out1.example"
    assert other.profile.hostname == made._settings.hostname


def test_source_addresses_of_a_site_outlast_a_change_of_its_hosts() -> None:
    made = outgoing(addresses=(SourceAddress("192.0.2.1"), SourceAddress("2001:db8::1")))
    old = Route("mx.example", (HERE,))
    new = Route("mx.example", (Target("mx.example", "2001:db8::25", 25),))
    limits = made._limits(old)
    pool = made._pool(old, TlsPolicy.MAY, limits, made._sources(old, limits), lambda: None)
    first = pool.standing.source()
    pool.route = new
    then = pool.standing.source()
    assert first is not None and then is not None
    assert [first.address.address, then.address.address] == ["192.0.2.1", "2001:db8::1"]


def test_the_book_is_told_of_a_site_and_of_those_hosts_of_it_from_each_of_our_addresses() -> None:
    made = outgoing(addresses=(SourceAddress("192.0.2.1"), SourceAddress("192.0.2.2")))
    told: list[tuple[str, str, Any]] = []
    made._book.changed = told.extend  # type: ignore[method-assign]
    route = Route("provider", (HERE,), hosts="mx.example")
    limits = made._limits(route)
    sources = made._sources(route, limits)
    pool = made._pool(route, TlsPolicy.MAY, limits, sources, lambda: None)
    pool.resume()
    throttles = {("provider", each.address.address): each.throttle for each in sources}
    throttles |= {("mx.example", each.address.address): each.reach for each in sources}
    assert {(name, address): throttle for name, address, throttle in told} == throttles
    assert len(set(map(id, throttles.values()))) == 4
