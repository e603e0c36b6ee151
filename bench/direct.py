"""How fast a queue is delivered to the world, beside Postfix: to the servers of 200 domains.

    python bench/direct.py [--rounds 5] [--messages 10000] [--only queue|through|signed|restart] [--json FILE]

Both deliver to one smtp-sink, which listens at an address for each domain; ours finds it by MX and address records,
Postfix by a transport map, which costs it less.  ``queue``: the mail is there, and delivery begins; the time counts
from the first message that arrives.  ``through``: accepting and delivering at once, until the last outcome is durable.
``signed``: ``queue`` with an RSA and an Ed25519 signature, ours beside itself.  ``restart``: a queue of 100,000 that is
due, and the server begins.  As in run.py the server has one core, everything else the other; they take turns.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
import postfix
from run import Work, build_client, keep, load
from servers import CLIENT_CORE, SERVER_CORE, Server, Smtpeter

from smtpeter.auth.certificate import ensure_certificate
from tests.campaigns.large_queue import DOMAINS as QUEUED_DOMAINS
from tests.campaigns.large_queue import fill
from tests.fakes.nameserver import LyingNameServer
from tests.integration.gateway import Gateway, free_ports, send, wait_for

DOMAINS = 200
NETWORK = "127.40"
PROCESSES = 100
"""Of Postfix for each service.  Other numbers were not tried."""

_MANY = """
default_process_limit = {processes}
transport_maps = texthash:{transports}
initial_destination_concurrency = 20
default_destination_concurrency_limit = 50
smtp_destination_concurrency_limit = 50
qmgr_message_active_limit = 100000
qmgr_message_recipient_limit = 100000
in_flow_delay = 0
smtp_connection_cache_on_demand = yes
smtp_tls_security_level = none
"""
_QUEUE_MANAGER = "qmgr unix n - n 300 1 qmgr\n"


class Peer(Server, Protocol):
    """A server that can keep what it accepts until it is told to deliver."""

    def hold(self) -> None:
        """Deliver nothing."""

    def release(self) -> None:
        """Deliver."""


class Sink:
    """Postfix's smtp-sink at every address of this machine; it tells how many messages it took."""

    def __init__(self, directory: Path) -> None:
        self.port = free_ports(1)[0]
        self._counts = directory / "sink"
        sink = shutil.which("smtp-sink", path=os.environ["PATH"] + ":/usr/sbin")
        if sink is None:
            raise SystemExit("smtp-sink is missing: install Debian's postfix")
        pinned = ["taskset", "-c", CLIENT_CORE, sink, "-u", "nobody", "-a", "-c", "-m", "2000"]
        with self._counts.open("wb") as counts:
            self._process = subprocess.Popen([*pinned, f"0.0.0.0:{self.port}", "1000"], stdout=counts)

    def messages(self) -> int:
        """How many came so far."""
        with self._counts.open("rb") as counts:
            counts.seek(max(0, counts.seek(0, os.SEEK_END) - 200))
            told = counts.read().rpartition(b"mesg=")[2].split()
        return int(told[0]) if told else 0

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()


def zone(domains: int) -> dict[str, dict[str, Sequence[object]]]:
    """Each domain with one host, each host with one address."""
    names: dict[str, dict[str, Sequence[object]]] = {}
    for number in range(domains):
        names[f"d{number}.example"] = {"MX": [(10, f"mx.d{number}.example")]}
        names[f"mx.d{number}.example"] = {"A": [address(number)]}
    return names


def address(number: int) -> str:
    """Where the servers of a domain are."""
    return f"{NETWORK}.{number // 250}.{number % 250 + 1}"


def delivery(sink: Sink, names: LyingNameServer) -> str:
    """The lines of [delivery]."""
    return (
        f'mode = "direct"\nport = {sink.port}\nresolver = "{names.address}"\nallow_networks = ["127.0.0.0/8"]\n'
        'tls = "none"\n'
    )


