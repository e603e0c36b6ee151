"""Accounts: for administrators only, and never more than what was asked for."""

from __future__ import annotations

import pytest
from zope.interface.verify import verifyObject

from smtpeter.interfaces import IAccountStore, ISecretMaker
from smtpeter.model.account import AccountState, Scope
from tests.fakes.people import Gateway

ALICE = {
    "email": "alice@example.com", "name": "", "admin": False, "state": "approved", "created": "2023-11-14 22:13:20",
}  # fmt: skip
FOR_ADMINISTRATORS = [
    ("GET", "/accounts", None),
    ("POST", "/accounts", {"email": "eve@example.com"}),
    ("GET", "/accounts/alice@example.com", None),
    ("PATCH", "/accounts/alice@example.com", {"state": "approved"}),
    ("POST", "/accounts/alice@example.com/password", None),
]


@pytest.fixture
def gateway():
    return Gateway()


def test_the_fakes_are_what_they_say(gateway):
    assert verifyObject(IAccountStore, gateway.accounts) and verifyObject(ISecretMaker, gateway.secrets)


def test_ones_own_account(gateway):
    assert gateway.ask("GET", "/account", gateway.alice).json == ALICE


def test_ones_own_account_is_not_chosen_by_a_parameter(gateway):
    asked = gateway.ask("GET", "/account?account=bob@example.com&email=bob@example.com", gateway.alice)
    assert asked.json == ALICE


def test_all_accounts(gateway):
    asked = gateway.ask("GET", "/accounts", gateway.admin)
    assert [each["email"] for each in asked.json] == [
        "alice@example.com", "bob@example.com", "new@example.com", "root@example.com",
    ]  # fmt: skip
    assert asked.json[0] == ALICE and b"hash" not in asked.body


def test_one_account_by_any_case(gateway):
    assert gateway.ask("GET", "/accounts/Alice%40example.COM", gateway.admin).json == ALICE


def test_an_account_is_added_with_a_password_that_is_shown_once(gateway):
    asked = gateway.ask("POST", "/accounts", gateway.admin, {"email": "eve@example.com", "name": "Eve É"})
    assert asked.json == {"email": "eve@example.com", "password": "password 1"}
    eve = gateway.accounts.people["eve@example.com"]
    assert (eve.name, eve.admin, eve.state, eve.password_hash) == ("Eve É", False, AccountState.APPROVED, "hash 1")


def test_an_account_is_added_that_waits_for_approval(gateway):
    gateway.ask("POST", "/accounts", gateway.admin, {"email": "eve@example.com", "pending": True, "admin": True})
    eve = gateway.accounts.people["eve@example.com"]
    assert (eve.admin, eve.state) == (True, AccountState.PENDING)


