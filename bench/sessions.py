"""What many sessions at once cost, and whether a normal client notices them.

    python -m bench.sessions [--idle 10000] [--trickle 1000] [--storm 1000] [--uploads 100]

Each load is put on a server of its own, while one client that was there before sends a message every now and then.  The
server and the clients are two processes, each with as many files as it has connections: ``ulimit -Hn`` has to allow
that.  Run it from the repository's root.  Memory is the resident set, with what was there before the load taken off
where it says "a session".
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import socket
import ssl
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.integration.crowd import Probe, Trickle, allow_files, connect, log_in, resident, send
from tests.integration.gateway import Gateway

MESSAGE = b"Subject: normal\r\n\r\n" + b"a line of an everyday message\r\n" * 60
UPLOAD = 25_000_000
STORM_SECONDS = 20.0
STORM_OPEN = 1000

Row = tuple[str, str]


@contextlib.contextmanager
def server(limits: str = "connections = 12000") -> Iterator[Gateway]:
    """One that has worked a little before it is measured."""
    with tempfile.TemporaryDirectory() as directory:
        gateway = Gateway(Path(directory), 'mode = "capture"', f"[limits]\n{limits}")
        gateway.login = gateway.add_login()
        gateway.start()
        try:
            for session in [log_in(gateway, number, gateway.trust()) for number in range(50)]:
                send(session, MESSAGE)
                session.close()
            time.sleep(1.0)
            yield gateway
        finally:
            gateway.end()


class Normal:
    """The client that should notice nothing: it sends on one session, or on a new one each time."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._session = log_in(gateway, 10**5, gateway.trust())
        self.kept: list[float] = []
        self.new: list[float] = []

    def once(self) -> None:
        reply, seconds = send(self._session, MESSAGE)
        assert reply.startswith(b"250"), reply
        self.kept.append(seconds)
        began = time.monotonic()
        session = log_in(self._gateway, 10**5, self._gateway.trust())
        reply, _ = send(session, MESSAGE)
        assert reply.startswith(b"250"), reply
        self.new.append(time.monotonic() - began)
        session.close()

    def rows(self) -> list[Row]:
        return [
            ("slowest message on a session that was there", milliseconds(max(self.kept))),
            ("slowest message on a new session, with its handshake", milliseconds(max(self.new))),
        ]


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def megabytes(octets: float) -> str:
    return f"{octets / 1e6:.0f} MB"


