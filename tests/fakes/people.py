"""Accounts, logins and tokens in memory, and a whole REST API for them to ask."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from smtpeter.auth.access import build_portal
from smtpeter.auth.attempts import Attempts
from smtpeter.auth.directory import Directory
from smtpeter.auth.keys import KeyRing
from smtpeter.auth.making import SecretMaker
from smtpeter.errors import NotPossible
from smtpeter.features.catalog import Catalog
from smtpeter.features.options import OptionTable
from smtpeter.interfaces import IAccountStore, IClock, IMetrics, ISecretMaker
from smtpeter.model.account import USUAL_SCOPES, Account, AccountState, Credential, CredentialKind, Scope
from smtpeter.model.feature import Option, OptionKind
from smtpeter.web.rest import credentials, people
from smtpeter.web.rest.api import Api
from smtpeter.web.rest.rates import Rates
from smtpeter.web.rest.routes import RouteTable
from smtpeter.web.rest.values import Request

NOW = 1_700_000_000.0  # 2023-11-14 22:13:20
ALL = tuple(Scope)
ADDRESS = "192.0.2.7"
OPTIONS = OptionTable(
    [
        Option("inlinecss", "inlines", aliases=("inlinizecss",)),
        Option("trackclicks", "tracks"),
        Option("footer", "a text", OptionKind.TEXT),
    ]
)


@implementer(IClock)
class FixedClock:
    def time(self) -> float:
        return NOW


@implementer(IAccountStore)
class FakeAccounts:
    """``trouble`` is what everything fails with, where it is set."""

    def __init__(self) -> None:
        self.people: dict[str, Account] = {}
        self.rows: dict[tuple[CredentialKind, str], Credential] = {}
        self.trouble: Exception | None = None
        self.changed = lambda: None

    def _do(self, work: Any, changes: bool = False) -> Deferred[Any]:
        if self.trouble is not None:
            return fail(self.trouble)
        try:
            result = work()
        except NotPossible as error:
            return fail(error)
        if changes:
            self.changed()
        return succeed(result)

    def add_account(self, email, name, admin, state, password_hash):
        def work():
            if email.casefold() in self.people:
                raise NotPossible(f"there is already an account {email}")
            account = Account(len(self.people) + 1, email, name, admin, state, password_hash, NOW)
            self.people[email.casefold()] = account
            return account

        return self._do(work, changes=True)

    def account(self, email):
        return self._do(lambda: self.people.get(email.casefold()))

    def accounts(self):
        return self._do(lambda: [self.people[email] for email in sorted(self.people)])

    def _change_account(self, email, **changes):
        def work():
            if email.casefold() not in self.people:
                raise NotPossible(f"there is no account {email}")
            account = self.people[email.casefold()] = self.people[email.casefold()]._replace(**changes)
            for key, row in self.rows.items():
                if row.account.number == account.number:
                    self.rows[key] = row._replace(account=account)

        return self._do(work, changes=True)

    def set_password(self, email, password_hash):
        return self._change_account(email, password_hash=password_hash)

    def set_account_state(self, email, state):
        return self._change_account(email, state=state)

    def add_credential(self, kind, email, public, secret_hash, key_id, name, options, scopes=USUAL_SCOPES):
        def work():
            account = self.people[email.casefold()]
            row = Credential(
                len(self.rows) + 1, kind, account, public, secret_hash, key_id, name, options, NOW, None, None, scopes
            )
            self.rows[kind, public] = row
            return row

        return self._do(work, changes=True)

    def _current(self, kind, public):
        row = self.rows.get((kind, public))
        return None if row is None or row.revoked is not None else row

    def credential(self, kind, public):
        return self._do(lambda: self._current(kind, public))

    def credentials(self, kind, email):
        return self._do(
            lambda: [
                row
                for row in self.rows.values()
                if row.kind is kind and email in (None, row.account.email)
            ]
        )  # fmt: skip

    def _change(self, kind, public, **changes):
        def work():
            row = self._current(kind, public)
            if row is None:
                raise NotPossible(f"there is no {kind} {public}, or it was revoked")
            given = {name: value for name, value in changes.items() if value is not None}
            self.rows[kind, public] = row._replace(**given)

        return self._do(work, changes=True)

    def edit_credential(self, kind, public, name, options, scopes=None):
        return self._change(kind, public, name=name, options=options, scopes=scopes)

    def rotate_credential(self, kind, public, secret_hash, key_id):
        return self._change(kind, public, secret_hash=secret_hash, key_id=key_id)

    def revoke_credential(self, kind, public):
        return self._change(kind, public, revoked=NOW)

    def credential_used(self, numbers, time):
        return succeed(None)

    def bind_keys(self, fingerprint):
        return succeed(None)


@implementer(ISecretMaker)
class QuickSecrets(SecretMaker):
    """Without the slow hash of a person's password."""

    made = 0

    def password(self):
        self.made += 1
        return succeed((f"password {self.made}", f"hash {self.made}"))


