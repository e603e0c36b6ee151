"""The strings of ``smuggling`` through a real server to a real next hop: ``python -m tests.campaigns.smuggling_real``.

One connection each to the ports for submission, for TLS from the start and for returned mail says them one after the
other, pipelined.  The server must answer each as a strict reading of RFC 5321 does; at the next hop, whose socket is
recorded octet by octet, exactly what was accepted must arrive, once and unchanged, without a bare CR or LF or a NUL
anywhere.

A case is one string in the first surroundings, on one of the ports; there are 16,380, all by default (about two
minutes).
"""

from __future__ import annotations

import base64
import socket
import socketserver
import tempfile
import threading
from collections import Counter
from pathlib import Path

from tests.campaigns.command import Figures, Found, main
from tests.campaigns.reading import has_bare, read_strictly
from tests.campaigns.smuggling import STRINGS, expect, stream_of, without_trace
from tests.campaigns.wire import replies
from tests.integration.gateway import Gateway, wait_for

PORTS = ("smtp", "smtps", "mx")
CASES = len(STRINGS) * len(PORTS)
LIMITS = "[limits]\nerrors = 1000000000\njunk_commands = 1000000000"


class Hop(socketserver.StreamRequestHandler):
    """A next hop that takes everything, reads strictly, and keeps what came in."""

    server: Sink

    def handle(self) -> None:
        self._say("220 sink")
        recipients: list[str] = []
        while line := self.rfile.readline():
            self._note(line)
            verb = line[:4].upper()
            if verb == b"EHLO":
                self._say("250-sink\r\n250-PIPELINING\r\n250 8BITMIME")
            elif verb == b"DATA":
                self._say("354 go")
                self.server.take(recipients, self._read())
                self._say("250 ok")
                recipients = []
            elif verb == b"QUIT":
                self._say("221 bye")
                return
            else:
                if verb == b"RCPT":
                    recipients.append(line[9:].partition(b">")[0].decode())
                self._say("250 ok")

    def _read(self) -> bytes:
        wire = b""
        while not (wire == b".\r\n" or wire.endswith(b"\r\n.\r\n")):
            # Only a true CRLF counts as the end of a line; the file knows lines by LF alone.
            line = self.rfile.readline()
            if not line:
                raise ConnectionError
            wire += line
        self._note(wire)
        read = read_strictly(wire)
        assert read is not None
        return read[0]

    def _note(self, octets: bytes) -> None:
        if has_bare(octets) or b"\0" in octets:
            self.server.bare.append(octets)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class Sink(socketserver.ThreadingTCPServer):
    """The next hop.  ``messages`` has the contents for each recipient; ``bare`` what no client may send."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Hop)
        self.messages: dict[str, list[bytes]] = {}
        self.bare: list[bytes] = []
        self._lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def take(self, recipients: list[str], content: bytes) -> None:
        with self._lock:
            for recipient in recipients:
                self.messages.setdefault(recipient, []).append(content)


class Client:
    """A submission client that says octets as they are."""

    def __init__(self, gateway: Gateway, port: str, login: tuple[str, str]) -> None:
        self._socket = socket.create_connection(("localhost", getattr(gateway, port)), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if port == "smtps":
            self._secure(gateway)
        self.ask([], 1)
        if port != "smtps":
            self.ask([b"EHLO client.test\r\n"], 1)
            self.ask([b"STARTTLS\r\n"], 1)
            self._secure(gateway)
        plain = base64.b64encode("\0".join(("", *login)).encode())
        assert self.ask([b"EHLO client.test\r\nAUTH PLAIN " + plain + b"\r\n"], 2)[1].startswith("235")

    def _secure(self, gateway: Gateway) -> None:
        self._socket = gateway.trust().wrap_socket(self._socket, server_hostname="localhost")

    def ask(self, pieces: list[bytes], count: int) -> list[str]:
        """Say this, and hear so many replies."""
        for piece in pieces:
            self._socket.sendall(piece)
        heard = b""
        while len(replies(heard)) < count or not heard.endswith(b"\n"):
            octets = self._socket.recv(65536)
            if not octets:
                break
            heard += octets
        return replies(heard)

    def close(self) -> None:
        self._socket.close()


def campaign(seed: int, first: int, count: int) -> Figures:
    """Cases number ``first`` and on."""
    with tempfile.TemporaryDirectory() as directory:
        return run(Path(directory), range(first, min(first + count, CASES)))


def run(directory: Path, cases: range) -> Figures:
    """These cases, with a server that has its home in ``directory``."""
    sink = Sink()
    relay = f'mode = "relay"\nrelay = "smtp://127.0.0.1:{sink.server_address[1]}"'
    gateway = Gateway(directory / "gateway", relay, LIMITS)
    login = gateway.add_login()
    gateway.start()
    try:
        figures = _submit(gateway, login, sink, cases)
        gateway.stop()
        return figures
    finally:
        gateway.end()
        sink.shutdown()
        sink.server_close()


def _submit(gateway: Gateway, login: tuple[str, str], sink: Sink, cases: range) -> Figures:
    clients = {port: Client(gateway, port, login) for port in PORTS}
    expected: dict[str, list[bytes]] = {}
    accepted = 0
    for case in cases:
        stream, begin, end = stream_of(case // len(PORTS))
        codes, contents = expect(stream)
        recipient = f"r{case}@example.net"
        group = f"RSET\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode()
        client = clients[PORTS[case % len(PORTS)]]
        opening = client.ask([group], 4)
        cut = begin + case // len(PORTS) % (end - begin + 1)
        said = client.ask([stream[:cut], stream[cut:]], len(codes))
        if opening[3:] != ["354"] or said != codes:
            raise Found(f"case {case}, cut at {cut}: {stream!r}: {opening} {said} instead of {codes}")
        if codes[0].startswith("250"):
            expected.setdefault(recipient, []).append(contents.pop(0))
        for content in contents:
            expected.setdefault("victim@example.net", []).append(content)
        accepted += sum(code == "250 2.0.0" for code in codes)
    for client in clients.values():
        client.close()
    wait_for(lambda: sum(map(len, sink.messages.values())) >= accepted, 120, "not all that was accepted arrived")
    arrived = {to: Counter(map(without_trace, contents)) for to, contents in sink.messages.items()}
    if sink.bare or arrived != {to: Counter(contents) for to, contents in expected.items()}:
        raise Found(f"arrived:\n{arrived}\ninstead of\n{expected}\nbare: {sink.bare}"[:8000])
    return {"accepted": accepted, "arrived": sum(map(len, sink.messages.values()))}


if __name__ == "__main__":
    main("smuggling_real", campaign, CASES, "cases")
