"""Runs twistd and writes down whenever its reactor was held: for how long, and where.

    python tests/campaigns/watched.py REPORT twistd -n ...

A line of JSON for each turn of the reactor that took longer than ``HELD``: seconds by the clock on the wall, seconds of
its own CPU, and the places in which it was seen, most often first.
"""

from __future__ import annotations

import json
import runpy
import sys
import threading
import time
from collections import Counter
from pathlib import Path

HELD = 0.005
LOOK = 0.001


class Watch:
    """Stands before the reactor's poller: between two calls of ``poll`` the reactor is at work."""

    def __init__(self, poller, report):
        self._poller = poller
        self._report = report
        self._thread = threading.get_ident()
        self._began = None
        self._cpu = 0.0
        self._seen = Counter()
        threading.Thread(target=self._look, daemon=True).start()

    def __getattr__(self, name):
        return getattr(self._poller, name)

    def poll(self, *arguments):
        if self._began is not None:
            wall, cpu = time.monotonic() - self._began, time.thread_time() - self._cpu
            if cpu > HELD:
                places = [place for place, _ in self._seen.most_common(3)]
                self._report.write(json.dumps({"wall": wall, "cpu": cpu, "places": places}) + "\n")
                self._report.flush()
        self._began = None
        result = self._poller.poll(*arguments)
        self._seen = Counter()
        self._cpu = time.thread_time()
        self._began = time.monotonic()
        return result

    def _look(self):
        while True:
            time.sleep(LOOK)
            began = self._began
            if began is not None and time.monotonic() - began > HELD / 2:
                frame = sys._current_frames().get(self._thread)
                places = []
                while frame is not None:
                    name = frame.f_code.co_filename
                    if "/smtpeter/" in name or not places:
                        places.append(f"{Path(name).stem}.{frame.f_code.co_name}:{frame.f_lineno}")
                    frame = frame.f_back
                self._seen[" < ".join(places[:4])] += 1


def main():
    from twisted.internet import reactor

    with Path(sys.argv[1]).open("a") as report:
        reactor._poller = Watch(reactor._poller, report)
        sys.argv = sys.argv[2:]
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