def cpu(gateway: Gateway) -> float:
    """Seconds of CPU that the server has had."""
    fields = Path(f"/proc/{gateway.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def during(gateway: Gateway, seconds: float, normal: Normal) -> list[Row]:
    """Let time pass while the normal client works and the reactor is watched."""
    probe = Probe(gateway, every=0.01)
    began, used, messages = time.monotonic(), cpu(gateway), 0
    while time.monotonic() - began < seconds:
        normal.once()
        messages += 2
        time.sleep(0.2)
    used = (cpu(gateway) - used) / (time.monotonic() - began)
    slowest, _ = probe.stop()
    return [*normal.rows(), ("slowest /healthz", milliseconds(slowest)), ("CPU of the server", f"{used:.0%}")]


def idle(count: int) -> list[Row]:
    with server() as gateway:
        normal, context, before = Normal(gateway), gateway.trust(), resident(gateway.process)
        began = time.monotonic()
        sessions = [log_in(gateway, number, context) for number in range(count)]
        opened = time.monotonic() - began
        with_all = resident(gateway.process)
        rows = [
            ("memory before", megabytes(before)),
            ("memory with all", megabytes(with_all)),
            ("memory a session", f"{(with_all - before) / count / 1024:.1f} KiB"),
            ("time to open them, one after the other", f"{opened:.0f} s"),
            *during(gateway, 10.0, normal),
        ]
        began = time.monotonic()
        threading.Thread(target=_read_to_the_end, args=(sessions,), daemon=True).start()
        gateway.stop()
        return [*rows, ("time to stop with all of them", f"{time.monotonic() - began:.1f} s")]


def _read_to_the_end(sessions: list[ssl.SSLSocket]) -> None:
    for session in sessions:
        with contextlib.suppress(OSError):
            session.recv(4096)
            session.close()


def trickle(count: int) -> list[Row]:
    with server() as gateway:
        normal, context, before = Normal(gateway), gateway.trust(), resident(gateway.process)
        load = Trickle([log_in(gateway, number, context) for number in range(count)])
        rows = during(gateway, 20.0, normal)
        rows.insert(0, ("memory a session", f"{(resident(gateway.process) - before) / count / 1024:.1f} KiB"))
        load.stop()
        return rows


def _hello() -> bytes:
    """The first octets that a TLS client sends."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def storm(rate: int) -> list[Row]:
    """Clients that connect, begin a handshake and go: the server does all of its own part of it."""
    with server() as gateway:
        normal, before = Normal(gateway), resident(gateway.process)
        processes = multiprocessing.get_context("fork")
        made, stopping = processes.Value("i", 0), processes.Event()
        clients = processes.Process(target=_storm, args=(gateway, rate, made, stopping), daemon=True)
        clients.start()
        rows = during(gateway, STORM_SECONDS, normal)
        after = resident(gateway.process)
        stopping.set()
        clients.join()
        time.sleep(2.0)
        files = len(list(Path(f"/proc/{gateway.process.pid}/fd").iterdir()))
        return [
            ("connections a second", f"{made.value / STORM_SECONDS:.0f}"),
            ("memory before and after", f"{megabytes(before)}, {megabytes(after)}"),
            ("open files afterwards", str(files)),
            *rows,
        ]


def _storm(gateway: Gateway, rate: int, made: Any, stopping: Any) -> None:
    """Runs in a process of its own, lest the normal client wait for it."""
    hello, began = _hello(), time.monotonic()
    connections: deque[socket.socket] = deque()
    while not stopping.is_set():
        if made.value > (time.monotonic() - began) * rate:
            time.sleep(0.002)
            continue
        with contextlib.suppress(OSError):
            connection = connect(gateway, made.value % 4000, timeout=2.0)
            connection.sendall(hello)
            connections.append(connection)
            made.value += 1
        while len(connections) > STORM_OPEN:
            connections.popleft().close()
    for each in connections:
        each.close()


def uploads(count: int) -> list[Row]:
    content = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * (UPLOAD // 72)
    replies = []

    def run(session: ssl.SSLSocket) -> None:
        replies.append(send(session, content, pieces=50)[0][:3])

    with server() as gateway:
        normal, context, before = Normal(gateway), gateway.trust(), resident(gateway.process)
        sessions = [log_in(gateway, number, context) for number in range(count)]
        threads = [threading.Thread(target=run, args=(session,)) for session in sessions]
        began, peak = time.monotonic(), 0
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            normal.once()
            peak = max(peak, resident(gateway.process))
            time.sleep(0.2)
        return [
            ("answered with 250", str(replies.count(b"250"))),
            ("time for all", f"{time.monotonic() - began:.0f} s"),
            ("memory before and at its highest", f"{megabytes(before)}, {megabytes(peak)}"),
            *normal.rows(),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loads: list[tuple[str, int, str, Callable[[int], list[Row]]]] = [
        ("idle", 10_000, "idle sessions, logged in", idle),
        ("trickle", 1000, "sessions that send an octet a second", trickle),
        ("storm", 1000, "new TLS connections a second", storm),
        ("uploads", 100, "uploads of 25 MB at once", uploads),
    ]
    for name, count, what, _ in loads:
        parser.add_argument(f"--{name}", type=int, default=count, metavar="N", help=f"{what}; 0: leave out")
    arguments: dict[str, Any] = vars(parser.parse_args())
    allow_files(2**16)
    for name, _, what, load in loads:
        if arguments[name]:
            print(f"\n{arguments[name]} {what}")
            for row in load(arguments[name]):
                print("  {:<56}{:>18}".format(*row), flush=True)


if __name__ == "__main__":
    main()