class Ours(Smtpeter):
    """In direct mode; ``signs``: for the domain that all senders are of."""

    def __init__(self, directory: Path, sink: Sink, names: LyingNameServer, *, signs: bool = False) -> None:
        [port] = free_ports(1)
        super().__init__(directory, port, delivery=delivery(sink, names))
        if signs:
            self.name = "signed"
            self.command("domain", "add", "example.com", "--account", "bench@example.com")

    def hold(self) -> None:
        self.command("queue", "pause")

    def release(self) -> None:
        self.command("queue", "resume")


class Postfix(postfix.Postfix):
    """With concurrency raised, and connections kept."""

    name = "Postfix"
    user, password = postfix.USER, postfix.PASSWORD

    def __init__(self, directory: Path, sink: Sink) -> None:
        directory.mkdir(mode=0o755, parents=True)
        [port] = free_ports(1)
        files = ensure_certificate(directory / "tls", "localhost", time.time())
        transports = directory / "transports"
        lines = (f"d{number}.example smtp:[{address(number)}]:{sink.port}\n" for number in range(DOMAINS))
        transports.write_text("".join(lines))
        super().__init__(directory / "postfix", port, files.certificate, files.private_key, f"127.0.0.1:{sink.port}")
        main = self.config / "main.cf"
        main.write_text(_last_of_each(main.read_text() + _MANY.format(processes=PROCESSES, transports=transports)))
        self.start(SERVER_CORE)

    def hold(self) -> None:
        """Mail is accepted, and nobody looks at the queue."""
        self._restart("")

    def release(self) -> None:
        self._restart(_QUEUE_MANAGER)

    def _restart(self, queue_manager: str) -> None:
        self.stop()
        master = self.config / "master.cf"
        master.write_text(master.read_text().replace(_QUEUE_MANAGER, "") + queue_manager)
        self.start(SERVER_CORE)

    def unfinished(self) -> int:
        waiting = ("maildrop", "incoming", "active", "deferred")
        return sum(len(names) for each in waiting for _, _, names in os.walk(self.queue / each))


def _last_of_each(lines: str) -> str:
    """Of settings that are there twice the last.  Each process of Postfix warns of others, postlogd too, which then may
    wait for itself."""
    settings = dict(line.split(" =", 1) for line in lines.splitlines() if line)
    return "".join(f"{name} ={value}\n" for name, value in settings.items())


class Figures(NamedTuple):
    """What one round gave: messages a second, and CPU seconds for 1,000."""

    rate: float
    cpu: float


def from_queue(client: Path, server: Peer, sink: Sink, work: Work) -> Figures:
    """Fill its queue, and let it deliver."""
    server.hold()
    time.sleep(1.5)  # until it has noticed
    load(client, server, work)
    before = sink.messages()
    server.release()
    while sink.messages() == before:
        time.sleep(0.005)
    return _until_done(server, sink, work, before, server.cpu_seconds(), time.monotonic())


def through(client: Path, server: Peer, sink: Sink, work: Work) -> Figures:
    """Accept and deliver at the same time."""
    before, cpu = sink.messages(), server.cpu_seconds()
    start = time.monotonic()
    load(client, server, work)
    return _until_done(server, sink, work, before, cpu, start)


def _until_done(server: Peer, sink: Sink, work: Work, before: int, cpu: float, start: float) -> Figures:
    while sink.messages() - before < work.messages:
        time.sleep(0.01)
    while server.unfinished():
        time.sleep(0.02)
    seconds = time.monotonic() - start
    return Figures(work.messages / seconds, (server.cpu_seconds() - cpu) / work.messages * 1000)


Measurement = Callable[[Path, Peer, Sink, Work], Figures]


