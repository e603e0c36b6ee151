"""Logins and tokens: those of others are as if they were not there."""

from __future__ import annotations

import pytest

from smtpeter.auth.secrets import split_token
from smtpeter.model.account import AccountState, CredentialKind, Scope
from tests.fakes.people import NOW, Gateway

LOGIN, TOKEN = CredentialKind.LOGIN, CredentialKind.TOKEN
OF_ONE = [
    ("GET", "/{kind}/{id}", None),
    ("PATCH", "/{kind}/{id}", {"name": "mine now", "options": {}}),
    ("DELETE", "/{kind}/{id}", None),
    ("POST", "/logins/{id}/rotate", None),
]


@pytest.fixture
def gateway():
    return Gateway()


def rows_of(gateway, email, kind=TOKEN):
    return [row for row in gateway.accounts.rows.values() if row.kind is kind and row.account.email == email]


def public(token):
    return split_token(token)[0]


# --- what owners do ---


def test_an_owner_makes_a_login(gateway):
    asked = gateway.ask("POST", "/logins", gateway.alice, {"name": "shop", "options": {"inlinecss": True}})
    assert asked.status == 200 and set(asked.json) == {"username", "password"}
    (login,) = rows_of(gateway, "alice@example.com", LOGIN)
    assert (login.public, login.name, login.options) == (asked.json["username"], "shop", (("inlinecss", "true"),))
    assert asked.json["password"].encode() not in login.secret_hash


def test_an_owner_makes_a_token_that_works(gateway):
    asked = gateway.ask("POST", "/tokens", gateway.alice, {"name": "reports", "scopes": ["read", "read"]})
    assert set(asked.json) == {"id", "token"} and public(asked.json["token"]) == asked.json["id"]
    assert gateway.ask("GET", "/account", asked.json["token"]).json["email"] == "alice@example.com"
    assert rows_of(gateway, "alice@example.com")[-1].scopes == (Scope.READ,)


def test_a_token_of_which_nothing_is_said_sends_and_reads(gateway):
    asked = gateway.ask("POST", "/tokens", gateway.alice, {})
    assert gateway.accounts.rows[TOKEN, asked.json["id"]].scopes == (Scope.SEND, Scope.READ)
    assert gateway.ask("GET", "/tokens", asked.json["token"]).status == 403


def test_one_of_them_without_its_secret(gateway):
    asked = gateway.ask("GET", f"/tokens/{public(gateway.alice).upper()}", gateway.alice)
    assert asked.json == {
        "id": public(gateway.alice), "account": "alice@example.com", "name": "", "options": {},
        "created": "2023-11-14 22:13:20", "used": None, "revoked": None, "scopes": ["send", "read", "manage"],
    }  # fmt: skip
    username = gateway.login("alice@example.com")
    asked = gateway.ask("GET", f"/logins/{username}", gateway.alice)
    assert asked.json == {
        "username": username, "account": "alice@example.com", "name": "", "options": {},
        "created": "2023-11-14 22:13:20", "used": None, "revoked": None,
    }  # fmt: skip


def test_all_of_them_revoked_ones_too(gateway):
    first, second = gateway.login("alice@example.com"), gateway.login("alice@example.com")
    gateway.login("bob@example.com")
    gateway.ask("DELETE", f"/logins/{first}", gateway.alice)
    asked = gateway.ask("GET", "/logins", gateway.alice)
    assert [(each["username"], each["revoked"]) for each in asked.json] == [
        (first, "2023-11-14 22:13:20"), (second, None),
    ]  # fmt: skip


def test_a_change_leaves_what_is_not_named(gateway):
    username = gateway.ask("POST", "/logins", gateway.alice, {"name": "shop", "options": {"footer": "Bye"}}).json[
        "username"
    ]
    asked = gateway.ask("PATCH", f"/logins/{username}", gateway.alice, {"name": "store"})
    assert (asked.json["name"], asked.json["options"]) == ("store", {"footer": "Bye"})
    asked = gateway.ask("PATCH", f"/logins/{username}", gateway.alice, {"options": {"trackclicks": False}})
    assert (asked.json["name"], asked.json["options"]) == ("store", {"trackclicks": False})
    assert gateway.ask("GET", f"/logins/{username}", gateway.alice).body == asked.body
    asked = gateway.ask("PATCH", f"/logins/{username}", gateway.alice, {"options": [], "name": None})
    assert (asked.json["name"], asked.json["options"]) == ("store", {})


