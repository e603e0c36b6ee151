"""Forgetting what is finished when its time is over, in small steps."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from smtpeter.store.sqlite.idempotency import forget_keys

_OVER = """
    SELECT id, content, file, prepare FROM submission
    WHERE done IS NOT NULL AND purged = ? AND captured = ? AND done < ? ORDER BY done LIMIT ?
"""
_LAST_EVENT = "(SELECT max(cursor) FROM event)"
_EMPTY_LAST_EVENT = f"""
    UPDATE event SET submission = '', kind = 'purged', data = NULL WHERE cursor = {_LAST_EVENT} AND submission = ?
"""
_DELETE_ATTEMPTS = """
    DELETE FROM event
    WHERE cursor BETWEEN (SELECT first_event FROM submission WHERE id = ?1)
        AND (SELECT first_event + recipients - 1 FROM submission WHERE id = ?1)
        AND submission = ?1
"""


class Purged(NamedTuple):
    """How many submissions were dealt with, the files that no row names any more, and how many keys are gone."""

    submissions: int
    files: tuple[str, ...]
    keys: int


def purge(
    connection: sqlite3.Connection,
    content_before: int,
    captured_before: int,
    rows_before: int,
    keys_before: int,
    *,
    limit: int,
) -> Purged:
    """Forget what was done before these times (milliseconds): sent content, captured content, whole rows, and keys
    under which mail was handed over."""
    files: list[str] = []
    dealt_with = 0
    for purged, captured in ((0, 0), (0, 1), (1, 0), (1, 1)):
        rows = connection.execute(_OVER, (purged, captured, rows_before, limit - dealt_with)).fetchall()
        files += _forget_content(connection, rows)
        _forget_rows(connection, [row[0] for row in rows])
        dealt_with += len(rows)
    for captured, before in ((0, content_before), (1, captured_before)):
        rows = connection.execute(_OVER, (0, captured, before, limit - dealt_with)).fetchall()
        files += _forget_content(connection, rows)
        connection.executemany(
            "UPDATE submission SET content = NULL, file = NULL, prepare = 0, purged = 1 WHERE id = ?",
            [(row[0],) for row in rows],
        )
        dealt_with += len(rows)
    return Purged(dealt_with, tuple(files), forget_keys(connection, keys_before, limit))


def _forget_content(connection: sqlite3.Connection, rows: list[tuple[str, int | None, str | None, int]]) -> list[str]:
    contents = [(number, file) for _, number, file, _ in rows]
    for id in [id for id, _, _, is_prepared in rows if is_prepared]:
        contents += connection.execute("DELETE FROM prepared WHERE submission = ? RETURNING content, file", (id,))
        connection.execute("DELETE FROM preparation WHERE submission = ?", (id,))
    numbers = [(number,) for number, _ in contents if number is not None]
    connection.executemany("DELETE FROM content WHERE number = ?", numbers)
    return [file for _, file in contents if file is not None]


def _forget_rows(connection: sqlite3.Connection, ids: list[str]) -> None:
    values = [(id,) for id in ids]
    connection.executemany(_EMPTY_LAST_EVENT, values)
    connection.executemany(_DELETE_ATTEMPTS, values)
    connection.executemany("DELETE FROM event WHERE kind <> 'attempt' AND submission = ?", values)
    connection.executemany("DELETE FROM recipient WHERE submission = ?", values)
    connection.executemany("DELETE FROM submission WHERE id = ?", values)
    if ids:
        connection.execute(f"DELETE FROM event WHERE kind <> 'attempt' AND submission = '' AND cursor < {_LAST_EVENT}")
