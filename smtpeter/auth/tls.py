"""TLS for everything that listens: one context, made anew when the certificate's files change."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from smtpeter.errors import ConfigError

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
_LOOK_EVERY = 1.0
_TICKET_KEY_AGE = 86400.0

_Stamp = tuple[tuple[int, int, int], ...]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTls:
    """Makes the server's side of TLS connections, for implicit TLS and for STARTTLS.

    TLS 1.2 and later, forward secrecy only, sessions resumed by tickets, whose keys live as long as the context: a day.
    When the files change they are read again, at the next connection; while they are broken the old certificate stays.
    """

    _log = Logger()

    def __init__(self, certificate: Path, private_key: Path, seconds: Callable[[], float]) -> None:
        """``seconds`` is a monotonic clock.

        :raises ConfigError: where the files cannot be used.
        """
        self._certificate = certificate
        self._private_key = private_key
        self._seconds = seconds
        self._stamp = self._take_stamp()
        self._context = self._make_context()
        self._made = self._looked = seconds()

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        now = self._seconds()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._renew(now)
        return SSL.Connection(self._context, None)

    def _renew(self, now: float) -> None:
        """Make a new context where the files changed, or the ticket keys are old."""
        stamp = self._take_stamp()
        changed = stamp != self._stamp
        if not changed and now - self._made < _TICKET_KEY_AGE:
            return
        self._stamp, self._made = stamp, now
        try:
            self._context = self._make_context()
        except ConfigError as error:
            self._log.error("the certificate in use stays, for the new one is broken: {reason}", reason=str(error))
        else:
            if changed:
                self._log.info("the certificate was read again: {path}", path=str(self._certificate))

    def _take_stamp(self) -> _Stamp | None:
        """What differs when one of the files was written or replaced; None where one is not there."""
        try:
            return tuple(
                (status.st_mtime_ns, status.st_size, status.st_ino)
                for status in (self._certificate.stat(), self._private_key.stat())
            )
        except OSError:
            return None

    def _make_context(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(_CIPHERS)
        context.set_session_id(secrets.token_bytes(16))
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        self._load_certificate(context)
        self._load_private_key(context)
        return context

    def _load_certificate(self, context: SSL.Context) -> None:
        path = self._certificate
        try:
            with path.open("rb"):
                context.use_certificate_chain_file(str(path))
        except OSError as error:
            raise ConfigError(f"tls.certificate: {path} cannot be read: {error.strerror}") from None
        except SSL.Error:
            raise ConfigError(f"tls.certificate: {path} is not a certificate in PEM") from None

    def _load_private_key(self, context: SSL.Context) -> None:
        """A group may read the key (such as Debian's ssl-cert); nobody else may."""
        path = self._private_key
        try:
            with path.open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                content = file.read()
        except OSError as error:
            raise ConfigError(f"tls.private_key: {path} cannot be read: {error.strerror}") from None
        if mode & 0o027:
            raise ConfigError(f"tls.private_key: {path} can be reached by all users or written by a group: chmod 640")
        try:
            context.use_privatekey(load_pem_private_key(content, None))  # type: ignore[arg-type]
            context.check_privatekey()
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigError(f"tls.private_key: {path} is not a private key in PEM without a password") from None
        except SSL.Error:
            raise ConfigError(f"tls.private_key: {path} does not belong to {self._certificate}") from None
