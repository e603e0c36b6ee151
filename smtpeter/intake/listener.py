"""The listening side of SMTP: who may connect, and how all sessions end together."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from smtpeter.intake.door import Session, SmtpDoor
from smtpeter.intake.gate import STOPPING
from smtpeter.intake.smtp import SmtpProtocol
from smtpeter.locations import network_of
from smtpeter.model.reply import Reply

STRESS = 0.8
"""The share of all connections above which silent clients are given little time."""

REFUSED_AT_ONCE = 100
"""Connections over a limit that are still told so, TLS first where it belongs first; beyond that they are cut."""

_TOO_MANY = Reply(421, "4.7.0", "Too many connections; try again later")


class Sessions:
    """All sessions of all listeners, so that limits hold over all of them.

    ``connections`` and ``per_address`` are how many there may be at once, in all and from one address, or one /64
    network of IPv6.  Those who are refused take nobody's place.
    """

    def __init__(self, connections: int, per_address: int) -> None:
        self._connections = connections
        self._per_address = per_address
        self._sessions: set[Session] = set()
        self._refused: set[Session] = set()
        self._networks: dict[str, int] = {}
        self._stopping = False
        self._gone: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def stress(self) -> bool:
        """Whether there are hardly any places left."""
        return len(self._sessions) > STRESS * self._connections

    def joined(self, session: Session) -> None:
        """A connection was made."""
        network = network_of(session.peer)
        count = self._networks.get(network, 0)
        if self._stopping:
            self._refuse(session, STOPPING)
        elif len(self._sessions) >= self._connections or count >= self._per_address:
            self._refuse(session, _TOO_MANY)
        else:
            self._sessions.add(session)
            self._networks[network] = count + 1

    def _refuse(self, session: Session, reply: Reply) -> None:
        if len(self._refused) >= REFUSED_AT_ONCE:
            session.abort("too many connections over a limit")
            return
        self._refused.add(session)
        session.turn_away(reply)

    def left(self, session: Session) -> None:
        """A connection was lost."""
        self._refused.discard(session)
        if session in self._sessions:
            self._sessions.remove(session)
            network = network_of(session.peer)
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]
        if self._gone is not None and not self._any_left() and not self._gone.called:
            self._gone.callback(None)

    def _any_left(self) -> bool:
        return bool(self._sessions or self._refused)

    def stop(self) -> Deferred[None]:
        """Let every session come to its end, those that come now too: fires when the last one has gone."""
        self._stopping = True
        for session in list(self._sessions):
            session.turn_away(STOPPING)
        if not self._any_left():
            return succeed(None)
        self._gone = Deferred()
        return self._gone

    def abort(self) -> None:
        """Cut every session that is left."""
        for session in [*self._sessions, *self._refused]:
            session.abort("the server stops")


class SmtpFactory(Factory):
    """Makes the sessions of one listener."""

    noisy = False

    def __init__(self, door: SmtpDoor, sessions: Sessions, *, encrypted: bool = False, mx: bool = False) -> None:
        self._door = door
        self._sessions = sessions
        self._encrypted = encrypted
        self._mx = mx

    def buildProtocol(self, addr: IAddress | None) -> SmtpProtocol:
        protocol = SmtpProtocol(self._door, self._sessions, encrypted=self._encrypted, mx=self._mx)
        protocol.factory = self
        return protocol
