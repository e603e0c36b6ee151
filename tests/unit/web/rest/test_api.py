"""What every request goes through, and what becomes of whatever goes wrong."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from pydantic import BaseModel
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import globalLogPublisher

from smtpeter.auth.secrets import split_token
from smtpeter.errors import (
    ContentCorrupt,
    IdempotencyConflict,
    NotPossible,
    Refusal,
    StorageFull,
    StorageUnavailable,
)
from smtpeter.model.account import AccountState, CredentialKind, Scope
from smtpeter.web.rest.api import RemoteToken, read_query
from smtpeter.web.rest.routes import Route
from smtpeter.web.rest.values import ApiError, json_response
from tests.fakes.people import ADDRESS, Gateway


class Words(BaseModel):
    word: str = ""
    number: int = 0
    more: dict[str, int] = {}


class Door:
    """A route for each scope, that does what a test says."""

    def __init__(self):
        self.calls = []
        self.trouble = None
        self.waiting = None

    async def answer(self, call):
        self.calls.append(call)
        if self.trouble is not None:
            raise self.trouble
        if self.waiting is not None:
            await self.waiting
        return json_response({"by": call.submitter.account.email})

    def routes(self):
        return [
            Route("GET", "/read", Scope.READ, self.answer, "", query=Words),
            Route("POST", "/sending", Scope.SEND, self.answer, "", body=Words),
            Route("GET", "/manage", Scope.MANAGE, self.answer, ""),
            Route("POST", "/large", Scope.SEND, self.answer, "", body_schema={"type": "object"}),
        ]


@pytest.fixture
def door():
    return Door()


@pytest.fixture
def gateway(door):
    return Gateway(door.routes())


@pytest.fixture
def logged():
    """All that is logged, as text."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


# --- in clear ---


@pytest.mark.parametrize("target", ["/read", "/read?access_token={token}", "/nothing", "/%ff", "/read?%ff"])
def test_attack_in_clear_nothing_is_said_but_that(gateway, door, target):
    for token in ("", gateway.alice, "garbage"):
        asked = gateway.ask("GET", target.format(token=gateway.alice), token, secure=False)
        assert asked.status == 400 and "HTTPS" in asked.error
    assert door.calls == []


def test_in_clear_from_where_that_is_allowed(gateway):
    gateway.api._is_local = lambda peer: peer == ADDRESS
    assert gateway.ask("GET", "/read", gateway.alice, secure=False).status == 200


# --- tokens ---


