"""The server's side of an ESMTP session, without I/O.

Octets go in with ``receive``; ``next_event`` says what the client wants, one thing at a time; the host answers each
event that asks for it with ``reply``, at once or later; and ``take_output`` gives the octets to send.  Nothing that
follows is looked at before the answer is given: so replies to a pipelined group are in order however long a validation
takes (RFC 2920).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from smtpeter.errors import Refusal
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.reply import Reply
from smtpeter.smtp import answers
from smtpeter.smtp.arguments import read_mail, read_rcpt
from smtpeter.smtp.data import DataDecoder
from smtpeter.smtp.events import (
    AuthEvent,
    CloseEvent,
    ContentEvent,
    DataEvent,
    EndEvent,
    Event,
    MailEvent,
    RecipientEvent,
    StartTlsEvent,
    TurnOverEvent,
)
from smtpeter.smtp.framing import LineBuffer, LineFault
from smtpeter.smtp.grammar import DOMAIN_LIMIT, upper
from smtpeter.smtp.sasl import AUTH_LINE_LIMIT, Authentication, Challenge, Credentials

_TURN = 50
"""How many short commands are looked at before others have their turn; what may take longer counts as several."""
_MESSAGE_COSTS = 10
_UNICODE_COSTS = 25  # the tables of international domain names are slow


class SessionLimits(NamedTuple):
    """What one client may do; sizes are octets."""

    message_size: int
    recipients: int
    command_line: int
    errors: int
    auth_failures: int
    junk_commands: int


class ServerSession:
    """One connection.  ``encrypted``: TLS is there from the start.  ``mx``: also a door for returned mail."""

    def __init__(self, hostname: str, limits: SessionLimits, *, encrypted: bool, mx: bool = False) -> None:
        self.hostname = hostname
        self.client_name = ""
        self.encrypted = encrypted
        self.authenticated = False
        self._limits = limits
        self._mx = mx
        self._input = LineBuffer()
        self._output: list[bytes] = []
        self._waiting: Callable[[Reply], None] | None = None
        self._closed = False
        self._data: DataDecoder | None = None
        self._authentication = Authentication()
        self._tls_pending = self._rcpt_tried = False
        self._queued: list[Event] = []
        self._errors = self._junk = self._auth_failures = self._worked = 0
        self._reverse_path: str | None = None
        self._recipients: list[Recipient] = []
        self._envelope = Envelope("", ())
        self._offered = Recipient("", "")

    # --- the host's side ---

    def greet(self) -> None:
        """Open the session; with somebody who did not wait for that, end it (RFC 5321 section 4.3.1)."""
        if self.pending:
            early = Reply(554, "5.5.0", f"{self.hostname} Wait for the greeting before you send")
            is_http = self._input.take_all().partition(b" ")[0].decode("latin-1") in answers.HTTP_VERBS
            self._queued.append(self.close(answers.NOT_HTTP, "HTTP") if is_http else self.close(early, "early talker"))
            return
        self._send(Reply(220, "", f"{self.hostname} ESMTP smtpeter"))

    def receive(self, data: bytes) -> None:
        """Octets came in."""
        if not self._closed:
            self._input.append(data)

    @property
    def pending(self) -> int:
        """How many octets wait to be looked at."""
        return len(self._input)

    @property
    def receiving_data(self) -> bool:
        """Whether the client is in the middle of a message, or the host was not yet told of its end."""
        return self._data is not None or (bool(self._queued) and not self._closed)

    def take_output(self) -> bytes:
        """The octets to send now."""
        if not self._output:
            return b""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def reply(self, reply: Reply) -> None:
        """Answer the event that waits."""
        waiting = self._waiting
        assert waiting is not None, "no event waits for an answer"
        self._waiting = None
        waiting(reply)

    def tls_started(self) -> None:
        """TLS is there: all that was known of the client is forgotten (RFC 3207 section 4.2), and what came since."""
        self._tls_pending = False
        self.encrypted = True
        self.client_name = ""
        self._end_transaction()
        self._input.take_all()

    def close(self, reply: Reply, reason: str) -> CloseEvent:
        """End the session from our side: the output then ends with ``reply``, unless the session was closed before.

        Nothing that came in is looked at any more, and no event that was under way comes to the host.
        """
        if not self._closed:
            self._closed = True
            self._waiting = self._data = None
            self._queued.clear()
            self._input.take_all()
            self._send(reply)
        return CloseEvent(reason)

    def next_event(self) -> Event | None:
        """What the client wants next; None when more octets, or an answer, must come first."""
        if self._queued:
            return self._queued.pop()
        while self._waiting is None and not self._closed and not self._tls_pending:
            if self._data is not None:
                return self._content()
            if self._worked >= _TURN and self.pending:
                self._worked = 0
                return TurnOverEvent()
            if self._errors >= self._limits.errors:
                return self.close(Reply(421, "4.7.0", f"{self.hostname} Too many errors"), "too many errors")
            # How long a line may be depends on its command, which is not known before the line is there.
            line = self._input.take_line(AUTH_LINE_LIMIT)
            if line is None:
                self._worked = 0
                return None
            self._worked += 1 if isinstance(line, LineFault) else 1 + len(line) // 64
            event = self._line(line)
            if event is not None:
                return event
        return None

    # --- reading ---

    def _line(self, line: bytes | LineFault) -> Event | None:
        in_exchange = self._authentication.under_way
        try:
            if isinstance(line, LineFault):
                self._authentication.give_up()
                if line is LineFault.TOO_LONG:
                    is_auth = in_exchange or self._input.beginning[:5].upper() == b"AUTH "
                    raise Refusal(500, "5.5.6" if is_auth else "5.5.2", "The line is too long")
                raise Refusal(500, "5.5.2", "A command must end in CRLF and hold no other CR, LF or NUL")
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError:
                self._authentication.give_up()
                raise Refusal(500, "5.5.2", "A command must be ASCII or UTF-8") from None
            if in_exchange:
                return self._advance(lambda: self._authentication.answer(text))
            if not text.isascii():
                self._worked += _UNICODE_COSTS
            verb, _, argument = text.rstrip(" ").partition(" ")
            verb = upper(verb)
            if len(line) + 2 > self._limits.command_line and verb != "AUTH":
                raise Refusal(500, "5.5.2", "The line is too long")
            command = _COMMANDS.get(verb)
            if command is not None:
                return command(self, argument)
            if verb in answers.HTTP_VERBS:
                return self.close(answers.NOT_HTTP, "HTTP")
            raise Refusal(500, "5.5.1", "The command is not known here")
        except Refusal as refusal:
            self._refuse(refusal.reply)
            return None

    def _content(self) -> Event | None:
        decoder = self._data
        assert decoder is not None
        data = self._input.take_all()
        if not data:
            return None
        octets, rest = decoder.feed(data)
        if rest is None:
            return ContentEvent(octets) if octets else None
        self._input.append(rest)
        self._data = None
        self._worked += _MESSAGE_COSTS
        self._waiting = self._after_end
        end = EndEvent(answers.DATA_FAULTS[decoder.fault] if decoder.fault is not None else None)
        if not octets:
            return end
        self._queued.append(end)
        return ContentEvent(octets)

    # --- writing ---

    def _send(self, reply: Reply) -> None:
        self._output.append(reply.encode())

    def _refuse(self, reply: Reply) -> None:
        if reply.category == 5:  # a temporary refusal is our trouble, and no error of the client's
            self._errors += 1
        self._send(reply)

    def _answer(self, reply: Reply) -> bool:
        """Pass on the host's answer; whether it was a yes."""
        if reply.code < 400:
            self._send(reply)
            return True
        self._refuse(reply)
        return False

    # --- commands ---

    def _ehlo(self, argument: str) -> Event | None:
        self._hello(argument)
        lines = [self.hostname, "PIPELINING", f"SIZE {self._limits.message_size}"]
        lines.append("AUTH PLAIN LOGIN" if self.encrypted else "STARTTLS")
        lines += ["8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8"]
        return self._harmless(Reply(250, "", "\n".join(lines)))

    def _helo(self, argument: str) -> Event | None:
        self._hello(argument)
        return self._harmless(Reply(250, "", self.hostname))

    def _hello(self, argument: str) -> None:
        name = argument.strip()
        if not name or len(name) > DOMAIN_LIMIT or not name.isprintable():
            raise Refusal(501, "5.5.4", "Say who you are: EHLO followed by your host name")
        self.client_name = name
        self._end_transaction()

    def _starttls(self, argument: str) -> Event | None:
        if argument:
            raise Refusal(501, "5.5.4", "STARTTLS takes no argument")
        if self.encrypted:
            raise Refusal(554, "5.5.1", "TLS is in use already")
        self._need_hello()
        self._need_no_transaction()
        if self.pending:
            # Whatever stands behind STARTTLS in clear may be an attacker's: RFC 3207 section 4.2, CVE-2011-0411.
            return self.close(
                Reply(421, "4.7.0", f"{self.hostname} Nothing may follow STARTTLS before TLS is there"),
                "starttls-injection",
            )
        self._tls_pending = True
        self._send(Reply(220, "2.0.0", "Ready to start TLS"))
        return StartTlsEvent()

    def _auth(self, argument: str) -> Event | None:
        self._need_hello()
        if not self.encrypted:
            raise Refusal(538, "5.7.11", "Encryption is required for authentication: issue STARTTLS first")
        if self.authenticated:
            raise Refusal(503, "5.5.1", "You are authenticated already")
        self._need_no_transaction()
        return self._advance(lambda: self._authentication.begin(argument))

    def _advance(self, step: Callable[[], Challenge | Credentials]) -> Event | None:
        try:
            result = step()
        except Refusal as refusal:
            if refusal.reply.code == 535:
                return self._auth_refused(refusal.reply)
            raise
        if isinstance(result, Challenge):
            # The space stays even where the challenge is empty (RFC 4954 section 4).
            self._output.append(f"334 {result.text}\r\n".encode("ascii"))
            return None
        self._waiting = self._after_auth
        return AuthEvent(result)

    def _after_auth(self, reply: Reply) -> None:
        if reply.code == 235:
            self.authenticated = True
            self._send(reply)
        elif reply.code == 535:
            event = self._auth_refused(reply)
            if event is not None:
                self._queued.append(event)
        else:
            too_many = self._count_junk()  # temporary, so no error; but nobody may ask for ever
            if too_many is None:
                self._refuse(reply)
            else:
                self._queued.append(too_many)

    def _auth_refused(self, reply: Reply) -> Event | None:
        self._auth_failures += 1
        self._send(reply)
        if self._auth_failures < self._limits.auth_failures:
            return None
        return self.close(
            Reply(421, "4.7.0", f"{self.hostname} Too many failed authentications"), "too many failed authentications"
        )

    def _mail(self, argument: str) -> Event | None:
        self._need_hello()
        if self._reverse_path is not None:
            raise Refusal(503, "5.5.1", "A transaction is under way; finish it or issue RSET")
        if not self._mx or self.authenticated:
            self._need_authentication()
        self._envelope, size = read_mail(argument, self._limits.message_size)
        self._waiting = self._after_mail
        return MailEvent(self._envelope.reverse_path, size)

    def _after_mail(self, reply: Reply) -> None:
        if self._answer(reply):
            self._reverse_path = self._envelope.reverse_path

    def _rcpt(self, argument: str) -> Event | None:
        if self._reverse_path is None:
            raise Refusal(503, "5.5.1", "Issue MAIL first")
        self._rcpt_tried = True
        if not self.authenticated:
            # Only the listener for returned mail comes here, and what it may take needs a return address of ours.
            raise Refusal(530, "5.7.0", answers.AUTH_REQUIRED.text if self.encrypted else answers.TLS_REQUIRED.text)
        offered = read_rcpt(argument, self.hostname, smtputf8=self._envelope.smtputf8)
        if len(self._recipients) >= self._limits.recipients:
            # Not an error: a client that pipelined all of them must come to send to those that were accepted.
            self._send(answers.TOO_MANY_RECIPIENTS)
            return None
        self._offered = offered
        self._waiting = self._after_rcpt
        return RecipientEvent(self._offered)

    def _after_rcpt(self, reply: Reply) -> None:
        if self._answer(reply):
            self._recipients.append(self._offered)

    def _data_command(self, argument: str) -> Event | None:
        if argument:
            raise Refusal(501, "5.5.4", "DATA takes no argument")
        if self._reverse_path is None or not self._rcpt_tried:
            raise Refusal(503, "5.5.1", "Issue MAIL and RCPT first")
        if not self._recipients:
            raise Refusal(554, "5.5.1", "No valid recipients")
        self._waiting = self._after_data
        return DataEvent(self._envelope._replace(recipients=tuple(self._recipients)))

    def _after_data(self, reply: Reply) -> None:
        if self._answer(reply):
            self._data = DataDecoder(self._limits.message_size)

    def _after_end(self, reply: Reply) -> None:
        if self._answer(reply):
            # Whoever hands over mail may go on for ever, an error now and then included (Postfix does the same).
            self._errors = self._junk = 0
        self._end_transaction()

    def _rset(self, argument: str) -> Event | None:
        if argument:
            raise Refusal(501, "5.5.4", "RSET takes no argument")
        self._end_transaction()
        return self._harmless(answers.OK)

    def _noop(self, argument: str) -> Event | None:
        return self._harmless(answers.OK)

    def _help(self, argument: str) -> Event | None:
        return self._harmless(Reply(214, "2.0.0", "See RFC 5321; submission needs STARTTLS or TLS, then AUTH"))

    def _vrfy(self, argument: str) -> Event | None:
        if not argument:
            raise Refusal(501, "5.5.4", "VRFY needs an address")
        return self._harmless(Reply(252, "2.0.0", "Addresses are not verified here; send the message and see"))

    def _harmless(self, reply: Reply) -> Event | None:
        too_many = self._count_junk()
        if too_many is None:
            self._send(reply)
        return too_many

    def _count_junk(self) -> CloseEvent | None:
        self._junk += 1
        if self._junk <= self._limits.junk_commands:
            return None
        return self.close(Reply(421, "4.7.0", f"{self.hostname} Too many commands without mail"), "junk commands")

    def _switched_off(self, argument: str) -> Event | None:
        raise Refusal(502, "5.5.1", "The command is not offered here")

    def _quit(self, argument: str) -> Event | None:
        return self.close(Reply(221, "2.0.0", "Bye"), "quit")

    # --- what must be so ---

    def _need_hello(self) -> None:
        if not self.client_name:
            raise Refusal(503, "5.5.1", "Issue EHLO first")

    def _need_no_transaction(self) -> None:
        if self._reverse_path is not None:
            raise Refusal(503, "5.5.1", "Not within a mail transaction")

    def _need_authentication(self) -> None:
        if not self.encrypted:
            raise Refusal(*answers.TLS_REQUIRED)
        if not self.authenticated:
            raise Refusal(*answers.AUTH_REQUIRED)

    def _end_transaction(self) -> None:
        self._reverse_path = None
        self._recipients = []
        self._rcpt_tried = False


_COMMANDS: dict[str, Callable[[ServerSession, str], Event | None]] = {
    "EHLO": ServerSession._ehlo,
    "HELO": ServerSession._helo,
    "STARTTLS": ServerSession._starttls,
    "AUTH": ServerSession._auth,
    "MAIL": ServerSession._mail,
    "RCPT": ServerSession._rcpt,
    "DATA": ServerSession._data_command,
    "RSET": ServerSession._rset,
    "NOOP": ServerSession._noop,
    "HELP": ServerSession._help,
    "VRFY": ServerSession._vrfy,
    "EXPN": ServerSession._switched_off,
    "TURN": ServerSession._switched_off,
    "ETRN": ServerSession._switched_off,
    "QUIT": ServerSession._quit,
}
