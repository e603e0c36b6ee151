"""TLS with receivers whose certificates nobody promised anything about."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions, TLSVersion, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from smtpeter.locations import is_address


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """Encrypts, whoever is at the other end (RFC 7435): better than nothing, and no promise."""

    def __init__(self, hostname: str, context: SSL.Context) -> None:
        self._hostname = hostname
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if not is_address(self._hostname):  # RFC 6066 section 3: names only
            connection.set_tlsext_host_name(self._hostname.encode("ascii"))
        return connection


class ClientTls:
    """Makes the options of connections; what they share is made once."""

    def __init__(self) -> None:
        self._context: SSL.Context | None = None

    def unverified(self, hostname: str) -> IOpenSSLClientConnectionCreator:
        """For whoever is there."""
        if self._context is None:
            options = CertificateOptions(verify=False, raiseMinimumTo=TLSVersion.TLSv1_2)
            self._context = options.getContext()
        return Unverified(hostname, self._context)

    def verified(self, hostname: str) -> IOpenSSLClientConnectionCreator:
        """For this host and no other, by the certificates that the system trusts."""
        options: IOpenSSLClientConnectionCreator = optionsForClientTLS(hostname)
        return options
