"""Signs mail with the keys of its author's domain (DKIM: RFC 6376, RFC 8301, RFC 8463).

Nothing has to be switched on: what is signed is mail that has one From field, all addresses of which are in domains of
the account that submitted it.  There is a signature by each key of that domain.  The message stays as it is, and the
signatures go on top.  They have no time in them, so that the same octets always get the same signatures.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_private_key
from zope.interface import implementer

from smtpeter.api import (
    ConfigError,
    IFeaturePlugin,
    IFeatureServices,
    ISigningFeature,
    KeyAlgorithm,
    Option,
    Options,
    SigningKey,
    author_domains,
    read_fields,
)

NAME = "dkim"

# Each of these is named once more than it is there, so that none can be added to a signed message: readers show what
# was added, or take the text for something else (RFC 6376 section 8.15).
OVERSIGNED = (
    "From", "To", "Cc", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type",
    "Content-Transfer-Encoding", "List-Unsubscribe", "List-Unsubscribe-Post",
)  # fmt: skip
# These are signed as often as they are there.  Forwarders and mailing lists add them, and nobody is misled by that.
SIGNED = (
    "Sender", "In-Reply-To", "References", "List-Id", "List-Help", "List-Subscribe", "List-Post", "List-Owner",
    "List-Archive", "Feedback-ID",
)  # fmt: skip

_SPARES = {name: name in OVERSIGNED for name in (*OVERSIGNED, *SIGNED)}
_NAMES = {name.lower().encode("ascii"): name for name in _SPARES}
_WIDTH = 78  # characters of a line (RFC 5322 section 2.1.1)
_CHUNK = 72  # of a signature on one line
_PIECE = 65_536  # octets of the body that are looked at at a time: other threads can run in between
_KEYS_KEPT = 1000
_QUICK = 2048  # bits of an RSA key: 4096 take six times as long
_PADDING = PKCS1v15()
_DIGEST = Prehashed(SHA256())

Fields = Sequence[tuple[bytes, bytes]]


@implementer(ISigningFeature)
class Dkim:
    """Makes the signatures."""

    def __init__(self, services: IFeatureServices) -> None:
        self._services = services
        self._loaded: dict[SigningKey, Any] = {}

    def wants(self, options: Options) -> bool:
        """See the interface."""
        return True

    def signs(self, account: int | None) -> bool:
        """See the interface."""
        return self._services.has_signing_keys(account)

    def is_quick(self, account: int | None) -> bool:
        """See the interface."""
        return self._services.longest_signing_key(account) <= _QUICK

    def sign(self, content: bytes, account: int | None) -> bytes:
        """See the interface."""
        end = content.find(b"\r\n\r\n")
        header_end, body = (end + 2, end + 4) if end >= 0 else (len(content), len(content))
        try:
            fields = read_fields(content[:header_end])
            domains = author_domains(fields)
        except ValueError:
            return b""
        keys, *others = [self._services.signing_keys(account, domain) for domain in dict.fromkeys(domains)]
        if not keys or not all(others):
            return b""
        names, header = signed_header(fields)
        digest = b64encode(hash_body(content, body)).decode("ascii")
        # RSA comes first, for verifiers that look at one signature only.
        ordered = sorted(keys, key=lambda key: key.algorithm is not KeyAlgorithm.RSA)
        return b"".join([self._signature(key, names, header, digest) for key in ordered])

    def _signature(self, key: SigningKey, names: Sequence[str], header: bytes, digest: str) -> bytes:
        """One field.  Its words are parted by one space, or by the end of a line and one space: both mean the same to
        who verifies it (RFC 6376 section 3.4.2)."""
        words = [
            "v=1;",
            f"a={key.algorithm}-sha256;",
            "c=relaxed/relaxed;",
            f"d={key.domain};",
            f"s={key.selector};",
            *names,
            f"bh={digest};",
        ]
        signed = hashlib.sha256(header)
        signed.update(f"dkim-signature:{' '.join(words)} b=".encode("ascii"))
        private = self._load(key)
        if key.algorithm is KeyAlgorithm.RSA:
            octets = private.sign(signed.digest(), _PADDING, _DIGEST)
        else:
            octets = private.sign(signed.digest())  # RFC 8463 section 3: of the hash
        signature = f"b={b64encode(octets).decode('ascii')}"
        words += [signature[start : start + _CHUNK] for start in range(0, len(signature), _CHUNK)]
        return _fold("DKIM-Signature:", words).encode("ascii")

    def _load(self, key: SigningKey) -> Any:
        loaded = self._loaded.get(key)
        if loaded is None:
            if len(self._loaded) >= _KEYS_KEPT:
                self._loaded.clear()
            # It was checked when it was made or read, and nobody can have changed it since.
            loaded = load_der_private_key(key.private, None, unsafe_skip_rsa_key_validation=True)
            self._loaded[key] = loaded
        return loaded


def signed_header(fields: Fields) -> tuple[list[str], bytes]:
    """The ``h=`` in words, and the fields that it names, in the form in which they are signed: relaxed (RFC 6376
    section 3.4.2), of several with one name the last one first (section 5.4.2)."""
    found: dict[str, list[bytes]] = {name: [] for name in _SPARES}
    for name, value in fields:
        known = _NAMES.get(name)
        if known is not None:
            text = b" ".join([word for word in value.replace(b"\t", b" ").split(b" ") if word])
            found[known].append(b"%b:%b\r\n" % (name, text))
    names = [f"{name}:" for name, lines in found.items() for _ in range(len(lines) + _SPARES[name])]
    names[0] = f"h={names[0]}"
    names[-1] = f"{names[-1][:-1]};"
    return names, b"".join([line for lines in found.values() for line in reversed(lines)])


def hash_body(content: bytes, start: int) -> bytes:
    """The SHA-256 of a message's body in relaxed form (RFC 6376 section 3.4.4)."""
    digest = hashlib.sha256()
    ends = 0  # of lines: those behind the last line with something in it do not count, but for its own
    is_empty = True
    for piece in _line_pieces(content, start):
        text = piece.replace(b"\t", b" ")
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        text = text.replace(b" \r\n", b"\r\n")
        if not text.endswith(b"\r\n"):
            text = text.rstrip(b" ")
        end = _blank_from(text)
        if end:
            digest.update(b"\r\n" * ends)
            digest.update(text[:end])
            ends, is_empty = 0, False
        ends += (len(text) - end) // 2
    if not is_empty:
        digest.update(b"\r\n")
    return digest.digest()


