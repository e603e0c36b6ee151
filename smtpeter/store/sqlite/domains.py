"""Domains that accounts send from, and the keys that sign for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.errors import NotPossible
from smtpeter.interfaces import IClock, IDomainStore, IExecutor
from smtpeter.model.domain import DomainKey, KeyAlgorithm, SenderDomain
from smtpeter.store.sqlite.listing import bump_generation
from smtpeter.store.sqlite.rows import milliseconds, seconds

_DOMAINS = """
    SELECT d.domain, d.account, a.email, d.created FROM sender_domain AS d JOIN account AS a ON a.number = d.account
"""
_KEYS = "SELECT selector, algorithm, public, sealed, key_id FROM domain_key WHERE domain = ? ORDER BY selector"
_ADD_KEY = """
    INSERT INTO domain_key (domain, selector, algorithm, public, sealed, key_id) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""


@implementer(IDomainStore)
class DomainStore:
    """See :class:`smtpeter.interfaces.IDomainStore`."""

    def __init__(self, executor: IExecutor, clock: IClock) -> None:
        self._executor = executor
        self._clock = clock

    def add_domain(self, domain: str, email: str, keys: Sequence[DomainKey]) -> Deferred[SenderDomain]:
        """See the interface."""
        created = milliseconds(self._clock.time())

        def write(connection: sqlite3.Connection) -> SenderDomain:
            account = connection.execute("SELECT number FROM account WHERE folded = ?", (email.casefold(),)).fetchone()
            if account is None:
                raise NotPossible(f"there is no account {email}")
            owned = _read(connection, f"{_DOMAINS} WHERE d.domain = ?", domain)
            if owned:
                raise NotPossible(f"{domain} belongs to {owned[0].email} already")
            connection.execute("INSERT INTO sender_domain VALUES (?, ?, ?)", (domain, account[0], created))
            for key in keys:
                _add_key(connection, domain, key)
            bump_generation(connection)
            return _read(connection, f"{_DOMAINS} WHERE d.domain = ?", domain)[0]

        return self._executor.write(write)

    def remove_domain(self, domain: str) -> Deferred[None]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> None:
            if not connection.execute("DELETE FROM sender_domain WHERE domain = ?", (domain,)).rowcount:
                raise NotPossible(f"there is no domain {domain}")
            connection.execute("DELETE FROM domain_key WHERE domain = ?", (domain,))
            bump_generation(connection)

        return self._executor.write(write)

    def add_key(self, domain: str, key: DomainKey) -> Deferred[None]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> None:
            if connection.execute("SELECT 1 FROM sender_domain WHERE domain = ?", (domain,)).fetchone() is None:
                raise NotPossible(f"there is no domain {domain}")
            _add_key(connection, domain, key)
            bump_generation(connection)

        return self._executor.write(write)

    def remove_key(self, domain: str, selector: str) -> Deferred[None]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> None:
            removed = connection.execute("DELETE FROM domain_key WHERE domain = ? AND selector = ?", (domain, selector))
            if not removed.rowcount:
                raise NotPossible(f"there is no key {selector} of {domain}")
            bump_generation(connection)

        return self._executor.write(write)

    def domains(self, email: str | None = None) -> Deferred[Sequence[SenderDomain]]:
        """See the interface."""
        if email is None:
            return self._executor.read(lambda connection: _read(connection, f"{_DOMAINS} ORDER BY d.domain"))
        return self._executor.read(
            lambda connection: _read(connection, f"{_DOMAINS} WHERE a.folded = ? ORDER BY d.domain", email.casefold())
        )


def _add_key(connection: sqlite3.Connection, domain: str, key: DomainKey) -> None:
    values = domain, key.selector, key.algorithm.value, key.public, key.sealed, key.key_id
    if not connection.execute(_ADD_KEY, values).rowcount:
        raise NotPossible(f"there is already a key {key.selector} of {domain}")


def _read(connection: sqlite3.Connection, query: str, *values: str) -> list[SenderDomain]:
    return [
        SenderDomain(
            domain,
            account,
            email,
            seconds(created),
            tuple(
                DomainKey(selector, KeyAlgorithm(algorithm), public, sealed, key_id)
                for selector, algorithm, public, sealed, key_id in connection.execute(_KEYS, (domain,))
            ),
        )
        for domain, account, email, created in connection.execute(query, values).fetchall()
    ]
