"""Many clients at once, made of little: sockets that are opened, and what is said on them."""

from __future__ import annotations

import base64
import resource
import socket
import threading
import time
from pathlib import Path

PER_ADDRESS = 45
"""Connections from one source address: the server's own limit is 50, and others connect from 127.0.0.1."""


def allow_files(count):
    """Each connection is a file of this process, too."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


def resident(process):
    """Octets of memory that a process has in use now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process has ended")


def source(number):
    """An address to connect from, another one for each few connections."""
    number //= PER_ADDRESS
    return f"127.0.{1 + number // 250}.{1 + number % 250}", 0


def connect(gateway, number, *, context=None, port=None, timeout=120.0):
    """A connection, by default to the port with TLS from the start; with ``context`` the handshake was done."""
    raw = socket.create_connection(("127.0.0.1", port or gateway.smtps), timeout=timeout, source_address=source(number))
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return raw if context is None else context.wrap_socket(raw, server_hostname="localhost")


def hear(connection):
    """One whole reply."""
    reply = b""
    while True:
        data = connection.recv(4096)
        if not data:
            return reply
        reply += data
        if reply.endswith(b"\n") and reply.splitlines()[-1][3:4] == b" ":
            return reply


def ask(connection, command):
    connection.sendall(command.encode() + b"\r\n")
    return hear(connection)


def log_in(gateway, number, context):
    """A session that may send mail."""
    connection = connect(gateway, number, context=context)
    assert hear(connection).startswith(b"220")
    assert ask(connection, "EHLO crowd.example").startswith(b"250")
    secret = base64.b64encode("\0".join(("", *gateway.login)).encode()).decode()
    assert ask(connection, f"AUTH PLAIN {secret}").startswith(b"235")
    return connection


def send(connection, content, pieces=1, pause=0.0):
    """One message; gives back the reply and the seconds that all of it took."""
    began = time.monotonic()
    for command, code in (("MAIL FROM:<a@example.com>", b"250"), ("RCPT TO:<b@example.net>", b"250"), ("DATA", b"354")):
        reply = ask(connection, command)
        assert reply.startswith(code), reply
    for number in range(pieces):
        connection.sendall(content[number * len(content) // pieces : (number + 1) * len(content) // pieces])
        time.sleep(pause)
    connection.sendall(b".\r\n")
    return hear(connection), time.monotonic() - began


class Trickle:
    """Sessions that say an octet of a command every second, and never end a line."""

    def __init__(self, connections):
        self.connections = connections
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping.wait(1.0):
            for connection in self.connections:
                try:
                    connection.send(b"N")
                except OSError:
                    pass  # cut by the server

    def stop(self):
        self._stopping.set()
        self._thread.join(30)


class Probe:
    """Asks a port that answers at once again and again: the slowest answer tells how long the reactor was held."""

    def __init__(self, gateway, every=0.002):
        self._gateway = gateway
        self._every = every
        self._stopping = threading.Event()
        self.seconds = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        question = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self._gateway.http), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stopping.wait(self._every):
                began = time.monotonic()
                connection.sendall(question)
                answer = b""
                while not answer.endswith(b"ok\n"):
                    data = connection.recv(4096)
                    if not data:
                        return
                    answer += data
                self.seconds.append(time.monotonic() - began)

    def stop(self):
        """The slowest answer, and the median one, in seconds."""
        self._stopping.set()
        self._thread.join(60)
        return max(self.seconds), sorted(self.seconds)[len(self.seconds) // 2]