def compare(
    what: str, measure: Measurement, client: Path, servers: Sequence[Peer], sink: Sink, work: Work, rounds: int
) -> dict[str, Figures]:
    """Let the servers take turns; their medians by name, which are printed."""
    results: dict[str, list[Figures]] = {server.name: [] for server in servers}
    for server in servers:
        measure(client, server, sink, work._replace(messages=max(DOMAINS, work.messages // 10)))
    for _ in range(rounds):
        for server in servers:
            results[server.name].append(measure(client, server, sink, work))
    medians = {name: Figures(*map(statistics.median, zip(*each, strict=True))) for name, each in results.items()}
    own = next(iter(medians.values())).rate
    for name, figures in medians.items():
        print(f"{what:<40}{name:<10}{figures.rate:>8.0f}{figures.cpu:>12.3f}{own / figures.rate:>8.2f}", flush=True)
    return medians


def restart(directory: Path, queued: int) -> dict[str, float]:
    """A queue that is due when the server begins."""
    names = LyingNameServer(zone(QUEUED_DOMAINS))
    names.start()
    directory.mkdir()
    sink = Sink(directory)
    gateway = Gateway(directory / "gateway", delivery(sink, names))
    login = gateway.add_login()
    try:
        fill(gateway, queued, wait=0)
        begin = time.monotonic()
        gateway.start("taskset", "-c", SERVER_CORE)
        up = time.monotonic() - begin
        with gateway.connect(login) as connection:
            send(connection, "a@example.com", ["b@d0.example"], b"Subject: new\r\n\r\nx\r\n")
        accepted = time.monotonic() - begin
        wait_for(sink.messages, 120)
        delivered = time.monotonic() - begin
        time.sleep(10)
        memory = _peak_memory(gateway)
        print(
            f"restart with {queued} due: healthy after {up:.2f} s, a message accepted after {accepted:.2f} s,\n"
            f"the first delivered after {delivered:.2f} s, {sink.messages()} after ten seconds more; "
            f"at most {memory} MB of memory"
        )
    finally:
        gateway.end()
        sink.stop()
        names.stop()
    return {"queued": queued, "healthy": up, "accepted": accepted, "delivered": delivered, "memory": memory}


def _peak_memory(gateway: Gateway) -> int:
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def run(client: Path, directory: Path, only: str, messages: int, rounds: int) -> dict[str, dict[str, Figures]]:
    """All but the restart."""
    works = {
        "queue": ("2 KB, from the queue to 200 domains", from_queue),
        "through": ("2 KB, accepted and delivered", through),
        "signed": ("2 KB, from the queue, signed", from_queue),
    }
    work = Work("", 2048, messages, 100, domains=DOMAINS)
    figures = {}
    names = LyingNameServer(zone(DOMAINS))
    names.start()
    sink = Sink(directory)
    servers: list[Peer] = []
    try:
        for name, (what, measure) in works.items():
            if only in ("", name):
                if not servers or name == "signed":
                    _stop(servers)
                    servers = _start(directory / name, sink, names, signed=name == "signed")
                figures[what] = compare(what, measure, client, servers, sink, work, rounds)
    finally:
        _stop(servers)
        sink.stop()
        names.stop()
    return figures


def _start(directory: Path, sink: Sink, names: LyingNameServer, *, signed: bool) -> list[Peer]:
    directory.mkdir(mode=0o755)
    ours = Ours(directory / "smtpeter", sink, names)
    if signed:
        return [Ours(directory / "signed", sink, names, signs=True), ours]
    return [ours, Postfix(directory / "Postfix", sink)]


def _stop(servers: Sequence[Peer]) -> None:
    for server in servers:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--queued", type=int, default=100_000, help="recipients in the queue of the restart")
    parser.add_argument("--only", default="", choices=["", "queue", "through", "signed", "restart"])
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {int(CLIENT_CORE)})
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-bench-"))
    directory.chmod(0o755)
    figures: dict[str, object] = {}
    try:
        if arguments.only != "restart":
            client = build_client(directory)
            print(f"{'':<40}{'':<10}{'msg/s':>8}{'CPU s/1000':>12}{'ratio':>8}")
            medians = run(client, directory, arguments.only, arguments.messages, arguments.rounds)
            figures["direct"] = {
                what: {name: each._asdict() for name, each in by.items()} for what, by in medians.items()
            }
        if arguments.only in ("", "restart"):
            figures["restart"] = restart(directory / "restart", arguments.queued)
    finally:
        shutil.rmtree(directory)
    if arguments.json:
        keep(arguments.json, figures)


if __name__ == "__main__":
    main()
