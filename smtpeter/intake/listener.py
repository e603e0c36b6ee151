"""The listening side of SMTP: who may connect, and how all sessions end together."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory

from smtpeter.intake.gate import STOPPING
from smtpeter.intake.smtp import SmtpDoor, SmtpProtocol
from smtpeter.model.reply import Reply

_TOO_MANY = Reply(421, "4.7.0", "Too many connections; try again later")


class Sessions:
    """All sessions of all listeners, so that limits hold over all of them.

    ``connections`` and ``per_address`` are how many there may be at once, in all and from one address.
    """

    def __init__(self, connections: int, per_address: int) -> None:
        self._connections = connections
        self._per_address = per_address
        self._sessions: set[SmtpProtocol] = set()
        self._addresses: dict[str, int] = {}
        self._stopping = False
        self._gone: Deferred[None] | None = None

    def __len__(self) -> int:
        return len(self._sessions)

    def joined(self, session: SmtpProtocol) -> None:
        """A connection was made."""
        self._sessions.add(session)
        count = self._addresses[session.peer] = self._addresses.get(session.peer, 0) + 1
        if self._stopping:
            session.turn_away(STOPPING)
        elif len(self._sessions) > self._connections or count > self._per_address:
            session.turn_away(_TOO_MANY)

    def left(self, session: SmtpProtocol) -> None:
        """A connection was lost."""
        if session not in self._sessions:
            return
        self._sessions.remove(session)
        self._addresses[session.peer] -= 1
        if not self._addresses[session.peer]:
            del self._addresses[session.peer]
        if self._gone is not None and not self._sessions and not self._gone.called:
            self._gone.callback(None)

    def stop(self) -> Deferred[None]:
        """Let every session come to its end, those that come now too: fires when the last one has gone."""
        self._stopping = True
        for session in list(self._sessions):
            session.turn_away(STOPPING)
        if not self._sessions:
            return succeed(None)
        self._gone = Deferred()
        return self._gone

    def abort(self) -> None:
        """Cut every session that is left."""
        for session in list(self._sessions):
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
