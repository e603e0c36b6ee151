"""What a client session is told of its surroundings, and what it tells its host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from smtpeter.model.delivery import Outcome
from smtpeter.model.route import TlsPolicy


class ClientTimeouts(NamedTuple):
    """How long (seconds) each answer, or the sending of one piece of content, may take (RFC 5321 section 4.5.3.2)."""

    greeting: float = 300.0
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0
    end: float = 600.0
    quit: float = 5.0


class ClientProfile(NamedTuple):
    """Who we are, whom we talk to, and what must come before mail.

    ``tls`` is about STARTTLS: with NONE it is not used, with MAY where the receiver offers it and does not refuse, with
    ENCRYPT and REQUIRE no mail goes without it; the host looks at certificates.  An empty ``username``: do not
    authenticate.  ``relay``: the receiver is one of ours, and when it wants us to log in, or knows us not, our
    configuration is to blame; a ``username`` says so too.
    """

    hostname: str
    remote_mta: str
    tls: TlsPolicy = TlsPolicy.NONE
    username: str = ""
    password: str = ""
    timeouts: ClientTimeouts = ClientTimeouts()
    relay: bool = False

    def __repr__(self) -> str:
        return f"ClientProfile({self.hostname!r}, {self.remote_mta!r})"


class ReadyEvent(NamedTuple):
    """The session is open: a transaction may begin."""


class StartTlsEvent(NamedTuple):
    """Start TLS, then call :meth:`ClientSession.tls_started`."""


class MarkEvent(NamedTuple):
    """The final dot is next; answer with :meth:`ClientSession.marked`."""


class ResultEvent(NamedTuple):
    """The transaction has ended.  NOT_TRIED are those that another transaction can take at once."""

    outcomes: Mapping[int, Outcome]


class UnusableEvent(NamedTuple):
    """The session could not be opened; this is what it means for a recipient that waits.  A CloseEvent follows.

    The outcome's stage ``starttls`` tells that it was STARTTLS (unless its code is 421, for then the receiver had
    enough of us), and ``tls`` that it was the handshake, or that nothing that could be read came by TLS.
    """

    outcome: Outcome


class CloseEvent(NamedTuple):
    """Send the output and close the connection."""

    reason: str


ClientEvent = ReadyEvent | StartTlsEvent | MarkEvent | ResultEvent | UnusableEvent | CloseEvent
