"""Which function a request is for."""

from __future__ import annotations

import pytest

from smtpeter.model.account import Scope
from smtpeter.web.rest.routes import Route, RouteTable
from smtpeter.web.rest.values import ApiError


def route(method, path):
    return Route(method, path, Scope.READ, None, f"{method} {path}")


TABLE = RouteTable([
    route("GET", "/events"), route("GET", "/events/tags/{tags}"), route("GET", "/events/{kind}/{what}"),
    route("GET", "/logins/{id}"), route("PATCH", "/logins/{id}"), route("POST", "/logins"),
    route("POST", "/logins/{id}/rotate"), route("GET", "/files/{id}/{name}"),
])  # fmt: skip


def found(method, path):
    found, parameters = TABLE.find(method.encode(), path if isinstance(path, bytes) else path.encode())
    return found.summary, dict(parameters)


def refused(method, path):
    with pytest.raises(ApiError) as caught:
        found(method, path)
    return caught.value.status, dict(caught.value.fields)


def test_names_and_parameters():
    assert found("GET", "/events") == ("GET /events", {})
    assert found("PATCH", "/logins/x") == ("PATCH /logins/{id}", {"id": "x"})
    assert found("POST", "/logins/x/rotate") == ("POST /logins/{id}/rotate", {"id": "x"})


def test_what_is_named_comes_before_what_could_be_anything():
    for table in (TABLE, RouteTable(reversed(TABLE.routes))):
        assert table.find(b"GET", b"/events/tags/a")[0].path == "/events/tags/{tags}"
        assert table.find(b"GET", b"/events/others/a")[0].path == "/events/{kind}/{what}"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("a;b", "a;b"), ("a+b@c.example", "a+b@c.example"), ("a%2Bb%40c", "a+b@c"), ("a%2Fb", "a/b"), ("a%2fb", "a/b"),
        ("%2e%2e", ".."), ("..", ".."), ("%C3%A9", "é"), ("%00", "\0"), ("%25", "%"), ("%", "%"), ("%zz", "%zz"),
        ("a%3Fb", "a?b"), ("%252F", "%2F"), ("*", "*"), ("{id}", "{id}"),
    ],
)  # fmt: skip
def test_a_parameter_is_decoded_once(written, meant):
    assert found("GET", f"/logins/{written}") == ("GET /logins/{id}", {"id": meant})
    assert found("GET", f"/files/{written}/b")[1] == {"id": meant, "name": "b"}


def test_attack_an_escaped_slash_leads_to_another_route():
    assert found("GET", "/logins/x%2Frotate") == ("GET /logins/{id}", {"id": "x/rotate"})
    assert refused("GET", "/events%2Ftags%2Fa")[0] == 404
    # What is escaped is the same name: there is one way only to read it.
    assert found("GET", "/%65vents") == ("GET /events", {})


@pytest.mark.parametrize("path", [
    "", "/", "//", "/nothing", "/events/", "//events", "/events/tags/", "/events//a", "/logins/", "/logins/x/",
    "/logins/x/rotate/", "/logins//rotate", "/EVENTS", "events", "/events/..", "/./events", "/logins/%ff", b"/\xff",
    "/logins/%c3", "/logins/%ed%a0%80", "/events;x", "/a" * 5000,
])  # fmt: skip
def test_there_is_nothing(path):
    assert refused("GET", path) == (404, {})


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/events", b"GET, HEAD"), ("get", "/events", b"GET, HEAD"), ("GET", "/logins", b"POST"),
        ("HEAD", "/logins", b"POST"), ("PUT", "/logins/x", b"GET, PATCH, HEAD"), ("OPTIONS", "/events", b"GET, HEAD"),
        ("TRACE", "/events", b"GET, HEAD"), ("X\xff", "/events", b"GET, HEAD"),
    ],
)  # fmt: skip
def test_other_methods_are_told(method, path, allow):
    assert refused(method, path) == (405, {b"Allow": allow})


def test_head_is_gets_without_a_body():
    assert found("HEAD", "/events") == ("GET /events", {})


@pytest.mark.parametrize(
    ("one", "other"),
    [(("GET", "/a/{x}"), ("GET", "/a/{x}")), (("GET", "/a/{x}"), ("GET", "/a/{y}")), (("GET", "/a"), ("GET", "/a")),
     (("GET", "/a/{x}"), ("PUT", "/a/{y}"))],
)  # fmt: skip
def test_two_routes_for_the_same(one, other):
    with pytest.raises(ValueError, match="two routes"):
        RouteTable([route(*one), route(*other)])
