"""Accounts, logins and tokens."""

from __future__ import annotations

import pytest

from smtpeter.errors import ConfigError, NotPossible
from smtpeter.model.account import USUAL_SCOPES, Account, AccountState, CredentialKind, Scope
from tests.contract.engines import START, Engine

LOGIN, TOKEN = CredentialKind.LOGIN, CredentialKind.TOKEN


@pytest.fixture
def ann(engine: Engine) -> Account:
    return engine.wait(engine.store.accounts.add_account("Ann@Example.com", "Ann", True, AccountState.PENDING, "hash"))


def add(engine: Engine, public: str, kind: CredentialKind = LOGIN, email: str = "ann@example.com") -> None:
    engine.wait(engine.store.accounts.add_credential(kind, email, public, b"\0secret", "k1", "name", (("a", "true"),)))


def test_an_account_is_found_without_case(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    assert engine.wait(accounts.account("aNN@eXAMPLE.COM")) == ann
    assert ann == Account(ann.number, "Ann@Example.com", "Ann", True, AccountState.PENDING, "hash", START)
    assert engine.wait(accounts.account("bob@example.com")) is None


def test_an_address_is_taken_once(engine: Engine, ann: Account) -> None:
    with pytest.raises(NotPossible, match="ANN@example"):
        engine.wait(engine.store.accounts.add_account("ANN@example.com", "", False, AccountState.APPROVED, ""))


def test_accounts_are_listed_by_address(engine: Engine, ann: Account) -> None:
    engine.wait(engine.store.accounts.add_account("aaron@example.com", "", False, AccountState.APPROVED, ""))
    emails = [account.email for account in engine.wait(engine.store.accounts.accounts())]
    assert emails == ["aaron@example.com", "Ann@Example.com"]


def test_password_and_state_change(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    engine.wait(accounts.set_password("ann@example.com", "other"))
    engine.wait(accounts.set_account_state("ann@example.com", AccountState.SUSPENDED))
    changed = ann._replace(password_hash="other", state=AccountState.SUSPENDED)
    assert engine.wait(accounts.account("ann@example.com")) == changed


def test_what_is_not_there_cannot_be_changed(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    for impossible in (
        lambda: accounts.set_password("bob@example.com", "x"),
        lambda: accounts.set_account_state("bob@example.com", AccountState.APPROVED),
        lambda: accounts.add_credential(LOGIN, "bob@example.com", "u", b"", "k", "", ()),
        lambda: accounts.edit_credential(LOGIN, "u", "x", None),
        lambda: accounts.rotate_credential(LOGIN, "u", b"x", "k"),
        lambda: accounts.revoke_credential(LOGIN, "u"),
    ):
        with pytest.raises(NotPossible):
            engine.wait(impossible())


def test_a_credential_comes_with_its_account(engine: Engine, ann: Account) -> None:
    add(engine, "user1")
    credential = engine.wait(engine.store.accounts.credential(LOGIN, "user1"))
    assert credential is not None
    assert (credential.account, credential.kind, credential.public) == (ann, LOGIN, "user1")
    assert (credential.secret_hash, credential.key_id, credential.name) == (b"\0secret", "k1", "name")
    assert (credential.options, credential.created) == ((("a", "true"),), START)
    assert credential.used is credential.revoked is None


def test_kinds_are_apart_and_public_parts_are_taken_once(engine: Engine, ann: Account) -> None:
    add(engine, "same")
    assert engine.wait(engine.store.accounts.credential(TOKEN, "same")) is None
    add(engine, "same", TOKEN)
    with pytest.raises(NotPossible, match="same"):
        add(engine, "same", TOKEN)


def test_a_revoked_credential_is_listed_and_no_more(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    add(engine, "one")
    add(engine, "two")
    engine.wait(accounts.revoke_credential(LOGIN, "one"))
    assert engine.wait(accounts.credential(LOGIN, "one")) is None
    listed = engine.wait(accounts.credentials(LOGIN, "ANN@example.com"))
    assert [(each.public, each.revoked) for each in listed] == [("one", START), ("two", None)]
    assert engine.wait(accounts.credentials(LOGIN, "bob@example.com")) == []
    assert engine.wait(accounts.credentials(TOKEN, None)) == []
    for impossible in (
        lambda: accounts.revoke_credential(LOGIN, "one"),
        lambda: accounts.rotate_credential(LOGIN, "one", b"x", "k"),
        lambda: accounts.edit_credential(LOGIN, "one", "x", None),
    ):
        with pytest.raises(NotPossible):
            engine.wait(impossible())


def test_a_credential_is_edited_and_rotated(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    add(engine, "user")
    engine.wait(accounts.edit_credential(LOGIN, "user", "new", None))
    engine.wait(accounts.rotate_credential(LOGIN, "user", b"other", "k2"))
    engine.wait(accounts.credential_used([1], START + 5))
    credential = engine.wait(accounts.credential(LOGIN, "user"))
    assert credential is not None
    assert (credential.name, credential.options) == ("new", (("a", "true"),))
    assert (credential.secret_hash, credential.key_id, credential.used) == (b"other", "k2", START + 5)
    engine.wait(accounts.edit_credential(LOGIN, "user", None, ()))
    credential = engine.wait(accounts.credential(LOGIN, "user"))
    assert credential is not None
    assert (credential.name, credential.options, credential.scopes) == ("new", (), USUAL_SCOPES)


def test_a_credential_has_the_scopes_that_it_was_given(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    for number, scopes in enumerate([(), (Scope.SEND,), (Scope.MANAGE, Scope.READ), tuple(Scope)]):
        made = engine.wait(accounts.add_credential(TOKEN, ann.email, str(number), b"x", "k", "", (), scopes))
        assert made.scopes == scopes
        assert engine.wait(accounts.credential(TOKEN, str(number))) == made
    add(engine, "usual", TOKEN)
    assert [each.scopes for each in engine.wait(accounts.credentials(TOKEN, None))][-1] == USUAL_SCOPES


def test_the_scopes_of_a_token_are_edited(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    add(engine, "token", TOKEN)
    for scopes in (tuple(Scope), (Scope.READ,), ()):
        engine.wait(accounts.edit_credential(TOKEN, "token", None, None, scopes))
        credential = engine.wait(accounts.credential(TOKEN, "token"))
        assert credential is not None
        assert (credential.scopes, credential.options) == (scopes, (("a", "true"),))


def test_a_change_is_told_to_the_server_and_use_is_not(engine: Engine, ann: Account) -> None:
    accounts = engine.store.accounts
    add(engine, "user")
    seen = [engine.wait(engine.store.queue.generation())]
    for change in (
        lambda: accounts.set_password("ann@example.com", "x"),
        lambda: accounts.set_account_state("ann@example.com", AccountState.SUSPENDED),
        lambda: accounts.edit_credential(LOGIN, "user", "x", None),
        lambda: accounts.rotate_credential(LOGIN, "user", b"x", "k"),
        lambda: accounts.revoke_credential(LOGIN, "user"),
    ):
        engine.wait(change())
        seen.append(engine.wait(engine.store.queue.generation()))
    assert seen == sorted(set(seen))
    engine.wait(accounts.credential_used([1], START))
    assert engine.wait(engine.store.queue.generation()) == seen[-1]


def test_keys_are_bound_once(engine: Engine) -> None:
    engine.wait(engine.store.accounts.bind_keys("one"))
    engine.wait(engine.store.accounts.bind_keys("one"))
    engine.reopen()
    with pytest.raises(ConfigError, match="keys"):
        engine.wait(engine.store.accounts.bind_keys("two"))
    engine.wait(engine.store.accounts.bind_keys("one"))
