"""What a receiver offers and demands, and what came in at it."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from tests.integration.gateway import wait_for

EXTENSIONS = frozenset({"PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING"})


class Offer(NamedTuple):
    """``extensions`` are those that EHLO offers, as far as the program has them.

    ``certificate`` is a file with certificates and key, and makes it offer STARTTLS; ``demands_tls``: nothing is taken
    in clear.  ``size`` is its limit in octets.  ``greylists``: whoever comes for the first time is told 451.  Without
    ``ehlo`` it only knows HELO, so that nothing is offered.
    """

    extensions: frozenset[str] = EXTENSIONS
    certificate: Path | None = None
    demands_tls: bool = False
    size: int = 50_000_000
    greylists: bool = False
    ehlo: bool = True


EVERYTHING = Offer()
"""In clear."""


class Message(NamedTuple):
    """One copy of a message, as its recipient has it.  ``content`` ends its lines with CRLF."""

    sender: str
    recipient: str
    content: bytes


class RealReceiver(ABC):
    """A program that takes mail for everybody at ``address``, and keeps each recipient's copy as a file.

    ``stop`` ends it and leaves nothing behind.
    """

    def __init__(self, address: str, port: int, offer: Offer, hostname: str) -> None:
        self.address = address
        self.port = port
        self.offer = offer
        self.hostname = hostname

    @property
    @abstractmethod
    def maildir(self) -> Path:
        """Where the copies are."""

    @abstractmethod
    def log(self) -> str:
        """What it wrote down so far."""

    def messages(self) -> list[Message]:
        """All copies so far."""
        paths = sorted((self.maildir / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [_read(path.read_bytes()) for path in paths if not path.name.startswith(".")]

    def got(self, recipient: str) -> list[bytes]:
        """The octets of what this recipient got, one item for each time."""
        return [message.content for message in self.messages() if message.recipient == recipient]

    def answers(self) -> bool:
        """Whether somebody listens there."""
        try:
            with socket.create_connection((self.address, self.port), timeout=5) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False

    def wait_until_up(self) -> None:
        wait_for(self.answers, 30, lambda: f"{type(self).__name__} did not start: {self.log()[-3000:]}")


def _read(octets: bytes) -> Message:
    """The fields on top tell the envelope; the first of a name is the receiver's own."""
    fields: dict[str, str] = {}
    for line in octets.partition(b"\n\n")[0].split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon:
            fields.setdefault(name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace").strip())
    recipient = fields.get("x-original-to") or fields["envelope-to"]
    return Message(fields["return-path"].strip("<>"), recipient, octets.replace(b"\n", b"\r\n"))