@pytest.mark.parametrize("word", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_a_token_in_the_header(gateway, word):
    fields = [(b"authorization", f"{word} {gateway.alice} ".encode())]
    assert gateway.ask("GET", "/read", fields=fields).json == {"by": "alice@example.com"}


@pytest.mark.parametrize("target", [
    "/read?access_token={}", "/read?word=a&access_token={}", "/read?Access_Token={}",
    "/read?access_token=x&access_token={}",
])  # fmt: skip
def test_a_token_in_the_query(gateway, target):
    assert gateway.ask("GET", target.format(gateway.alice)).json == {"by": "alice@example.com"}


def test_the_headers_token_counts(gateway):
    asked = gateway.ask("GET", f"/read?access_token={gateway.alice}", gateway.bob)
    assert asked.json == {"by": "bob@example.com"}
    assert gateway.ask("GET", f"/read?access_token={gateway.alice}", "garbage").status == 401


def test_without_a_token(gateway, door):
    for method, target, fields in [
        ("GET", "/read", []), ("GET", "/read?access_token=", []), ("GET", "/nothing", []), ("DELETE", "/read", []),
        ("GET", "/read", [(b"authorization", b"Basic Og==")]), ("GET", "/read", [(b"authorization", b"Bearer")]),
        ("GET", "/read", [(b"authorization", b"Bearer a b")]), ("GET", "/read", [(b"authorization", b"Bearer \xff")]),
    ]:  # fmt: skip
        asked = gateway.ask(method, target, fields=fields)
        assert asked.status == 401 and "access token" in asked.error
        assert asked.fields[b"WWW-Authenticate"].startswith(b"Bearer")
    assert door.calls == []


def wrong_tokens(token):
    public, secret = split_token(token)
    other = "0" if secret[-1] != "0" else "1"
    return [
        "garbage", "smtpeter__", "é", "a" * 8000, public, secret, token.upper(), f"{token}0", token[:-1],
        f"smtpeter_{public}", f"smtpeter_{public}_", f"{token[:-1]}{other}",
    ]  # fmt: skip


def test_a_wrong_token(gateway, door):
    for token in wrong_tokens(gateway.alice):
        for target in ("/read", "/nothing", "/manage"):
            assert gateway.ask("GET", target, token).status == 401, token
            assert gateway.ask("GET", f"{target}?access_token={quote(token)}").status == 401, token
    assert door.calls == []


def test_a_logins_password_is_no_token(gateway):
    username = gateway.ask("POST", "/logins", gateway.alice, {}).json["username"]
    assert gateway.ask("GET", "/read", f"smtpeter_{username}_{'0' * 32}").status == 401


def test_a_token_that_was_used_is_revoked(gateway, door):
    assert gateway.ask("GET", "/read", gateway.alice).status == 200
    gateway.accounts.revoke_credential(CredentialKind.TOKEN, split_token(gateway.alice)[0])
    asked = gateway.ask("GET", "/read", gateway.alice)
    assert asked.status == 401 and len(door.calls) == 1


@pytest.mark.parametrize("state", [AccountState.SUSPENDED, AccountState.PENDING])
def test_the_account_of_a_token_that_was_used_changes(gateway, state):
    assert gateway.ask("GET", "/read", gateway.alice).status == 200
    gateway.accounts.set_account_state("alice@example.com", state)
    # Who waits for approval may read; only sending is refused, by who takes messages.
    assert gateway.ask("GET", "/read", gateway.alice).status == (401 if state is AccountState.SUSPENDED else 200)
    gateway.accounts.set_account_state("alice@example.com", AccountState.APPROVED)
    assert gateway.ask("GET", "/read", gateway.alice).status == 200


def test_who_was_an_administrator_is_none_any_more(gateway):
    assert gateway.ask("GET", "/accounts", gateway.admin).status == 200
    gateway.accounts._change_account("root@example.com", admin=False)
    assert gateway.ask("GET", "/accounts", gateway.admin).status == 403


def test_scopes_that_were_changed_count_at_once(gateway):
    assert gateway.ask("GET", "/manage", gateway.alice).status == 200
    gateway.accounts.edit_credential(CredentialKind.TOKEN, split_token(gateway.alice)[0], None, None, (Scope.READ,))
    assert gateway.ask("GET", "/manage", gateway.alice).status == 403


@pytest.mark.parametrize(
    ("method", "target", "scope"),
    [("GET", "/read", "read"), ("POST", "/sending", "send"), ("GET", "/manage", "manage")],
)
def test_a_token_is_only_for_what_it_is_for(gateway, door, method, target, scope):
    others = tuple(each for each in Scope if each != scope)
    asked = gateway.ask(method, target, gateway.token("alice@example.com", others), {"word": "a"})
    assert asked.status == 403 and f"for {scope}" in asked.error and door.calls == []
    assert gateway.ask(method, target, gateway.token("alice@example.com", (Scope(scope),)), {"word": "a"}).status == 200


def test_scopes_are_looked_at_before_the_body(gateway):
    token = gateway.token("alice@example.com", (Scope.READ,))
    assert gateway.ask("POST", "/sending", token, b"{").status == 403


def test_trouble_of_the_store_is_no_wrong_token(gateway):
    gateway.accounts.trouble = StorageUnavailable("the disk at /var/lib is gone")
    asked = gateway.ask("GET", "/read", gateway.alice)
    assert asked.status == 503 and asked.fields[b"Retry-After"] == b"10" and "/var" not in asked.error
    gateway.accounts.trouble = None
    assert gateway.ask("GET", "/read", gateway.alice).status == 200
    gateway.directory.generation_changed()
    gateway.accounts.trouble = StorageUnavailable("the disk is gone")
    assert gateway.ask("GET", "/read", gateway.alice).status == 503


def test_tokens_that_are_remembered_do_not_pile_up(gateway, monkeypatch):
    monkeypatch.setattr("smtpeter.web.rest.api._REMEMBERED", 3)
    for token in [gateway.token("alice@example.com") for _ in range(5)] * 2:
        assert gateway.ask("GET", "/read", token).status == 200
    assert len(gateway.api._known) == 3


def test_a_token_does_not_show(gateway):
    assert gateway.alice not in repr(RemoteToken(gateway.alice, ADDRESS))
    gateway.ask("GET", "/read", gateway.alice)
    assert gateway.alice not in repr(vars(gateway.api))


# --- what is asked for ---


def test_query_and_body_are_read_as_the_route_has_them(gateway, door):
    gateway.ask("GET", "/read?WORD=a%2Bb+c&number=7&other=x", gateway.alice)
    gateway.ask("POST", "/sending?word=not+this", gateway.alice, {"Word": "b", "other": [1]})
    assert (door.calls[0].query, door.calls[0].body) == (Words(word="a+b c", number=7), None)
    assert (door.calls[1].query, door.calls[1].body) == (None, Words(word="b"))


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("/read?number=seven", "number: write a whole number"),
        ("/read?word=a&word=b", "word: write a text"),
        ("/read?number[x]=1&number=x", "number: write a whole number"),
        ("/read?word=%ff", "The query of this URL cannot be read: write name=value&name=value, in UTF-8"),
        ("/read?" + "a=&" * 200, "The query of this URL cannot be read: write name=value&name=value, in UTF-8"),
    ],
)
def test_a_query_that_cannot_be_read(gateway, door, target, error):
    asked = gateway.ask("GET", target, gateway.alice)
    assert (asked.status, asked.error) == (400, error) and door.calls == []


