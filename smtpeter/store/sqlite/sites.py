"""Sites that are slowed or paused: the server writes them down, operators read them, and say when it is enough."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.interfaces import IExecutor, ISiteStore
from smtpeter.model.delivery import Lane
from smtpeter.model.route import SiteCondition, SiteState
from smtpeter.store.sqlite.destinations import parked, unpark
from smtpeter.store.sqlite.listing import bump_generation
from smtpeter.store.sqlite.rows import milliseconds, seconds

_COLUMNS = "site, source, condition, reason, since, until, resumed"

_Key = tuple[str, str, str]
_Row = tuple[str, str, str, str, int, int, int]


@implementer(ISiteStore)
class SiteStore:
    """See :class:`smtpeter.interfaces.ISiteStore`.

    Operators' words are counted in each row.  Those that :meth:`states` told the server are taken off at its next
    :meth:`write`; a row that has others stays, whatever the server thinks of the site.
    """

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor
        self._told: dict[_Key, int] = {}

    def write(self, states: Sequence[SiteState]) -> Deferred[None]:
        """See the interface."""
        told = self._told

        def write(connection: sqlite3.Connection) -> None:
            resumed = connection.execute(f"SELECT {_COLUMNS} FROM site WHERE resumed > 0").fetchall()
            unread = {row[:3]: row for row in resumed if row[-1] > told.get(row[:3], 0)}
            rows = {key: (*row[:-1], row[-1] - told.get(key, 0)) for key, row in unread.items()}
            for site, source, condition, reason, since, until, _ in states:
                key = site, source, condition.value
                words = rows[key][-1] if key in rows else 0
                rows[key] = (*key, reason, milliseconds(since), milliseconds(until), words)
            connection.execute("DELETE FROM site")
            connection.executemany(f"INSERT INTO site ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", rows.values())

        def written(_: None) -> None:
            self._told = {key: count for key, count in self._told.items() if told.get(key) != count}

        return self._executor.write(write).addCallback(written)

    def states(self) -> Deferred[Sequence[SiteState]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> list[_Row]:
            return connection.execute(f"SELECT {_COLUMNS} FROM site ORDER BY since, site, source, condition").fetchall()

        def tell(rows: list[_Row]) -> Sequence[SiteState]:
            self._told = {row[:3]: row[-1] for row in rows if row[-1]}
            return [
                SiteState(site, source, SiteCondition(condition), reason, seconds(since), seconds(until), resumed > 0)
                for site, source, condition, reason, since, until, resumed in rows
            ]

        return self._executor.read(read).addCallback(tell)

    def resume(self, site: str) -> Deferred[int]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> int:
            resumed = connection.execute("UPDATE site SET resumed = resumed + 1 WHERE ? IN ('', site)", (site,))
            if resumed.rowcount:
                bump_generation(connection)
            return resumed.rowcount

        return self._executor.write(write)

    def parked(self, site: str) -> Deferred[Sequence[Lane]]:
        """See the interface."""
        return self._executor.scan(lambda connection: parked(connection, site))

    def unpark(self, lanes: Sequence[Lane]) -> Deferred[None]:
        """See the interface."""

        def write(connection: sqlite3.Connection) -> None:
            unpark(connection, lanes)
            bump_generation(connection)

        return self._executor.write(write)
