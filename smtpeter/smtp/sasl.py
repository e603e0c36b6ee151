"""SASL PLAIN (RFC 4616) and LOGIN, in all the forms that clients use over SMTP (RFC 4954)."""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from smtpeter.errors import Refusal

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


Exchange = PlainExchange | LoginExchange
MECHANISMS: dict[str, type[PlainExchange] | type[LoginExchange]] = {"PLAIN": PlainExchange, "LOGIN": LoginExchange}


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