def test_a_token_is_for_less_from_then_on(gateway):
    token = gateway.token("alice@example.com")
    asked = gateway.ask("PATCH", f"/tokens/{public(token)}", gateway.alice, {"scopes": ["read"]})
    assert asked.json["scopes"] == ["read"]
    assert gateway.ask("GET", "/account", token).status == 200
    assert gateway.ask("GET", "/tokens", token).status == 403


def test_a_login_has_no_scopes(gateway):
    username = gateway.login("alice@example.com")
    for method, path in (("POST", "/logins"), ("PATCH", f"/logins/{username}")):
        assert gateway.ask(method, path, gateway.alice, {"scopes": ["manage"]}).status == 400


def test_a_login_gets_another_password(gateway):
    username = gateway.login("alice@example.com")
    before = gateway.accounts.rows[LOGIN, username]
    asked = gateway.ask("POST", f"/logins/{username}/rotate", gateway.alice)
    assert asked.json["username"] == username and set(asked.json) == {"username", "password"}
    after = gateway.accounts.rows[LOGIN, username]
    assert before.secret_hash != after.secret_hash and after == before._replace(secret_hash=after.secret_hash)


def test_a_revoked_token_ends_at_once_and_for_ever(gateway):
    token = gateway.token("alice@example.com")
    assert gateway.ask("GET", "/account", token).status == 200
    asked = gateway.ask("DELETE", f"/tokens/{public(token)}", gateway.alice)
    assert asked.json == {"revoked": public(token)}
    assert gateway.accounts.rows[TOKEN, public(token)].revoked == NOW
    assert gateway.ask("GET", "/account", token).status == 401
    for method, path, body in OF_ONE[:3]:
        assert gateway.ask(method, path.format(kind="tokens", id=public(token)), gateway.alice, body).status == 404


def test_a_token_may_revoke_itself(gateway):
    assert gateway.ask("DELETE", f"/tokens/{public(gateway.alice)}", gateway.alice).status == 200
    assert gateway.ask("GET", "/account", gateway.alice).status == 401


def test_somebody_who_is_not_approved_yet_sees_to_his_own(gateway):
    assert gateway.ask("POST", "/tokens", gateway.newcomer, {}).status == 200
    assert gateway.ask("GET", "/account", gateway.newcomer).json["state"] == "pending"
    assert gateway.ask("GET", "/tokens?account=alice@example.com", gateway.newcomer).status == 403


