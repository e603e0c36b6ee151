"""The keys file: what makes our hashes, links and return addresses ours.

Each master key has an id, and everything made with a key names the id, so that a new key can be added while the old
ones still verify.  No master key is used itself: each purpose has a key derived from it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path

from smtpeter.auth.private_files import make_directory, read_private_file, write_file
from smtpeter.errors import ConfigError

KEY_BYTES = 32
_KEY_ID = re.compile(r"[a-z0-9]{1,8}", re.ASCII)

_TEMPLATE = """\
# The keys of this mail server: whoever reads them can forge its links and return addresses.  Keep a copy in a safe
# place; without it every login and token is void, and every DKIM key is lost.  To change keys, add one below the others
# and make it the current one; keep the old ones, and the first one in its place: the store knows this file by it.
current = "{id}"

[keys]
{id} = "{key}"
"""


class KeyRing:
    """Master keys by id, in the order of the file; new things are made with the ``current`` one."""

    def __init__(self, current: str, masters: Mapping[str, bytes]) -> None:
        if current not in masters:
            raise ValueError("the current key is none of the keys")
        self.current = current
        self._masters = dict(masters)
        self._derived: dict[tuple[str, str], bytes] = {}

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, oldest first."""
        return tuple(self._masters)

    @property
    def fingerprint(self) -> str:
        """Tells key rings apart without telling a key.  It stays the same while keys are added."""
        return self.derive("fingerprint", next(iter(self._masters))).hex()[:32]

    def derive(self, purpose: str, key_id: str | None = None) -> bytes:
        """The 32-byte key for a purpose, from the current master key or another (HMAC-SHA-256 as a PRF).

        :raises KeyError: where there is no key with this id.
        """
        which = (purpose, self.current if key_id is None else key_id)
        key = self._derived.get(which)
        if key is None:
            master = self._masters[which[1]]
            key = self._derived[which] = hmac.digest(master, b"smtpeter " + purpose.encode("utf-8"), hashlib.sha256)
        return key

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, ids={self.ids!r})"


def load_or_create(path: Path, *, create: bool = True) -> KeyRing:
    """Read the keys file, or make it where there is none; of several processes that make it at once, one wins.

    ``create`` is false where there is a store already: its keys were made with it, and others are of no use.

    :raises ConfigError: where it is no keys file, or others could have read or changed it, or it is lost.
    """
    try:
        return _parse(read_private_file(path), path)
    except FileNotFoundError:
        if not create:
            raise ConfigError(
                f"the keys file {path} is missing, and the store was made with it: bring it back from a backup"
            ) from None
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode("ascii")
    try:
        make_directory(path.parent)
        write_file(path, _TEMPLATE.format(id="1", key=key).encode("ascii"), replace=False)
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"{path} cannot be made: {error.strerror}") from None
    return _parse(read_private_file(path), path)


def _parse(content: bytes, path: Path) -> KeyRing:
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(f"{path} is no keys file: it is not TOML") from None
    keys = document.get("keys")
    if not isinstance(keys, dict) or not keys:
        raise ConfigError(f"{path} is no keys file: it has no table [keys] with keys in it")
    masters = {}
    for key_id, text in keys.items():
        if not _KEY_ID.fullmatch(key_id):
            raise ConfigError(f"{path}: a key's id is one to eight small letters and digits")
        try:
            masters[key_id] = base64.b64decode(text, validate=True)
        except (TypeError, ValueError):
            masters[key_id] = b""
        if len(masters[key_id]) != KEY_BYTES:
            raise ConfigError(f"{path}: keys.{key_id} is not {KEY_BYTES} octets in base64")
    if document.get("current") not in masters:
        raise ConfigError(f"{path}: current has to be the id of one of the keys")
    return KeyRing(document["current"], masters)
