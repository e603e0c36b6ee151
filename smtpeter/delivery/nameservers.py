"""Asks name servers, and waits for what they say: to be called in a thread."""

from __future__ import annotations

import re
import secrets
import socket
import time
from pathlib import Path
from typing import NamedTuple

from smtpeter.delivery import dnswire
from smtpeter.delivery.dnswire import Query, Response, make_query, parse_response
from smtpeter.model.answer import Answer, AnswerKind, Mx, Question, trouble

SYSTEM = Path("/etc/resolv.conf")

MOST_HOPS = 10
"""Aliases on the way from one name to its records."""

MOST_HOSTS = 100
MOST_ADDRESSES = 64
"""What is kept of one answer; far more than is ever used."""

LONGEST_NEGATIVE = 3600.0
USUAL_NEGATIVE = 300.0
"""Seconds for which there is nothing, where the answer does not say how long."""

_DAY = 86400.0
_MOST_SERVERS = 3  # as resolv.conf(5) has it
_NAMESERVER = re.compile(r"\s*nameserver\s+(\S+)")

Server = tuple[str, int]


class Silence(Exception):
    """No name server said anything of use in time."""


class _Useless(Exception):
    """There is no sense in asking this server again; the text tells why, to follow its name."""


class _Alias(NamedTuple):
    """A response ended with a name that has to be asked for by itself."""

    name: str
    hops: int
    ttl: float


class NameServers:
    """The servers of ``delivery.resolver``: ``"system"`` for those of /etc/resolv.conf, read again when it changes (as
    always with mail, /etc/hosts and search lists do not count), or one address and port.

    It may be used from many threads at once.
    """

    def __init__(self, setting: str, system: Path = SYSTEM) -> None:
        self._system = system
        self._servers: tuple[Server, ...] = ()
        self._changed: tuple[int, int] | None = None
        self._follows_system = setting == "system"
        if not self._follows_system:
            host, _, port = setting.rpartition(":")
            self._servers = ((host.removeprefix("[").removesuffix("]"), int(port)),)
        self._answered_last: Server | None = None

    def look_up(self, question: Question, limit: float, patience: float) -> Answer:
        """Ask, for at most ``limit`` seconds as a whole, and ``patience`` for each answer.

        :raises Silence: where nobody answered in that time.
        """
        end = time.monotonic() + limit
        asked, hops, ttl = question, 0, _DAY
        while True:
            try:
                answer = self._ask(asked, end, patience, hops)
            except ValueError:
                # Such a name may stand on the wire of SMTP, but nobody can have it.
                return Answer(AnswerKind.NXDOMAIN, asked.name, LONGEST_NEGATIVE)
            if isinstance(answer, Answer):
                return answer._replace(ttl=min(ttl, answer.ttl))
            asked, hops, ttl = Question(answer.name, question.type), answer.hops, min(ttl, answer.ttl)

    def servers(self) -> tuple[Server, ...]:
        """Addresses and ports, in the order in which they are asked."""
        if self._follows_system:
            self._read_system()
        # A server that is down should not cost its time again and again.
        return tuple(sorted(self._servers, key=lambda server: server != self._answered_last))

    def _read_system(self) -> None:
        try:
            status = self._system.stat()
            changed = (status.st_mtime_ns, status.st_ino)
            if changed != self._changed:
                lines = self._system.read_text("utf-8", "replace").splitlines()
                found = [match[1] for line in lines if (match := _NAMESERVER.match(line))]
                self._servers = tuple((address, 53) for address in found[:_MOST_SERVERS])
                self._changed = changed
        except OSError:
            pass  # those that were known go on
        self._servers = self._servers or (("127.0.0.1", 53),)

    def _ask(self, question: Question, end: float, patience: float, hops: int) -> Answer | _Alias:
        servers = list(self.servers())
        reason = ""
        while servers:
            for server in tuple(servers):
                if time.monotonic() >= end:
                    raise Silence
                try:
                    response = _exchange(server, question, min(end, time.monotonic() + patience))
                except TimeoutError:
                    continue
                except _Useless as error:
                    reason = f"the name server {server[0]} {error}"
                except OSError as error:
                    reason = f"the name server {server[0]} cannot be reached: {error.strerror or error}"
                else:
                    self._answered_last = server
                    return _read(response, question, hops)
                servers.remove(server)
        return trouble(question, reason)