# --- options ---


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"inlinizecss": True}, {"inlinecss": True}),
        ({"INLINECSS": "off"}, {"inlinecss": False}),
        ({"inlinecss": "yes", "footer": "true love"}, {"inlinecss": True, "footer": "true love"}),
        ({"inlinecss": "1"}, {"inlinecss": True}),
        ({"Tags": "a, b,a"}, {"tags": "a,b"}),
        ({"tags": ["a", " b "], "images": "Default"}, {"tags": "a,b", "images": "default"}),
        ({"tags": "true"}, {"tags": "true"}),
        ({"tags": ["false"]}, {"tags": "false"}),
        ({}, {}),
        ("", {}),
        ([], {}),
    ],
)
def test_options_by_any_of_their_names(gateway, given, kept):
    made = gateway.ask("POST", "/tokens", gateway.alice, {"options": given})
    assert gateway.ask("GET", f"/tokens/{made.json['id']}", gateway.alice).json["options"] == kept


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"nosuch": True}, "options: there is no such feature here (there are: inlinecss, trackclicks, footer)"),
        ({"tags": "a b"}, "options.tags: separate tags by commas; a tag has no white space and no semicolon"),
        ({"tags": []}, "options.tags: write at least one tag"),
        ({"tags": True}, "options.tags: write a list of words, or words with commas between"),
        ({"images": "hosted"}, "options.images: only default is possible here"),
        (
            {"MaxDeliverTime": "2030-01-01 00:00:00"},
            "options.maxdelivertime: a point in time cannot be a default: give it with each message",
        ),
        (
            {"sendAt": "x", "tags": "a"},
            "options.send_at: a point in time cannot be a default: give it with each message",
        ),
        ({"idempotency_key": "x"}, "options.idempotency_key: a key cannot be a default: give it with each message"),
        ({"inlinecss": ["a"]}, "options.inlinecss: write true, false or a text"),
        ({"tags": [1]}, "options: must be an object: features by name, each true, false or a text"),
        ({"inlinecss": "perhaps"}, "options.inlinecss: write true or false"),
        ({"inlinecss": True, "inlinizecss": False}, "options.inlinecss: given twice, under two of its names"),
        ({"footer": "a\r\nb"}, "options.footer: write one line of at most 1000 characters"),
        ({"inlinecss": 1}, "options: must be an object: features by name, each true, false or a text"),
        ({"inlinecss": None}, "options: must be an object: features by name, each true, false or a text"),
        ({"inlinecss": {"x": "y"}}, "options: must be an object: features by name, each true, false or a text"),
        (["inlinecss"], "options: must be an object: features by name, each true, false or a text"),
        ("inlinecss", "options: must be an object: features by name, each true, false or a text"),
    ],
)
@pytest.mark.parametrize("kind", ["logins", "tokens"])
def test_options_that_are_none_are_refused(gateway, kind, given, error):
    before = dict(gateway.accounts.rows)
    asked = gateway.ask("POST", f"/{kind}", gateway.alice, {"options": given})
    assert (asked.status, asked.error) == (400, error)
    assert gateway.accounts.rows == before


def test_what_a_client_calls_an_option_is_not_in_the_error(gateway):
    name = "\x1b[2J<script>"
    assert name not in gateway.ask("POST", "/tokens", gateway.alice, {"options": {name: True}}).error
    assert name not in gateway.ask("POST", "/tokens", gateway.alice, {"options": {name: 1}}).error
    assert name not in gateway.ask("POST", "/tokens", gateway.alice, {name: 1}).error


# --- forms ---


@pytest.mark.parametrize(
    ("form", "scopes"),
    [
        (b"scopes=read", ["read"]),
        (b"scopes[]=read", ["read"]),
        (b"scopes=read&scopes=send", ["send", "read"]),
        (b"scopes[]=manage&scopes[]=read", ["read", "manage"]),
    ],
)
def test_forms_will_do(gateway, form, scopes):
    asked = gateway.ask(
        "POST", "/tokens", gateway.alice, form + b"&name=shop&options[footer]=Bye",
        type=b"application/x-www-form-urlencoded",
    )  # fmt: skip
    asked = gateway.ask("GET", f"/tokens/{asked.json['id']}", gateway.alice)
    assert (asked.json["scopes"], asked.json["name"], asked.json["options"]) == (scopes, "shop", {"footer": "Bye"})


@pytest.mark.parametrize("form", [b"options[tags]=a,b", b"options[tags][]=a&options[tags][]=b"])
def test_tags_in_a_form(gateway, form):
    made = gateway.ask("POST", "/tokens", gateway.alice, form, type=b"application/x-www-form-urlencoded")
    assert gateway.ask("GET", f"/tokens/{made.json['id']}", gateway.alice).json["options"] == {"tags": "a,b"}


@pytest.mark.parametrize("scopes", [[], ["admin"], "everything", {"send": True}, [["send"]], [None]])
def test_scopes_that_are_none_are_refused(gateway, scopes):
    before = dict(gateway.accounts.rows)
    for method, path in (("POST", "/tokens"), ("PATCH", f"/tokens/{public(gateway.alice)}")):
        asked = gateway.ask(method, path, gateway.alice, {"scopes": scopes})
        assert asked.status == 400 and asked.error.startswith("scopes"), asked
    assert gateway.accounts.rows == before


