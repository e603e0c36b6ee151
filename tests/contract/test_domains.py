"""Domains that accounts send from, and their keys."""

from __future__ import annotations

import pytest

from smtpeter.errors import NotPossible
from smtpeter.model.account import AccountState
from smtpeter.model.domain import DomainKey, KeyAlgorithm, SenderDomain
from tests.contract.engines import START, Engine

RSA = DomainKey("s1", KeyAlgorithm.RSA, "MIIB", b"sealed\0rsa", "k1")
ED = DomainKey("s2", KeyAlgorithm.ED25519, "11qY", b"sealed ed", "k1")
NEW = DomainKey("s0", KeyAlgorithm.ED25519, "22qY", b"sealed new", "k2")


@pytest.fixture
def accounts(engine: Engine) -> list[int]:
    return [
        engine.wait(engine.store.accounts.add_account(email, "", False, AccountState.APPROVED, "")).number
        for email in ("Ann@example.com", "bob@example.com")
    ]


def add(engine: Engine, domain: str, email: str, *keys: DomainKey) -> SenderDomain:
    return engine.wait(engine.store.domains.add_domain(domain, email, keys))


def domains(engine: Engine, email: str | None = None) -> list[SenderDomain]:
    return list(engine.wait(engine.store.domains.domains(email)))


def test_a_domain_has_an_owner_and_keys(engine: Engine, accounts: list[int]) -> None:
    added = add(engine, "b.example", "ANN@example.com", ED, RSA)
    assert added == SenderDomain("b.example", accounts[0], "Ann@example.com", START, (RSA, ED))
    bobs, anns = add(engine, "c.example", "bob@example.com"), add(engine, "a.example", "ann@example.com", RSA)
    engine.reopen()
    assert domains(engine) == [anns, added, bobs]
    assert domains(engine, "Ann@Example.com") == [anns, added]
    assert domains(engine, "nobody@example.com") == []


def test_a_domain_has_one_owner(engine: Engine, accounts: list[int]) -> None:
    kept = add(engine, "a.example", "ann@example.com", RSA)
    for email in ("bob@example.com", "ann@example.com"):
        with pytest.raises(NotPossible, match=r"a\.example belongs to Ann@example\.com"):
            add(engine, "a.example", email, ED)
    with pytest.raises(NotPossible, match="no account nobody"):
        add(engine, "b.example", "nobody@example.com")
    assert domains(engine) == [kept]


def test_two_keys_of_one_name_are_refused_with_the_domain(engine: Engine, accounts: list[int]) -> None:
    with pytest.raises(NotPossible, match=r"already a key s1 of a\.example"):
        add(engine, "a.example", "ann@example.com", RSA, ED._replace(selector="s1"))
    assert domains(engine) == []


def test_keys_come_and_go(engine: Engine, accounts: list[int]) -> None:
    store = engine.store.domains
    add(engine, "a.example", "ann@example.com", RSA, ED)
    add(engine, "b.example", "ann@example.com", RSA)
    engine.wait(store.add_key("a.example", NEW))
    assert domains(engine)[0].keys == (NEW, RSA, ED)
    engine.wait(store.remove_key("a.example", "s1"))
    assert [each.keys for each in domains(engine)] == [(NEW, ED), (RSA,)]
    with pytest.raises(NotPossible, match="no key s1"):
        engine.wait(store.remove_key("a.example", "s1"))
    with pytest.raises(NotPossible, match="already a key s2"):
        engine.wait(store.add_key("a.example", ED))
    with pytest.raises(NotPossible, match=r"no domain c\.example"):
        engine.wait(store.add_key("c.example", ED))


def test_a_domain_goes_with_its_keys(engine: Engine, accounts: list[int]) -> None:
    add(engine, "a.example", "ann@example.com", RSA)
    engine.wait(engine.store.domains.remove_domain("a.example"))
    assert domains(engine) == []
    assert add(engine, "a.example", "bob@example.com").keys == ()
    with pytest.raises(NotPossible, match=r"no domain b\.example"):
        engine.wait(engine.store.domains.remove_domain("b.example"))


def test_each_change_is_told_to_the_server(engine: Engine, accounts: list[int]) -> None:
    store, seen = engine.store.domains, [engine.wait(engine.store.queue.generation())]
    changes = (
        lambda: store.add_domain("a.example", "ann@example.com", (RSA,)),
        lambda: store.add_key("a.example", ED),
        lambda: store.remove_key("a.example", "s1"),
        lambda: store.remove_domain("a.example"),
    )
    for change in changes:
        engine.wait(change())
        seen.append(engine.wait(engine.store.queue.generation()))
    assert seen == sorted(set(seen))
