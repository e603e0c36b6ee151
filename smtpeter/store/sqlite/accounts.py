"""Accounts, logins and tokens."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.errors import ConfigError, NotPossible
from smtpeter.interfaces import IAccountStore, IClock, IExecutor
from smtpeter.model.account import USUAL_SCOPES, Account, AccountState, Credential, CredentialKind, Scope
from smtpeter.store.sqlite.listing import bump_generation
from smtpeter.store.sqlite.rows import milliseconds, pack_options, seconds, unpack_options

_ACCOUNT = "a.number, a.email, a.name, a.admin, a.state, a.password_hash, a.created"
_CREDENTIALS = f"""
    SELECT {_ACCOUNT},
        c.number, c.kind, c.public, c.secret_hash, c.key_id, c.name, c.options, c.created, c.used, c.revoked,
        c.scopes
    FROM credential AS c JOIN account AS a ON a.number = c.account
"""


def _account(row: Sequence[Any]) -> Account:
    number, email, name, admin, state, password_hash, created = row
    return Account(number, email, name, bool(admin), AccountState(state), password_hash, seconds(created))


def _credential(row: Sequence[Any]) -> Credential:
    number, kind, public, secret_hash, key_id, name, options, created, used, revoked, scopes = row[7:]
    return Credential(
        number=number,
        kind=CredentialKind(kind),
        account=_account(row[:7]),
        public=public,
        secret_hash=secret_hash,
        key_id=key_id,
        name=name,
        options=unpack_options(options),
        created=seconds(created),
        used=None if used is None else seconds(used),
        revoked=None if revoked is None else seconds(revoked),
        scopes=tuple(Scope(scope) for scope in scopes.split()),
    )


@implementer(IAccountStore)
class AccountStore:
    """See :class:`smtpeter.interfaces.IAccountStore`."""

    def __init__(self, executor: IExecutor, clock: IClock) -> None:
        self._executor = executor
        self._clock = clock

    def add_account(
        self, email: str, name: str, admin: bool, state: AccountState, password_hash: str
    ) -> Deferred[Account]:
        """See the interface."""
        created = self._now()

        def write(connection: sqlite3.Connection) -> Account:
            added = connection.execute(
                """
                INSERT INTO account (email, folded, name, admin, state, password_hash, created)
                VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folded) DO NOTHING RETURNING number
                """,
                (email, email.casefold(), name, admin, state.value, password_hash, created),
            ).fetchall()
            if not added:
                raise NotPossible(f"there is already an account {email}")
            bump_generation(connection)
            return Account(added[0][0], email, name, admin, state, password_hash, seconds(created))

        return self._executor.write(write)

    def account(self, email: str) -> Deferred[Account | None]:
        """See the interface."""
        folded = email.casefold()

        def read(connection: sqlite3.Connection) -> Account | None:
            row = connection.execute(f"SELECT {_ACCOUNT} FROM account AS a WHERE folded = ?", (folded,)).fetchone()
            return None if row is None else _account(row)

        return self._executor.read(read)

    def accounts(self) -> Deferred[Sequence[Account]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Sequence[Account]:
            return [_account(row) for row in connection.execute(f"SELECT {_ACCOUNT} FROM account AS a ORDER BY folded")]

        return self._executor.read(read)

    def set_password(self, email: str, password_hash: str) -> Deferred[None]:
        """See the interface."""
        return self._change_account(email, "password_hash", password_hash)

    def set_account_state(self, email: str, state: AccountState) -> Deferred[None]:
        """See the interface."""
        return self._change_account(email, "state", state.value)

    def add_credential(
        self,
        kind: CredentialKind,
        email: str,
        public: str,
        secret_hash: bytes,
        key_id: str,
        name: str,
        options: tuple[tuple[str, str], ...],
        scopes: tuple[Scope, ...] = USUAL_SCOPES,
    ) -> Deferred[Credential]:
        """See the interface."""
        packed = " ".join(scopes)
        created = self._now()

        def write(connection: sqlite3.Connection) -> Credential:
            account = connection.execute("SELECT number FROM account WHERE folded = ?", (email.casefold(),)).fetchone()
            if account is None:
                raise NotPossible(f"there is no account {email}")
            added = connection.execute(
                """
                INSERT INTO credential (kind, account, public, secret_hash, key_id, name, options, created, scopes)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (kind, public) DO NOTHING
                """,
                (kind.value, account[0], public, secret_hash, key_id, name, pack_options(options), created, packed),
            )
            if not added.rowcount:
                raise NotPossible(f"there is already a {kind.value} {public}")
            bump_generation(connection)
            number = added.lastrowid
            return _credential(connection.execute(f"{_CREDENTIALS} WHERE c.number = ?", (number,)).fetchone())

        return self._executor.write(write)

    def credential(self, kind: CredentialKind, public: str) -> Deferred[Credential | None]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Credential | None:
            row = connection.execute(
                f"{_CREDENTIALS} WHERE c.kind = ? AND c.public = ? AND c.revoked IS NULL", (kind.value, public)
            ).fetchone()
            return None if row is None else _credential(row)

        return self._executor.read(read)

    def credentials(self, kind: CredentialKind, email: str | None) -> Deferred[Sequence[Credential]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Sequence[Credential]:
            owner, values = (
                ("", [kind.value]) if email is None else (" AND a.folded = ?", [kind.value, email.casefold()])
            )
            rows = connection.execute(f"{_CREDENTIALS} WHERE c.kind = ?{owner} ORDER BY c.number", values)
            return [_credential(row) for row in rows]

        return self._executor.read(read)

    def edit_credential(
        self,
        kind: CredentialKind,
        public: str,
        name: str | None,
        options: tuple[tuple[str, str], ...] | None,
        scopes: tuple[Scope, ...] | None = None,
    ) -> Deferred[None]:
        """See the interface."""
        packed = None if options is None else pack_options(options)
        joined = None if scopes is None else " ".join(scopes)
        return self._change_credential(
            kind,
            public,
            "name = coalesce(?, name), options = coalesce(?, options), scopes = coalesce(?, scopes)",
            (name, packed, joined),
        )

    def rotate_credential(self, kind: CredentialKind, public: str, secret_hash: bytes, key_id: str) -> Deferred[None]:
        """See the interface."""
        return self._change_credential(kind, public, "secret_hash = ?, key_id = ?", (secret_hash, key_id))

    def revoke_credential(self, kind: CredentialKind, public: str) -> Deferred[None]:
        """See the interface."""
        return self._change_credential(kind, public, "revoked = ?", (self._now(),))

    def credential_used(self, numbers: Sequence[int], time: float) -> Deferred[None]:
        """See the interface.  This is no change that anybody caches: the generation stays."""
        at = milliseconds(time)

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE credential SET used = ? WHERE number = ?", [(at, number) for number in numbers]
            )

        return self._executor.write(write)

    def bind_keys(self, fingerprint: str) -> Deferred[None]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO setting VALUES ('keys', ?) ON CONFLICT DO NOTHING", (fingerprint,))
            (bound,) = connection.execute("SELECT value FROM setting WHERE name = 'keys'").fetchone()
            if bound != fingerprint:
                raise ConfigError(
                    f"keys.file: this is not the keys file of this store (fingerprint {fingerprint}, wanted {bound})"
                )

        return self._executor.write(write)

    def _now(self) -> int:
        return milliseconds(self._clock.time())

    def _change_account(self, email: str, column: str, value: str) -> Deferred[None]:
        def write(connection: sqlite3.Connection) -> None:
            changed = connection.execute(f"UPDATE account SET {column} = ? WHERE folded = ?", (value, email.casefold()))
            if not changed.rowcount:
                raise NotPossible(f"there is no account {email}")
            bump_generation(connection)

        return self._executor.write(write)

    def _change_credential(
        self, kind: CredentialKind, public: str, assignments: str, values: tuple[Any, ...]
    ) -> Deferred[None]:
        def write(connection: sqlite3.Connection) -> None:
            changed = connection.execute(
                f"UPDATE credential SET {assignments} WHERE kind = ? AND public = ? AND revoked IS NULL",
                (*values, kind.value, public),
            )
            if not changed.rowcount:
                raise NotPossible(f"there is no {kind.value} {public}, or it was revoked")
            bump_generation(connection)

        return self._executor.write(write)
