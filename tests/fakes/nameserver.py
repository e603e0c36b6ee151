"""A name server on real sockets, in threads of its own, that tells lies where it is told to.

``zone`` is by name, in lower case without a dot at the end: a dict of record types and values, or a callable that makes
one of the name.  ``*.example.com`` is every name below that is not there itself.  Values of MX are (preference, host)
with an empty host for the null MX; of CNAME one name; of everything else texts as in a zone file.

    zone = {
        "example.com": {"MX": [(10, "mx.example.com")]},
        "mx.example.com": {"A": ["192.0.2.1"], "AAAA": ["2001:db8::1"]},
        "*.many.example": lambda name: {"MX": [(10, "mx.example.com")]},
    }
    with LyingNameServer(zone, lies={"dead.example": "timeout"}) as server:
        ...  # delivery.resolver = server.address

A lie is one of LIES, or a list of them: one for each query for that name, then the truth ("" is the truth, too).
``zone`` and ``lies`` may be changed at any time.  It follows aliases within its zone, as a resolver would.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

LIES = {
    "timeout": "nothing is said",
    "slow": "the truth, after a second and a half",
    "servfail": "SERVFAIL",
    "refused": "REFUSED",
    "notimp": "NOTIMP",
    "no edns": "FORMERR to queries with EDNS, the truth to others",
    "truncated": "TC over UDP, the truth over TCP",
    "truncated always": "TC over UDP and TCP",
    "no tcp": "TC over UDP, a closed connection over TCP",
    "silent tcp": "TC over UDP, nothing over TCP",
    "huge": "TC over UDP, ten megabytes over TCP",
    "drip": "TC over UDP, over TCP an octet every fifth of a second",
    "lame": "a referral to the root",
    "ttl 0": "the truth, with a TTL of 0",
    "partial": "only the first alias of the way",
    "wrong id": "the truth with another id",
    "wrong question": "the truth for another name",
    "forged first": "an answer with another id, then the truth",
    "garbage": "octets of any kind",
    "case": "the truth, with all names that it is about in upper case",
}

_PATIENCE = 0.05
_CODES = {"servfail": dns.rcode.SERVFAIL, "refused": dns.rcode.REFUSED, "notimp": dns.rcode.NOTIMP}
_CUT = {"truncated", "truncated always", "no tcp", "silent tcp", "huge", "drip"}


class LyingNameServer:
    """``queries`` counts by (name, type), ``transports`` by "udp" and "tcp"; ``ttl`` is that of all records."""

    def __init__(self, zone=None, lies=None, ttl=300, negative_ttl=60, host="127.0.0.1", port=0):
        self.zone = {} if zone is None else zone
        self.lies = {} if lies is None else lies
        self.ttl = ttl
        self.negative_ttl = negative_ttl
        self.queries = Counter()
        self.transports = Counter()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._udp, self._tcp = _both_sockets(host, port)
        self._threads = []
        self.port = self._udp.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    @property
    def count(self):
        return sum(self.queries.values())

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        self._begin(self._serve_udp)
        self._begin(self._serve_tcp)

    def stop(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join(10)
        self._udp.close()
        self._tcp.close()

    def _begin(self, function, *arguments):
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()] + [thread]
        thread.start()

    # --- the truth --------------------------------------------------------------------------------------------------

    def _records(self, name):
        """What the zone has of a name; None where there is no such name."""
        found = self.zone.get(name)
        above = name
        while found is None and "." in above:
            above = above.partition(".")[2]
            found = self.zone.get(f"*.{above}")
        return found(name) if callable(found) else found

    def _truth(self, query, ttl, partial=False):
        response = dns.message.make_response(query, recursion_available=True)
        question = query.question[0]
        name, kind = _text(question.name), dns.rdatatype.to_text(question.rdtype)
        for _ in range(100):
            records = self._records(name)
            if records is None:
                if not any(below.endswith(f".{name}") for below in self.zone):
                    response.set_rcode(dns.rcode.NXDOMAIN)
                break
            if kind in records:
                response.answer.append(_rrset(name, ttl, kind, records[kind]))
                return response
            if "CNAME" not in records:
                break
            if any(_text(each.name) == name for each in response.answer):
                return response  # round and round
            response.answer.append(_rrset(name, ttl, "CNAME", [records["CNAME"]]))
            if partial:
                return response
            name = records["CNAME"]
        soa = f"ns.invalid. root.invalid. 1 3600 600 86400 {self.negative_ttl}"
        response.authority.append(dns.rrset.from_text(".", self.negative_ttl, "IN", "SOA", soa))
        return response

    # --- and the lies -----------------------------------------------------------------------------------------------

    def _lie_for(self, name):
        with self._lock:
            lie = self.lies.get(name, "")
            if isinstance(lie, list):
                lie = lie.pop(0) if lie else ""
        assert not lie or lie in LIES, lie
        return lie

    def _answers(self, query, lie, transport):
        """The octets to be sent, each as an answer of its own."""
        if lie == "garbage":
            return [random.randbytes(60)]
        if lie in _CODES or (lie == "no edns" and query.edns >= 0):
            response = dns.message.make_response(query, recursion_available=True)
            response.set_rcode(_CODES.get(lie, dns.rcode.FORMERR))
            return [response.to_wire()]
        if lie == "lame":
            response = dns.message.make_response(query)
            response.authority.append(dns.rrset.from_text(".", 3600, "IN", "NS", "a.root-servers.net."))
            return [response.to_wire()]
        response = self._truth(query, 0 if lie == "ttl 0" else self.ttl, partial=lie == "partial")
        if (lie in _CUT and transport == "udp") or lie == "truncated always":
            return [_cut(query)]
        wire = response.to_wire(max_size=65535)
        other = bytes([wire[0] ^ 0xFF, wire[1]]) + wire[2:]
        if lie == "wrong id":
            return [other]
        if lie == "forged first":
            return [other, wire]
        if lie == "wrong question":
            response.question[0].name = dns.name.from_text("another.example.")
            return [response.to_wire()]
        if lie == "case":
            for each in (*response.question, *response.answer):
                each.name = dns.name.from_text(each.name.to_text().upper())
            return [response.to_wire()]
        if transport == "udp" and len(wire) > max(512, query.payload):
            return [_cut(query)]
        return [wire]

    def _count(self, query, transport):
        question = query.question[0]
        name = _text(question.name)
        with self._lock:
            self.queries[name, dns.rdatatype.to_text(question.rdtype)] += 1
            self.transports[transport] += 1
        return name

    # --- sockets ----------------------------------------------------------------------------------------------------

    def _serve_udp(self):
        while not self._stopped.is_set():
            try:
                octets, client = self._udp.recvfrom(65535)
                query = dns.message.from_wire(octets)
            except (TimeoutError, ConnectionError, dns.exception.DNSException):
                continue
            lie = self._lie_for(self._count(query, "udp"))
            if lie == "slow":
                self._begin(self._send_later, self._answers(query, lie, "udp"), client)
            elif lie != "timeout":
                self._send(self._answers(query, lie, "udp"), client)

    def _send_later(self, answers, client):
        if not self._stopped.wait(1.5):
            self._send(answers, client)

    def _send(self, answers, client):
        for answer in answers:
            try:
                self._udp.sendto(answer, client)
            except OSError:
                pass

    def _serve_tcp(self):
        while not self._stopped.is_set():
            try:
                connection, _ = self._tcp.accept()
            except TimeoutError:
                continue
            self._begin(self._serve_connection, connection)

    def _serve_connection(self, connection):
        with connection:
            connection.settimeout(5)
            try:
                size = int.from_bytes(_exactly(connection, 2), "big")
                query = dns.message.from_wire(_exactly(connection, size))
                lie = self._lie_for_tcp(self._count(query, "tcp"))
                if lie == "no tcp":
                    return
                if lie in ("timeout", "silent tcp"):
                    self._stopped.wait(5)
                elif lie == "huge":
                    connection.sendall(b"\xff\xff" + bytes(10_000_000))
                else:
                    for answer in self._answers(query, lie, "tcp"):
                        self._write(connection, len(answer).to_bytes(2, "big") + answer, slowly=lie == "drip")
            except (OSError, EOFError, dns.exception.DNSException):
                pass

    def _lie_for_tcp(self, name):
        """A list was for queries, and the one over TCP belongs to the one over UDP."""
        lie = self.lies.get(name, "")
        return "" if isinstance(lie, list) else lie

    def _write(self, connection, octets, slowly):
        if not slowly:
            connection.sendall(octets)
            return
        for octet in octets:
            connection.sendall(bytes([octet]))
            if self._stopped.wait(0.2):
                return


def _both_sockets(host, port):
    """A UDP and a TCP socket with this port, or with the same free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(50):
        udp = socket.socket(family, socket.SOCK_DGRAM)
        tcp = socket.socket(family, socket.SOCK_STREAM)
        try:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            udp.bind((host, port))
            tcp.bind((host, udp.getsockname()[1]))
            tcp.listen(100)
        except OSError:
            udp.close()
            tcp.close()
            time.sleep(0.01)
            continue
        udp.settimeout(_PATIENCE)
        tcp.settimeout(_PATIENCE)
        return udp, tcp
    raise OSError(f"port {port or 'of any number'} of {host} is not free for UDP and TCP")


def _cut(query):
    response = dns.message.make_response(query, recursion_available=True)
    response.flags |= dns.flags.TC
    return response.to_wire()


def _exactly(connection, size):
    octets = b""
    while len(octets) < size:
        piece = connection.recv(size - len(octets))
        if not piece:
            raise EOFError
        octets += piece
    return octets


def _text(name):
    return name.to_text(omit_final_dot=True).lower()


def _rrset(name, ttl, kind, values):
    if kind == "MX":
        values = [f"{preference} {host}." for preference, host in values]
    elif kind == "CNAME":
        values = [f"{value}." for value in values]
    return dns.rrset.from_text(dns.name.from_text(f"{name}."), ttl, "IN", kind, *values)