def test_the_query_by_names():
    assert read_query(b"A=1&a=2&a=3&b[]=x&c&d=&e=%C3%A9;f") == {
        "a": ["1", "2", "3"], "b": "x", "c": "", "d": "", "e": "é;f",
    }  # fmt: skip
    for bad in (b"a=\xff", b"a=%ff", b"&".join([b"a=1"] * 101)):
        with pytest.raises(ApiError):
            read_query(bad)


def test_a_path_that_leads_nowhere(gateway):
    assert gateway.ask("GET", "/nothing", gateway.alice).status == 404
    asked = gateway.ask("DELETE", "/read", gateway.alice)
    assert asked.status == 405 and asked.fields[b"Allow"] == b"GET, HEAD"


def test_head_is_as_get(gateway, door):
    assert gateway.ask("HEAD", "/read", gateway.alice).status == 200
    assert gateway.ask("HEAD", "/sending", gateway.alice).status == 405


# --- how often ---


def test_too_many_requests(gateway, door):
    gateway = Gateway(door.routes(), per_second=2)
    assert [gateway.ask("GET", "/read", gateway.alice).status for _ in range(4)] == [200, 200, 429, 429]
    asked = gateway.ask("GET", "/read", gateway.alice)
    assert asked.fields[b"Retry-After"] == b"1" and "later" in asked.error
    assert gateway.ask("GET", "/read", gateway.bob).status == 200
    gateway.now += 1
    assert gateway.ask("GET", "/read", gateway.alice).status == 200
    assert len(door.calls) == 4


# --- what goes wrong ---


@pytest.mark.parametrize(
    ("trouble", "status", "error", "again"),
    [
        (ApiError(409, "No."), 409, "No.", None),
        (ApiError(404, ""), 404, "Not Found", None),
        (Refusal(550, "5.7.1", "This account is not approved", "reason"), 403, "This account is not approved", None),
        (Refusal(552, "5.3.4", "Too large", "reason"), 413, "Too large", None),
        (Refusal(554, "5.6.0", "Tags: no", "reason"), 400, "Tags: no", None),
        (Refusal(501, "5.1.3", "Bad address", "reason"), 400, "Bad address", None),
        (Refusal(452, "4.3.1", "Not enough room", "reason"), 503, "Not enough room", b"10"),
        (Refusal(451, "4.3.0", "Try again", "reason"), 503, "Try again", b"10"),
        (Refusal(454, "4.7.0", "Too many logins", "reason"), 429, "Too many logins", b"10"),
        (NotPossible("there is no such thing"), 409, "there is no such thing", None),
        (IdempotencyConflict("secret"), 409,
         "Another request was made under this Idempotency-Key: use a new key for it", None),
        (StorageFull("/var secret"), 503, "There is not enough room to keep mail now; try again later", b"10"),
        (StorageUnavailable("/var secret"), 503, "The store cannot be used now; try again later", b"10"),
        (ContentCorrupt("/var secret"), 503, "Something went wrong here; try again later", b"10"),
    ],
)  # fmt: skip
def test_each_kind_of_failure(gateway, door, trouble, status, error, again):
    door.trouble = trouble
    asked = gateway.ask("GET", "/read", gateway.alice)
    assert (asked.status, asked.error, asked.fields.get(b"Retry-After")) == (status, error, again)


