"""A receiver on a real socket that does to each connection what it was told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import warnings
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.receiver import FakeReceiver


class Hostile:
    """Each connection is served in a thread by what ``serve`` makes of it.

    ``serve`` is called with a socket, and may be replaced at any time; whatever it has left open is closed with it.
    """

    def __init__(self, port, address="127.0.0.1"):
        self.port = port
        self.address = address
        self.serve = Dialogue()
        self.connections = 0
        self._open = set()
        self._listener = None

    def start(self):
        self._listener = socket.create_server((self.address, self.port), backlog=100)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def stop(self):
        self._listener.close()
        self.disconnect()

    def disconnect(self):
        """Close every connection that is open."""
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._run, args=(connection, self.serve), daemon=True).start()

    def _run(self, connection, serve):
        # TLS takes the socket over, so that another one is needed to close it from outside.
        with connection.dup() as handle:
            self._open.add(handle)
            # Whatever the other side makes of it is what the test looks at.
            with contextlib.suppress(OSError, ValueError), connection:
                serve(connection)
            self._open.discard(handle)


class Dialogue:
    """Answers as a FakeReceiver with this script does.  ``messages`` and ``commands`` are those of all connections.

    ``tls`` is what STARTTLS is followed by: a context, or octets that are none; ``tls_first``: the context comes before
    the greeting.
    """

    def __init__(self, *, tls=None, tls_first=False, **script):
        self.receivers = []
        self._tls = tls
        self._tls_first = tls_first
        self._script = script

    def __call__(self, connection):
        if self._tls_first:
            connection = self._tls.wrap_socket(connection, server_side=True)
        receiver = FakeReceiver(**self._script)
        self.receivers.append(receiver)
        connection.sendall(receiver.greet())
        while not receiver.dropped and (octets := connection.recv(65536)):
            answer = receiver.receive(octets)
            connection.sendall(answer)
            if octets == b"STARTTLS\r\n" and answer.startswith(b"220"):
                if isinstance(self._tls, bytes):
                    connection.sendall(self._tls)
                else:
                    connection = self._tls.wrap_socket(connection, server_side=True)

    @property
    def messages(self):
        return [message for receiver in self.receivers for message in receiver.messages]

    @property
    def commands(self):
        return [command for receiver in self.receivers for command in receiver.commands]


class Flood:
    """Says the beginning, then these octets without end; ``sent`` counts those that went out."""

    def __init__(self, beginning, octets):
        self.sent = 0
        self._beginning = beginning
        self._octets = octets * (65536 // len(octets) or 1)

    def __call__(self, connection):
        connection.sendall(self._beginning)
        while True:
            self.sent += connection.send(self._octets)


class Stall:
    """Asks for the message and reads no more of it; ``stalled`` counts the connections on which it did."""

    def __init__(self):
        self.stalled = 0
        self.released = threading.Event()

    def __call__(self, connection):
        receiver = FakeReceiver()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        connection.sendall(receiver.greet())
        while not receiver._in_data:
            connection.sendall(receiver.receive(connection.recv(1000)))
        self.stalled += 1
        self.released.wait()


def reset(connection):
    """Not a word, and no polite end either."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def make_certificate(directory, host, valid_from):
    """A certificate that signs itself, for a year: the path of one file with it and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    label = f"{host} {valid_from:%Y-%m-%d}"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, label)])  # by which a client finds whom to trust
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid_from)
        .not_valid_after(valid_from + timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = directory / f"{label}.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(certificate.public_bytes(pem) + private)
    return path


def server_context(path):
    """What a server with the certificate and key in this file serves TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def old_context(path):
    """The same, with nothing newer than TLS 1.0."""
    context = server_context(path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1
    return context
