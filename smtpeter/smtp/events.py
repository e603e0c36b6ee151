"""What a client of the server session wants: one value for each thing that the host must do or decide."""

from __future__ import annotations

from typing import NamedTuple

from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.reply import Reply
from smtpeter.smtp.sasl import Credentials


class AuthEvent(NamedTuple):
    """Check these credentials; answer with 235 to accept, anything else refuses."""

    credentials: Credentials


class MailEvent(NamedTuple):
    """A transaction begins; answer with a 2xx to allow it.  ``size`` is what SIZE= announced, 0 if nothing."""

    reverse_path: str
    size: int


class RecipientEvent(NamedTuple):
    """A recipient; answer with a 2xx to accept it."""

    recipient: Recipient


class DataEvent(NamedTuple):
    """The message is about to come; answer with 354 to let it come."""

    envelope: Envelope


class ContentEvent(NamedTuple):
    """Octets of the message; wants no answer."""

    octets: bytes


class EndEvent(NamedTuple):
    """The message is complete; answer with 250 only when it is durable.

    ``refusal`` is set where it cannot be taken whatever the host thinks: throw it away and answer with that.
    """

    refusal: Reply | None


class StartTlsEvent(NamedTuple):
    """Send the output, start TLS, then call :meth:`smtpeter.smtp.server.ServerSession.tls_started`; wants no answer."""


class TurnOverEvent(NamedTuple):
    """So many commands were answered at once that others should have their turn: send the output, and ask for the next
    event a little later.  Wants no answer."""


class CloseEvent(NamedTuple):
    """Send the output and close the connection; wants no answer.  ``reason`` is for the log."""

    reason: str


Event = (
    AuthEvent
    | MailEvent
    | RecipientEvent
    | DataEvent
    | ContentEvent
    | EndEvent
    | StartTlsEvent
    | TurnOverEvent
    | CloseEvent
)
