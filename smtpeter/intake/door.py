"""What stands around a session: what all sessions share, and who counts them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from smtpeter.intake.deadlines import Timeouts
from smtpeter.intake.gate import Gate
from smtpeter.intake.heading import HeaderRoom
from smtpeter.intake.message import MessagePolicy
from smtpeter.interfaces import IClock, IContentStore, IMetrics, ISubmissionIntake
from smtpeter.model.reply import Reply
from smtpeter.smtp.server import SessionLimits


@dataclass(frozen=True)
class SmtpDoor:
    """What all SMTP sessions share."""

    portal: Portal
    intake: ISubmissionIntake
    content: IContentStore
    gate: Gate
    tls: IOpenSSLServerConnectionCreator
    clock: IClock
    timers: IReactorTime
    metrics: IMetrics
    limits: SessionLimits
    policy: MessagePolicy
    timeouts: Timeouts
    header_room: HeaderRoom = field(default_factory=HeaderRoom)


class Session(Protocol):
    """A connection, as far as those who count it are concerned."""

    @property
    def peer(self) -> str:
        """The client's address."""

    def turn_away(self, reply: Reply) -> None:
        """End it politely as soon as no answer of ours is owed."""

    def abort(self, why: str) -> None:
        """Cut it now, whatever is under way."""


class SessionList(Protocol):
    """Whoever counts the sessions and may end them."""

    @property
    def stress(self) -> bool:
        """Whether there are hardly any places left."""

    def joined(self, session: Session) -> None:
        """A connection was made."""

    def left(self, session: Session) -> None:
        """A connection was lost."""
