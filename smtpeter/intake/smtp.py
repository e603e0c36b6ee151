"""SMTP over Twisted: a thin protocol around the session that does the thinking."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast
from typing import Protocol as TypingProtocol

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.errors import Refusal, StorageFull, StorageUnavailable
from smtpeter.intake.deadlines import RATE_GRACE, Deadlines, Timeouts
from smtpeter.intake.early import heard_early
from smtpeter.intake.gate import FULL, STOPPING, UNAVAILABLE, Gate
from smtpeter.intake.message import IncomingMessage, MessagePolicy
from smtpeter.interfaces import IClock, IContentStore, IMetrics, ISubmissionIntake, ISubmitter
from smtpeter.mime.trace import Origin
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.reply import Reply
from smtpeter.model.submission import Submission
from smtpeter.smtp import events
from smtpeter.smtp.server import (
    AUTH_REQUIRED,
    AUTHENTICATED,
    RECIPIENT_OK,
    SENDER_OK,
    START_DATA,
    ServerSession,
    SessionLimits,
)

PENDING_LIMIT = 65536  # octets of commands that may wait before the client is told to pause
CLOSE_TIMEOUT = 10.0  # seconds that a closing connection may take before it is cut
_REFUSED = Reply(535, "5.7.8", "Authentication failed: user name or password is wrong")
_AUTH_UNAVAILABLE = Reply(454, "4.7.0", "Authentication is not possible now; try again later")
_INTERNAL = Reply(451, "4.3.0", "Something went wrong here; try again later")


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


class SessionList(TypingProtocol):
    """Whoever counts the sessions and may end them."""

    def joined(self, session: SmtpProtocol) -> None:
        """A connection was made."""

    def left(self, session: SmtpProtocol) -> None:
        """A connection was lost."""


@implementer(IHandshakeListener, IPushProducer)
class SmtpProtocol(Protocol):
    """One connection.  What the session says is done here; what it asks is decided here.

    To its transport it is the producer of answers: while they pile up, nothing more is read.
    """

    _log = Logger()

    def __init__(self, door: SmtpDoor, sessions: SessionList, *, encrypted: bool, mx: bool) -> None:
        self._door = door
        self._session = ServerSession(door.policy.hostname, door.limits, encrypted=encrypted, mx=mx)
        self._sessions = sessions
        self._submitter: ISubmitter | None = None
        self._message: IncomingMessage | None = None
        self._timer: IDelayedCall | None = None
        self._started = door.timers.seconds()
        self._deadlines = Deadlines(door.timeouts, self._started)
        self._handshaking = encrypted
        self._greeted = False
        self._pumping = self._blocked = self._choked = self._paused = self._stopping = self._lost = False
        self._waiting = False
        self._ending = ""
        self._peer = ""
        self._tls = ""
        self._origin = Origin("", "", "", "")
        self._messages = self._recipients = self._octets = 0

    # --- the connection ---

    @property
    def peer(self) -> str:
        """The client's address, empty before the connection was made."""
        return self._peer

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        self._peer = getattr(transport.getPeer(), "host", "local")
        transport.setTcpNoDelay(True)
        transport.registerProducer(self, True)
        self._check_time()
        self._sessions.joined(self)
        if not self._handshaking and not self._ending:
            self._session.receive(heard_early(transport))
            self._greet()

    def handshakeCompleted(self) -> None:
        handle: Any = cast(ITLSTransport, self.transport).getHandle()  # type: ignore[attr-defined]
        self._tls = f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"
        self._handshaking = False
        self._deadlines.begin(self._door.timers.seconds())
        if not self._greeted:
            self._greet()

    def _greet(self) -> None:
        self._greeted = True
        self._session.greet()
        self._pump()

    def dataReceived(self, data: bytes) -> None:
        self._deadlines.heard(self._door.timers.seconds(), len(data))
        self._session.receive(data)
        self._pump()

    def pauseProducing(self) -> None:
        self._choked = True
        self._balance()

    def resumeProducing(self) -> None:
        self._choked = False
        self._pump()

    def stopProducing(self) -> None:
        """The connection is lost, as the transport is about to say."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._message is not None:
            self._message.abort()
            self._message = None
        self._sessions.left(self)
        self._door.metrics.count("smtp_sessions")
        self._log.info(
            "session: peer={peer} login={login} tls={tls} messages={messages} recipients={recipients} octets={octets} "
            "seconds={seconds:.3f} end={end}",
            event="session",
            peer=self._peer,
            login=self._submitter.login or self._submitter.account.email if self._submitter else "-",
            tls=self._tls or "-",
            messages=self._messages,
            recipients=self._recipients,
            octets=self._octets,
            seconds=self._door.timers.seconds() - self._started,
            end=self._ending or ("TLS handshake failed" if self._handshaking else "connection lost"),
        )

    def turn_away(self, reply: Reply) -> None:
        """End the session politely as soon as no answer of ours is owed."""
        self._stopping = True
        if not self._lost and not self._waiting and not self._session.receiving_data:
            self._close(reply)

    def _close(self, reply: Reply) -> None:
        if self._ending:
            return
        if self._handshaking:
            self._hang_up(reply.text)
            return
        self._handle_close(self._session.close(reply, reply.text))
        self._flush()

    def abort(self, why: str) -> None:
        """Cut the connection now, whatever is under way."""
        self._ending = self._ending or why
        cast(ITCPTransport, self.transport).abortConnection()

    def _check_time(self) -> None:
        """One timer for a session, moved on only when it rings: nothing is to be done for each line."""
        self._timer = None
        if self._ending:
            self.abort(self._ending)
            return
        left = self._time_left()
        if left > 0:
            # Even the shortest deadline that may begin meanwhile ends after the next look.
            self._timer = self._door.timers.callLater(min(left, RATE_GRACE), self._check_time)
        elif self._handshaking:
            self.abort("TLS handshake timeout")
        elif self._session.receiving_data:
            self._close(Reply(421, "4.4.2", f"{self._door.policy.hostname} Timeout: the message comes in too slowly"))
        else:
            self._close(Reply(421, "4.4.2", f"{self._door.policy.hostname} Timeout: nothing was heard for too long"))

    def _time_left(self) -> float:
        now = self._door.timers.seconds()
        if self._waiting or self._blocked:
            return RATE_GRACE  # it is we who are slow
        if self._handshaking:
            return self._deadlines.for_handshake(now)
        return self._deadlines.for_message(now) if self._session.receiving_data else self._deadlines.for_command(now)

    def _hang_up(self, why: str) -> None:
        self._ending = why
        transport = cast(Any, self.transport)
        transport.unregisterProducer()  # a transport with a producer waits for it before it closes
        if self._paused:
            transport.resumeProducing()  # to hear the client's goodbye
        transport.loseConnection()
        if self._timer is not None and self._timer.active():
            self._timer.reset(CLOSE_TIMEOUT)
        else:
            self._timer = self._door.timers.callLater(CLOSE_TIMEOUT, self._check_time)

    # --- from events to answers ---

    def _pump(self) -> None:
        """Take events until the session has none; then send what has gathered, in one write."""
        if self._pumping or self._lost or self._choked or self._handshaking:
            return
        self._pumping = True
        session = self._session
        try:
            while not self._blocked:
                event = session.next_event()
                if event is None:
                    break
                _HANDLERS[type(event)](self, event)
        except Exception:
            # A bug of ours must not look like a permanent refusal to anybody.
            self._log.failure("a session failed: peer={peer}", peer=self._peer)
            self._close(_INTERNAL._replace(code=421))
        finally:
            self._pumping = False
        self._flush()
        self._balance()

    def _flush(self) -> None:
        output = self._session.take_output()
        if output and not self._lost:
            self._deadlines.begin(self._door.timers.seconds())
            cast(ITCPTransport, self.transport).write(output)

    def _balance(self) -> None:
        """Let the client wait while more has come in than we can look at."""
        crowded = self._blocked or self._choked or self._session.pending > PENDING_LIMIT
        if crowded != self._paused and not self._lost and not self._ending:
            self._paused = crowded
            transport = cast(Any, self.transport)
            if crowded:
                transport.pauseProducing()
            else:
                transport.resumeProducing()

    def _answer(self, reply: Reply) -> None:
        """Answer an event that had to wait."""
        self._waiting = False
        if self._lost or self._ending:
            return
        self._session.reply(reply)
        if self._stopping and not self._session.receiving_data:
            self._close(STOPPING)
            return
        self._pump()

    def _failure_reply(self, failure: Failure) -> Reply:
        """What the client hears of a failure; what is not a refusal of ours goes to the log."""
        error = failure.value
        if isinstance(error, Refusal):
            self._log.info(
                "refused: peer={peer} reply={reply} reason={reason}",
                event="refused",
                peer=self._peer,
                reply=str(error.reply),
                reason=error.reason,
            )
            return error.reply
        if isinstance(error, StorageFull):
            return FULL
        if isinstance(error, StorageUnavailable):
            self._log.error("storage: {reason}", event="storage", reason=str(error))
            return UNAVAILABLE
        self._log.failure("an unexpected failure: peer={peer}", failure=failure, peer=self._peer)
        return _INTERNAL

    # --- the events ---

    def _handle_auth(self, event: events.AuthEvent) -> None:
        self._waiting = True
        username, password = event.credentials
        credentials = UsernamePassword(username.encode(), password.encode())
        login: Deferred[Any] = self._door.portal.login(credentials, None, ISubmitter)
        login.addCallback(self._logged_in).addErrback(self._login_failed).addCallback(self._answer)

    def _logged_in(self, result: Any) -> Reply:
        self._submitter = result[1]
        self._door.metrics.count("smtp_authentications", result="accepted")
        return AUTHENTICATED

    def _login_failed(self, failure: Failure) -> Reply:
        if failure.check(UnauthorizedLogin):
            self._door.metrics.count("smtp_authentications", result="refused")
            self._log.info("authentication refused: peer={peer}", event="auth", peer=self._peer)
            return _REFUSED
        self._failure_reply(failure)
        return _AUTH_UNAVAILABLE  # the only one of the temporary replies that fits AUTH (RFC 4954 section 6)

    def _handle_mail(self, event: events.MailEvent) -> None:
        if self._stopping or self._door.gate.refusal is not None:
            self._session.reply(self._door.gate.refusal or STOPPING)
            return
        if self._submitter is None:  # the door for returned mail: RCPT decides
            self._session.reply(SENDER_OK)
            return
        try:
            check = self._submitter.check()
        except Refusal as refusal:
            self._session.reply(self._failure_reply(Failure(refusal)))
            return
        if check is None:
            self._session.reply(SENDER_OK)
            return
        self._waiting = True
        allowed = check.addCallback(lambda result: SENDER_OK)
        allowed.addErrback(self._failure_reply).addCallback(self._answer)

    def _handle_recipient(self, event: events.RecipientEvent) -> None:
        self._session.reply(RECIPIENT_OK)

    def _handle_data(self, event: events.DataEvent) -> None:
        door = self._door
        if self._submitter is None:
            self._session.reply(AUTH_REQUIRED)
            return
        now = door.clock.time()
        self._message = IncomingMessage(
            make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES)),
            now,
            event.envelope,
            self._describe_origin(event.envelope.smtputf8),
            self._submitter,
            door.content.spool(),
            door.policy,
        )
        self._session.reply(START_DATA)

    def _describe_origin(self, smtputf8: bool) -> Origin:
        protocol = "UTF8SMTPSA" if smtputf8 else "ESMTPSA"
        if self._origin.with_protocol != protocol or self._origin.client_name != self._session.client_name:
            self._origin = Origin(self._session.client_name, self._peer, protocol, self._tls)
        return self._origin

    def _handle_content(self, event: events.ContentEvent) -> None:
        message = self._message
        assert message is not None
        self._octets += len(event.octets)
        wait = message.write(event.octets)
        if wait is not None:
            self._blocked = True
            # Whether writing failed is told at the end, when the client listens.
            wait.addBoth(self._unblock)

    def _unblock(self, result: object) -> None:
        self._blocked = False
        self._deadlines.begin(self._door.timers.seconds())
        self._pump()

    def _handle_end(self, event: events.EndEvent) -> None:
        message, self._message = self._message, None
        assert message is not None
        if event.refusal is not None:
            message.abort()
            self._answer(event.refusal)
            return
        self._waiting = True
        try:
            finished = message.finish()
        except Refusal as refusal:
            self._answer(self._failure_reply(Failure(refusal)))
            return
        finished.addCallback(self._submit, message).addErrback(self._not_taken, message)

    def _submit(self, submission: Submission, message: IncomingMessage) -> None:
        if self._lost:
            # It had no answer and will come again: this one must not go out too (RFC 5321 section 4.1.1.10).
            message.abort()
            return
        taken = self._door.intake.submit(submission)
        taken.addCallbacks(self._taken, self._not_taken, (submission,), errbackArgs=(message,))

    def _taken(self, result: None, submission: Submission) -> None:
        self._messages += 1
        self._recipients += len(submission.envelope.recipients)
        self._answer(Reply(250, "2.0.0", f"Ok, queued as {submission.id}"))

    def _not_taken(self, failure: Failure, message: IncomingMessage) -> None:
        message.abort()
        self._answer(self._failure_reply(failure))

    def _handle_starttls(self, event: events.StartTlsEvent) -> None:
        self._flush()
        self._session.tls_started()
        self._handshaking = True
        self._deadlines.begin(self._door.timers.seconds())
        if self._timer is not None:
            self._timer.reset(self._door.timeouts.handshake)
        cast(ITLSTransport, self.transport).startTLS(self._door.tls)

    def _handle_close(self, event: events.CloseEvent) -> None:
        self._flush()
        self._hang_up(event.reason)


_HANDLERS: dict[type, Callable[[SmtpProtocol, Any], None]] = {
    events.AuthEvent: SmtpProtocol._handle_auth,
    events.MailEvent: SmtpProtocol._handle_mail,
    events.RecipientEvent: SmtpProtocol._handle_recipient,
    events.DataEvent: SmtpProtocol._handle_data,
    events.ContentEvent: SmtpProtocol._handle_content,
    events.EndEvent: SmtpProtocol._handle_end,
    events.StartTlsEvent: SmtpProtocol._handle_starttls,
    events.CloseEvent: SmtpProtocol._handle_close,
}
