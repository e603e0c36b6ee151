"""Bulk changes, in transactions so short that a running server does not notice."""

from __future__ import annotations

import time
from collections.abc import Iterator

STEP = 1000
"""Rows that are changed in one transaction."""

PAUSE = 0.05
"""Seconds.  Between two transactions the store is left to a running server for as long as the first one took, but not
less: whoever waits for a locked SQLite database asks again after a while, and would find it locked each time."""


def steps(count: int) -> Iterator[slice]:
    """So many rows in parts, each to be changed while it is told, with pauses between them."""
    for start in range(0, count, STEP):
        began = time.monotonic()
        yield slice(start, min(start + STEP, count))
        if start + STEP < count:
            time.sleep(max(PAUSE, time.monotonic() - began))
