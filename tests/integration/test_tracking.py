"""Tracked mail through a real server: what stands in it, what its links do, and what the events tell."""

from __future__ import annotations

import http.client
import re
import sqlite3
import time
from contextlib import closing
from email import message_from_bytes, policy

import pytest

from tests.integration.gateway import send, wait_for

CONTENT = (
    b"From: a@example.com\r\nTo: b@example.net\r\nSubject: Offers\r\nX-SMTPeter-TrackClicks: true\r\n"
    b"X-SMTPeter-TrackOpens: true\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
    b'<html><body><a href="https://shop.example/one?a=1&amp;b=2">one</a>\r\n'
    b'<a href="https://www.shop.example/two">two</a>\r\n<a href="http://other.example/three">three</a></body></html>\r\n'
)
TARGETS = ["https://shop.example/one?a=1&b=2", "https://www.shop.example/two", "http://other.example/three"]
FIREFOX = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"}
STRICT = {
    "Cache-Control": "no-store, private",
    "X-Robots-Tag": "noindex, nofollow",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}


class Mail:
    """One delivered message with its three links and its image, as paths."""

    def __init__(self, gateway, recipients=("b@example.net",)):
        with gateway.connect(gateway.login) as client:
            self.submission = send(client, "a@example.com", list(recipients), CONTENT)
        one = len(recipients) == 1
        self.ids = [self.submission if one else f"{self.submission}-{number + 1}" for number in range(len(recipients))]
        for id in self.ids:
            wait_for(lambda id=id: gateway.json("message", "show", id)["state"] == "delivered")
        self.paths = [self.paths_of(gateway, id) for id in self.ids]

    def paths_of(self, gateway, id):
        html = message_from_bytes(gateway.raw(id), policy=policy.default).get_content()
        links = re.findall(r'href="https://localhost(/t/trackclicks/[^"]+)"', html)
        images = re.findall(r'src="https://localhost(/t/trackopens/[^"]+)"', html)
        assert (len(links), len(images)) == (3, 1), html
        return links + images


class Answer:
    def __init__(self, response):
        self.status, self.headers, self.body = response.status, response.headers, response.read()
        self.location = self.headers["Location"]


def ask(gateway, path, *, method="GET", tls=False, body=None, headers=FIREFOX):
    if tls:
        connection = http.client.HTTPSConnection("localhost", gateway.https, timeout=30, context=gateway.trust())
    else:
        connection = http.client.HTTPConnection("localhost", gateway.http, timeout=30)
    with closing(connection):
        connection.request(method, path, body=body, headers=headers)
        return Answer(connection.getresponse())


def events(gateway, id, kind="click"):
    return [event for event in gateway.json("message", "show", id)["events"] if event["event"] == kind]


def wait_for_events(gateway, id, count, kind="click"):
    return wait_for(lambda: len(found := events(gateway, id, kind)) >= count and found)


@pytest.fixture(scope="module")
def mail(gateway):
    return Mail(gateway, ("b@example.net", "c@example.org"))


@pytest.fixture
def fresh(gateway):
    return Mail(gateway)


def test_links_differ_by_recipient_and_tell_no_address(gateway, mail):
    assert not set(mail.paths[0]) & set(mail.paths[1])
    assert not any("example" in path for paths in mail.paths for path in paths)


@pytest.mark.parametrize("tls", [False, True])
def test_links_lead_where_they_led(gateway, mail, tls):
    for path, target in zip(mail.paths[0], TARGETS, strict=False):
        answer = ask(gateway, path, tls=tls)
        assert (answer.status, answer.location) == (302, target)
        assert {name: answer.headers[name] for name in STRICT} == STRICT


@pytest.mark.parametrize("tls", [False, True])
def test_a_click_is_an_event(gateway, fresh, tls):
    ask(gateway, fresh.paths[0][1], tls=tls, headers={**FIREFOX, "Cookie": "s3cret"})
    (event,) = wait_for_events(gateway, fresh.submission, 1)
    assert event["destination"] == TARGETS[1]
    assert event["ip"] == "127.0.0.1" and event["protocol"] == ("https" if tls else "http")
    assert f"user-agent: {FIREFOX['User-Agent']}" in event["headers"] and "s3cret" not in event["headers"]


def test_an_open_is_an_event(gateway, fresh):
    answer = ask(gateway, fresh.paths[0][3])
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/gif")
    assert answer.body.startswith(b"GIF89a")
    assert wait_for_events(gateway, fresh.submission, 1, "open")[0]["ip"] == "127.0.0.1"


