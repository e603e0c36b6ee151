"""What holds the reactor, and with it every session, for longer than 5 milliseconds: attacks and large work.

    python -m tests.campaigns.stalls [--only NAME]

For each kind of work: how many turns of the reactor were held, and the longest, by its own CPU time and by the clock.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import ssl
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.campaigns import watched
from tests.integration.crowd import allow_files, ask, connect, hear, log_in, send
from tests.integration.gateway import Gateway, free_ports, wait_for
from tests.integration.receiver import Receiver


class WatchedGateway(Gateway):
    """One whose reactor is watched."""

    def __init__(self, directory, delivery, extra=""):
        super().__init__(directory, delivery, extra)
        self.report = directory / "held"
        self.report.touch()
        self.login = self.add_login()
        self.start_watched()

    def start_watched(self):
        self.start(sys.executable, watched.__file__, str(self.report))
        time.sleep(1.0)

    def held(self):
        """The turns that were too long, since the last time that this was asked."""
        lines = [json.loads(line) for line in self.report.read_text().splitlines()]
        self.report.write_text("")
        return lines


def session(gateway, number=0):
    return log_in(gateway, number, gateway.trust())


def noops(gateway):
    """10,000 NOOPs in one segment."""
    client = session(gateway)
    client.sendall(b"NOOP\r\n" * 10_000)
    time.sleep(1.0)
    client.close()


def recipients(gateway):
    """1,000 RCPTs in one segment."""
    client = session(gateway)
    client.sendall(b"MAIL FROM:<a@example.com>\r\n" + b"RCPT TO:<someone-or-other@host.example.com>\r\n" * 1000)
    wait_for(lambda: hear(client))
    time.sleep(2.0)
    client.close()


def attack(gateway, content):
    """One message, whatever becomes of it."""
    client = session(gateway)
    with contextlib.suppress(AssertionError, OSError):
        send(client, content)
    client.close()


def tiny_fields(gateway):
    """A header of 256 KiB in tiny fields, twenty times."""
    for _ in range(20):
        attack(gateway, b"a:\r\n" * 65_000 + b"\r\nx\r\n")


def folded_field(gateway):
    """One field of 256 KiB in tiny lines."""
    for name in (b"Subject: ", b"X-SMTPeter-Tags: ", b"Received: ", b"X-SMTPeter-MaxDeliverTime: "):
        attack(gateway, name + b" \r\n" * 65_000 + b" =?utf-8?q?" + b"=41" * 5000 + b"?=\r\n\r\nx\r\n")
        attack(gateway, name + b" =?utf-8?q?=41?=\r\n" * 12_000 + b"\r\nx\r\n")


def tiny_lines(gateway):
    """Messages of 45 MB in empty lines, in lines of dots, and in one line a piece."""
    for line in (b"\r\n", b"..\r\n", b"a\r\n"):
        attack(gateway, b"Subject: x\r\n\r\n" + line * (45_000_000 // len(line)))


def many_recipients(gateway):
    """Ten messages to 1,000 recipients each."""
    client = session(gateway)
    for _ in range(10):
        client.sendall(b"MAIL FROM:<a@example.com>\r\n" + b"RCPT TO:<hard@example.com>\r\n" * 1000 + b"DATA\r\n")
        replies = b""
        while b"354 " not in replies:
            replies += client.recv(65536)
        client.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert hear(client).startswith(b"250")
    client.close()
    wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)


def flood(gateway, messages=5000):
    """5,000 small messages from 20 connections, pipelined."""
    group = b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"

    def run(number):
        client = session(gateway, number)
        for _ in range(messages // 20):
            client.sendall(group)
            while not hear(client).rstrip().endswith(b"<CR><LF>.<CR><LF>"):
                pass
            client.sendall(b"Subject: x\r\n\r\nx\r\n.\r\n")
            hear(client)
        client.close()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)


def backlog(gateway):
    """3,000 messages that were held back by a pause and go out all at once."""
    gateway.json("queue", "pause")
    time.sleep(1.2)
    client = session(gateway)
    for _ in range(3000):
        send(client, b"Subject: x\r\n\r\nx\r\n")
    client.close()
    gateway.json("queue", "resume")
    wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)


def generation(gateway):
    """A command that changes something while 2,000 sessions are open, each of which then sends."""
    clients = [session(gateway, number) for number in range(2000)]
    for number in range(3):
        gateway.json("account", "add", f"new{number}{time.monotonic()}@example.com")
        time.sleep(1.2)
        for client in clients:
            client.sendall(b"MAIL FROM:<a@example.com>\r\n")
        for client in clients:
            hear(client)
            client.sendall(b"RSET\r\n")
        for client in clients:
            hear(client)
    for client in clients:
        client.close()


def lines_without_end(gateway):
    """4 MB in one line of a command, and a thousand lines that are too long."""
    client = session(gateway)
    with contextlib.suppress(OSError):
        client.sendall(b"x" * 4_000_000)
        client.sendall(b"\r\n" + (b"x" * 13_000 + b"\r\n") * 1000)
        time.sleep(1.0)
    client.close()
    client = session(gateway)
    ask(client, "MAIL FROM:<a@example.com>")
    with contextlib.suppress(OSError):
        client.sendall(b'RCPT TO:<"' + b"\\a" * 900 + b'"@example.com>\r\n' * 100)
    time.sleep(0.5)
    client.close()


def handshakes(gateway):
    """1,000 clients that begin a TLS handshake at the same moment."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    connections = [connect(gateway, number) for number in range(1000)]
    for connection in connections:
        connection.sendall(hello)
    time.sleep(3.0)
    for connection in connections:
        connection.close()


