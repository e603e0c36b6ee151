"""The doorkeeper: what guesses cost, and that nothing shows by time or words."""

from __future__ import annotations

import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from smtpeter.auth.attempts import AT_ONCE, FREE, LONGEST_DELAY
from smtpeter.auth.guard import BUSY_DELAY, SOONEST, GuardedPortal
from smtpeter.errors import Refusal, StorageUnavailable
from smtpeter.interfaces import ISubmitter
from smtpeter.model.account import AccountState

PASSWORD = "sésame x"
ATTACKER, OWNER = "192.0.2.66", "198.51.100.1"


class Guarded:
    """A guarded portal, and a clock for its delays."""

    def __init__(self, door):
        self.clock = Clock()
        self.portal = GuardedPortal(door.portal, door.attempts, self.clock)

    def login(self, name, password, address=ATTACKER):
        credentials = UsernamePassword(name.encode(), password.encode())
        credentials.address = address
        return self.portal.login(credentials, None, ISubmitter).addCallback(lambda result: result[1])

    def seconds(self, name, password, address=ATTACKER):
        """How long the answer takes, and what it is."""
        results = []
        self.login(name, password, address).addBoth(results.append)
        began = self.clock.seconds()
        while not results:
            self.clock.advance(0.05)
        [result] = results
        return round(self.clock.seconds() - began, 2), getattr(result, "type", None)


@pytest.fixture
def guarded(door):
    return Guarded(door)


def test_a_right_password_is_answered_at_once(guarded, login):
    assert guarded.seconds(login.public, login.shown) == (0.0, None)


def test_failures_are_told_later_and_later(guarded, login):
    seconds = [guarded.seconds(login.public, "wrong") for _ in range(FREE + 6)]
    assert all(issubclass(kind, UnauthorizedLogin) for _, kind in seconds)
    # A little is forgiven while one waits.
    assert [each for each, _ in seconds] == pytest.approx([SOONEST] * FREE + [1, 2, 4, 8, 8, 8], rel=0.25, abs=0.1)


def test_enumeration_known_and_unknown_names_take_the_same_time(door, store, login, alice):
    """Whatever is wrong, and however often: generated logins and people, suspended and pending ones too."""

    def times(name):
        door.attempts.__init__()
        guarded = Guarded(door)
        return [guarded.seconds(name, "wrong", f"192.0.2.{n // 3}")[0] for n in range(3 * FREE)]

    unknown = times("nobody")
    assert unknown[0] == SOONEST and unknown[-1] == pytest.approx(LONGEST_DELAY, abs=0.1)
    for name in (login.public, "nobody@example.com", "alice@example.com"):
        assert times(name) == unknown
    for state in (AccountState.SUSPENDED, AccountState.PENDING):
        store.put_account(alice._replace(state=state))
        for name in (login.public, "alice@example.com"):
            assert times(name) == unknown


def test_what_is_wrong_is_told_alike_by_the_guard_too(guarded, login, alice):
    texts = set()
    for name in (login.public, "nobody", "alice@example.com", "nobody@example.com"):
        failures = []
        guarded.login(name, "wrong").addErrback(failures.append)
        guarded.clock.advance(LONGEST_DELAY)
        assert failures[0].check(UnauthorizedLogin)
        texts.add(str(failures[0].value))
    assert texts == {""}


def test_attack_a_login_that_is_hammered_lets_its_owner_in_at_once_from_elsewhere(guarded, login, alice):
    for name, password in ((login.public, login.shown), ("alice@example.com", PASSWORD)):
        for _ in range(30):
            guarded.seconds(name, "wrong")
        assert guarded.seconds(name, password, OWNER) == (0.0, None)


def test_attack_beside_the_owner_at_the_same_address(guarded, login):
    assert guarded.seconds(login.public, login.shown) == (0.0, None)
    for _ in range(30):
        guarded.seconds("somebody", "wrong")
    assert guarded.seconds(login.public, login.shown) == (0.0, None)


def test_attack_many_guesses_at_once_from_one_address(guarded, login):
    for _ in range(FREE + 4):
        guarded.seconds(login.public, "wrong")
    under_way = [guarded.login(login.public, "wrong") for _ in range(AT_ONCE)]
    failures = []
    guarded.login(login.public, login.shown).addErrback(failures.append)
    assert failures == []
    guarded.clock.advance(BUSY_DELAY)
    assert failures[0].check(Refusal) and failures[0].value.reply[:2] == (454, "4.7.0")
    guarded.clock.advance(LONGEST_DELAY)
    for each in under_way:
        each.addErrback(failures.append)
    assert len(failures) == 1 + AT_ONCE
    assert guarded.seconds(login.public, "wrong")[1] is not Refusal


def test_who_is_put_off_because_too_many_passwords_are_checked_hears_it_late(guarded, door, alice):
    door.hold = True
    for number in range(20):
        guarded.login(f"nobody{number}@example.com", "wrong").addErrback(lambda failure: None)
    assert guarded.seconds("alice@example.com", PASSWORD) == (BUSY_DELAY, Refusal)


def test_a_network_of_ipv6_counts_as_one_address(guarded, login):
    for number in range(FREE):
        guarded.seconds(f"nobody{number}", "wrong", f"2001:db8::{number}")
    assert guarded.seconds("somebody", "wrong", "2001:db8::ffff")[0] >= 1.0
    assert guarded.seconds("anybody", "wrong", "2001:db8:0:1::1")[0] == SOONEST


def test_trouble_of_the_store_is_no_failure_of_the_client(guarded, store, login):
    store.broken = True
    for _ in range(20):
        assert guarded.seconds(login.public, "wrong") == (0.0, StorageUnavailable)
    store.broken = False
    assert guarded.seconds(login.public, "wrong")[0] == SOONEST


def test_a_login_that_is_given_up_gives_its_place_back(guarded, login):
    for _ in range(20):
        login_under_way = guarded.login(login.public, "wrong")
        login_under_way.addErrback(lambda failure: None)
        login_under_way.cancel()
    assert guarded.clock.getDelayedCalls() == []
    guarded.clock.advance(2000)
    assert guarded.seconds(login.public, login.shown) == (0.0, None)


def test_repeated_failures_are_in_the_log_and_secrets_are_not(guarded, login):
    with capturedLogs() as events:
        for _ in range(8):
            guarded.seconds(login.public, "wr0ng-secret")
            guarded.seconds("my-password-by-mistake", "x", "192.0.2.67")
    first, second = [event for event in events if event.get("event") == "guesses"]
    assert (first["address"], first["login"], first["failures"]) == (ATTACKER, login.public, 8)
    assert (second["address"], second["login"]) == ("192.0.2.67", "(unknown)")
    assert "secret" not in repr(events) and "by-mistake" not in repr(events)