def test_attack_a_misspelt_field_makes_a_token_for_more_than_was_meant(gateway):
    asked = gateway.ask("POST", "/tokens", gateway.alice, {"scope": ["read"]})
    assert (asked.status, asked.error) == (400, "scope: there is no such field in this request")


# --- those of others ---


@pytest.mark.parametrize("kind", ["logins", "tokens"])
@pytest.mark.parametrize(("method", "path", "body"), OF_ONE)
def test_attack_the_id_of_somebody_elses(gateway, kind, method, path, body):
    id = gateway.login("alice@example.com") if kind == "logins" else public(gateway.alice)
    before = dict(gateway.accounts.rows)
    asked = gateway.ask(method, path.format(kind=kind, id=id), gateway.bob, body)
    assert asked.status == 404
    assert asked.body == gateway.ask(method, path.format(kind=kind, id="nobody"), gateway.bob, body).body
    assert gateway.accounts.rows == before


@pytest.mark.parametrize("kind", ["logins", "tokens"])
@pytest.mark.parametrize("whose", ["alice@example.com", "ALICE@example.com", "root@example.com", "nobody@example.com"])
def test_attack_the_account_of_somebody_else(gateway, kind, whose):
    before = dict(gateway.accounts.rows)
    listed = gateway.ask("GET", f"/{kind}?account={whose}", gateway.bob)
    made = gateway.ask("POST", f"/{kind}", gateway.bob, {"account": whose})
    assert listed.status == made.status == 403
    assert "alice" not in listed.error and listed.body == made.body
    assert gateway.accounts.rows == before


def test_ones_own_address_is_no_other_account(gateway):
    for kind in ("logins", "tokens"):
        assert gateway.ask("POST", f"/{kind}", gateway.bob, {"account": "BOB@example.com"}).status == 200
        listed = gateway.ask("GET", f"/{kind}?account=Bob@example.com", gateway.bob)
        assert {each["account"] for each in listed.json} == {"bob@example.com"}


def test_a_tokens_id_is_no_logins(gateway):
    username = gateway.login("alice@example.com")
    assert gateway.ask("GET", f"/tokens/{username}", gateway.alice).status == 404
    assert gateway.ask("GET", f"/logins/{public(gateway.alice)}", gateway.alice).status == 404
    assert gateway.ask("POST", f"/logins/{public(gateway.alice)}/rotate", gateway.alice).status == 404


@pytest.mark.parametrize("kind", ["logins", "tokens"])
def test_an_administrator_sees_to_those_of_others(gateway, kind):
    made = gateway.ask("POST", f"/{kind}", gateway.admin, {"account": "Alice@example.com"})
    id = made.json["username" if kind == "logins" else "id"]
    listed = gateway.ask("GET", f"/{kind}?account=alice@example.com", gateway.admin)
    assert listed.json[-1]["account"] == "alice@example.com" and id in listed.json[-1].values()
    for method, path, body in OF_ONE[:2] + (OF_ONE[3:] if kind == "logins" else []) + OF_ONE[2:3]:
        assert gateway.ask(method, path.format(kind=kind, id=id), gateway.admin, body).status == 200


@pytest.mark.parametrize("kind", ["logins", "tokens"])
def test_an_account_that_is_not_there(gateway, kind):
    for asked in (
        gateway.ask("GET", f"/{kind}?account=nobody@example.com", gateway.admin),
        gateway.ask("POST", f"/{kind}", gateway.admin, {"account": "nobody@example.com"}),
    ):
        assert (asked.status, asked.error) == (404, "There is no such account")


def test_attack_an_administrator_who_is_not_approved_sees_to_those_of_others(gateway):
    token = gateway.person("mallory@example.com", admin=True, state=AccountState.PENDING)
    for method, path, body in OF_ONE[:3]:
        assert gateway.ask(method, path.format(kind="tokens", id=public(gateway.alice)), token, body).status == 404
    assert gateway.ask("POST", "/tokens", token, {"account": "alice@example.com"}).status == 403