def _blank_from(text: bytes) -> int:
    """Where the ends of lines at the end of a text begin."""
    end = len(text.rstrip(b"\r\n"))
    if text.count(b"\r\n", end) * 2 != len(text) - end:  # some are no ends of lines
        end = len(text)
        while text.endswith(b"\r\n", 0, end):
            end -= 2
    return end


def _line_pieces(content: bytes, start: int) -> Iterator[bytes]:
    """Pieces that end where a line ends."""
    while start < len(content):
        end = start + _PIECE
        if end < len(content):
            end = (content.rfind(b"\n", start, end) + 1) or (content.find(b"\n", end) + 1) or len(content)
        yield content[start:end]
        start = end


def _fold(name: str, words: Sequence[str]) -> str:
    """A field of these words, on lines that are as long as they may be."""
    lines = [name]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append("")
        lines[-1] += f" {word}"
    return "\r\n".join(lines) + "\r\n"


@implementer(IFeaturePlugin)
class DkimPlugin:
    """How it is found."""

    name = NAME
    options: tuple[Option, ...] = ()
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()

    def configure(self, section: Mapping[str, Any], services: IFeatureServices) -> Dkim:
        """See the interface."""
        for key in section:
            raise ConfigError(f"features.{NAME}.{key}: there is no such key")
        return Dkim(services)


plugin = DkimPlugin()
