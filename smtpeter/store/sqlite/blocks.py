"""The small list of links that must die."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import implementer

from smtpeter.interfaces import IBlockStore, IExecutor
from smtpeter.model.feature import Block, BlockKind
from smtpeter.store.sqlite.listing import bump_generation
from smtpeter.store.sqlite.rows import milliseconds, seconds


@implementer(IBlockStore)
class BlockStore:
    """See :class:`smtpeter.interfaces.IBlockStore`.  Values are kept, and compared, without case."""

    def __init__(self, executor: IExecutor) -> None:
        self._executor = executor

    def block(self, kind: BlockKind, value: str, time: float) -> Deferred[bool]:
        """See the interface."""
        return self._change(
            "INSERT INTO blocked (kind, value, time) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            (kind.value, value.casefold(), milliseconds(time)),
        )

    def unblock(self, kind: BlockKind, value: str) -> Deferred[bool]:
        """See the interface."""
        return self._change("DELETE FROM blocked WHERE kind = ? AND value = ?", (kind.value, value.casefold()))

    def blocks(self) -> Deferred[Sequence[Block]]:
        """See the interface."""

        def read(connection: sqlite3.Connection) -> Sequence[Block]:
            rows = connection.execute("SELECT kind, value, time FROM blocked ORDER BY time, kind, value")
            return [Block(BlockKind(kind), value, seconds(time)) for kind, value, time in rows]

        return self._executor.read(read)

    def _change(self, statement: str, values: tuple[object, ...]) -> Deferred[bool]:
        def write(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(statement, values).rowcount > 0
            if changed:
                bump_generation(connection)
            return changed

        return self._executor.write(write)
