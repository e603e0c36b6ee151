"""The client's side of an ESMTP session, without I/O.

Octets go in with ``receive``; ``next_event`` tells what the host must do or may know; ``take_output`` gives the octets
to send.  When the session is ``ready``, ``begin`` starts a transaction, which ends in a ResultEvent with an outcome for
each of its recipients, whatever happens: the host calls ``lost`` when time is up or the connection is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from smtpeter.model.delivery import LeasedRecipient, Outcome, OutcomeKind
from smtpeter.model.reply import Reply, clean_text
from smtpeter.smtp.client_events import ClientProfile, MarkEvent, ResultEvent
from smtpeter.smtp.client_opening import ClientOpening
from smtpeter.smtp.dotstuff import DotStuffer
from smtpeter.smtp.replies import MalformedReply
from smtpeter.smtp.transaction import Transaction, compose_commands

CHUNK = 65536  # octets of content in one piece of output
_AUTH_CODES = frozenset((530, 535, 538))
_AT = Outcome._fields.index("dialogue")


class ClientSession(ClientOpening):
    """One connection and its transactions, one after the other.

    ``sending``: there is more content to take; ``transactions`` counts those that began; ``served``: the receiver has
    answered a MAIL, other than with 421.
    """

    def __init__(
        self,
        profile: ClientProfile,
        local: str = "",
        remote: str = "",
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        super().__init__(profile, local, remote, seconds)
        self.sending = self.served = False
        self.transactions = 0
        self._transaction: Transaction | None = None
        self._recipients: Sequence[LeasedRecipient] = ()
        self._outcomes: dict[int, Outcome] = {}
        self._accepted: list[int] = []
        self._surplus: list[int] = []
        self._answered = 0
        self._heard = self._mail_refused = self._dot_sent = self._reset_needed = False
        self._stuffer = DotStuffer()
        self._position = 0

    # --- the host's side ---

    def take_output(self) -> bytes:
        """The octets to send now.  While ``sending``, each call gives one more piece of the content."""
        if self.sending and not self._output:
            self._send_piece()
        return super().take_output()

    @property
    def _pipelined(self) -> bool:
        return "PIPELINING" in self._offers

    def begin(self, transaction: Transaction) -> None:
        """Start a transaction; only when ``ready``."""
        assert self.ready, "the session is not ready"
        commands = compose_commands(transaction, self._offers)
        self.ready = False
        self.transactions += 1
        self._transaction = transaction
        self._accepted, self._surplus, self._answered = [], [], 0
        self._heard = self._mail_refused = self._dot_sent = False
        self.stage = "mail"
        self._recipients = commands.recipients
        lines = [commands.mail, *commands.rcpts, b"DATA\r\n"] if commands.recipients else []
        answers = [self._after_mail, *([self._after_rcpt] * len(commands.rcpts)), self._after_data]
        if self._reset_needed and lines:
            lines.insert(0, b"RSET\r\n")
            answers.insert(0, self._after_rset)
        self._dialogue.begin(lines, len(lines) - len(commands.rcpts) - 1, self._pipelined)
        self._outcomes = {
            # It is we who say so, not the receiver.
            recipient.number: self._outcome(OutcomeKind.FAILED, Reply(*why))._replace(
                remote_mta="", dialogue=self._dialogue.of_opening()
            )
            for recipient, why in commands.refused
        }
        if not lines:
            self._finish()
            return
        self._step(self._timeouts.command)
        if self._pipelined:
            self._output.append(b"".join(lines))
            self._awaited.extend(answers)
        else:
            self._commands.extend(zip(lines, answers, strict=True))
            self._send_next()

    def marked(self, ours: bool) -> None:
        """Answer a MarkEvent: whether the final dot may be sent."""
        if self.closed:
            return
        if ours:
            self._send_dot()
        else:
            # Only by closing can a message be taken back once its content was sent.
            self.lost("The lease on the message was lost before its end was sent", OutcomeKind.NOT_TRIED)

    def quit(self) -> None:
        """Leave politely; only when ``ready``."""
        self.ready = False
        self.stage = "quit"
        self._step(self._timeouts.quit)
        self._output.append(b"QUIT\r\n")
        self._awaited.append(self._after_quit)

    def lost(self, why: str, kind: OutcomeKind = OutcomeKind.DEFERRED, enhanced: str = "4.4.2") -> None:
        """See :meth:`ClientOpening.lost`; a transaction that is under way ends with it."""
        if self._transaction is not None:
            self._dialogue.look()
            self._dialogue.remark(clean_text(why))
            # A connection that was idle may have been closed while we began: that was no attempt.
            unheard = not self._heard and self.transactions > 1
            reply = Reply(0, enhanced, clean_text(why))
            self._settle_open(self._outcome(OutcomeKind.NOT_TRIED if unheard else kind, reply))
        super().lost(why, kind, enhanced)

    def timed_out(self) -> None:
        """See :meth:`ClientOpening.timed_out`."""
        if self._transaction is not None and self._pipelined and not self._mail_refused and len(self._recipients) > 1:
            self._forget_answers()  # for nobody knows which of them is missing
        super().timed_out()

    # --- a transaction ---

    def _after_rset(self, reply: Reply) -> None:
        if reply.category != 2:
            self._settle_open(self._outcome(OutcomeKind.NOT_TRIED, reply))
            self._close("RSET was refused")
            return
        self._reset_needed = False

    def _after_mail(self, reply: Reply) -> None:
        category = reply.category
        if category == 3:
            raise MalformedReply("an answer to MAIL that is neither yes nor no")
        if reply.code == 421:
            self._shut_out(reply)
            return
        self._heard = self.served = True
        if category == 2:
            self._reset_needed = True
        else:
            self._mail_refused = True
            outcome = self._refusal(reply)
            self._outcomes.update((recipient.number, outcome) for recipient in self._recipients)
            if self._commands:
                self._commands.clear()
                self._finish()
                return
        self.stage = "rcpt"
        self._step(self._timeouts.command)

    def _after_rcpt(self, reply: Reply) -> None:
        number = self._recipients[self._answered].number
        self._answered += 1
        if self._mail_refused:
            pass
        elif reply.category == 2:
            self._accepted.append(number)
        elif reply.category == 3:
            raise MalformedReply("an answer to RCPT that is neither yes nor no")
        elif reply.code == 421:
            self._shut_out(reply)
            return
        elif _is_too_many(reply):
            self._surplus.append(number)
            self._outcomes[number] = self._outcome(OutcomeKind.DEFERRED, reply)
        else:
            self._outcomes[number] = self._refusal(reply)
        if self._answered < len(self._recipients):
            self._step(self._timeouts.command)
        elif self._commands and not self._accepted:
            self._commands.clear()
            self._finish()
        else:
            self.stage = "data"
            self._step(self._timeouts.data)

    def _after_data(self, reply: Reply) -> None:
        if reply.category == 2:
            raise MalformedReply("an answer to DATA that is neither 354 nor no")
        if reply.category == 3:
            self.stage = "message"
            if self._accepted and self._transaction is not None:
                self._stuffer = DotStuffer()
                self._position = 0
                self.sending = True
                self._dialogue.said(f"({len(self._transaction.content)} octets)")
                self._step(self._timeouts.block)
            else:
                # Everybody was refused, yet the receiver wants a message: it gets an empty one (RFC 2920 section 3.1).
                self._step(self._timeouts.end)
                self._dialogue.said(".")
                self._output.append(b".\r\n")
                self._awaited.append(self._after_nothing)
        elif reply.code == 421:
            self._shut_out(reply)
        else:
            self._end_accepted(self._refusal(reply))

    def _after_nothing(self, reply: Reply) -> None:
        self._reset_needed = False
        self._finish()
        if reply.code == 421:
            self._close(reply.text)

    def _send_piece(self) -> None:
        transaction = self._transaction
        assert transaction is not None
        content, start = transaction.content, self._position
        self._position = start + CHUNK
        small = len(content) <= CHUNK
        if small or start < len(content):
            self._output.append(self._stuffer.feed(content if small else content[start : start + CHUNK]))
            self._step(self._timeouts.block)
            if not small:
                return  # even after the last: that we are asked for more tells that it is on its way
        self.sending = False
        if transaction.mark:
            self.timeout = None
            self._events.append(MarkEvent())
        else:
            self._send_dot()

    def _send_dot(self) -> None:
        self._output.append(self._stuffer.finish())
        self._dialogue.look()
        self._dialogue.said(".")
        self._dot_sent = True
        self.stage = "end"
        self._step(self._timeouts.end)
        self._awaited.append(self._after_end)

    def _after_end(self, reply: Reply) -> None:
        category = reply.category
        if category == 3:
            raise MalformedReply("an answer to the final dot that is neither yes nor no")
        self._reset_needed = False
        if category == 2:
            self._end_accepted(self._outcome(OutcomeKind.DELIVERED, reply))
        elif reply.code == 421:
            self._shut_out(reply)
        else:
            self._end_accepted(self._refusal(reply))

    def _end_accepted(self, outcome: Outcome) -> None:
        for number in self._accepted:
            self._outcomes[number] = outcome
        self._finish()

    def _finish(self) -> None:
        if self._accepted:
            # Since some were taken, another transaction will get further with these.
            for number in self._surplus:
                self._outcomes[number] = self._outcomes[number]._replace(kind=OutcomeKind.NOT_TRIED)
        for recipient, dialogue in zip(self._recipients, self._dialogue.of_recipients(), strict=True):
            outcome = self._outcomes[recipient.number]
            self._outcomes[recipient.number] = Outcome._make((*outcome[:_AT], dialogue, *outcome[_AT + 1 :]))
        self._events.append(ResultEvent(self._outcomes))
        self._transaction = None
        self._rest()

    def _shut_out(self, reply: Reply) -> None:
        """421: the receiver closes, and whatever it has not yet answered for may be tried again."""
        stale = self.stage == "mail" and self.transactions > 1
        self._settle_open(self._outcome(OutcomeKind.NOT_TRIED if stale else OutcomeKind.DEFERRED, reply))
        self._close(reply.text)

    def _settle_open(self, outcome: Outcome) -> None:
        """End the transaction: this outcome is for all recipients that have none."""
        self.sending = False
        in_doubt = outcome._replace(kind=OutcomeKind.IN_DOUBT)
        # An answer, even 421, leaves no doubt.
        doubtful = self._accepted if self._dot_sent and not outcome.code else ()
        for recipient in self._recipients:
            self._outcomes.setdefault(recipient.number, in_doubt if recipient.number in doubtful else outcome)
        self._finish()

    def _unasked(self, reply: Reply) -> None:
        if self._transaction is None:
            if reply.code != 421:
                self._doubt_result()
            super()._unasked(reply)
        elif reply.category == 4:
            self._settle_open(self._outcome(OutcomeKind.DEFERRED, reply))
            self._close(f"before the end of the message: {reply}")
        else:
            self._violated("an answer before the end of the message")

    def _violated(self, what: str) -> None:
        if self._transaction is not None:
            self._forget_answers()
            self._heard = True
        else:
            self._doubt_result()
        super()._violated(what)

    def _forget_answers(self) -> None:
        """The answers to a group may have shifted, so that even the clear ones may be for somebody else."""
        if not self._dot_sent:
            for recipient in self._recipients:
                self._outcomes.pop(recipient.number, None)
            self._surplus.clear()

    def _doubt_result(self) -> None:
        """The same where the group seemed to be complete, but there was one answer too many."""
        if self._pipelined and not self._dot_sent and any(isinstance(event, ResultEvent) for event in self._events):
            shifted = Reply(0, "4.5.0", "The receiver broke the protocol: more answers than commands")
            outcome = self._outcome(OutcomeKind.DEFERRED, shifted)
            self._outcomes.update(
                (recipient.number, outcome._replace(dialogue=self._outcomes[recipient.number].dialogue))
                for recipient in self._recipients
            )

    def _after_quit(self, reply: Reply) -> None:
        self._close("quit")

    def _refusal(self, reply: Reply) -> Outcome:
        if reply.code in _AUTH_CODES and (self._profile.relay or self._profile.username):
            return self._outcome(OutcomeKind.HOLD, reply)
        if reply.code == 530 and "STARTTLS" in self._offers:
            # It wants TLS (RFC 3207 section 4), which did not work when it was tried: it may another time.
            return self._outcome(OutcomeKind.DEFERRED, reply)
        return self._outcome(OutcomeKind.DEFERRED if reply.category == 4 else OutcomeKind.FAILED, reply)


def _is_too_many(reply: Reply) -> bool:
    """Whether RCPT was refused only because the transaction is full (RFC 5321 section 4.5.3.1.10), or may have been."""
    code, enhanced, text = reply
    if code == 452 and not enhanced:
        return True
    return code in (452, 552) and (enhanced[2:] == "5.3" or "too many" in text.lower())