@implementer(IMetrics)
class FakeMetrics:
    def __init__(self) -> None:
        self.counted: list[tuple[str, dict[str, str]]] = []

    def count(self, name, value=1, **labels):
        self.counted.append((name, labels))

    def observe(self, name, seconds):
        pass


class Answered(NamedTuple):
    """What a client reads."""

    status: int
    json: Any
    fields: dict[bytes, bytes]
    body: bytes

    @property
    def error(self) -> str:
        assert set(self.json) == {"error"}, self.json
        return str(self.json["error"])


class Gateway:
    """An administrator, two owners and somebody who is not approved yet, all with tokens for everything."""

    def __init__(self, routes=(), per_second=0) -> None:
        self.accounts = FakeAccounts()
        self.secrets = QuickSecrets(KeyRing("1", {"1": bytes(32)}), lambda function, *given: succeed(function(*given)))
        self.directory = Directory(self.accounts, FixedClock())
        self.accounts.changed = self.directory.generation_changed
        portal = build_portal(
            self.directory, KeyRing("1", {"1": bytes(32)}), FixedClock(), "mx.example.com", None, Attempts()
        )
        self.metrics = FakeMetrics()
        self.now = 0.0
        catalog = Catalog(options=OPTIONS)
        self.table = RouteTable([
            *people.routes(self.accounts, self.secrets),
            *credentials.routes(self.accounts, self.secrets, catalog),
            *routes,
        ])  # fmt: skip
        self.api = Api(self.table, portal, self.metrics, Rates(per_second, lambda: self.now))
        self.admin = self.person("root@example.com", admin=True)
        self.alice = self.person("alice@example.com")
        self.bob = self.person("bob@example.com")
        self.newcomer = self.person("new@example.com", state=AccountState.PENDING)

    def person(self, email, admin=False, state=AccountState.APPROVED):
        """Add one; answers a token for everything."""
        self.accounts.add_account(email, "", admin, state, "a hash")
        return self.token(email)

    def token(self, email, scopes=ALL):
        made = self.secrets.token()
        self.accounts.add_credential(
            CredentialKind.TOKEN, email, made.public, made.secret_hash, made.key_id, "", (), scopes
        )
        return made.shown

    def login(self, email):
        """Add a login; answers its username."""
        made = self.secrets.login()
        self.accounts.add_credential(CredentialKind.LOGIN, email, made.public, made.secret_hash, made.key_id, "", ())
        return made.public

    def request(self, method, target, token="", body=None, *, fields=(), secure=True, type=b"application/json"):
        given = [(b"authorization", b"Bearer " + token.encode())] if token else []
        octets = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        if octets:
            given.append((b"content-type", type))
        return Request(
            method.encode(), b"/v1" + target.encode(), (*given, *fields), ADDRESS, secure, ADDRESS, octets
        )  # fmt: skip

    def ask(self, method, target, token="", body=None, **more):
        """A request, answered."""
        return self.answer(self.request(method, target, token, body, **more))

    def answer(self, request):
        results: list[Any] = []
        Deferred.fromCoroutine(self.api.answer(request)).addBoth(results.append)
        (response,) = results
        if hasattr(response, "raiseException"):
            response.raiseException()
        assert response.content_type == b"application/json"
        return Answered(response.status, json.loads(response.body), dict(response.fields), response.body)
