"""From connecting to the first transaction: greeting, EHLO, STARTTLS and AUTH, as a client does them, without I/O."""

from __future__ import annotations

import base64
import re
from collections import deque
from collections.abc import Callable

from smtpeter.model.delivery import Outcome, OutcomeKind
from smtpeter.model.reply import Reply, clean_text
from smtpeter.model.route import TlsPolicy
from smtpeter.smtp.client_events import ClientEvent, ClientProfile, CloseEvent, ReadyEvent, StartTlsEvent, UnusableEvent
from smtpeter.smtp.dialogue import Dialogue, mask
from smtpeter.smtp.replies import MalformedReply, ReplyParser

UNLIMITED = 1_000_000  # no limit of RFC 9422 is as high
_LIMIT = re.compile(r"[1-9][0-9]{0,5}")
_MORE_IN_CLEAR = Reply(0, "4.7.5", "The receiver sent more in clear after STARTTLS")


class ClientOpening:
    """One connection until it is ready for mail.  ``local`` and ``remote`` are IP addresses, for the outcomes.

    ``timeout`` is how long the present step may take (seconds, counted from when it began), None where nothing is
    awaited from the receiver; ``steps`` grows whenever a step begins.  ``stage`` is the word of
    :class:`smtpeter.model.delivery.Outcome` for it.  ``encrypted``: TLS is there, or being made.  ``recipients_limit``
    and ``transactions_limit`` are how many recipients a transaction, and transactions a session, may have for this
    receiver (RFC 9422); it is for the host to keep to them.  ``seconds`` is a clock that never goes back.
    """

    def __init__(
        self,
        profile: ClientProfile,
        local: str = "",
        remote: str = "",
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.ready = False
        self.closed = False
        self.encrypted = False
        self.recipients_limit = self.transactions_limit = UNLIMITED
        self.stage = "greeting"
        self.steps = 0
        self.timeout: float | None = profile.timeouts.greeting
        self._profile = profile
        self._timeouts = profile.timeouts
        self._local = local
        self._remote = remote
        self._parser = ReplyParser()
        self._output: list[bytes] = []
        self._events: deque[ClientEvent] = deque()
        self._awaited: deque[Callable[[Reply], None]] = deque([self._after_greeting])
        self._commands: deque[tuple[bytes, Callable[[Reply], None]]] = deque()
        self._offers: dict[str, str] = {}
        self._tls = ""
        self._secrets = self._make_secrets()
        self._dialogue = Dialogue(seconds, self._secrets)
        self._said_helo = False
        self._open = False

    # --- the host's side ---

    def receive(self, data: bytes) -> None:
        """Octets came in."""
        if self.closed:
            return
        parser = self._parser
        parser.feed(data)
        self._dialogue.look()
        try:
            while not self.closed:
                reply = parser.next_reply()
                if reply is None:
                    if self.ready and parser.pending:
                        self._unasked(Reply(0, "", "the beginning of a line"))
                    return
                self._dialogue.heard(reply)
                if not self._awaited:
                    self._unasked(reply)
                    return
                if self._output:
                    raise MalformedReply("an answer that came before its command")
                self._awaited.popleft()(reply)
                if self._commands and not self._awaited:
                    self._send_next()
        except MalformedReply as error:
            self._violated(str(error))

    def next_event(self) -> ClientEvent | None:
        """What has happened; None where the receiver is to be waited for."""
        return self._events.popleft() if self._events else None

    def take_output(self) -> bytes:
        """The octets to send now."""
        if not self._output:
            return b""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def offers(self, keyword: str) -> bool:
        """Whether the receiver's last EHLO named this extension, in upper case."""
        return keyword in self._offers

    @property
    def tls(self) -> str:
        """How the connection is encrypted, for the outcomes; the host sets it when the handshake is complete."""
        return self._tls

    @tls.setter
    def tls(self, how: str) -> None:
        self._tls = how
        self.encrypted = True
        self._dialogue.look()
        self._dialogue.remark(how)

    def tls_started(self) -> None:
        """TLS begins: what was learnt in clear is forgotten (RFC 3207 section 4.2).

        ``stage`` is ``tls`` until the receiver has said something that can be read, for what breaks before was TLS.
        """
        self.encrypted = True
        self._learn({})
        self._parser = ReplyParser()
        self._say_hello()
        self.stage = "tls"

    def lost(self, why: str, kind: OutcomeKind = OutcomeKind.DEFERRED, enhanced: str = "4.4.2") -> None:
        """The connection is gone, or is being given up.  ``kind`` is for recipients whose outcome is still open."""
        if self.closed:
            return
        if not self._open:
            self._unusable(kind, Reply(0, enhanced, clean_text(why)))
        else:
            self._close(why)

    def timed_out(self) -> None:
        """The present step has taken longer than it may."""
        self.lost(f"Timeout: the receiver was too slow ({self.stage})")

    # --- opening ---

    def _after_greeting(self, reply: Reply) -> None:
        if reply.category != 2:
            self._unusable(OutcomeKind.DEFERRED, reply)
            return
        self._say_hello()

    def _say_hello(self) -> None:
        self.stage = "hello"
        self._said_helo = False
        self._send(f"EHLO {self._profile.hostname}", self._after_hello)

    def _after_hello(self, reply: Reply) -> None:
        self.stage = "hello"
        if reply.category == 5 and not self._said_helo:
            self._said_helo = True
            self._send(f"HELO {self._profile.hostname}", self._after_hello)
            return
        if reply.category != 2:
            self._unusable(OutcomeKind.DEFERRED, reply)
            return
        self._learn({} if self._said_helo else _read_offers(reply.text))
        policy = self._profile.tls
        if self.encrypted or policy is TlsPolicy.NONE:
            self._log_in()
        elif "STARTTLS" in self._offers:
            self.stage = "starttls"
            self._send("STARTTLS", self._after_starttls)
        elif policy is TlsPolicy.MAY:
            self._log_in()
        else:
            self._unusable(OutcomeKind.DEFERRED, Reply(0, "4.7.4", "The receiver does not offer STARTTLS"))

    def _learn(self, offers: dict[str, str]) -> None:
        self._offers = offers
        limits = dict(limit.partition("=")[::2] for limit in offers.get("LIMITS", "").upper().split())
        self.recipients_limit, self.transactions_limit = (
            int(limits[name]) if _LIMIT.fullmatch(limits.get(name, "")) else UNLIMITED
            for name in ("RCPTMAX", "MAILMAX")
        )

    def _after_starttls(self, reply: Reply) -> None:
        if reply.category == 3:
            raise MalformedReply("an answer to STARTTLS that is neither yes nor no")
        if reply.category == 2 and self._parser.pending:
            # Whoever is on the line may have put it there, to be read as if it had come by TLS (CVE-2021-38371).
            self._unusable(OutcomeKind.DEFERRED, _MORE_IN_CLEAR)
        elif reply.category == 2:
            self.stage = "tls"
            self._events.append(StartTlsEvent())
        elif reply.code != 421 and self._profile.tls is TlsPolicy.MAY:
            self._log_in()
        else:
            self._unusable(OutcomeKind.DEFERRED, reply)

    def _log_in(self) -> None:
        if self._profile.username:
            self._authenticate()
        else:
            self._opened()

    def _authenticate(self) -> None:
        self.stage = "auth"
        mechanisms = self._offers.get("AUTH", "").upper().split()
        if "PLAIN" in mechanisms:
            self._send(f"AUTH PLAIN {self._plain_response()}", self._after_auth, "AUTH PLAIN ***")
        elif "LOGIN" in mechanisms:
            self._send("AUTH LOGIN", self._after_auth_login)
        else:
            self._unusable(OutcomeKind.DEFERRED, Reply(0, "4.7.4", "The receiver does not offer AUTH PLAIN or LOGIN"))

    def _plain_response(self) -> str:
        return _base64(f"\0{self._profile.username}\0{self._profile.password}")

    def _make_secrets(self) -> tuple[str, ...]:
        """What must be in no text, however the receiver repeats it."""
        password = self._profile.password
        if not password:
            return ()
        return self._plain_response(), _base64(password), password, clean_text(password) or password

    def _after_auth_login(self, reply: Reply) -> None:
        if reply.category == 3:
            self._send(_base64(self._profile.username), self._after_username, "***")
        else:
            self._after_auth(reply)

    def _after_username(self, reply: Reply) -> None:
        if reply.category == 3:
            self._send(_base64(self._profile.password), self._after_auth, "***")
        else:
            self._after_auth(reply)

    def _after_auth(self, reply: Reply) -> None:
        if reply.category == 2:
            self._opened()
            return
        if reply.category == 3:
            raise MalformedReply("a challenge that its mechanism does not have")
        self._unusable(OutcomeKind.HOLD if reply.category == 5 else OutcomeKind.DEFERRED, reply)

    def _opened(self) -> None:
        self._open = True
        self._events.append(ReadyEvent())
        self._rest()

    def _unusable(self, kind: OutcomeKind, reply: Reply) -> None:
        if not reply.code:
            self._dialogue.remark(reply.text)
        outcome = self._outcome(kind, reply)._replace(dialogue=self._dialogue.of_opening())
        self._events.append(UnusableEvent(outcome))
        if reply.code and reply.code != 421:
            self._output.append(b"QUIT\r\n")
        self._close(outcome.text)

    # --- when the receiver does not keep to the protocol ---

    def _unasked(self, reply: Reply) -> None:
        """An answer to nothing."""
        if any(isinstance(event, ReadyEvent) for event in self._events):
            # Nobody was told yet that we are ready, and we are not.
            self._events.clear()
            self.stage = "hello"
            said = reply if reply.category == 4 else Reply(0, "4.5.0", "The receiver answered what was not asked")
            self._unusable(OutcomeKind.DEFERRED, said)
        elif self._open:
            self._close(f"unasked for: {reply}")
        else:
            self._unusable(OutcomeKind.DEFERRED, _MORE_IN_CLEAR)

    def _violated(self, what: str) -> None:
        self.lost(f"The receiver broke the protocol: {what}", enhanced="4.5.0")

    # --- small steps ---

    def _send(self, line: str, answer: Callable[[Reply], None], shown: str = "") -> None:
        self._step(self._timeouts.command)
        self._dialogue.said(shown or line)
        self._output.append(f"{line}\r\n".encode())
        self._awaited.append(answer)

    def _send_next(self) -> None:
        line, answer = self._commands.popleft()
        self._dialogue.asked()
        self._output.append(line)
        self._awaited.append(answer)

    def _step(self, timeout: float) -> None:
        self.timeout = timeout
        self.steps += 1

    def _rest(self) -> None:
        """Nothing is awaited: a transaction may begin."""
        self.stage = "idle"
        self.timeout = None
        self.ready = not self.closed

    def _close(self, reason: str) -> None:
        self.closed = True
        self.ready = False
        self.timeout = None
        self._awaited.clear()
        self._commands.clear()
        self._events.append(CloseEvent(reason))

    def _outcome(self, kind: OutcomeKind, reply: Reply) -> Outcome:
        """What became of recipients, but for the dialogue."""
        code, enhanced, text = reply
        if "\n" in text:
            text = clean_text(text)
        if self._secrets:
            text = mask(text, self._secrets)
        mta, notifies = self._profile.remote_mta, "DSN" in self._offers
        return Outcome(
            kind, code, enhanced, text, self._local, self._remote, mta, self.stage, False, self._tls, "", notifies
        )


def _read_offers(text: str) -> dict[str, str]:
    """Keywords in upper case, and what follows each (RFC 5321 section 4.1.1.1).  The first line is a greeting."""
    offers: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        keyword, _, parameters = line.strip().partition(" ")
        keyword, equals, first = keyword.partition("=")  # AUTH=LOGIN, as some old servers write it
        offers[keyword.upper()] = (
            f"{offers.get(keyword.upper(), '')} {first}{' ' if equals else ''}{parameters}".strip()
        )
    return offers


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")
