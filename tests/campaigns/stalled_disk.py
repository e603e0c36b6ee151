"""A disk that stands still for 30 and then for 60 seconds, each time in the sync of one message.

    python -m tests.campaigns.stalled_disk

The first message is taken in the end.  The client of the second is told to come again in time, and what is written of
it after that is not sent.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.integration.gateway import Gateway, wait_for
from tests.integration.strace import injected
from tests.integration.test_disk_faults import SMALL, Patient, offer

TOO_LATE = "was written after its sender had been told to come again"


def run(directory):
    """What is wrong."""
    gateway = Gateway(directory, 'mode = "capture"')
    login = gateway.add_login()
    gateway.run("queue", "pause")
    wrong = []
    try:
        gateway.start()
        for stall, reply, limit in ((30, "250 2.0.0 ", 35), (60, "451 4.4.5 ", 50)):
            with gateway.connect(login) as client:
                client.sock.settimeout(100)
                patient = Patient(gateway)
                with injected(gateway.process.pid, f"fdatasync:delay_enter={stall * 1_000_000}:when=1"):
                    began = time.monotonic()
                    answer = offer(client, SMALL)
                    took = time.monotonic() - began
                    patient.stop()
                    print(f"{stall} s: {answer.strip()} after {took:.1f} s, /healthz at most {patient.longest:.3f} s")
                    if not answer.startswith(reply) or took > limit or patient.longest > 1.5:
                        wrong.append(stall)
                    if stall > took + 5:
                        wait_for(lambda: TOO_LATE in gateway.log.read_text(), 60)
        if len(gateway.json("queue", "list")) != 1:
            wrong.append("the queue")
    finally:
        gateway.end()
    return wrong


def main():
    with tempfile.TemporaryDirectory() as directory:
        wrong = run(Path(directory))
    print(f"stalled_disk: {f'FAILED: {wrong}' if wrong else 'ok'}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