def test_events_belong_to_whose_link_it_was(gateway):
    mail = Mail(gateway, ("b@example.net", "c@example.org"))
    ask(gateway, mail.paths[1][0])
    wait_for_events(gateway, mail.ids[1], 1)
    assert events(gateway, mail.ids[0]) == []


def test_machines_are_told_from_people(gateway, fresh):
    time.sleep(4)  # the moment after the delivery is over
    one = fresh.paths[0][0]
    ask(gateway, one)
    ask(gateway, one, method="HEAD")
    ask(gateway, one, headers={"User-Agent": "curl/8.5.0", "Purpose": "prefetch"})
    found = wait_for_events(gateway, fresh.submission, 3)
    assert sorted(event.get("machine") or "" for event in found) == ["", "head", "prefetch;user-agent"]


def test_all_links_at_once_are_a_machine(gateway, fresh):
    time.sleep(4)
    for path in fresh.paths[0][:3]:
        ask(gateway, path)
    found = wait_for_events(gateway, fresh.submission, 3)
    assert [event["machine"] for event in found] == ["all-links"] * 3


def test_attack_forged_links_lead_nowhere(gateway, mail):
    path = mail.paths[0][0]
    _, _, feature, token, destination = path.split("/")
    other = mail.paths[1][0].split("/")[3]
    forged = [
        f"/t/{feature}/{token}/{destination}x",
        f"/t/{feature}/{token}/{destination[:-1]}",
        f"/t/{feature}/{token[:-1]}/{destination}",
        f"/t/{feature}/{'A' * len(token)}/{destination}",
        f"/t/{feature}/{other[:8]}{token[8:]}/{destination}",
        f"/t/{feature}/{token}/",
        f"/t/{feature}/{token}",
        f"/t/{feature}/",
        f"/t/trackopens/{token}/{destination}",
        f"/t/nothing/{token}/{destination}",
        f"/t/{feature}/{token}/https://evil.example/",
        "/t/",
    ]
    for each in forged:
        for tls in (False, True):
            answer = ask(gateway, each, tls=tls)
            assert (answer.status, answer.body, answer.location) == (404, b"Not found\n", None), each
            assert {name: answer.headers[name] for name in STRICT} == STRICT
    for headers in (
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"X-Original-URL": "//evil.example"},
    ):
        assert ask(gateway, path + "?url=https://evil.example/", headers=headers).location == TARGETS[0]


def test_other_methods(gateway, mail):
    assert ask(gateway, mail.paths[0][0], method="PUT", body=b"x").status == 405
    assert ask(gateway, mail.paths[0][0], method="POST", body=b"x" * 70_000).status == 413
    assert ask(gateway, mail.paths[0][0], method="HEAD").location == TARGETS[0]


@pytest.mark.parametrize("kind", ["account", "submission", "domain"])
def test_what_is_blocked_ends_within_a_second_and_comes_back(gateway, fresh, kind):
    value = {"account": "owner@example.com", "submission": fresh.submission, "domain": "shop.example"}[kind]
    paths = fresh.paths[0][:2]
    try:
        gateway.json("tracking", "block", f"--{kind}", value)
        time.sleep(1.2)
        assert [ask(gateway, path).status for path in paths] == [404, 404]
        assert ask(gateway, fresh.paths[0][2]).status == (302 if kind == "domain" else 404)
        assert value in gateway.run("tracking", "list").stdout.decode()
    finally:
        gateway.json("tracking", "unblock", f"--{kind}", value)
    wait_for(lambda: [ask(gateway, path).status for path in paths] == [302, 302])


def test_while_the_store_is_locked_links_work_and_events_come_later(gateway, fresh):
    with closing(sqlite3.connect(gateway.directory / "data" / "smtpeter.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        end = time.monotonic() + 12
        clicks = 0
        while time.monotonic() < end:
            began = time.monotonic()
            assert ask(gateway, fresh.paths[0][0], tls=clicks % 2 == 0).status == 302
            assert time.monotonic() - began < 5
            clicks += 1
            time.sleep(0.5)
        other.execute("ROLLBACK")
    assert len(wait_for_events(gateway, fresh.submission, clicks)) == clicks


def test_events_survive_a_stop(gateway, fresh):
    ask(gateway, fresh.paths[0][0])
    gateway.stop()
    try:
        assert len(events(gateway, fresh.submission)) == 1
    finally:
        gateway.start()
    assert ask(gateway, fresh.paths[0][0]).status == 302
