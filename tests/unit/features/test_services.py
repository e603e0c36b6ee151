"""What a feature is given."""

import json

import pytest
from zope.interface.verify import verifyObject

from smtpeter.auth.keys import KeyRing
from smtpeter.features.services import FeatureKeys, FeatureServices, Surroundings, keys_of, services_of
from smtpeter.interfaces import IFeatureServices
from smtpeter.model.event import EventKind
from smtpeter.model.feature import WebRequest
from smtpeter.settings import Settings
from tests.fakes.domains import ACCOUNT, make_domains

SUBMISSION_ID = "01hf7yat00" + "0" * 16
RING = KeyRing("2", {"1": b"1" * 32, "2": b"2" * 32})
AROUND = Surroundings("mail.test", "https://click.test", "bounces.test")


def services(name="acme", source=RING):
    return FeatureServices(AROUND, keys_of(source, name))


def test_it_is_what_it_says():
    made = services()
    verifyObject(IFeatureServices, made)
    assert (made.hostname, made.tracking_url, made.bounce_domain) == AROUND
    assert made.key_id() == "2"


def test_keys_differ_by_feature_purpose_and_master_and_are_none_of_the_masters():
    keys = {services(name).key(purpose, key_id) for name in ("a", "b") for purpose in ("x", "y") for key_id in "12"}
    keys |= {services().links._key(key_id) for key_id in "12"} | {services().key("links")}
    assert len(keys) == 8 + 2 + 1
    assert all(len(key) == 32 for key in keys)
    assert not keys & {b"1" * 32, b"2" * 32, RING.derive("links"), RING.derive("feature acme")}
    assert services().key("x") == services().key("x", "2")


def test_a_key_that_is_not_there():
    with pytest.raises(KeyError):
        services().key("x", "3")
    assert services().links.read("x" * 24, "3.abc") is None


def test_a_worker_has_the_same_keys_without_the_masters():
    told = json.loads(json.dumps(keys_of(RING, "acme").to_json()))
    worker = FeatureServices(AROUND, FeatureKeys.from_json(told))
    assert worker.key("x", "1") == services().key("x", "1")
    destination = worker.links.destination(SUBMISSION_ID, 7, b"https://example.com/")
    token = worker.links.token("2", SUBMISSION_ID, 3)
    assert services().links.read(token, destination) == (SUBMISSION_ID, 3, 7, b"https://example.com/")
    assert b"2" * 32 not in [bytes.fromhex(key) for key in told["keys"].values()]


def test_attack_a_link_of_one_feature_is_nothing_to_another():
    destination = services("a").links.destination(SUBMISSION_ID, 7, b"")
    token = services("a").links.token("2", SUBMISSION_ID, 1)
    assert services("a").links.read(token, destination) is not None
    assert services("b").links.read(token, destination) is None


def test_links_of_older_keys_are_read():
    older = services(source=KeyRing("1", {"1": b"1" * 32})).links
    destination, token = older.destination(SUBMISSION_ID, None, b""), older.token("1", SUBMISSION_ID, 1)
    assert services().links.read(token, destination) == (SUBMISSION_ID, 1, None, b"")


def test_events_are_recorded_and_links_blocked_only_where_requests_are_served():
    request = WebRequest("GET", "", "", (), "192.0.2.1", 0.0)
    for ask in (
        lambda made: made.record(EventKind.CLICK, SUBMISSION_ID, 1, {}, request),
        lambda made: made.is_blocked(1, SUBMISSION_ID),
    ):
        with pytest.raises(RuntimeError, match="only where requests are served"):
            ask(services())


def test_where_they_are_served():
    recorded = []
    made = services_of(
        Settings.default(),
        RING,
        lambda *happening: recorded.append(happening),
        lambda *link: link == (1, "s", "x.test"),
    )("acme")
    request = WebRequest("GET", "", "", (), "192.0.2.1", 0.0)
    made.record(EventKind.OPEN, SUBMISSION_ID, 1, {"a": 1}, request)
    assert recorded == [(EventKind.OPEN, SUBMISSION_ID, 1, {"a": 1}, request)]
    assert made.is_blocked(1, "s", "x.test")
    assert not made.is_blocked(1, "s")
    assert made.key("x") == services().key("x")


def test_signing_keys_are_there_only_where_mail_is_delivered():
    for ask in (
        lambda made: made.signing_keys(1, "own.example"),
        lambda made: made.has_signing_keys(1),
        lambda made: made.longest_signing_key(1),
    ):
        with pytest.raises(RuntimeError, match="only where mail is delivered"):
            ask(services())
    made = services_of(Settings.default(), RING, domains=make_domains("own.example"))("acme")
    assert [key.domain for key in made.signing_keys(ACCOUNT, "x.own.example")] == ["own.example"] * 2
    assert made.has_signing_keys(ACCOUNT)
    assert not made.has_signing_keys(None)
    assert (made.longest_signing_key(ACCOUNT), made.longest_signing_key(None)) == (2048, 0)
