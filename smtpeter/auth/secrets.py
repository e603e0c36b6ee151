"""Secrets of programs and of people: how they are made, and how they are kept.

What we generate has at least 160 bits, so a keyed hash keeps it safe and costs next to nothing to check.  What people
choose is kept by argon2id, which is slow on purpose: never call it on the reactor's thread.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import sys
import threading
import unicodedata
from base64 import b64encode
from contextlib import suppress
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from smtpeter.auth.keys import KeyRing

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_USERNAME_LENGTH = 12
_SECRET_LENGTH = 32
_GROUP = 4
_TOKEN_PREFIX = "smtpeter_"
_TOKEN = re.compile(rf"{_TOKEN_PREFIX}([{_ALPHABET}]{{12}})_([{_ALPHABET}]{{32}})", re.ASCII)
_LONGEST_PASSWORD = 1024
_NICENESS = 10

_MEMORY_KIB, _PASSES, _LANES, _SALT_BYTES, _HASH_BYTES = 32768, 3, 1, 16, 32
_hasher = PasswordHasher(_PASSES, _MEMORY_KIB, _LANES, _HASH_BYTES, _SALT_BYTES)


class NewSecret(NamedTuple):
    """A login or a token as it was just made: ``shown`` is shown once, the rest goes to the store."""

    public: str
    shown: str
    secret_hash: bytes
    key_id: str

    def __repr__(self) -> str:
        return f"NewSecret(public={self.public!r})"


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def make_password() -> str:
    """A password of 160 bits in groups separated by spaces, for a login or as a person's first one."""
    secret = _random(_SECRET_LENGTH)
    return " ".join(secret[start : start + _GROUP] for start in range(0, _SECRET_LENGTH, _GROUP))


def make_login(keys: KeyRing, username: str | None = None) -> NewSecret:
    """A login's username and password; with ``username``, another password for that login."""
    username = username or _random(_USERNAME_LENGTH)
    password = make_password()
    return NewSecret(username, password, hash_login(keys, keys.current, username, password), keys.current)


def make_token(keys: KeyRing) -> NewSecret:
    """A token; its public part tells which one it is."""
    public, secret = _random(_USERNAME_LENGTH), _random(_SECRET_LENGTH)
    token = f"{_TOKEN_PREFIX}{public}_{secret}"
    return NewSecret(public, token, hash_token(keys, keys.current, public, secret), keys.current)


def split_token(token: str) -> tuple[str, str] | None:
    """The public and the secret part of a token; None where it is no token at all."""
    match = _TOKEN.fullmatch(token)
    return (match[1], match[2]) if match else None


def hash_login(keys: KeyRing, key_id: str, username: str, password: str) -> bytes:
    """The keyed hash (HMAC-SHA-256) of a login's password, with or without its spaces.  KeyError: no such key."""
    return _keyed_hash(keys.derive("login", key_id), username, "".join(password.split()))


def hash_token(keys: KeyRing, key_id: str, public: str, secret: str) -> bytes:
    """The keyed hash (HMAC-SHA-256) of a token's secret part.  KeyError: no such key."""
    return _keyed_hash(keys.derive("token", key_id), public, secret)


def _keyed_hash(key: bytes, public: str, secret: str) -> bytes:
    return hmac.digest(key, f"{public}\0{secret}".encode(), hashlib.sha256)


def normalise_password(password: str) -> str | None:
    """A person's password as it is hashed, None where it cannot be one (empty, too long, or with controls in it).

    As RFC 8265 section 4.2.2 (OpaqueString), so that the same password typed on two keyboards is the same; beyond it,
    white space does not count, so that a generated password may be typed without its spaces.
    """
    if len(password) > _LONGEST_PASSWORD:
        return None
    text = unicodedata.normalize("NFC", password)
    text = "".join(character for character in text if unicodedata.category(character) != "Zs")
    if not text or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        return None
    return text


def hash_password(password: str) -> str:
    """A person's password as argon2id string.  Slow.

    :raises ValueError: where it cannot be a password; the text says so.
    """
    text = normalise_password(password)
    if text is None:
        raise ValueError("a password is not empty, has no control characters and at most 1024 characters")
    return _hasher.hash(text)


def verify_password(password_hash: str, password: str) -> bool:
    """Whether this is the password.  Slow, and equally slow for :func:`unmatchable_hash`."""
    try:
        return _hasher.verify(password_hash, normalise_password(password) or "")
    except (VerificationError, InvalidHashError):
        return False


def verify_password_gently(password_hash: str, password: str) -> bool:
    """The same on a thread: from now on everything else that wants to run goes before that thread."""
    # Only Linux has a niceness for each thread.
    if sys.platform == "linux" and threading.current_thread() is not threading.main_thread():
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
    return verify_password(password_hash, password)


def unmatchable_hash() -> str:
    """An argon2id string as ours are that no password is known to: for names that do not exist."""
    salt, digest = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_HASH_BYTES)
    encoded = "$".join(b64encode(part).decode("ascii").rstrip("=") for part in (salt, digest))
    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${encoded}"
