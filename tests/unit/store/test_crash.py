"""A server that is killed has lost nothing that it said yes to."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from smtpeter.model.listing import Filter
from tests.contract.engines import Engine, Threaded, claim, due_domains

_SERVER = """
import sys
from pathlib import Path
from tests.contract.engines import SMALL, Threaded, make

engine = Threaded(Path(sys.argv[1]))
number = 0
while True:
    taken = [make(engine, f"x@d{number}.example", data=b"y" * (SMALL * (2 * (number % 2)) + 1)) for _ in range(5)]
    waiting = [engine.store.queue.enqueue(each) for each in taken]
    for submission, each in zip(taken, waiting):
        engine.wait(each)
        print(submission.id, flush=True)
    number += 1
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert server.stdout is not None
    acknowledged = [server.stdout.readline().strip() for _ in range(83)]
    server.send_signal(signal.SIGKILL)
    acknowledged += server.stdout.read().split()
    server.wait()
    server.stdout.close()
    # The last line may be cut short.
    acknowledged = [id for id in acknowledged if len(id) == 26]

    database = sqlite3.connect(tmp_path / "mail.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    engine: Engine = Threaded(tmp_path)
    rows = engine.wait(engine.store.queue.select(Filter(), 10_000))
    assert set(acknowledged) <= {row.submission for row in rows}
    domains, _ = due_domains(engine, engine.clock.now, 1000)
    jobs = claim(engine, *domains, limit=10_000)
    assert {job.submission for job in jobs} == {row.submission for row in rows}
    for job in jobs:
        assert len(engine.wait(engine.store.content.read(job.submission, job.content))) == job.content.size
    engine.wait(engine.store.close())
