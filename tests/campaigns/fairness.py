"""Whether one destination can harm the others.

    python -m tests.campaigns.fairness [--only dead|limited] [--short] [--kind refuses|silent|busy]

dead: 10,000 messages wait for 500 domains, alone and then behind 100,000 older ones to one whose host does not work.
Told are the rates of the healthy ones and the connections to the dead one.  Each is done twice, since machines are not
always as fast, and the better rate counts.

limited: 50,000 wait for a site with 100 a minute, by an operator's shaping file, and 10,000 for others.  Told are how
far the pace is from that, how the others fared, and what the server's processor does while nothing but mail of that
site is there.

The short forms have a tenth or less of it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.campaigns.large_queue import fill
from tests.integration.gateway import Gateway
from tests.integration.sinks import Behaviour, Counts
from tests.integration.world import World

HEALTHY_DOMAINS = 500
PERCENT = 90
"""Of their rate that healthy destinations keep beside a dead one."""

CAP = 20
"""Connections to a site at a time, by default."""

BURST = 5.0
"""Seconds whose share may go at once."""

RATE_ERROR = 0.01
BUSY = 0.05
"""Of a processor, at most, while nothing can be done."""


class Gave(NamedTuple):
    """How the healthy fared: from the start to their last message, and the server's CPU seconds until then."""

    seconds: float
    rate: float
    cpu: float
    memory: int


def start_world(directory: Path, dead: str = "") -> World:
    """500 healthy domains, and one called dead.example."""
    world = World(directory)
    for number in range(HEALTHY_DOMAINS):
        world.domain(f"d{number}.example", world.host())
    behaviours = {"silent": Behaviour(silent=True), "busy": Behaviour({"greeting": "421 4.3.2 no"})}
    behaviour = behaviours.get(dead) or Behaviour(timed=True)
    world.domain("dead.example", world.host(behaviour, refuses=dead == "refuses", name="mx.dead.example"))
    return world.start()


def healthy(world: World) -> list[Counts]:
    return [counts for name, counts in world.counts().items() if name != "mx.dead.example"]


def deliver(gateway: Gateway, world: World, count: int) -> Gave:
    """Start the server and wait until the healthy ones have their mail."""
    gateway.start()
    began = time.monotonic()
    while sum(each.messages for each in healthy(world)) < count:
        time.sleep(0.25)
        assert time.monotonic() < began + 600, gateway.log.read_text()[-2000:]
    last = max(each.last for each in healthy(world))
    return Gave(last - began, count / (last - began), cpu_seconds(gateway), memory(gateway))


def better(one: Gave | None, other: Gave) -> Gave:
    """The faster of two."""
    return other if one is None or other.rate > one.rate else one


def cpu_seconds(gateway: Gateway) -> float:
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(gateway: Gateway) -> int:
    """The most so far, in MB."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def dead(directory: Path, count: int, dead_count: int, kind: str, rounds: int = 2) -> dict[str, float]:
    """The healthy ones alone, and beside a dead one."""
    gave: dict[str, Gave] = {}
    for number, (name, beside) in enumerate([("alone", 0), ("beside", dead_count)] * rounds):
        place = directory / f"{name}{number}"
        world = start_world(place, kind)
        gateway = Gateway(place / "gateway", world.delivery('retry = ["1h"]'))
        gateway.add_login()
        try:
            if beside:
                fill(gateway, beside, wait=0, domains=["dead.example"])
            fill(gateway, count, wait=0)
            gave[name] = better(gave.get(name), deliver(gateway, world, count))
            tried = gateway.log.read_text().count("recipient=to") - count
            there = world.counts().get("mx.dead.example")
            time.sleep(1.0)
            quiet = cpu_seconds(gateway)
            time.sleep(5.0)
            quiet = (cpu_seconds(gateway) - quiet) / 5
        finally:
            gateway.end()
            world.stop()
    percent = gave["beside"].rate / gave["alone"].rate * 100
    connections, most = (there.connections, there.most) if there else (0, 0)
    print(f"dead ({kind}): {count} alone {gave['alone']}, behind {dead_count} {gave['beside']}: {percent:.0f} %")
    print(
        f"dead ({kind}): {connections} connections to it, at most {most} at a time, {tried} attempts; then {quiet:.1%} "
        f"of a processor",
        flush=True,
    )
    return {"percent": percent, "most": most, "quiet": quiet, "attempts": tried}


def limited(
    directory: Path, count: int, limited_count: int, per_minute: int, seconds: float, rounds: int = 2
) -> dict[str, float]:
    """A site with a limit, and others."""
    shaping = directory / "shaping.toml"
    shaping.write_text(
        f'[[site]]\nname = "limited"\nmx = ["mx.dead.example"]\nmessage_rate = "{per_minute}/min"\nconnections = 5\n'
    )
    gave: dict[str, Gave] = {}
    for number, (name, beside) in enumerate([("alone", 0), ("beside", limited_count)] * rounds):
        place = directory / f"{name}{number}"
        world = start_world(place)
        gateway = Gateway(place / "gateway", world.delivery(f'shaping = "{shaping}"'))
        gateway.add_login()
        try:
            if beside:
                fill(gateway, beside, wait=0, domains=["dead.example"])
            fill(gateway, count, wait=0)
            gave[name] = better(gave.get(name), deliver(gateway, world, count))
            if number == 2 * rounds - 1:
                time.sleep(BURST)
                busy, began = cpu_seconds(gateway), time.monotonic()
                time.sleep(seconds)
                busy = (cpu_seconds(gateway) - busy) / (time.monotonic() - began)
                mails = world.counts()["mx.dead.example"].mails
                peak = memory(gateway)
        finally:
            gateway.end()
            world.stop()
    # From the burst on: those that began in a whole number of seconds behind it.
    first = mails[0] + BURST
    window = int(mails[-1] - first)
    started = sum(first <= moment < first + window for moment in mails)
    error = started / (per_minute / 60 * window) - 1
    percent = gave["beside"].rate / gave["alone"].rate * 100
    burst = sum(moment < mails[0] + 1 for moment in mails)
    print(f"limited: {count} alone {gave['alone']}, beside {limited_count} {gave['beside']}: {percent:.0f} %")
    print(
        f"limited: {started} in {window} s at {per_minute} a minute: {error:+.2%}, {burst} in the first second; "
        f"{busy:.1%} of a processor, at most {peak} MB",
        flush=True,
    )
    return {"error": error, "percent": percent, "busy": busy}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["dead", "limited"])
    parser.add_argument("--kind", choices=["refuses", "silent", "busy"], action="append")
    parser.add_argument("--short", action="store_true")
    arguments = parser.parse_args()
    bad = []
    with tempfile.TemporaryDirectory() as directory:
        if arguments.only != "limited":
            for kind in arguments.kind or ["refuses", "silent", "busy"]:
                counts = (2000, 10_000) if arguments.short else (10_000, 100_000)
                gave = dead(Path(directory) / kind, *counts, kind)
                if gave["percent"] < PERCENT or gave["most"] > CAP or gave["quiet"] > BUSY:
                    bad.append(kind)
        if arguments.only != "dead":
            sizes = (1000, 5000, 1200, 20.0) if arguments.short else (10_000, 50_000, 100, 600.0)
            gave = limited(Path(directory), *sizes)
            if abs(gave["error"]) > RATE_ERROR or gave["percent"] < PERCENT or gave["busy"] > 3 * BUSY:
                bad.append("limited")
    print("fairness:", f"FAILED: {', '.join(bad)}" if bad else "ok")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
