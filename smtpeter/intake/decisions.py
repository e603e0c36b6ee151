"""What one client asks for, decided: who it is, whether it may send, and what becomes of its message."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from smtpeter.errors import Refusal, StorageFull, StorageUnavailable
from smtpeter.intake.door import SmtpDoor
from smtpeter.intake.gate import FULL, UNAVAILABLE
from smtpeter.intake.message import IncomingMessage
from smtpeter.interfaces import IRemoteCredentials, ISubmitter
from smtpeter.mime.trace import Origin
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.reply import Reply
from smtpeter.model.submission import Submission, Taken
from smtpeter.smtp.answers import AUTH_REQUIRED, AUTHENTICATED, RECIPIENT_OK, SENDER_OK, START_DATA
from smtpeter.smtp.events import AuthEvent, ContentEvent, DataEvent, EndEvent, MailEvent, RecipientEvent

_REFUSED = Reply(535, "5.7.8", "Authentication failed: user name or password is wrong")
_AUTH_UNAVAILABLE = Reply(454, "4.7.0", "Authentication is not possible now; try again later")
_TOO_SLOW = Reply(451, "4.4.5", "The message could not be stored in time; try again later")
INTERNAL = Reply(451, "4.3.0", "Something went wrong here; try again later")

Question = AuthEvent | MailEvent | RecipientEvent | DataEvent | EndEvent


@implementer(IRemoteCredentials)
class RemotePassword(UsernamePassword):
    """User name and password, and the address that they came from."""

    def __init__(self, username: bytes, password: bytes, address: str) -> None:
        super().__init__(username, password)
        self.address = address


class Decisions:
    """One client's.  ``peer``, ``client_name`` and ``tls`` are what the session knows of it by now."""

    _log = Logger()

    def __init__(self, door: SmtpDoor) -> None:
        self.peer = self.client_name = self.tls = ""
        self.submitter: ISubmitter | None = None
        self.messages = self.recipients = self.octets = 0
        self._door = door
        self._message: IncomingMessage | None = None
        self._origin = Origin("", "", "", "")
        self._lost = False

    def decide(self, question: Question) -> Reply | Deferred[Reply]:
        """The answer.  A Deferred of it that is cancelled gives a temporary refusal, and what was asked is undone."""
        return _DECIDERS[type(question)](self, question)

    def take(self, content: ContentEvent) -> Deferred[None] | None:
        """Octets of a message; a Deferred asks to wait for it, and may fail: that is told again at the end."""
        assert self._message is not None
        self.octets += len(content.octets)
        return self._message.write(content.octets)

    def lost(self) -> None:
        """The client is gone: what it had no answer for, it will bring again (RFC 5321 section 4.1.1.10)."""
        self._lost = True
        if self._message is not None:
            self._message.abort()
            self._message = None

    # --- who it is, and whether it may send ---

    def _decide_auth(self, event: AuthEvent) -> Deferred[Reply]:
        username, password = event.credentials
        credentials = RemotePassword(username.encode(), password.encode(), self.peer)
        login: Deferred[Any] = self._door.portal.login(credentials, None, ISubmitter)
        return login.addCallbacks(self._logged_in, self._login_failed)

    def _logged_in(self, result: Any) -> Reply:
        self.submitter = result[1]
        self._door.metrics.count("smtp_authentications", result="accepted")
        return AUTHENTICATED

    def _login_failed(self, failure: Failure) -> Reply:
        if failure.check(UnauthorizedLogin):
            self._door.metrics.count("smtp_authentications", result="refused")
            self._log.info("authentication refused: peer={peer}", event="auth", peer=self.peer)
            return _REFUSED
        reply = self.failure_reply(failure)
        # The only one of the temporary replies that fits AUTH (RFC 4954 section 6).
        return reply if reply.code == _AUTH_UNAVAILABLE.code else _AUTH_UNAVAILABLE

    def _decide_mail(self, event: MailEvent) -> Reply | Deferred[Reply]:
        if self._door.gate.refusal is not None:
            return self._door.gate.refusal
        if self.submitter is None:  # the door for returned mail: RCPT decides
            return SENDER_OK
        try:
            check = self.submitter.check()
        except Refusal as refusal:
            return self.failure_reply(Failure(refusal))
        if check is None:
            return SENDER_OK
        return check.addCallbacks(lambda result: SENDER_OK, self.failure_reply)

    # --- what becomes of its message ---

    def _decide_data(self, event: DataEvent) -> Reply:
        door = self._door
        if self.submitter is None:
            return AUTH_REQUIRED
        now = door.clock.time()
        self._message = IncomingMessage(
            make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES)),
            now,
            event.envelope,
            self._describe_origin(event.envelope.smtputf8),
            self.submitter,
            door.content.spool(),
            door.policy,
            door.header_room,
        )
        return START_DATA

    def _describe_origin(self, smtputf8: bool) -> Origin:
        protocol = "UTF8SMTPSA" if smtputf8 else "ESMTPSA"
        if self._origin.with_protocol != protocol or self._origin.client_name != self.client_name:
            self._origin = Origin(self.client_name, self.peer, protocol, self.tls)
        return self._origin

    def _decide_end(self, event: EndEvent) -> Reply | Deferred[Reply]:
        message, self._message = self._message, None
        assert message is not None
        if event.refusal is not None:
            message.abort()
            return event.refusal
        try:
            finished = message.finish()
        except Refusal as unfit:
            return self.failure_reply(Failure(unfit))
        return finished.addCallbacks(self._submit, self._not_taken, (message,), errbackArgs=(message,))

    def _submit(self, submission: Submission, message: IncomingMessage) -> Reply | Deferred[Reply]:
        if self._lost:
            return self._not_taken(Failure(CancelledError()), message)
        taken = self._door.intake.submit(submission)
        arguments = (submission.id, len(submission.envelope.recipients))
        return taken.addCallbacks(self._taken, self._not_stored, arguments, errbackArgs=(message,))

    def _taken(self, taken: Taken | None, id: str, recipients: int) -> Reply:
        self.messages += 1
        self.recipients += recipients
        return Reply(250, "2.0.0", f"Ok, queued as {id if taken is None else taken.id}")

    def _not_stored(self, failure: Failure, message: IncomingMessage) -> Reply:
        if failure.check(CancelledError):
            # The store may be at it still: it knows best what to remove, and when.
            return self.failure_reply(failure)
        return self._not_taken(failure, message)

    def _not_taken(self, failure: Failure, message: IncomingMessage) -> Reply:
        message.abort()
        return self.failure_reply(failure)

    def failure_reply(self, failure: Failure) -> Reply:
        """What the client hears of a failure; what is not a refusal of ours goes to the log."""
        error = failure.value
        if isinstance(error, Refusal):
            self._log.info(
                "refused: peer={peer} reply={reply} reason={reason}",
                event="refused",
                peer=self.peer,
                reply=str(error.reply),
                reason=error.reason,
            )
            return error.reply
        if isinstance(error, StorageFull):
            return FULL
        if isinstance(error, StorageUnavailable):
            self._log.error("storage: {reason}", event="storage", reason=str(error))
            return UNAVAILABLE
        if isinstance(error, CancelledError):
            if not self._lost:
                self._log.error("storage: no answer was found in time: peer={peer}", event="storage", peer=self.peer)
            return _TOO_SLOW
        self._log.failure("an unexpected failure: peer={peer}", failure=failure, peer=self.peer)
        return INTERNAL


_DECIDERS: dict[type, Callable[[Decisions, Any], Reply | Deferred[Reply]]] = {
    AuthEvent: Decisions._decide_auth,
    MailEvent: Decisions._decide_mail,
    RecipientEvent: lambda decisions, event: RECIPIENT_OK,
    DataEvent: Decisions._decide_data,
    EndEvent: Decisions._decide_end,
}
