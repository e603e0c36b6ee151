"""SASL PLAIN (RFC 4616) and LOGIN, in all the forms that clients use over SMTP (RFC 4954)."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from smtpeter.errors import Refusal
from smtpeter.smtp.grammar import upper

AUTH_LINE_LIMIT = 12288  # octets of a line with its CRLF: RFC 4954 section 4
USERNAME_CHALLENGE = base64.b64encode(b"Username:").decode("ascii")
PASSWORD_CHALLENGE = base64.b64encode(b"Password:").decode("ascii")


class Credentials(NamedTuple):
    """What a client claims to be, and its proof."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials({self.username!r}, ...)"


class Challenge(NamedTuple):
    """The text of a 334 reply; empty for an empty challenge."""

    text: str


class PlainExchange:
    """PLAIN: one message, ``[authzid] NUL authcid NUL password``."""

    def begin(self, initial: bytes | None) -> Challenge | Credentials:
        """Start, with the initial response that came with AUTH, if any."""
        return Challenge("") if initial is None else self.answer(initial)

    def answer(self, response: bytes) -> Credentials:
        """Read the one response."""
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Refusal(501, "5.5.2", "The PLAIN response must be: authorization id, NUL, user name, NUL, password")
        identity, username, password = (_text(part) for part in parts)
        if identity not in ("", username):
            raise Refusal(535, "5.7.8", "Authentication failed: no acting on behalf of somebody else")
        return Credentials(username, password)


class LoginExchange:
    """LOGIN: the user name, then the password, each on a line of its own."""

    def __init__(self) -> None:
        self._username: str | None = None

    def begin(self, initial: bytes | None) -> Challenge | Credentials:
        """Start, with the initial response that came with AUTH (the user name), if any."""
        return Challenge(USERNAME_CHALLENGE) if initial is None else self.answer(initial)

    def answer(self, response: bytes) -> Challenge | Credentials:
        """Read the next response."""
        if self._username is None:
            self._username = _text(response)
            return Challenge(PASSWORD_CHALLENGE)
        return Credentials(self._username, _text(response))


_MECHANISMS: dict[str, type[PlainExchange] | type[LoginExchange]] = {"PLAIN": PlainExchange, "LOGIN": LoginExchange}


class Authentication:
    """AUTH in one session: the exchange that is under way, if any.  Whatever fails ends it."""

    def __init__(self) -> None:
        self._exchange: PlainExchange | LoginExchange | None = None

    @property
    def under_way(self) -> bool:
        """Whether the next line is a response, and no command."""
        return self._exchange is not None

    def begin(self, argument: str) -> Challenge | Credentials:
        """Start with what stands behind AUTH: a mechanism and perhaps an initial response."""
        name, _, initial = argument.strip().partition(" ")
        if not name:
            raise Refusal(501, "5.5.4", "Name a mechanism: AUTH PLAIN or AUTH LOGIN")
        mechanism = _MECHANISMS.get(upper(name))
        if mechanism is None:
            raise Refusal(504, "5.5.4", "This mechanism is not offered; use PLAIN or LOGIN")
        exchange = mechanism()
        result = exchange.begin(decode_response(initial.strip()) if initial else None)
        self._exchange = exchange if isinstance(result, Challenge) else None
        return result

    def answer(self, text: str) -> Challenge | Credentials:
        """Read a response."""
        exchange, self._exchange = self._exchange, None
        assert exchange is not None, "no exchange is under way"
        result = exchange.answer(decode_response(text))
        self._exchange = exchange if isinstance(result, Challenge) else None
        return result

    def give_up(self) -> None:
        """End the exchange that is under way."""
        self._exchange = None


def decode_response(text: str) -> bytes:
    """Undo the base64 of a client's line.  ``*`` cancels the exchange; ``=`` stands for an empty initial response."""
    if text == "*":
        raise Refusal(501, "5.7.0", "Authentication cancelled")
    if text == "=":
        return b""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(501, "5.5.2", "The response is not valid base64") from None


def _text(octets: bytes) -> str:
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Refusal(501, "5.5.2", "User name and password must be UTF-8 without NUL")
    return text