@pytest.mark.parametrize("trouble", [RuntimeError("/var secret"), KeyError("secret"), RecursionError(), MemoryError()])
def test_a_bug_is_told_to_the_log_and_not_to_the_client(gateway, door, logged, trouble):
    door.trouble = trouble
    asked = gateway.ask("GET", "/read", gateway.alice)
    assert (asked.status, asked.error) == (503, "Something went wrong here; try again later")
    (failure,) = [event["log_failure"] for event in logged if "log_failure" in event]
    assert failure.value is trouble


def test_no_secret_is_in_an_error(gateway, door, logged):
    for trouble in (None, RuntimeError("a bug"), StorageUnavailable("gone")):
        door.trouble = trouble
        for target in ("/read?number=x", "/nothing", "/read", "/%ff"):
            for method in ("GET", "DELETE"):
                asked = gateway.ask(method, f"{target}{'&' if '?' in target else '?'}access_token={gateway.alice}")
                assert gateway.alice.encode() not in asked.body
    assert logged and all(gateway.alice not in repr(event) for event in logged)


def test_what_was_given_is_not_in_an_error(gateway):
    evil = "<script>\x1b[2J"
    for body in ({"word": [evil]}, {"number": evil}, {"word": {evil: 1}}, {"more": {evil: "x"}}, {"more": {"x": evil}}):
        asked = gateway.ask("POST", "/sending", gateway.alice, body)
        assert asked.status == 400 and "script" not in asked.error


def test_each_answer_is_counted(gateway, door):
    gateway.ask("GET", "/read", gateway.alice)
    gateway.ask("GET", "/read")
    assert gateway.metrics.counted == [("rest_requests", {"status": "200"}), ("rest_requests", {"status": "401"})]


def test_nobody_waits_any_more(gateway, door, logged):
    door.waiting = Deferred()
    results = []
    answer = Deferred.fromCoroutine(gateway.api.answer(gateway.request("GET", "/read", gateway.alice)))
    answer.addBoth(results.append)
    answer.cancel()
    assert results[0].check(CancelledError)
    assert [event for event in logged if "log_failure" in event] == []


# --- before the body is there ---


def admitted(gateway, *request, **more):
    results = []
    Deferred.fromCoroutine(gateway.api.admit(gateway.request(*request, **more))).addBoth(results.append)
    return None if isinstance(results[0], int) else (type(results[0].value), results[0].value.status)


def test_a_request_is_admitted_that_would_be_carried_out(gateway, door):
    read_only = gateway.token("alice@example.com", (Scope.READ,))
    assert admitted(gateway, "POST", "/large", gateway.alice) is None
    assert admitted(gateway, "POST", "/sending", gateway.alice) == (ApiError, 413)
    assert admitted(gateway, "POST", "/large", "garbage") == (ApiError, 401)
    assert admitted(gateway, "POST", "/large", read_only) == (ApiError, 403)
    assert admitted(gateway, "PUT", "/large", gateway.alice) == (ApiError, 405)
    assert admitted(gateway, "POST", "/large", gateway.alice, secure=False) == (ApiError, 400)
    gateway.directory.generation_changed()
    gateway.accounts.trouble = StorageUnavailable("gone")
    assert admitted(gateway, "POST", "/large", gateway.alice) == (ApiError, 503)
    assert door.calls == []
