"""The thread that checkpoints."""

from __future__ import annotations

from threading import Event
from typing import Any

import pytest

from smtpeter.store.sqlite.checkpoint import Checkpointer
from tests.unit.store.stand_ins import fault


@pytest.mark.parametrize("error", [MemoryError(), fault("SQLITE_IOERR")])
def test_a_checkpoint_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("smtpeter.store.sqlite.checkpoint.INTERVAL", 0.001)
    failed, done = Event(), Event()

    class Connection:
        def execute(self, statement: str) -> Any:
            assert statement.startswith("PRAGMA wal_checkpoint")
            if not failed.is_set():
                failed.set()
                raise error
            done.set()
            return self

        def fetchone(self) -> tuple[int, int, int]:
            return 0, 1, 1

        def close(self) -> None:
            pass

    checkpointer = Checkpointer(Connection)  # type: ignore[arg-type]
    checkpointer.committed()
    assert failed.wait(20)
    for _ in range(100):
        checkpointer.committed()
        if done.wait(0.05):
            break
    assert done.is_set()
    checkpointer.close()
