"""Links that nobody can forge, and that need no table behind them.

A link has two parts.  The *destination* is made once for a submission: the id of a key, and, under a MAC, the
submission, the account and whatever the feature wants to find again.  The *token* is made for each recipient, is the
same in all its links and always has :data:`TOKEN_LENGTH` characters: the recipient's number under a MAC that covers the
submission too.  No address is in either.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import NamedTuple

from smtpeter.model.ids import pack_submission_id, unpack_submission_id

TOKEN_LENGTH = 24
_DESTINATION_MAC = 16  # octets
_TOKEN_MAC = 14
_NUMBER = 4
_HEAD = 16 + 4  # the submission's id and the account's number
_LONGEST = 8192  # characters of a destination


class Found(NamedTuple):
    """What a link holds.  ``account`` is None where there was none."""

    submission: str
    number: int
    account: int | None
    payload: bytes


class LinkSeal:
    """Makes and reads the links of one feature.

    ``key`` gives the feature's 32-byte key for the id of a master key, or raises KeyError; ``current`` is the id with
    which new links are made.  Old keys never expire: a link lives as long as the mail that it is in.
    """

    def __init__(self, current: str, key: Callable[[str], bytes]) -> None:
        self.current = current
        self._key = key

    def destination(self, submission: str, account: int | None, payload: bytes) -> str:
        """The part that all recipients share; letters, digits, ``-``, ``_`` and one dot."""
        data = pack_submission_id(submission) + (account or 0).to_bytes(4, "big") + payload
        mac = hmac.digest(self._key(self.current), b"destination " + data, "sha256")[:_DESTINATION_MAC]
        return f"{self.current}.{urlsafe_b64encode(data + mac).rstrip(b'=').decode('ascii')}"

    def token(self, key_id: str, submission: str, number: int) -> str:
        """A recipient's part.  ``key_id`` is that of the destination beside it."""
        data = number.to_bytes(_NUMBER, "big")
        mac = hmac.digest(self._key(key_id), b"token " + submission.encode("ascii") + data, "sha256")[:_TOKEN_MAC]
        return urlsafe_b64encode(data + mac).decode("ascii")

    def read(self, token: str, destination: str) -> Found | None:
        """What the two parts of a link hold; None unless both are exactly what was made here."""
        key_id, dot, sealed = destination.partition(".")
        if len(token) != TOKEN_LENGTH or not dot or len(sealed) > _LONGEST:
            return None
        try:
            key = self._key(key_id)
            data, name = _decode(sealed), _decode(token)
        except (KeyError, ValueError):
            return None
        if len(data) < _HEAD + _DESTINATION_MAC:
            return None
        data, mac = data[:-_DESTINATION_MAC], data[-_DESTINATION_MAC:]
        if not hmac.compare_digest(hmac.digest(key, b"destination " + data, "sha256")[:_DESTINATION_MAC], mac):
            return None
        submission = unpack_submission_id(data[:16])
        made = hmac.digest(key, b"token " + submission.encode("ascii") + name[:_NUMBER], "sha256")[:_TOKEN_MAC]
        if not hmac.compare_digest(made, name[_NUMBER:]):
            return None
        account = int.from_bytes(data[16:_HEAD], "big")
        return Found(submission, int.from_bytes(name[:_NUMBER], "big"), account or None, data[_HEAD:])


def _decode(text: str) -> bytes:
    """Base64url without padding, in its one spelling only.

    :raises ValueError: for every other one.
    """
    octets = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder skips what it does not know, and ignores bits that are left over at the end.
    if urlsafe_b64encode(octets).rstrip(b"=").decode("ascii") != text:
        raise binascii.Error("not in its one spelling")
    return octets
