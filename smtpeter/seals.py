"""Links and return addresses that nobody can forge, and that need no table behind them.

A link has two parts.  The *destination* is made once for a submission: the id of a key, and, under a MAC, the
submission, the account and whatever the feature wants to find again.  The *token* is made for each recipient, is the
same in all its links and always has :data:`TOKEN_LENGTH` characters: the recipient's number under a MAC that covers the
submission too.  No address is in either.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b32decode, b32encode, urlsafe_b64encode
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from smtpeter.model.ids import pack_submission_id, unpack_submission_id

TOKEN_LENGTH = 24
_DESTINATION_MAC = 16  # octets
_TOKEN_MAC = 14
_NUMBER = 4
_HEAD = 16 + 4  # the submission's id and the account's number
_LONGEST = 8192  # characters of a destination
_REMEMBERED = 4096  # destinations that are not opened anew each time
# Of the three characters that only the other alphabet has, each becomes one that neither has.
_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_PATH = "b-"  # what a return address begins with
_PATH_MAC = 12
_PATH_LENGTH = 52  # characters of base 32, for 32 octets


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
        self._macs: dict[str, tuple[hmac.HMAC, hmac.HMAC]] = {}
        # All recipients of a message share a few destinations; one that is forged is an error, and not remembered.
        self._opened = lru_cache(_REMEMBERED)(self._open)

    def destination(self, submission: str, account: int | None, payload: bytes) -> str:
        """The part that all recipients share; letters, digits, ``-``, ``_`` and one dot."""
        data = pack_submission_id(submission) + (account or 0).to_bytes(4, "big") + payload
        mac = _mac(self._keyed(self.current)[0], data)[:_DESTINATION_MAC]
        return f"{self.current}.{urlsafe_b64encode(data + mac).rstrip(b'=').decode('ascii')}"

    def token(self, key_id: str, submission: str, number: int) -> str:
        """A recipient's part.  ``key_id`` is that of the destination beside it."""
        name = number.to_bytes(_NUMBER, "big")
        mac = _mac(self._keyed(key_id)[1], submission.encode("ascii") + name)[:_TOKEN_MAC]
        return urlsafe_b64encode(name + mac).decode("ascii")

    def read(self, token: str, destination: str) -> Found | None:
        """What the two parts of a link hold; None unless both are exactly what was made here."""
        if len(token) != TOKEN_LENGTH or len(destination) > _LONGEST:
            return None
        try:
            for_tokens, submission, account, payload = self._opened(destination)
            given = token.encode("ascii").translate(_TO_STANDARD)
            name = binascii.a2b_base64(given[:8])[:_NUMBER]
        except (KeyError, ValueError):
            return None
        mac = _mac(for_tokens, submission.encode("ascii") + name)[:_TOKEN_MAC]
        # The token that is made for this number is the only good one, and so is its spelling.
        if not hmac.compare_digest(binascii.b2a_base64(name + mac, newline=False), given):
            return None
        return Found(submission, int.from_bytes(name, "big"), account, payload)

    def _open(self, destination: str) -> tuple[hmac.HMAC, str, int | None, bytes]:
        """The beginning of a token's MAC, the submission, the account and the payload.

        :raises KeyError: where there is no such key.
        :raises ValueError: where it was not made here.
        """
        key_id, _, sealed = destination.partition(".")
        for_destinations, for_tokens = self._keyed(key_id)
        octets = _decode(sealed)
        data, mac = octets[:-_DESTINATION_MAC], octets[-_DESTINATION_MAC:]
        genuine = hmac.compare_digest(_mac(for_destinations, data)[:_DESTINATION_MAC], mac)
        if len(data) < _HEAD or not genuine:
            raise ValueError("not made here")
        account = int.from_bytes(data[16:_HEAD], "big")
        return for_tokens, unpack_submission_id(data[:16]), account or None, data[_HEAD:]

    def _keyed(self, key_id: str) -> tuple[hmac.HMAC, hmac.HMAC]:
        """The beginnings of MACs for destinations and for tokens; to begin anew each time would cost twice the time.

        :raises KeyError: where there is no such key.
        """
        macs = self._macs.get(key_id)
        if macs is None:
            key = self._key(key_id)
            macs = hmac.new(key, b"destination ", "sha256"), hmac.new(key, b"token ", "sha256")
            self._macs[key_id] = macs
        return macs


class ReturnPath:
    """Makes and reads the local parts of return addresses, one for each recipient of a submission.

    ``b-<key id>-<base 32>``: the submission and the recipient's number under a MAC of 96 bits, in at most 64 characters
    that mean the same in upper and lower case.  ``current`` and ``key`` are as in :class:`LinkSeal`.
    """

    def __init__(self, current: str, key: Callable[[str], bytes]) -> None:
        self.current = current
        self._key = key

    def make(self, submission: str, number: int) -> str:
        """The local part for a recipient."""
        data = pack_submission_id(submission) + number.to_bytes(_NUMBER, "big")
        sealed = b32encode(data + _path_mac(self._key(self.current), data)).rstrip(b"=").decode("ascii")
        return f"{_PATH}{self.current}-{sealed.lower()}"

    def read(self, local_part: str) -> tuple[str, int] | None:
        """The submission and the recipient's number; None unless it is exactly what was made here, but for case."""
        # Outside of ASCII there are letters whose small ones are within it.
        if not local_part.isascii():
            return None
        local_part = local_part.lower()
        key_id, _, sealed = local_part.removeprefix(_PATH).partition("-")
        if not local_part.startswith(_PATH) or len(sealed) != _PATH_LENGTH:
            return None
        try:
            key = self._key(key_id)
            octets = b32decode(sealed.upper() + "====")
        except (KeyError, ValueError):
            return None
        data, mac = octets[:-_PATH_MAC], octets[-_PATH_MAC:]
        if not hmac.compare_digest(_path_mac(key, data), mac):
            return None
        # The last letter has bits that are of no use: they are zero in the one spelling that counts.
        if b32encode(octets).rstrip(b"=").decode("ascii").lower() != sealed:
            return None
        return unpack_submission_id(data[:16]), int.from_bytes(data[16:], "big")


def _path_mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, b"return path " + data, "sha256")[:_PATH_MAC]


def _mac(begun: hmac.HMAC, data: bytes) -> bytes:
    mac = begun.copy()
    mac.update(data)
    return mac.digest()


def _decode(text: str) -> bytes:
    """Base64url without padding, in its one spelling only.

    :raises ValueError: for every other one.
    """
    padded = text.encode("ascii").translate(_TO_STANDARD) + b"==="[: -len(text) % 4]
    octets = binascii.a2b_base64(padded)
    # The decoder skips what it does not know, and ignores bits that are left over at the end.
    if binascii.b2a_base64(octets, newline=False) != padded:
        raise ValueError("not in its one spelling")
    return octets
