"""Who may send from which domain."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from smtpeter.auth import domains as module
from smtpeter.auth.domains import RETRY, DomainReader, SenderDomains
from smtpeter.auth.keys import KeyRing
from smtpeter.errors import FeatureMissing, StorageUnavailable
from smtpeter.interfaces import ISenderDomains
from tests.fakes.domains import ACCOUNT, RING, FakeDomainStore, keys_of, long_key, make_domain, make_domains

OTHER = 8


def test_the_interface_is_provided() -> None:
    assert verifyObject(ISenderDomains, SenderDomains(RING))


def test_nobody_owns_what_is_not_there() -> None:
    found = SenderDomains(RING)
    assert not found.owns(ACCOUNT, "own.example")
    assert found.keys(ACCOUNT, "own.example") == ()
    assert not found.has_keys(ACCOUNT)


@pytest.mark.parametrize("name", ["own.example", "a.own.example", "c.b.a.own.example"])
def test_a_domain_and_those_below_it(name: str) -> None:
    found = make_domains("own.example")
    assert found.owns(ACCOUNT, name)
    assert not found.owns(OTHER, name)
    assert [(key.domain, key.selector) for key in found.keys(ACCOUNT, name)] == [
        ("own.example", "s202311r"), ("own.example", "s202311e"),
    ]  # fmt: skip
    assert found.keys(OTHER, name) == found.keys(None, name) == ()


@pytest.mark.parametrize("name", ["example", "wn.example", "notown.example", "own.example.net", "own", "", "."])
def test_attack_names_that_only_look_alike(name: str) -> None:
    assert not make_domains("own.example").owns(ACCOUNT, name)


def test_of_several_the_nearest_decides() -> None:
    found = SenderDomains(RING, [make_domain("own.example"), make_domain("shop.own.example", OTHER)])
    assert found.owns(ACCOUNT, "own.example") and found.owns(ACCOUNT, "x.own.example")
    assert found.owns(OTHER, "shop.own.example") and found.owns(OTHER, "x.shop.own.example")
    assert not found.owns(ACCOUNT, "x.shop.own.example")
    assert not found.owns(OTHER, "own.example")
    assert {key.domain for key in found.keys(OTHER, "x.shop.own.example")} == {"shop.own.example"}


def test_only_accounts_with_keys_have_mail_signed() -> None:
    found = SenderDomains(RING, [make_domain("own.example"), make_domain("bare.example", OTHER, keys=())])
    assert found.has_keys(ACCOUNT)
    assert not found.has_keys(OTHER)
    assert not found.has_keys(None)
    assert found.owns(OTHER, "bare.example")


def test_the_longest_key_of_all_domains_of_an_account_is_known() -> None:
    found = SenderDomains(
        RING,
        [
            make_domain("own.example"),
            make_domain("more.example", keys=(long_key("more.example"),)),
            make_domain("other.example", OTHER),
            make_domain("third.example", 9, keys=keys_of("third.example")[1:]),
        ],
    )
    assert [found.longest_key(account) for account in (ACCOUNT, OTHER, 9, None)] == [3072, 2048, 0, 0]
    found.take([make_domain("own.example")])
    assert [found.longest_key(account) for account in (ACCOUNT, OTHER)] == [2048, 0]


def test_a_key_that_cannot_be_unsealed_is_told_and_mail_waits_for_it() -> None:
    good, bad = keys_of("own.example")
    with capturedLogs() as logs:
        found = SenderDomains(RING, [make_domain(keys=(good, bad._replace(sealed=b"x" * 40)))])
    with pytest.raises(FeatureMissing):
        found.keys(ACCOUNT, "own.example")
    assert not found.keys(OTHER, "own.example")
    (event,) = logs
    assert (event["log_level"].name, event["selector"], event["domain"]) == ("error", "s202311e", "own.example")


def test_with_other_master_keys_mail_waits_and_the_domain_is_still_owned() -> None:
    with capturedLogs() as logs:
        found = SenderDomains(KeyRing("9", {"9": b"9" * 32}), [make_domain()])
    assert len(logs) == 2
    assert found.has_keys(ACCOUNT)  # or it would go unsigned
    assert found.owns(ACCOUNT, "own.example")


def test_a_private_key_is_not_in_what_is_shown_of_it() -> None:
    (key, _) = make_domains("own.example").keys(ACCOUNT, "own.example")
    assert repr(key) == f"{key}" == "SigningKey(s202311r._domainkey.own.example)"


def test_each_key_is_unsealed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    unsealed = []
    real = module.unseal
    monkeypatch.setattr(module, "unseal", lambda *arguments: unsealed.append(arguments[1]) or real(*arguments))
    found = SenderDomains(RING, [make_domain()])
    found.take([make_domain(), make_domain("more.example")])
    found.take([make_domain("more.example")])
    assert len(unsealed) == len(set(unsealed)) == 4
    found.take([make_domain()])
    assert len(unsealed) == 6, "what was gone is not remembered"


# --- what changes while the server runs


class Following:
    def __init__(self, *kept: object) -> None:
        self.store = FakeDomainStore(*kept)  # type: ignore[arg-type]
        self.timers = Clock()
        self.found = SenderDomains(RING)
        self.reader = DomainReader(self.store, self.found, self.timers)  # type: ignore[arg-type]


def test_what_a_command_changed_is_read() -> None:
    following = Following()
    following.store.kept.append(make_domain())
    assert not following.found.owns(ACCOUNT, "own.example")
    following.reader.generation_changed()
    assert following.found.owns(ACCOUNT, "own.example")
    following.store.kept.clear()
    following.reader.generation_changed()
    assert not following.found.owns(ACCOUNT, "own.example")
    assert not following.found.has_keys(ACCOUNT)


def test_a_change_while_it_is_read_is_read_again() -> None:
    following = Following()
    following.store.slow = slow = Deferred()
    following.reader.generation_changed()
    following.reader.generation_changed()
    following.reader.generation_changed()
    assert following.store.asked == 1
    following.store.slow = None
    following.store.kept.append(make_domain())
    slow.callback([])
    assert following.store.asked == 2
    assert following.found.owns(ACCOUNT, "own.example")


@pytest.mark.parametrize(("trouble", "told"), [(StorageUnavailable("full"), 0), (ValueError("a bug"), 1)])
def test_while_the_store_is_in_trouble_the_last_ones_count(trouble: Exception, told: int) -> None:
    following = Following(make_domain())
    following.reader.generation_changed()
    following.store.kept.append(make_domain("more.example"))
    following.store.trouble = trouble
    with capturedLogs() as logs:
        following.reader.generation_changed()
    assert len(logs) == told
    assert following.found.owns(ACCOUNT, "own.example")
    following.store.trouble = None
    following.timers.advance(RETRY)
    assert following.found.owns(ACCOUNT, "more.example")
    assert following.timers.getDelayedCalls() == []


def test_nothing_is_asked_after_the_end() -> None:
    following = Following()
    following.store.trouble = StorageUnavailable("full")
    following.reader.generation_changed()
    asked = following.store.asked
    following.reader.stop()
    following.reader.generation_changed()
    following.timers.advance(10 * RETRY)
    assert following.store.asked == asked
    assert following.timers.getDelayedCalls() == []
