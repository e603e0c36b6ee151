"""The world that a server in direct mode delivers to: a name server, and hosts on 127.0.0.0/8 that all have one port.

world = World(tmp_path)
world.domain("slow.example", world.host(Behaviour(delay=1.0)))
world.domain("real.example", world.place("mx.postfix.example", "127.1.0.2"))  # somebody else listens there
world.domain("dead.example", world.host(refuses=True))  # nobody does
world.start()
gateway = Gateway(tmp_path / "gateway", world.delivery())
"""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

from tests.fakes.nameserver import LyingNameServer
from tests.integration.sinks import Behaviour, Counts, Sinks

_networks = itertools.count(16)


class World:
    """``names`` is the name server, whose ``zone`` and ``lies`` may be changed at any time; ``port`` is everybody's.

    Worlds of one process have no address in common; a port is free at all of theirs.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._network = next(_networks)
        self._addresses = (f"127.{self._network}.{n // 250}.{n % 250 + 2}" for n in itertools.count())
        self._sinks: Sinks | None = None
        self._behaviours: dict[str, Behaviour] = {}
        self._hosts: dict[str, str] = {}
        self.names = LyingNameServer()
        self.port = _free_everywhere()

    # --- who is there ---

    def address(self) -> str:
        """One that nobody has yet."""
        return next(self._addresses)

    def place(self, name: str, *addresses: str) -> str:
        """A host of that name at these addresses; its name."""
        self.names.zone[name] = {"A": list(addresses)}
        return name

    def host(self, behaviour: Behaviour | None = None, *, refuses: bool = False, name: str = "") -> str:
        """A host at an address of its own, with a sink; ``refuses``: nobody listens there.  Its name."""
        address = self.address()
        name = name or f"mx{address.replace('.', '-')}.example"
        if not refuses:
            self._behaviours[address] = behaviour or Behaviour()
        self._hosts[name] = address
        return self.place(name, address)

    def domain(self, name: str, *hosts: str) -> str:
        """A domain with these MX hosts, the first preferred; its name."""
        self.names.zone[name] = {"MX": [(10 * number, host) for number, host in enumerate(hosts, start=1)]}
        return name

    # --- what happens ---

    def start(self, before: tuple[str, ...] = ()) -> World:
        """``before`` is a command that starts the sinks."""
        self.names.start()
        self._sinks = Sinks(self.port, self._behaviours, self._directory / "sinks.json", before)
        return self

    def stop(self) -> None:
        if self._sinks is not None:
            self._sinks.stop()
        self.names.stop()

    def delivery(self, *further: str) -> str:
        """The lines of ``[delivery]`` for a server that lives here."""
        lines = (
            'mode = "direct"',
            f"port = {self.port}",
            f'resolver = "{self.names.address}"',
            'allow_networks = ["127.0.0.0/8"]',
            *further,
        )
        return "\n".join(lines)

    def counts(self) -> dict[str, Counts]:
        """What happened at each of our hosts, by name."""
        assert self._sinks is not None
        by_address = self._sinks.counts()
        return {name: by_address[address] for name, address in self._hosts.items() if address in by_address}

    def messages(self) -> int:
        """How many all of them took."""
        return sum(counts.messages for counts in self.counts().values())


def _free_everywhere() -> int:
    """A port that nobody listens at on any address."""
    with socket.socket() as everywhere:
        everywhere.bind(("0.0.0.0", 0))
        port: int = everywhere.getsockname()[1]
        return port
