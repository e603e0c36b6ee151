"""A host for the server session that answers its events at once, and keeps what was said and wanted."""

from __future__ import annotations

from smtpeter.model.reply import Reply
from smtpeter.smtp import events
from smtpeter.smtp.answers import AUTHENTICATED, RECIPIENT_OK, SENDER_OK, START_DATA
from smtpeter.smtp.events import Event
from smtpeter.smtp.server import ServerSession, SessionLimits

LIMITS = SessionLimits(
    message_size=1000, recipients=5, command_line=2048, errors=20, auth_failures=3, junk_commands=100
)
LOGIN = b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n"  # user, secret
REFUSED = Reply(535, "5.7.8", "No")
QUEUED = Reply(250, "2.0.0", "Ok, queued as 1")


class ScriptedSession:
    """A session and its host.

    The password is ``secret``, the recipient ``nobody@...`` is refused, everything else is accepted.  Events whose
    types are in ``withheld`` wait until :meth:`answer`.
    """

    def __init__(
        self,
        *,
        encrypted: bool = True,
        mx: bool = False,
        limits: SessionLimits = LIMITS,
        withheld: tuple[type, ...] = (),
    ) -> None:
        self.session = ServerSession("mx.test", limits, encrypted=encrypted, mx=mx)
        self.events: list[Event] = []
        self.content: list[bytes] = []
        self._withheld = withheld
        self.session.greet()
        self.greeting = self._pump()

    def send(self, *pieces: bytes) -> bytes:
        """What the session says to these octets, which come in one piece after the other."""
        output = b""
        for piece in pieces:
            self.session.receive(piece)
            output += self._pump()
        return output

    def answer(self, reply: Reply) -> bytes:
        """Answer an event that was withheld; what the session says then."""
        self.session.reply(reply)
        return self._pump()

    @property
    def closed(self) -> str | None:
        """Why the session wanted the connection closed."""
        last = self.events[-1] if self.events else None
        return last.reason if isinstance(last, events.CloseEvent) else None

    def _pump(self) -> bytes:
        while (event := self.session.next_event()) is not None:
            self._take(event)
        return self.session.take_output()

    def _take(self, event: Event) -> None:
        if isinstance(event, events.TurnOverEvent):
            return
        if isinstance(event, events.ContentEvent):
            self.content.append(event.octets)
            return
        if isinstance(event, events.EndEvent):
            # How much comes out of an unfit message before its fault is seen hangs on how it is cut.
            octets = b"" if event.refusal else b"".join(self.content)
            self.content = []
            self.events.append(events.ContentEvent(octets))
        self.events.append(event)
        if isinstance(event, events.StartTlsEvent):
            self.session.tls_started()
        elif not isinstance(event, self._withheld) and not isinstance(event, events.CloseEvent):
            self.session.reply(_answer(event))


def _answer(event: Event) -> Reply:
    match event:
        case events.AuthEvent(credentials):
            return AUTHENTICATED if credentials.password == "secret" else REFUSED
        case events.MailEvent():
            return SENDER_OK
        case events.RecipientEvent(recipient):
            return Reply(550, "5.1.1", "No") if recipient.address.startswith("nobody@") else RECIPIENT_OK
        case events.DataEvent():
            return START_DATA
        case events.EndEvent(refusal):
            return refusal or QUEUED
    raise AssertionError(f"{event} wants no answer")


def ready(**how: object) -> ScriptedSession:
    """A session that said EHLO and logged in."""
    scripted = ScriptedSession(**how)  # type: ignore[arg-type]
    scripted.send(b"EHLO client.test\r\n", LOGIN)
    assert scripted.session.authenticated
    scripted.events.clear()
    return scripted


def in_data(**how: object) -> ScriptedSession:
    """A session whose next octets belong to a message."""
    scripted = ready(**how)
    scripted.send(b"MAIL FROM:<a@a.test>\r\n", b"RCPT TO:<b@b.test>\r\n", b"DATA\r\n")
    assert scripted.session.receiving_data
    scripted.events.clear()
    return scripted


def codes(output: bytes) -> list[str]:
    """The replies in the output: code and enhanced code (a greeting or 3xx has none), one string for each."""
    found = []
    for line in output.decode().split("\r\n")[:-1]:
        if line[3] == " ":
            code, _, text = line.partition(" ")
            enhanced = text.split(" ")[0]
            found.append(f"{code} {enhanced}" if enhanced[1:2] == "." else code)
    return found
