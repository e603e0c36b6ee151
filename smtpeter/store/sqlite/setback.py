"""What a clock that was set back would leave waiting for the time that it had shown before."""

from __future__ import annotations

import sqlite3

from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.preparing import NEVER
from smtpeter.store.sqlite.rows import DUE, LEASED, WAITING, milliseconds

# Only a submission that asked for a later time, and was not tried yet, may wait for longer than retries do.
_DUE = f"""
    UPDATE recipient SET due = CASE attempts WHEN 0 THEN ?1 ELSE ?2 END
    WHERE state < 4 AND state IN ({WAITING}, {DUE}) AND due > ?2
        AND (attempts > 0 OR (SELECT due FROM submission WHERE id = submission) IS NULL)
    RETURNING state, domain, account, due
"""
_LEASED = f"UPDATE recipient SET lease_until = ?1 WHERE state < 4 AND state = {LEASED} AND lease_until > ?1"
_PARKED = "UPDATE destination SET parked = ?1 WHERE parked > ?1"
_PREPARATION = f"""
    UPDATE preparation SET due = CASE attempts WHEN 0 THEN ?1 ELSE ?2 END WHERE due > ?2 AND due < {NEVER}
"""


def bring_forward(connection: sqlite3.Connection, now: float, longest: float) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.bring_forward`."""
    latest = milliseconds(now + longest)
    rows = connection.execute(_DUE, (milliseconds(now), latest)).fetchall()
    connection.execute(_LEASED, (latest,))
    connection.execute(_PARKED, (latest,))
    connection.execute(_PREPARATION, (milliseconds(now), latest))
    earliest: dict[LaneKey, int] = {}
    for state, domain, account, due in rows:
        if state == DUE:
            earliest[domain, account] = min(due, earliest.get((domain, account), due))
    became_due(connection, earliest)
    return len(rows)
