"""How fast mail is accepted and delivered, beside Postfix and aiosmtpd in the same run.

    python bench/run.py [--rounds 5] [--only NAME] [--json FILE]

The server has one core, the client (and the next hop) the other; the servers take turns, and medians and ratios are
what counts.  It needs a C compiler with OpenSSL's headers, root, and the Debian packages that ``postfix.py`` names.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from servers import CLIENT_CORE, HERE, Aiosmtpd, Postfix, Server, Sink, Smtpeter

FIRST_PORT, SINK_PORT = 14650, 14690


class Work(NamedTuple):
    """A kind of load: messages of so many octets, so many on a connection; ``relay``: until all are delivered;
    ``domains``: recipients are in so many (0: in one)."""

    name: str
    octets: int
    messages: int
    per_connection: int
    resume: int = 0
    relay: bool = False
    domains: int = 0


class Figures(NamedTuple):
    """What one round gave: messages a second, CPU seconds for 1,000, and latencies of the 250 in milliseconds."""

    rate: float
    cpu: float
    p50: float
    p99: float


WORKS = (
    Work("2 KB, reused, pipelined", 2048, 6000, 100),
    Work("2 KB, one a connection, full handshake", 2048, 1500, 1),
    Work("2 KB, one a connection, resumed", 2048, 1500, 1, 1),
    Work("50 KB, reused", 50_000, 2000, 100),
    Work("1 MB, reused", 1_000_000, 150, 25),
    Work("2 KB, until delivered to a relay", 2048, 4000, 100, relay=True),
    Work("50 KB, until delivered to a relay", 50_000, 1500, 100, relay=True),
)


def build_client(directory: Path) -> Path:
    """Compile the load client."""
    client = directory / "load"
    libraries = ["-lssl", "-lcrypto", "-lpthread"]
    subprocess.run(["cc", "-O2", "-o", client, HERE / "load.c", *libraries], check=True)
    return client


def load(client: Path, server: Server, work: Work, *, connections: int = 20, rate: float = 0) -> dict[str, float]:
    """Let the client send; what it tells.  ``rate``: messages a second, 0 for as many as the server takes."""
    arguments = (server.port, server.user, server.password, connections, work.messages, work.per_connection,
                 work.octets, work.resume, rate, work.domains)  # fmt: skip
    result = subprocess.run(
        ["taskset", "-c", CLIENT_CORE, client, *map(str, arguments)], check=True, capture_output=True
    )
    answer: dict[str, float] = json.loads(result.stdout)
    return answer


def measure(client: Path, server: Server, work: Work) -> Figures:
    """One round."""
    before = server.cpu_seconds()
    start = time.monotonic()
    answer = load(client, server, work)
    seconds = answer["seconds"]
    if work.relay:
        while server.unfinished():
            time.sleep(0.02)
        seconds = time.monotonic() - start
    cpu = server.cpu_seconds() - before
    return Figures(answer["messages"] / seconds, cpu / answer["messages"] * 1000, answer["p50_ms"], answer["p99_ms"])


def compare(client: Path, servers: list[Server], work: Work, rounds: int) -> dict[str, Figures]:
    """Let the servers take turns; their medians by name."""
    results: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for server in servers:
        measure(client, server, work._replace(messages=max(20, work.messages // 10)))
    for _ in range(rounds):
        for server in servers:
            results[server.name].append(measure(client, server, work))
    return {name: Figures(*map(statistics.median, zip(*each, strict=True))) for name, each in results.items()}


def show(work: Work, medians: dict[str, Figures]) -> None:
    """Print a work's lines."""
    own = medians[Smtpeter.name].rate
    for name, figures in medians.items():
        print(
            f"{work.name:<40}{name:<10}{figures.rate:>8.0f}{figures.cpu:>12.3f}{figures.p50:>9.2f}{figures.p99:>9.2f}"
            f"{own / figures.rate:>8.2f}",
            flush=True,
        )


def start_servers(directory: Path, *, relay: str | None) -> list[Server]:
    """All that can do the work; without Postfix only ours, and aiosmtpd, which delivers nothing."""
    kinds: list[type[Smtpeter] | type[Postfix] | type[Aiosmtpd]] = [Smtpeter]
    if shutil.which("postfix") is not None:
        kinds.append(Postfix)
    if relay is None:
        kinds.append(Aiosmtpd)
    servers: list[Server] = []
    for number, kind in enumerate(kinds):
        servers.append(kind(directory / kind.name, FIRST_PORT + 2 * number, relay))
    return servers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="run only the works whose name has this in it")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, dict[str, Figures]] = {}
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-bench-"))
    directory.chmod(0o755)
    client = build_client(directory)
    print(f"{'':<40}{'':<10}{'msg/s':>8}{'CPU s/1000':>12}{'p50 ms':>9}{'p99 ms':>9}{'ratio':>8}")
    try:
        for relay in (False, True):
            works = [work for work in WORKS if arguments.only in work.name and work.relay == relay]
            if works:
                place = directory / ("relay" if relay else "accept")
                figures |= run_all(client, place, works, arguments.rounds, relay=relay)
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        works_by_name = {work: {name: each._asdict() for name, each in by.items()} for work, by in figures.items()}
        keep(arguments.json, {"works": works_by_name})


def keep(path: Path, figures: dict[str, Any]) -> None:
    """Add figures to those that a file has."""
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | figures, indent=1) + "\n")


def run_all(
    client: Path, directory: Path, works: list[Work], rounds: int, *, relay: bool
) -> dict[str, dict[str, Figures]]:
    """Works that the same servers do; their medians by work and server."""
    results = {}
    directory.mkdir(mode=0o755)
    sink = Sink(SINK_PORT) if relay else None
    servers = start_servers(directory, relay=sink.address if sink else None)
    try:
        for work in works:
            results[work.name] = compare(client, servers, work, rounds)
            show(work, results[work.name])
    finally:
        for server in servers:
            server.stop()
        if sink is not None:
            sink.stop()
    return results


if __name__ == "__main__":
    main()
