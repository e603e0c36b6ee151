from types import SimpleNamespace

import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.auth import secrets
from smtpeter.auth.access import TokenCredential, build_portal
from smtpeter.auth.attempts import Attempts
from smtpeter.auth.directory import Directory
from smtpeter.auth.keys import KeyRing
from smtpeter.errors import StorageUnavailable
from smtpeter.interfaces import IClock, ISubmitter
from smtpeter.model.account import USUAL_SCOPES, Account, AccountState, Credential, CredentialKind


@implementer(IClock)
class ManualClock:
    def __init__(self):
        self.now = 1_800_000_000.0

    def time(self):
        return self.now


class AccountBook:
    """The questions that this room asks an account store, answered at once from memory; ``asked`` counts them."""

    def __init__(self):
        self.rows = {}
        self.people = {}
        self.asked = 0
        self.broken = False
        self.uses = []

    def _answer(self, value):
        self.asked += 1
        return fail(StorageUnavailable("the disk is gone")) if self.broken else succeed(value)

    def account(self, email):
        return self._answer(self.people.get(email.lower()))

    def credential(self, kind, public):
        return self._answer(self.rows.get((kind, public)))

    def credential_used(self, numbers, time):
        if not self.broken:
            self.uses.append((list(numbers), time))
        return self._answer(None)

    # --- what commands do

    def put_account(self, account):
        self.people[account.email] = account
        for key, row in self.rows.items():
            if row.account.number == account.number:
                self.rows[key] = row._replace(account=account)

    def put(self, kind, account, made, options=(), scopes=USUAL_SCOPES):
        number = len(self.rows) + 1
        row = Credential(
            number, kind, account, made.public, made.secret_hash, made.key_id, "", options, 0.0, None, None, scopes
        )
        self.rows[kind, made.public] = row
        return row


@pytest.fixture(autouse=True)
def quick_argon2(monkeypatch):
    """The real thing, with the least work that argon2 accepts."""
    monkeypatch.setattr(secrets, "_MEMORY_KIB", 8)
    monkeypatch.setattr(secrets, "_PASSES", 1)
    monkeypatch.setattr(secrets, "_hasher", secrets.PasswordHasher(1, 8, 1, secrets._HASH_BYTES, secrets._SALT_BYTES))


@pytest.fixture
def keys():
    return KeyRing("2", {"1": bytes(32), "2": bytes(range(32))})


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    return AccountBook()


@pytest.fixture
def directory(store, clock):
    return Directory(store, clock)


@pytest.fixture
def alice(store):
    account = Account(
        7, "alice@example.com", "Alice", False, AccountState.APPROVED, secrets.hash_password("sésame x"), 0
    )
    store.put_account(account)
    return account


@pytest.fixture
def login(store, alice, keys):
    made = secrets.make_login(keys)
    store.put(CredentialKind.LOGIN, alice, made, (("inlinecss", "true"),))
    return made


@pytest.fixture
def token(store, alice, keys):
    made = secrets.make_token(keys)
    store.put(CredentialKind.TOKEN, alice, made, (("trackopens", "true"),))
    return made


@pytest.fixture
def door(directory, keys, clock):
    """The portal as a client meets it; ``hashed`` counts argon2 verifications, ``held`` keeps them waiting."""
    door = SimpleNamespace(hashed=0, hold=False, held=[])

    def defer_to_thread(function, *arguments):
        door.hashed += 1
        if not door.hold:
            return succeed(function(*arguments))
        waiting = Deferred()
        waiting.addCallback(lambda _: function(*arguments))
        door.held.append(waiting)
        return waiting

    attempts = Attempts()
    portal = build_portal(directory, keys, clock, "mx.example.com", defer_to_thread, attempts)

    def attempt(credentials):
        """A Deferred of the submitter."""
        return portal.login(credentials, None, ISubmitter).addCallback(lambda result: result[1])

    door.portal = portal
    door.attempts = attempts
    door.password = lambda name, password: attempt(UsernamePassword(name.encode(), password.encode()))
    door.token = lambda token: attempt(TokenCredential(token))
    door.attempt = attempt
    return door


def result_of(deferred):
    """What a Deferred fired with, its failure raised."""
    results = []
    deferred.addBoth(results.append)
    assert results, "it has not fired"
    if hasattr(results[0], "raiseException"):
        results[0].raiseException()
    return results[0]


@pytest.fixture(name="result_of")
def result_of_fixture():
    return result_of
