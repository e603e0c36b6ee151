"""SMTP over Twisted: a thin protocol around the session that does the thinking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IPushProducer, ITCPTransport, ITLSTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.intake.deadlines import Deadlines
from smtpeter.intake.decisions import INTERNAL, Decisions, Question
from smtpeter.intake.door import SessionList, SmtpDoor
from smtpeter.intake.early import heard_early
from smtpeter.intake.tls import READ_SIZE
from smtpeter.model.reply import Reply
from smtpeter.smtp import events
from smtpeter.smtp.server import ServerSession

PENDING_LIMIT = 16 * 1024  # octets of commands that may wait before the client is told to pause
CLOSE_TIMEOUT = 10.0  # seconds that a closing connection may take before it is cut
LOOK_EVERY = 10.0  # seconds between two looks at the deadlines of a session
ANSWER_TIMEOUT = 45.0  # seconds that we may take for an answer: there are clients that wait no longer than 60


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
        self._decisions = Decisions(door)
        self._decision: Deferred[Reply] | None = None
        self._timer: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        self._started = self._asked = door.timers.seconds()
        self._deadlines = Deadlines(door.timeouts, self._started)
        self._handshaking = encrypted
        self._greeted = False
        self._pumping = self._blocked = self._choked = self._paused = self._lost = False
        self._farewell: Reply | None = None
        self._ending = ""

    # --- the connection ---

    @property
    def peer(self) -> str:
        """The client's address, empty before the connection was made."""
        return self._decisions.peer

    def connectionMade(self) -> None:
        transport = cast(Any, self.transport)
        # A socket that serves IPv6 and IPv4 shows addresses of IPv4 within IPv6.
        self._decisions.peer = getattr(transport.getPeer(), "host", "local").removeprefix("::ffff:")
        transport.setTcpNoDelay(True)
        transport.bufferSize = READ_SIZE
        transport.registerProducer(self, True)
        self._check_time()
        self._sessions.joined(self)
        if not self._handshaking and not self._ending and not self._lost:
            self._session.receive(heard_early(transport))
            self._greet()

    def handshakeCompleted(self) -> None:
        handle: Any = cast(ITLSTransport, self.transport).getHandle()  # type: ignore[attr-defined]
        self._decisions.tls = f"{handle.get_protocol_version_name()} {handle.get_cipher_name()}"
        self._handshaking = False
        self._deadlines.begin(self._door.timers.seconds())
        if self._farewell is not None:
            self._close(self._farewell)
        elif not self._greeted:
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
        for call in (self._timer, self._turn):
            if call is not None and call.active():
                call.cancel()
        self._decisions.lost()
        self._sessions.left(self)
        self._log_session()

    def _log_session(self) -> None:
        decisions, submitter = self._decisions, self._decisions.submitter
        self._door.metrics.count("smtp_sessions")
        self._log.info(
            "session: peer={peer} login={login} tls={tls} messages={messages} recipients={recipients} octets={octets} "
            "seconds={seconds:.3f} end={end}",
            event="session",
            peer=self.peer,
            login=submitter.login or submitter.account.email if submitter else "-",
            tls=decisions.tls or "-",
            messages=decisions.messages,
            recipients=decisions.recipients,
            octets=decisions.octets,
            seconds=self._door.timers.seconds() - self._started,
            end=self._ending or ("TLS handshake failed" if self._handshaking else "connection lost"),
        )

    def turn_away(self, reply: Reply) -> None:
        """End the session politely as soon as TLS is there and no answer of ours is owed."""
        self._farewell = reply
        busy = self._handshaking or self._decision is not None or self._session.receiving_data
        if not self._lost and not busy:
            self._close(reply)

    def _close(self, reply: Reply) -> None:
        if self._ending:
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
            self._timer = self._door.timers.callLater(min(left, LOOK_EVERY), self._check_time)
        elif self._handshaking:
            self.abort("TLS handshake timeout")
        elif self._decision is not None:
            self._timer = self._door.timers.callLater(LOOK_EVERY, self._check_time)
            self._decision.cancel()
        elif self._session.receiving_data:
            self._close(Reply(421, "4.4.2", f"{self._door.policy.hostname} Timeout: the message comes in too slowly"))
        else:
            self._close(Reply(421, "4.4.2", f"{self._door.policy.hostname} Timeout: nothing was heard for too long"))

    def _time_left(self) -> float:
        now, stress = self._door.timers.seconds(), self._sessions.stress
        if self._decision is not None:
            return self._asked + ANSWER_TIMEOUT - now
        if self._blocked or self._turn is not None:
            return LOOK_EVERY  # it is we who are slow
        if self._handshaking:
            return self._deadlines.for_handshake(now)
        if self._session.receiving_data:
            return self._deadlines.for_message(now, stress=stress)
        return self._deadlines.for_command(now, stress=stress)

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
            while not self._blocked and self._turn is None:
                event = session.next_event()
                if event is None:
                    break
                _HANDLERS[type(event)](self, event)
        except Exception:
            # A bug of ours must not look like a permanent refusal to anybody.
            self._log.failure("a session failed: peer={peer}", peer=self.peer)
            self._close(INTERNAL._replace(code=421))
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
        waiting = self._blocked or self._choked or self._turn is not None
        crowded = waiting or self._session.pending > PENDING_LIMIT
        if crowded != self._paused and not self._lost and not self._ending:
            self._paused = crowded
            transport = cast(Any, self.transport)
            if crowded:
                transport.pauseProducing()
            else:
                transport.resumeProducing()

    # --- the events ---

    def _handle_question(self, event: Question) -> None:
        self._decisions.client_name = self._session.client_name
        answer = self._decisions.decide(event)
        if isinstance(answer, Reply):
            self._session.reply(answer)
            self._leave_if_told()
            return
        self._asked = self._door.timers.seconds()
        self._decision = answer
        answer.addCallbacks(self._answer, self._answer_failure)

    def _answer(self, reply: Reply) -> None:
        """Answer a question that had to wait."""
        self._decision = None
        if self._lost or self._ending:
            return
        self._session.reply(reply)
        self._leave_if_told()
        self._pump()

    def _answer_failure(self, failure: Failure) -> None:
        self._answer(self._decisions.failure_reply(failure))

    def _leave_if_told(self) -> None:
        if self._farewell is not None and not self._session.receiving_data:
            self._close(self._farewell)

    def _handle_content(self, event: events.ContentEvent) -> None:
        wait = self._decisions.take(event)
        if wait is not None:
            self._blocked = True
            # Whether writing failed is told at the end, when the client listens.
            wait.addBoth(self._unblock)

    def _unblock(self, result: object) -> None:
        self._blocked = False
        self._deadlines.begin(self._door.timers.seconds())
        self._pump()

    def _handle_turn_over(self, event: events.TurnOverEvent) -> None:
        self._turn = self._door.timers.callLater(0, self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        self._pump()

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
    events.AuthEvent: SmtpProtocol._handle_question,
    events.MailEvent: SmtpProtocol._handle_question,
    events.RecipientEvent: SmtpProtocol._handle_question,
    events.DataEvent: SmtpProtocol._handle_question,
    events.ContentEvent: SmtpProtocol._handle_content,
    events.EndEvent: SmtpProtocol._handle_question,
    events.StartTlsEvent: SmtpProtocol._handle_starttls,
    events.TurnOverEvent: SmtpProtocol._handle_turn_over,
    events.CloseEvent: SmtpProtocol._handle_close,
}