def disconnects(gateway):
    """2,000 sessions whose clients go at the same moment."""
    clients = [session(gateway, number) for number in range(2000)]
    for client in clients:
        client.close()
    time.sleep(3.0)


def purge(gateway):
    """What was just delivered is forgotten: the retention of this server is a second."""
    time.sleep(65.0)


def stop(gateway):
    """A stop with 3,000 sessions."""
    clients = [session(gateway, number) for number in range(3000)]
    thread = threading.Thread(target=gateway.stop)
    thread.start()
    for client in clients:
        with contextlib.suppress(OSError):
            hear(client)
        client.close()
    thread.join()


CAPTURE = (
    noops, recipients, tiny_fields, folded_field, tiny_lines, many_recipients, flood, backlog, generation,
    lines_without_end, handshakes, disconnects, purge, stop,
)  # fmt: skip
RELAY = (many_recipients, flood, stop)
LIMITS = '[limits]\nconnections = 12000\nfree_space = "1%"\n[retention]\ncontent = "1s"\ncaptured = "1s"\nevents = "1s"'


def watch(directory, delivery, works, only):
    gateway = WatchedGateway(Path(directory), delivery, LIMITS)
    try:
        for work in works:
            if only and work.__name__ not in only:
                continue
            gateway.held()
            began = time.monotonic()
            work(gateway)
            time.sleep(0.5)
            held = sorted(gateway.held(), key=lambda each: -each["cpu"])
            print(f"\n{work.__doc__}  ({time.monotonic() - began:.0f} s)")
            if not held:
                print("    never held")
                continue
            longest = held[0]
            wall = max(each["wall"] for each in held)
            print(f"    held {len(held)} times, up to {longest['cpu'] * 1e3:.0f} ms of CPU, {wall * 1e3:.0f} ms")
            for each in held[:3]:
                print(f"    {each['cpu'] * 1e3:5.0f} ms  " + (each["places"] or ["-"])[0], flush=True)
    finally:
        gateway.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="names of functions of this module")
    parser.add_argument("--mode", nargs="*", default=["capture", "relay"])
    arguments = parser.parse_args()
    allow_files(2**16)
    if "capture" in arguments.mode:
        print("=== mail is captured")
        with tempfile.TemporaryDirectory() as directory:
            watch(directory, 'mode = "capture"', CAPTURE, arguments.only)
    if "relay" in arguments.mode:
        print("\n=== mail goes to a relay that refuses every recipient called hard")
        receiver = Receiver(*free_ports(1)).start()
        try:
            with tempfile.TemporaryDirectory() as directory:
                watch(directory, f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"', RELAY, arguments.only)
        finally:
            receiver.stop()


if __name__ == "__main__":
    main()