def test_an_account_that_is_there_is_not_added_again(gateway):
    asked = gateway.ask("POST", "/accounts", gateway.admin, {"email": "ALICE@example.com"})
    assert (asked.status, asked.error) == (409, "there is already an account ALICE@example.com")
    assert gateway.accounts.people["alice@example.com"].password_hash == "a hash"


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "email: this is missing"),
        ({"email": "nobody"}, "email: must be an e-mail address"),
        ({"email": ""}, "email: must be an e-mail address"),
        ({"email": "a@b.example\r\nX: y"}, "email: must be an e-mail address"),
        ({"email": " a@b.example"}, "email: must be an e-mail address"),
        ({"email": "<a@b.example>"}, "email: must be an e-mail address"),
        ({"email": "a@b.example,c@d.example"}, "email: must be an e-mail address"),
        ({"email": "a" * 250 + "@b.example"}, "email: String should have at most 254 characters"),
        ({"email": ["a@b.example"]}, "email: write a text"),
        ({"email": "a@b.example", "name": "one\ntwo"}, "name: must be one line of printable characters"),
        ({"email": "a@b.example", "name": "n" * 201}, "name: String should have at most 200 characters"),
        ({"email": "a@b.example", "admin": "perhaps"}, "admin: write true or false"),
        ({"email": "a@b.example", "state": "approved"}, "state: there is no such field in this request"),
        ({"email": "a@b.example", "password_hash": "x"}, "password_hash: there is no such field in this request"),
        ({"email": "a@b.example", "number": 1}, "number: there is no such field in this request"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_account_is_refused_by_name(gateway, body, error):
    asked = gateway.ask("POST", "/accounts", gateway.admin, body)
    assert (asked.status, asked.error) == (400, error)
    assert len(gateway.accounts.people) == 4


def test_an_account_is_approved(gateway):
    asked = gateway.ask("PATCH", "/accounts/new@example.com", gateway.admin, {"state": "approved"})
    assert asked.json["state"] == "approved"
    assert gateway.accounts.people["new@example.com"].state is AccountState.APPROVED


def test_an_account_is_suspended_and_its_token_ends(gateway):
    assert gateway.ask("GET", "/account", gateway.alice).status == 200
    asked = gateway.ask("PATCH", "/accounts/alice@example.com", gateway.admin, {"state": "suspended"})
    assert asked.json == {**ALICE, "state": "suspended"}
    assert gateway.ask("GET", "/account", gateway.alice).status == 401


@pytest.mark.parametrize("body", [
    {}, {"state": "pending"}, {"state": "SUSPENDED!"}, {"state": None}, {"state": "approved", "admin": True},
    {"state": "approved", "email": "root@example.com"},
])  # fmt: skip
def test_attack_an_account_is_given_more_than_a_state(gateway, body):
    before = dict(gateway.accounts.people)
    asked = gateway.ask("PATCH", "/accounts/alice@example.com", gateway.admin, body)
    assert asked.status == 400
    assert gateway.accounts.people == before


@pytest.mark.parametrize("email", ["root@example.com", "ROOT@example.com"])
def test_an_administrator_does_not_lock_himself_out(gateway, email):
    asked = gateway.ask("PATCH", f"/accounts/{email}", gateway.admin, {"state": "suspended"})
    assert asked.status == 409 and "another" in asked.error
    assert gateway.ask("GET", "/accounts", gateway.admin).status == 200


def test_another_password(gateway):
    asked = gateway.ask("POST", "/accounts/alice@example.com/password", gateway.admin)
    assert asked.json == {"email": "alice@example.com", "password": "password 1"}
    assert gateway.accounts.people["alice@example.com"].password_hash == "hash 1"


@pytest.mark.parametrize(("method", "path", "body"), FOR_ADMINISTRATORS)
def test_attack_an_owner_administers(gateway, method, path, body):
    before = dict(gateway.accounts.people)
    asked = gateway.ask(method, path, gateway.bob, body)
    assert asked.status == 403 and "administrators" in asked.error
    assert gateway.accounts.people == before


@pytest.mark.parametrize(("method", "path", "body"), FOR_ADMINISTRATORS)
def test_an_owner_does_not_find_out_who_is_there(gateway, method, path, body):
    there = gateway.ask(method, path, gateway.bob, body)
    assert gateway.ask(method, path.replace("alice", "nobody"), gateway.bob, body).body == there.body


@pytest.mark.parametrize(("method", "path", "body"), FOR_ADMINISTRATORS)
def test_attack_an_administrator_who_is_not_approved_approves_himself(gateway, method, path, body):
    token = gateway.person("mallory@example.com", admin=True, state=AccountState.PENDING)
    before = dict(gateway.accounts.people)
    assert gateway.ask(method, path.replace("alice", "mallory"), token, body).status == 403
    assert gateway.accounts.people == before


@pytest.mark.parametrize(("method", "path", "body"), FOR_ADMINISTRATORS)
def test_an_administrators_token_is_not_for_this_unless_it_says_so(gateway, method, path, body):
    token = gateway.token("root@example.com", (Scope.SEND, Scope.READ))
    asked = gateway.ask(method, path, token, body)
    assert asked.status == 403 and "manage" in asked.error


@pytest.mark.parametrize(("method", "path", "body"), [each for each in FOR_ADMINISTRATORS if "alice" in each[1]])
@pytest.mark.parametrize("nobody", ["nobody", "%00", "..%2F..", "%C3%A9", "a%27%20OR%201=1--"])
def test_an_account_that_is_not_there(gateway, method, path, body, nobody):
    asked = gateway.ask(method, path.replace("alice@example.com", nobody), gateway.admin, body)
    assert (asked.status, asked.error) == (404, "There is no such account")
