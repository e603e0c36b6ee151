"""Stopping and starting the server again and again under load, with clients that note all that a client could mind.

The short form is a test.  The long one, with as many restarts as you like:

    python -m tests.campaigns.restarts --rounds 10
"""

from __future__ import annotations

import argparse
import base64
import random
import socket
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from tests.integration.gateway import Gateway, free_ports, wait_for
from tests.integration.killing import TimedReceiver, make_content


class TurnedAway(Exception):
    """The server is not there now, and said so as it should; a client comes again."""


class Complaint(Exception):
    """Something that no client should see because a server is restarted."""


class Client:
    """One connection, read octet by octet as the server sends it: no reply may be cut, nothing may end unannounced."""

    def __init__(self, port, context, login):
        self._file = None
        try:
            self._socket = socket.create_connection(("localhost", port), timeout=60)
            self._socket = context.wrap_socket(self._socket, server_hostname="localhost")
        except OSError as error:
            raise TurnedAway("not let in") from error
        self._file = self._socket.makefile("rb")
        try:
            self.expect(220, "greeting")
        except Complaint as complaint:
            # What waits in the listening socket when it closes is reset by the kernel, as if nobody had listened.
            raise TurnedAway("not greeted") from complaint
        self.ask("EHLO client.example", 250)
        self.ask("AUTH PLAIN " + base64.b64encode("\0".join(("", *login)).encode()).decode(), 235)

    def ask(self, command, code):
        self.send(f"{command}\r\n".encode())
        self.expect(code, command[:9])

    def send(self, octets):
        try:
            self._socket.sendall(octets)
        except OSError:
            pass  # whether the end was announced is found by reading

    def expect(self, code, what):
        while True:
            try:
                line = self._file.readline()
            except OSError as error:
                raise Complaint(f"{what}: cut: {error}") from None
            if not line.endswith(b"\r\n"):
                raise Complaint(f"{what}: " + (f"a reply was cut: {line!r}" if line else "the end was not announced"))
            if line[3:4] == b" ":
                break
        if int(line[:3]) == code:
            return
        if line.startswith(b"421 4.3.2") and what != "dot":
            raise TurnedAway(what)
        raise Complaint(f"{what}: {line!r}")

    def message(self, recipient, content, *, pipelined, pause):
        commands = ("MAIL FROM:<a@example.com>", f"RCPT TO:<{recipient}>", "DATA")
        if pipelined:
            self.send("".join(f"{command}\r\n" for command in commands).encode())
            for command, code in zip(commands, (250, 250, 354), strict=True):
                self.expect(code, command[:4])
        else:
            for command, code in zip(commands, (250, 250, 354), strict=True):
                self.ask(command, code)
        half = len(content) // 2
        self.send(content[:half])
        time.sleep(pause)
        self.send(content[half:] + b".\r\n")
        self.expect(250, "dot")

    def close(self):
        if self._file is not None:
            self._file.close()
        self._socket.close()


class Load:
    """Clients that send without rest, come again when they are turned away, and write down what they complain of."""

    def __init__(self, gateway, clients):
        self.acknowledged = set()
        self.complaints = []
        self.turned_away = Counter()
        self._gateway = gateway
        self._context = gateway.trust()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, number):
        chance = random.Random(number)
        count = 0
        while not self._stopping.is_set():
            client = None
            try:
                client = Client(self._gateway.smtps, self._context, self._gateway.login)
                for _ in range(chance.randint(1, 50)):
                    if self._stopping.is_set():
                        break
                    count += 1
                    token = f"{number}-{count}"
                    pause = chance.uniform(0.5, 2.0) if number % 4 == 0 else 0.0
                    client.message(
                        f"to{count % 50}@d{count % 7}.example", make_content(token), pipelined=number % 2, pause=pause
                    )
                    self.acknowledged.add(token)
                    time.sleep(chance.choice((0.0, 0.02)))
            except TurnedAway as away:
                self.turned_away[str(away)] += 1
                time.sleep(0.1)
            except Complaint as complaint:
                self.complaints.append(f"{token if count else number}: {complaint}")
            finally:
                if client is not None:
                    client.close()

    def stop(self):
        self._stopping.set()
        for thread in self._threads:
            thread.join(90)


class Result(NamedTuple):
    rounds: int
    acknowledged: int
    lost: int
    duplicates: int
    phantoms: int
    corrupt: int
    complaints: list
    turned_away: dict
    slowest_stop: float
    slowest_start: float


def run(directory: Path, rounds: int, clients: int = 16, *, signals: int = 1) -> Result:
    """``signals`` is how many SIGTERMs each stop is asked for with."""
    [port] = free_ports(1)
    receiver = TimedReceiver(port).start()
    gateway = Gateway(directory, f'mode = "relay"\nrelay = "smtp://localhost:{port}"\nretry = ["1s"]')
    gateway.login = gateway.add_login()
    gateway.start()
    load = Load(gateway, clients)
    chance = random.Random(rounds)
    stops, starts = [], []
    try:
        for _ in range(rounds):
            time.sleep(chance.uniform(1.0, 3.0))
            began = time.monotonic()
            for _ in range(signals - 1):
                gateway.process.terminate()
                time.sleep(0.2)
            gateway.stop()
            stopped = time.monotonic()
            gateway.start()
            stops.append(stopped - began)
            starts.append(time.monotonic() - stopped)
        time.sleep(1.0)
        load.stop()
        wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), timeout=120)
    finally:
        load.stop()
        gateway.end()
        receiver.stop()
    copies = Counter(token for token, _ in receiver.times)
    return Result(
        rounds,
        len(load.acknowledged),
        len(load.acknowledged - set(copies)),
        sum(copies.values()) - len(copies),
        len(set(copies) - load.acknowledged),
        receiver.corrupt,
        load.complaints,
        dict(load.turned_away),
        max(stops),
        max(starts),
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--clients", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        result = run(Path(directory), arguments.rounds, arguments.clients)
    for name, value in result._asdict().items():
        print(f"{name:15} {value}")


if __name__ == "__main__":
    main()
