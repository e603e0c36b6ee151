"""TLS for everything that listens: one context, made anew when the certificate's files change."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from smtpeter.auth.pem import Pair, read_pair
from smtpeter.errors import ConfigError

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# Those of TLS 1.3.  A handshake with SHA-256 costs the server a sixth less than one with SHA-384.
_SUITES = b"TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
# Without ffdhe2048 and ffdhe3072 (up to seven times our CPU time for a handshake: the D(HE)at attack), X448 and P-521.
_GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")
_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
_LOOK_EVERY = 1.0
_TICKET_KEY_AGE = 86400.0

_Stamp = tuple[tuple[int, int, int, int], ...]


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
        self._stamp = self._failed_stamp = self._take_stamp()
        self._pair = read_pair(certificate, private_key)
        self._context = self._make_context(self._pair)
        self._made = self._looked = seconds()

    @property
    def expires(self) -> float:
        """When the certificate in use ends (seconds since the epoch)."""
        return self._pair.expires

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        now = self._seconds()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._renew(now)
        return SSL.Connection(self._context, None)

    def warn_of_privileges(self) -> None:
        """Say so, once the privileges of the start were dropped, if a renewed certificate will not be seen."""
        self._stamp = self._take_stamp()
        try:
            self._use(read_pair(self._certificate, self._private_key))
        except ConfigError as error:
            self._log.warn(
                "the certificate was read with privileges that are gone, and a renewed one will not be seen: {reason}",
                event="certificate",
                reason=str(error),
            )

    def _renew(self, now: float) -> None:
        """Make a new context where the files changed, or the ticket keys are old."""
        stamp = self._take_stamp()
        if stamp == self._stamp:
            if now - self._made >= _TICKET_KEY_AGE:
                self._context, self._made = self._make_context(self._pair), now
            return
        try:
            changed = self._use(read_pair(self._certificate, self._private_key))
        except ConfigError as error:
            # One file is replaced after the other: not before the second look with the same result is it a fault.
            if stamp == self._failed_stamp:
                self._stamp = stamp
                self._log.error(
                    "the certificate in use stays, for the new one is broken: {reason}",
                    event="certificate",
                    reason=str(error),
                )
            self._failed_stamp = stamp
            return
        self._stamp = self._failed_stamp = stamp
        if changed:
            path = str(self._certificate)
            self._log.info("the certificate was read again: {path}", event="certificate", path=path)

    def _use(self, pair: Pair) -> bool:
        """Use this for connections to come; answers whether it is another one."""
        if pair.chain == self._pair.chain:
            return False
        self._context, self._pair, self._made = self._make_context(pair), pair, self._seconds()
        return True

    def _take_stamp(self) -> _Stamp | None:
        """What differs when one of the files was written, replaced or opened to us; None where one is not there."""
        try:
            return tuple(
                (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
                for status in (self._certificate.stat(), self._private_key.stat())
            )
        except OSError:
            return None

    def _make_context(self, pair: Pair) -> SSL.Context:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(_CIPHERS)
        context.set_tls13_ciphersuites(_SUITES)
        _choose_groups(context)
        context.set_session_id(secrets.token_bytes(16))
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        try:
            context.use_certificate(pair.chain[0])
            for certificate in pair.chain[1:]:
                context.add_extra_chain_cert(certificate)
            context.use_privatekey(pair.private_key)
        except SSL.Error as error:
            reason = error.args[0][0][2] if error.args and error.args[0] else "for no reason that it tells"
            raise ConfigError(f"tls.certificate: {self._certificate} is refused by OpenSSL: {reason}") from None
        return context


def _choose_groups(context: SSL.Context) -> None:
    """Key exchange in the first of ``_GROUPS`` that this OpenSSL knows all of.

    pyOpenSSL has no public name for this; where the function is not there, OpenSSL's own choice stays.
    """
    library = SSL._lib  # type: ignore[attr-defined]
    choose = getattr(library, "SSL_CTX_set1_curves_list", None)
    if choose is None:
        return
    for groups in _GROUPS:
        if choose(context._context, groups):
            return
        library.ERR_clear_error()