def _read(response: Response, question: Question, hops: int) -> Answer | _Alias:
    """What a response means, after so many aliases."""
    name, ttl = question.name, _DAY
    while name not in response.records:
        alias = response.aliases.get(name)
        if alias is None:
            break
        hops += 1
        if hops > MOST_HOPS:
            return trouble(question, f"more than {MOST_HOPS} aliases follow each other, or they go in a circle")
        name, ttl = str(alias.value), min(ttl, alias.ttl)
    records = response.records.get(name)
    if records is not None:
        ttl = min(ttl, *(record.ttl for record in records))
        hosts = sorted({record.value for record in records if isinstance(record.value, Mx)})
        addresses = dict.fromkeys(record.value for record in records if isinstance(record.value, str))
        return Answer(AnswerKind.FOUND, name, ttl, tuple(hosts[:MOST_HOSTS]), tuple(addresses)[:MOST_ADDRESSES])
    if response.code == dnswire.NXDOMAIN:
        kind = AnswerKind.NXDOMAIN
    elif name != question.name and response.negative_ttl is None:
        return _Alias(name, hops, ttl)
    elif response.refers:
        return trouble(question, "the name server knows nothing of this name and refers to others")
    else:
        kind = AnswerKind.NODATA
    nothing = USUAL_NEGATIVE if response.negative_ttl is None else response.negative_ttl
    return Answer(kind, name, min(ttl, nothing, LONGEST_NEGATIVE))


def _exchange(server: Server, question: Question, end: float) -> Response:
    """One server's response: NOERROR or NXDOMAIN, and complete.

    :raises TimeoutError: where there was none until ``end``.
    :raises OSError: where the server cannot be reached.
    :raises ValueError: where the name cannot be asked for.
    """
    code = dnswire.NOERROR
    for edns in (True, False):
        query = make_query(question, secrets.randbelow(1 << 16), edns)
        response = _over_udp(server, query, end)
        if response is None or response.truncated:
            response = _over_tcp(server, query, end)
        code = response.code
        if code in (dnswire.NOERROR, dnswire.NXDOMAIN):
            return response
        # A server from before EDNS says one of these (RFC 6891 section 7).
        if code not in (dnswire.FORMERR, dnswire.NOTIMP, dnswire.BADVERS):
            break
    raise _Useless(f"answered {dnswire.code_text(code)}")


def _over_udp(server: Server, query: Query, end: float) -> Response | None:
    """The response; None where something came that is none, so that a better way should be taken.

    The socket is connected, its port is the system's choice and the number is random: somebody else's answer does not
    fit.
    """
    with _socket(server, socket.SOCK_DGRAM, end) as udp:
        udp.send(query.octets)
        udp.settimeout(_left(end))
        return parse_response(udp.recv(65535), query)


def _over_tcp(server: Server, query: Query, end: float) -> Response:
    with _socket(server, socket.SOCK_STREAM, end) as tcp:
        tcp.sendall(len(query.octets).to_bytes(2, "big") + query.octets)
        size = int.from_bytes(_receive(tcp, 2, end), "big")
        response = parse_response(_receive(tcp, size, end), query)
    if response is None or response.truncated:
        raise _Useless("answered with what is no complete response")
    return response


def _receive(tcp: socket.socket, size: int, end: float) -> bytes:
    octets = bytearray()
    while len(octets) < size:
        tcp.settimeout(_left(end))
        piece = tcp.recv(size - len(octets))
        if not piece:
            raise _Useless("closed the connection before its answer was complete")
        octets += piece
    return bytes(octets)


def _socket(server: Server, kind: socket.SocketKind, end: float) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(*server, type=kind, flags=socket.AI_NUMERICHOST)[0]
    except socket.gaierror:
        raise _Useless("is no IP address") from None
    connection = socket.socket(family, kind)
    try:
        connection.settimeout(_left(end))
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
