"""How long a 250 takes when the server is not at its limit, and how many messages share a sync.

    python bench/pace.py [--seconds 5] [--json FILE]

50 sessions send 2 KB messages, TLS, AUTH, pipelined; server and client have a core each.  First as many as the server
takes, then at parts of that rate.  The syncs are counted by strace, in a run of its own.
"""

from __future__ import annotations

import argparse
import re
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from run import FIRST_PORT, Work, build_client, keep, load
from servers import Smtpeter

SESSIONS = 50
PARTS = (0.2, 0.4, 0.6, 0.8, 0.9)
TRACE = ("strace", "--seccomp-bpf", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5, help="how long each part lasts")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-bench-"))
    try:
        client = build_client(directory)
        lines = pace(client, directory / "pace", arguments.seconds)
        syncs = count_syncs(client, directory / "sync")
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        keep(arguments.json, {"pace": lines, "syncs": syncs})


def pace(client: Path, directory: Path, seconds: float) -> list[dict[str, float]]:
    """Latencies at parts of the highest rate; the last line is the highest rate itself."""
    server = Smtpeter(directory, FIRST_PORT)
    work = Work("2 KB", 2048, 10_000, 1000)
    try:
        load(client, server, work, connections=SESSIONS)
        each = [load(client, server, work, connections=SESSIONS) for _ in range(3)]
        highest = statistics.median(answer["messages"] / answer["seconds"] for answer in each)
        print(f"{'part':>6}{'msg/s':>8}{'p50 ms':>9}{'p99 ms':>9}")
        lines = []
        for part in PARTS:
            messages = int(highest * part * seconds)
            answer = load(client, server, work._replace(messages=messages), connections=SESSIONS, rate=highest * part)
            lines.append(_line(part, answer))
        lines.append(_line(1.0, each[0]))
    finally:
        server.stop()
    return lines


def _line(part: float, answer: dict[str, float]) -> dict[str, float]:
    rate = answer["messages"] / answer["seconds"]
    print(f"{part:>6.0%}{rate:>8.0f}{answer['p50_ms']:>9.2f}{answer['p99_ms']:>9.2f}", flush=True)
    return {"part": part, "rate": rate, "p50": answer["p50_ms"], "p99": answer["p99_ms"]}


def count_syncs(client: Path, directory: Path) -> dict[str, float]:
    """Messages and syncs at the highest rate."""
    counts = directory.with_suffix(".strace")
    server = Smtpeter(directory, FIRST_PORT, before=(*TRACE, str(counts)))
    work = Work("2 KB", 2048, 10_000, 1000)
    answer = load(client, server, work, connections=SESSIONS)
    server.stop()
    lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*?(?:fsync|fdatasync)$", counts.read_text(), re.MULTILINE)
    syncs = sum(map(int, lines))
    print(f"{answer['messages']} messages, {syncs} syncs: {answer['messages'] / syncs:.1f} messages a sync")
    return {"messages": answer["messages"], "syncs": syncs}


if __name__ == "__main__":
    main()
