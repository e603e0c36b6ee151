"""What a clock that was set back would leave waiting for the time that it had shown before."""

from __future__ import annotations

import sqlite3

from smtpeter.store.sqlite.destinations import LaneKey, became_due
from smtpeter.store.sqlite.preparing import NEVER
from smtpeter.store.sqlite.rows import DUE, LEASED, WAITING, milliseconds

# 1: now; 2: the latest that anything may wait for; 3: by how much the clock was set back; 4: beyond this is the time
# that it showed before.  Only a submission that asked for a later time, and was not tried yet, may wait for that.
_DUE = f"""
    UPDATE recipient SET due = CASE attempts WHEN 0 THEN ?1 ELSE min(due - ?3, ?2) END
    WHERE state < 4 AND state IN ({WAITING}, {DUE}) AND due > ?4
        AND (attempts > 0 OR (SELECT due FROM submission WHERE id = submission) IS NULL)
    RETURNING state, domain, account, due
"""
_LEASED = f"""
    UPDATE recipient SET lease_until = min(lease_until - ?3, ?2)
    WHERE state < 4 AND state = {LEASED} AND lease_until > ?4
"""
_PARKED = "UPDATE destination SET parked = min(parked - ?3, ?2) WHERE parked > ?4"
_PREPARATION = f"""
    UPDATE preparation SET due = CASE attempts WHEN 0 THEN ?1 ELSE min(due - ?3, ?2) END
    WHERE due > ?4 AND due < {NEVER}
"""


def bring_forward(connection: sqlite3.Connection, now: float, longest: float, back: float = 0.0) -> int:
    """See :meth:`smtpeter.interfaces.IQueueStore.bring_forward`."""
    latest = milliseconds(now + longest)
    values = milliseconds(now), latest, milliseconds(back), milliseconds(now) if back else latest
    rows = connection.execute(_DUE, values).fetchall()
    for statement in (_LEASED, _PARKED, _PREPARATION):
        connection.execute(statement, values)
    earliest: dict[LaneKey, int] = {}
    for state, domain, account, due in rows:
        if state == DUE:
            earliest[domain, account] = min(due, earliest.get((domain, account), due))
    became_due(connection, earliest)
    return len(rows)
