"""What an SMTP server must say: a model to compare with, written from the standards, plain rather than fast.

RFC 5321 (commands, their order, transparency, limits), 3207 (STARTTLS), 4954 and 4616 (AUTH), 2034 (enhanced codes),
1870, 6152, 6531 and 3461 (parameters).  Where these leave a choice, the model makes the one that is promised:

* codes: 530 5.7.0 where TLS or AUTH is missing, 538 5.7.11 for AUTH without TLS, 554 5.5.1 for DATA when
  every recipient was refused and for TLS in TLS, 550 5.5.2 for a message with a bare CR, LF or NUL, 452 4.5.3 for a
  recipient too many;
* the session ends with 421 4.7.0 at once after ``errors`` refusals of class 5 since the last message, after
  ``auth_failures`` replies 535, with the first of more than ``junk_commands`` commands since the last message that
  bring no mail nearer, and where anything follows STARTTLS; with 221 2.7.0 for a web client;
* on the door for returned mail MAIL needs no login, but RCPT does.
"""

from __future__ import annotations

import base64
import re

from tests.campaigns.vocabulary import MAIL, RCPT, Rcpt, Sender

AUTH_LINE, TEXT_LINE = 12288, 65536
WEB = ("GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "CONNECT", "PATCH", "TRACE")
FIELD = re.compile(rb"[!-9;-~]+[ \t]*:|>?From ")


class Reference:
    """One session.  ``said`` is every reply, ``messages`` what was accepted: (sender, recipients, content)."""

    def __init__(self, *, encrypted, mx, limits, header_size, received_fields):
        self.encrypted, self.mx, self.limits = encrypted, mx, limits
        self.header_size, self.received_fields = header_size, received_fields
        self.said, self.messages = ["220"], []
        self.closed = self.wants_tls = False
        self._buffer = b""
        self._data = None  # octets of the message so far, with the CRLF of the DATA line in front
        self._auth = None  # the SASL responses so far, after the mechanism
        self._hello = self._logged_in = False
        self._sender, self._recipients, self._rcpt_tried = None, [], False
        self._errors = self._failures = self._junk = 0

    def receive(self, octets):
        self._buffer += octets
        while not self.closed and not self.wants_tls:
            if self._data is not None:
                self._data, self._buffer = self._data + self._buffer, b""
                content, end, rest = self._data.partition(b"\r\n.\r\n")
                if not end:
                    return
                self._data, self._buffer = None, rest
                self._message((content + b"\r\n")[2:])
            else:
                line, end, rest = self._buffer.partition(b"\n")
                if not end:
                    return
                self._buffer = rest
                self._line(line + end)

    def tls(self):
        """The handshake was made: only the counts are remembered (RFC 3207 section 4.2)."""
        self.wants_tls, self.encrypted, self._hello = False, True, False
        self._reset()

    # --- replies ---

    def _say(self, reply):
        self.said.append(reply)
        if reply[0] == "5" and reply[:3] != "535":
            self._errors += 1
            if self._errors == self.limits.errors:
                self._end("421 4.7.0")

    def _end(self, reply):
        self.said.append(reply)
        self.closed = True

    def _harmless(self, reply):
        self._junk += 1
        if self._junk > self.limits.junk_commands:
            self._end("421 4.7.0")
        else:
            self._say(reply)

    def _reset(self):
        self._sender, self._recipients, self._rcpt_tried = None, [], False

    # --- lines ---

    def _line(self, line):
        exchange, self._auth = self._auth, None
        if len(line) > AUTH_LINE:
            return self._say("500 5.5.6" if exchange or line[:5].upper() == b"AUTH " else "500 5.5.2")
        if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
            return self._say("500 5.5.2")
        try:
            text = line[:-2].decode()
        except UnicodeDecodeError:
            return self._say("500 5.5.2")
        if exchange:
            return self._respond([*exchange, text])
        verb, _, argument = text.rstrip(" ").partition(" ")
        verb = verb.upper() if verb.isascii() else verb
        if len(line) > self.limits.command_line and verb != "AUTH":
            return self._say("500 5.5.2")
        if verb in WEB:
            return self._end("221 2.7.0")
        return getattr(self, f"_{verb.lower()}_command", self._unknown)(argument)

    def _unknown(self, argument):
        self._say("500 5.5.1")

    def _ehlo_command(self, argument, reply="250"):
        if not argument or len(argument) > 255:
            return self._say("501 5.5.4")
        self._hello = True
        self._reset()
        return self._harmless(reply)

    _helo_command = _ehlo_command

    def _noop_command(self, argument):
        self._harmless("250 2.0.0")

    def _help_command(self, argument):
        self._harmless("214 2.0.0")

    def _vrfy_command(self, argument):
        self._harmless("252 2.0.0") if argument else self._say("501 5.5.4")

    def _rset_command(self, argument):
        if argument:
            return self._say("501 5.5.4")
        self._reset()
        return self._harmless("250 2.0.0")

    def _expn_command(self, argument):
        self._say("502 5.5.1")

    _turn_command = _etrn_command = _expn_command

    def _quit_command(self, argument):
        self._end("221 2.0.0")

    def _starttls_command(self, argument):
        if argument:
            return self._say("501 5.5.4")
        if self.encrypted:
            return self._say("554 5.5.1")
        if not self._hello or self._sender is not None:
            return self._say("503 5.5.1")
        if self._buffer:
            return self._end("421 4.7.0")
        self.wants_tls = True
        return self._say("220 2.0.0")

    # --- AUTH ---

    def _auth_command(self, argument):
        if not self._hello:
            return self._say("503 5.5.1")
        if not self.encrypted:
            return self._say("538 5.7.11")
        if self._logged_in or self._sender is not None:
            return self._say("503 5.5.1")
        mechanism, *initial = argument.split(" ", 1)
        if not mechanism:
            return self._say("501 5.5.4")
        if mechanism.upper() not in ("PLAIN", "LOGIN"):
            return self._say("504 5.5.4")
        if not initial:
            self._auth = [mechanism.upper()]
            return self._say("334")
        return self._respond([mechanism.upper(), *initial])

    def _respond(self, exchange):
        if exchange[-1] == "*":
            return self._say("501 5.7.0")
        try:
            octets = b"" if exchange[-1] == "=" else base64.b64decode(exchange[-1], validate=True)
            parts = octets.decode().split("\0")
        except ValueError:
            return self._say("501 5.5.2")
        if len(parts) != (3 if exchange[0] == "PLAIN" else 1):
            return self._say("501 5.5.2")
        if exchange[0] == "LOGIN" and len(exchange) == 2:
            self._auth = [exchange[0], parts[0]]
            return self._say("334")
        names = parts if exchange[0] == "PLAIN" else ["", exchange[1], parts[0]]
        if names[0] in ("", names[1]) and names[1:] == ["alice", "secret"]:
            self._logged_in = True
            return self._say("235 2.7.0")
        self._failures += 1
        self._say("535 5.7.8")
        return self._end("421 4.7.0") if self._failures == self.limits.auth_failures else None

    # --- mail ---

    def _mail_command(self, argument):
        if not self._hello or self._sender is not None:
            return self._say("503 5.5.1")
        if not self._logged_in and not self.mx:
            return self._say("530 5.7.0")
        meaning = MAIL[argument]
        if isinstance(meaning, Sender) and meaning.size > self.limits.message_size:
            meaning = "552 5.3.4"
        if isinstance(meaning, str):
            return self._say(meaning)
        self._sender = meaning._replace(size=0)
        return self._say("250 2.1.0")

    def _rcpt_command(self, argument):
        if self._sender is None:
            return self._say("503 5.5.1")
        self._rcpt_tried = True
        if not self._logged_in:
            return self._say("530 5.7.0")
        meaning = RCPT[argument]
        if not isinstance(meaning, Rcpt):
            return self._say(meaning)
        if len(self._recipients) == self.limits.recipients:
            return self._say("452 4.5.3")
        self._recipients.append(meaning)
        return self._say("250 2.1.5")

    def _data_command(self, argument):
        if argument:
            return self._say("501 5.5.4")
        if self._sender is None or not self._rcpt_tried:
            return self._say("503 5.5.1")
        if not self._recipients:
            return self._say("554 5.5.1")
        self._data = b"\r\n"
        return self._say("354")

    def _message(self, wire):
        lines = wire.split(b"\r\n")
        content = b"\r\n".join(line.removeprefix(b".") for line in lines)
        header = content.partition(b"\r\n\r\n")[0] if FIELD.match(lines[0]) else b""
        if any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0")):
            reply = "550 5.5.2"
        elif any(len(line.removeprefix(b".")) > TEXT_LINE for line in lines):
            reply = "554 5.6.0"
        elif len(content) > self.limits.message_size:
            reply = "552 5.3.4"
        elif len(header) + 2 > self.header_size:
            reply = "554 5.6.0"
        elif len(re.findall(rb"(?im)^received:", header)) > self.received_fields:
            reply = "554 5.4.6"
        elif b"X-SMTPeter-Tags: a b" in header:
            reply = "554 5.6.0"
        else:
            reply = "250 2.0.0"
            self.messages.append((self._sender, tuple(self._recipients), content))
            self._errors = self._junk = 0
        self._reset()
        self._say(reply)
