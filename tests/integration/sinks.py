"""Next hops that cost next to nothing: one process with many addresses, each with a behaviour of its own.

    python -m tests.integration.sinks PORT FILE

FILE is JSON: by address the fields of a Behaviour.  Nothing is kept of a message; what happened is counted, and told as
JSON to whoever connects to the port that the process prints first.  Times are the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
BACKLOG = 1000


@dataclass
class Behaviour:
    """``replies`` are answers other than the usual ones, by ``greeting``, ``ehlo``, ``mail``, ``rcpt``, ``data``,
    ``end``, ``starttls``; ``delay`` is in seconds, before the answer to the final dot; ``silent``: it accepts
    connections and says nothing, ever.  STARTTLS, where ``ehlo`` offers it, is followed by octets that are no TLS.
    ``timed``: it notes the time of each MAIL."""

    replies: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    silent: bool = False
    timed: bool = False


@dataclass
class Counts:
    """What happened at one address; ``first`` and ``last`` are when messages were taken."""

    connections: int = 0
    open: int = 0
    most: int = 0
    messages: int = 0
    recipients: int = 0
    first: float = 0.0
    last: float = 0.0
    mails: list[float] = field(default_factory=list)


USUAL = {
    "greeting": "220 sink.example ESMTP",
    "ehlo": "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE 100000000",
    "helo": "250 sink.example",
    "mail": "250 2.1.0 Ok",
    "rcpt": "250 2.1.5 Ok",
    "data": "354 go ahead",
    "end": "250 2.0.0 Ok",
    "rset": "250 2.0.0 Ok",
    "noop": "250 2.0.0 Ok",
    "quit": "221 2.0.0 Bye",
    "starttls": "220 2.0.0 go on",
}


class Sink(asyncio.Protocol):
    """One connection."""

    def __init__(self, behaviour: Behaviour, counts: Counts) -> None:
        self._replies = {name: f"{text}\r\n".encode() for name, text in {**USUAL, **behaviour.replies}.items()}
        self._behaviour = behaviour
        self._counts = counts
        self._octets = b""
        self._searched = 0
        self._in_data = False
        self._recipients = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        counts = self._counts
        counts.connections += 1
        counts.open += 1
        counts.most = max(counts.most, counts.open)
        if not self._behaviour.silent:
            transport.write(self._replies["greeting"])
            if self._replies["greeting"].startswith((b"4", b"5")):
                transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._counts.open -= 1

    def data_received(self, data: bytes) -> None:
        if self._behaviour.silent:
            return
        self._octets += data
        answers = []
        while not self._transport.is_closing():
            if self._in_data:
                at = 0 if self._octets.startswith(b".\r\n") else self._octets.find(b"\r\n.\r\n", self._searched) + 2
                if at == 1:
                    self._searched = max(0, len(self._octets) - 4)
                    break
                self._octets, self._searched, self._in_data = self._octets[at + 3 :], 0, False
                answers.append(self._taken())
                continue
            line, end, rest = self._octets.partition(b"\r\n")
            if not end:
                break
            self._octets = rest
            answers.append(self._command(line[:4].lower()))
        self._transport.write(b"".join(answers))

    def _command(self, verb: bytes) -> bytes:
        name = {"star": "starttls"}.get(verb.decode("latin-1"), verb.decode("latin-1"))
        answer = self._replies.get(name, b"500 5.5.1 what?\r\n")
        taken = answer[:1] in b"23"
        if name == "mail":
            self._recipients = 0
            if self._behaviour.timed:
                self._counts.mails.append(time.monotonic())
        elif name == "rcpt":
            self._recipients += taken
        elif name == "data":
            if not self._recipients:
                return b"554 5.5.1 no valid recipients\r\n"
            self._in_data = taken
        elif name == "starttls" and taken:
            return answer + b"this is no TLS\r\n"
        if name == "quit" or answer.startswith(b"421"):
            self._transport.write(answer)
            self._transport.close()
            return b""
        return answer

    def _taken(self) -> bytes:
        answer = self._replies["end"]
        if answer.startswith(b"2"):
            counts = self._counts
            counts.messages += 1
            counts.recipients += self._recipients
            counts.last = time.monotonic()
            counts.first = counts.first or counts.last
        if not self._behaviour.delay:
            return answer
        asyncio.get_running_loop().call_later(self._behaviour.delay, self._transport.write, answer)
        return b""


async def serve(port: int, behaviours: Mapping[str, Behaviour]) -> None:
    """Until the process is ended."""
    loop = asyncio.get_running_loop()
    counts = {address: Counts() for address in behaviours}
    for address, behaviour in behaviours.items():
        listener = socket.create_server((address, port), backlog=BACKLOG)
        await loop.create_server(lambda b=behaviour, c=counts[address]: Sink(b, c), sock=listener)

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({address: asdict(each) for address, each in counts.items()}).encode())
        await writer.drain()
        writer.close()

    telling = await asyncio.start_server(tell, "127.0.0.1", 0)
    print(telling.sockets[0].getsockname()[1], flush=True)
    gc.freeze()
    await asyncio.Event().wait()


class Sinks:
    """The process, from outside.  ``before`` is a command that starts it, such as one that gives it a core."""

    def __init__(
        self, port: int, behaviours: Mapping[str, Behaviour], file: Path, before: tuple[str, ...] = ()
    ) -> None:
        file.write_text(json.dumps({address: asdict(each) for address, each in behaviours.items()}))
        self._process = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.integration.sinks", str(port), str(file)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._telling = int(self._process.stdout.readline())

    def counts(self) -> dict[str, Counts]:
        """By address."""
        pieces: deque[bytes] = deque()
        with socket.create_connection(("127.0.0.1", self._telling), timeout=60) as connection:
            while piece := connection.recv(1 << 20):
                pieces.append(piece)
        return {address: Counts(**each) for address, each in json.loads(b"".join(pieces)).items()}

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


def main() -> None:
    port, file = sys.argv[1:]
    behaviours = {address: Behaviour(**each) for address, each in json.loads(Path(file).read_text()).items()}
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(serve(int(port), behaviours))


if __name__ == "__main__":
    main()
