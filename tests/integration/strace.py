"""Faults of the system, put into a running server from outside by strace."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from pathlib import Path

from tests.integration.gateway import wait_for
from tests.integration.tools import tool


@contextlib.contextmanager
def injected(pid, *faults, output="/dev/null", threads=True):
    """While this lasts, system calls of a process fail as told: ``fdatasync:error=EIO:when=1``.

    Counting begins anew for each of its threads.  What is only named is written to ``output`` and does not fail.  With
    ``threads`` false, ``pid`` is one thread, and the others are left alone.
    """
    calls = ",".join(fault.partition(":")[0] for fault in faults)
    options = [option for fault in faults if ":" in fault for option in ("-e", f"inject={fault}")]
    process = subprocess.Popen(
        [tool("strace"), *(["-f"] if threads else []), "-p", str(pid), "-o", output, "-e", f"trace={calls}", *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        first = process.stderr.readline()
        assert "attached" in first, first
        if threads:
            count = len(list(threads_of(pid)))
            wait_for(lambda: sum(_is_traced(pid, thread) for thread in threads_of(pid)) >= count)
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def threads_of(pid):
    """The ids of the threads of a process, oldest first."""
    with contextlib.suppress(FileNotFoundError):
        yield from sorted(int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir())


def _is_traced(pid, thread):
    with contextlib.suppress(FileNotFoundError):
        status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
        return "TracerPid:\t0\n" not in status
    return False
