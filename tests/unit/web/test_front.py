"""The first reader of HTTP, beside twisted.web: whatever one of them would say, the other has to say too."""

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import alsoProvides, implementer

from smtpeter.interfaces import IResourceFeature
from smtpeter.locations import parse_network
from smtpeter.model.feature import NOT_FOUND, WebResponse
from smtpeter.web.front import BREATHER, CONNECTIONS_PER_ADDRESS, TIMEOUT, TURN, FrontFactory
from smtpeter.web.rest.values import json_response
from smtpeter.web.tracking import LONGEST_BODY, Tracking
from tests.fakes.web import FakeApi, make_fake_site
from tests.unit.web.test_lean import NOT_SIMPLE, SIMPLE

NOW = 1_700_000_000.0
PROXY = parse_network("192.0.2.99")


class WallClock:
    def time(self):
        return NOW


@implementer(IResourceFeature)
class Feature:
    """Finds what begins with ``x``, and tells what it was asked in a header of the answer."""

    def __init__(self):
        self.requests = []

    def wants(self, options):
        return False

    def serve(self, request):
        self.requests.append(request)
        if request.tail == "empty":
            return WebResponse(204)
        if not request.tail.startswith("x"):
            return NOT_FOUND
        return WebResponse(302, ((b"Location", b"https://example.com/"), (b"Content-Type", b"text/plain")), b"Moved\n")


class Server:
    """``front``: with the reader of simple requests; otherwise twisted.web alone."""

    def __init__(self, front=True, open=True, directory=None):
        self.clock = Clock()
        self.api = FakeApi()
        self.feature = Feature()
        tracking = Tracking(WallClock(), (PROXY,))
        if open:
            tracking.open({"demo": self.feature})
        site = make_fake_site(directory, tracking=tracking, clock=self.clock, api=self.api)
        self.factory = FrontFactory(site, tracking, WallClock(), self.clock, (PROXY,)) if front else site

    def connect(self, host="192.0.2.7", secure=False):
        return Connection(self, host, secure)

    def ask(self, octets, **options):
        connection = self.connect(**options)
        connection.send(octets)
        return connection.said()


class Connection:
    def __init__(self, server, host="192.0.2.7", secure=False):
        peer = (IPv6Address if ":" in host else IPv4Address)("TCP", host, 4000)
        self.server = server
        self.transport = StringTransport(peerAddress=peer)
        if secure:
            self.transport.setTcpNoDelay = lambda enabled: None
            alsoProvides(self.transport, ISSLTransport)
        self.protocol = server.factory.buildProtocol(peer)
        self.protocol.makeConnection(self.transport)

    def send(self, octets):
        """As a transport does it: nothing more is delivered once we have said goodbye."""
        if not self.transport.disconnecting:
            self.protocol.dataReceived(octets)

    def said(self):
        return self.transport.value()

    def end(self):
        self.protocol.connectionLost(connectionDone)


def comparable(octets):
    """Answers with their fields in no order, and without what twisted.web says of itself and of the time."""
    answers = []
    while octets:
        head, end, octets = octets.partition(b"\r\n\r\n")
        assert end, head
        first, *lines = head.split(b"\r\n")
        fields = {(line.partition(b":")[0].lower(), line.partition(b":")[2].strip()) for line in lines}
        length = int(dict(fields).get(b"content-length", 0))
        assert b"transfer-encoding" not in dict(fields)
        body = (
            octets[:length]
            if octets[:length] in (b"Moved\n", b"Not found\n", b"ok\n", b"Method not allowed\n")
            else b""
        )
        octets = octets[len(body) :]
        ours = sorted(field for field in fields if field[0] not in (b"date", b"server"))
        answers.append((first, ours, body, b"date" in dict(fields)))
    return answers


SAME = {
    "found": SIMPLE,
    "head": SIMPLE.replace(b"GET", b"HEAD"),
    "not found": SIMPLE.replace(b"/x", b"/y"),
    "head not found": SIMPLE.replace(b"GET", b"HEAD").replace(b"/x", b"/y"),
    "another feature": SIMPLE.replace(b"demo", b"other"),
    "no body": SIMPLE.replace(b"/x?y=z", b"/empty"),
    "close": SIMPLE.replace(b"Host", b"Connection: close\r\nHost"),
    "keep-alive": SIMPLE.replace(b"Host", b"Connection: Keep-Alive\r\nHost"),
    "nothing follows close": SIMPLE.replace(b"Host", b"Connection: close\r\nHost") + SIMPLE,
    "three": SIMPLE + SIMPLE.replace(b"/x", b"/y") + SIMPLE.replace(b"GET", b"HEAD"),
    "simple, hard, simple": SIMPLE + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + SIMPLE,
    "post": SIMPLE.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: 3\r\nHost") + b"a=b" + SIMPLE,
    "chunked": SIMPLE.replace(b"GET", b"POST").replace(b"Host", b"Transfer-Encoding: chunked\r\nHost")
    + b"3\r\na=b\r\n0\r\n\r\n"
    + SIMPLE,
    "a forwarded client": SIMPLE.replace(b"Host", b"X-Forwarded-For: 203.0.113.1\r\nHost"),
    **NOT_SIMPLE,
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("host", ["192.0.2.7", "192.0.2.99"])
@pytest.mark.parametrize("secure", [False, True])
def test_both_say_the_same(name, host, secure):
    seen = []
    for front in (True, False):
        server = Server(front)
        connection = server.connect(host, secure)
        connection.send(SAME[name])
        closed = connection.transport.disconnecting
        requests = [request._replace(headers=tuple(sorted(request.headers))) for request in server.feature.requests]
        seen.append((comparable(connection.said()), closed, requests))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(
    "name", ["found", "three", "close", "simple, hard, simple", "post", "chunked", "both", "folded"]
)
def test_cut_anywhere(name):
    octets = SAME[name]
    whole = comparable(Server().ask(octets))
    for cut in range(1, len(octets)):
        connection = Server().connect()
        connection.send(octets[:cut])
        connection.send(octets[cut:])
        assert comparable(connection.said()) == whole, cut


@pytest.mark.parametrize("name", ["found", "three", "simple, hard, simple", "post"])
def test_octet_by_octet(name):
    connection = Server().connect()
    for octet in SAME[name]:
        connection.send(bytes([octet]))
    assert comparable(connection.said()) == comparable(Server().ask(SAME[name]))


@pytest.mark.parametrize("name", NOT_SIMPLE)
def test_attack_smuggling_nothing_hard_is_answered_by_the_lean_reader(name):
    server = Server()
    connection = server.connect()
    connection.send(SIMPLE + NOT_SIMPLE[name] + SIMPLE)
    assert connection.protocol._channel is not None, "twisted.web has the connection from there on"
    before = connection.said()
    connection.send(SIMPLE)
    alone = Server(front=False).connect()
    alone.send(SIMPLE + NOT_SIMPLE[name] + SIMPLE)
    assert comparable(before) == comparable(alone.said())


def test_answers_have_everything_that_keeps_them_from_harm():
    for octets in (SIMPLE, SIMPLE.replace(b"/x", b"/y"), SIMPLE.replace(b"GET", b"PUT")):
        for front in (True, False):
            head = Server(front).ask(octets).partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
            for line in (
                b"cache-control: no-store, private",
                b"x-robots-tag: noindex, nofollow",
                b"referrer-policy: no-referrer",
                b"x-content-type-options: nosniff",
                b"content-security-policy: sandbox; default-src 'none'",
            ):
                assert line in head
            assert not any(line.startswith(b"server:") for line in head)


def test_nothing_of_the_request_is_repeated():
    marked = b"GET /t/demo/<script>needle</script>?needle HTTP/1.1\r\nHost: needle\r\nX-Needle: needle\r\n"
    for first in (
        marked,
        marked.replace(b"GET", b"PUT"),
        marked.replace(b"demo", b"needle"),
        marked + b"Content-Length: x\r\n",
    ):
        assert b"needle" not in Server().ask(first + b"\r\n").lower()


def test_the_date():
    assert b"\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\n" in Server().ask(SIMPLE)


def test_a_feature_is_told_whether_the_client_speaks_tls():
    for front in (True, False):
        server = Server(front)
        server.ask(SIMPLE, secure=True)
        server.ask(SIMPLE)
        assert [request.secure for request in server.feature.requests] == [True, False]


def test_before_the_store_is_open():
    assert Server(open=False).ask(SIMPLE).startswith(b"HTTP/1.1 503 ")


def test_what_is_not_for_readers_of_mail_is_there_too():
    assert Server().ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").endswith(b"\r\n\r\nok\n")
    robots = Server().ask(b"GET /robots.txt HTTP/1.1\r\nHost: x\r\n\r\n")
    assert robots.endswith(b"\r\n\r\nUser-agent: *\nDisallow: /t/\n")


@pytest.mark.parametrize("peer", ["192.0.2.7", "192.0.2.99"])
def test_attack_a_forwarded_address_opens_no_metrics(peer):
    said = Server().ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", host=peer)
    assert said.startswith(b"HTTP/1.1 403 ") and b"smtpeter_" not in said
    assert Server().ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", host="127.0.0.1").startswith(b"HTTP/1.1 200 ")


# --- bodies ---


def post(length):
    return SIMPLE.replace(b"GET", b"POST").replace(b"Host", b"Content-Length: %d\r\nHost" % length) + b"x" * length


def test_a_body_of_just_the_right_size():
    server = Server()
    assert server.ask(post(LONGEST_BODY)).startswith(b"HTTP/1.1 302 ")
    assert server.feature.requests[0].body == b"x" * LONGEST_BODY


def test_attack_a_body_that_is_too_large():
    server = Server()
    connection = server.connect()
    connection.send(post(LONGEST_BODY + 1) + SIMPLE)
    assert connection.said().startswith(b"HTTP/1.1 413 ")
    assert connection.said().count(b"HTTP/1.1 302 ") == 1 and len(server.feature.requests) == 1


def test_attack_an_endless_chunked_body_is_not_kept_and_has_its_time():
    server = Server()
    connection = server.connect()
    connection.send(SIMPLE.replace(b"GET", b"POST").replace(b"Host", b"Transfer-Encoding: chunked\r\nHost"))
    for _ in range(int(TIMEOUT) + 1):
        connection.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        server.clock.advance(1)
    assert connection.transport.disconnecting
    assert not server.feature.requests


# --- time, and room ---


def test_attack_a_header_without_end():
    connection = Server().connect()
    connection.send(b"GET /t/demo/x HTTP/1.1\r\nHost: x\r\nX: ")
    for _ in range(100):
        connection.send(b"y" * 1000)
        if connection.transport.disconnecting:
            break
    assert connection.said().startswith(b"HTTP/1.1 400 ") or connection.transport.disconnecting
    assert connection.transport.disconnecting


@pytest.mark.parametrize("begin", [b"GET /t/demo/x HTTP/1.1\r\nX: ", b"POST /t/demo/x HTTP/1.1\r\nX: "])
def test_attack_a_header_that_comes_octet_by_octet_has_its_time(begin):
    server = Server()
    connection = server.connect()
    connection.send(begin)
    for _ in range(int(TIMEOUT / 10) + 1):
        server.clock.advance(10)
        connection.send(b"y")
    assert connection.transport.disconnecting


def test_an_idle_connection_ends():
    server = Server()
    connection = server.connect()
    connection.send(SIMPLE)
    server.clock.advance(TIMEOUT - 1)
    connection.send(SIMPLE)
    server.clock.advance(TIMEOUT - 1)
    assert not connection.transport.disconnecting
    server.clock.advance(1)
    assert connection.transport.disconnecting


def test_a_connection_that_ended_leaves_nothing_behind():
    for octets in (b"", SIMPLE, SIMPLE[:20], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", SIMPLE * (TURN + 1)):
        server = Server()
        connection = server.connect()
        connection.send(octets)
        connection.end()
        assert not server.clock.getDelayedCalls()
        assert not server.factory._connections and server.factory._total == 0


def test_others_have_their_turn():
    server = Server()
    connection = server.connect()
    connection.send(SIMPLE * (TURN * 2 + 1) + SIMPLE[:10])
    assert connection.said().count(b"HTTP/1.1 302") == TURN
    assert connection.transport.producerState == "paused"
    server.clock.advance(0)
    assert connection.said().count(b"HTTP/1.1 302") == TURN * 2 + 1
    assert connection.transport.producerState == "producing"
    connection.send(SIMPLE[10:])
    assert connection.said().count(b"HTTP/1.1 302") == TURN * 2 + 2


def test_requests_wait_while_more_comes_than_can_be_recorded():
    server = Server()
    behind = True
    server.factory.is_behind = lambda: behind
    connection = server.connect()
    connection.send(SIMPLE)
    connection.send(SIMPLE + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    server.clock.advance(BREATHER)
    assert connection.said() == b"" and connection.transport.producerState == "paused"
    behind = False
    server.clock.advance(BREATHER)
    assert connection.said().count(b"HTTP/1.1 302") == 2 and connection.said().endswith(b"\r\n\r\nok\n")
    assert connection.transport.producerState == "producing"
    connection.end()


def test_a_connection_may_end_while_it_waits():
    server = Server()
    server.factory.is_behind = lambda: True
    connection = server.connect()
    connection.send(SIMPLE)
    connection.end()
    assert not server.clock.getDelayedCalls() and server.factory._total == 0


def test_attack_who_does_not_fetch_answers_gets_no_more_of_them():
    server = Server()
    connection = server.connect()
    connection.protocol.pauseProducing()
    connection.send(SIMPLE)
    assert connection.said() == b"" and connection.transport.producerState == "paused"
    connection.protocol.resumeProducing()
    assert connection.said().count(b"HTTP/1.1 302") == 1
    assert connection.transport.producerState == "producing"


def test_attack_nor_may_it_leave_for_twisted_web_meanwhile():
    server = Server()
    connection = server.connect()
    connection.protocol.pauseProducing()
    connection.send(SIMPLE + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.said() == b""
    connection.protocol.resumeProducing()
    assert connection.said().endswith(b"\r\n\r\nok\n") and connection.transport.producerState == "producing"


def test_attack_one_address_does_not_take_all_places():
    server = Server()
    connections = [server.connect() for _ in range(CONNECTIONS_PER_ADDRESS)]
    peer = IPv4Address("TCP", "192.0.2.7", 4001)
    assert server.factory.buildProtocol(peer) is None
    assert server.factory.buildProtocol(IPv4Address("TCP", "192.0.2.8", 4001)) is not None
    connections.pop().end()
    assert server.factory.buildProtocol(peer) is not None


def test_a_trusted_proxy_may_have_more():
    server = Server()
    for _ in range(CONNECTIONS_PER_ADDRESS + 1):
        server.connect("192.0.2.99")


def test_all_places_are_taken(monkeypatch):
    monkeypatch.setattr("smtpeter.web.front.CONNECTIONS", 3)
    server = Server()
    for number in range(3):
        server.connect(f"198.51.100.{number}")
    assert server.factory.buildProtocol(IPv4Address("TCP", "198.51.100.9", 1)) is None


def test_a_transport_may_be_wrapped_to_send_at_once():
    server = Server()
    wrapped = []

    class Eager:
        def __init__(self, transport):
            self.write = wrapped.append

    server.factory.eager = Eager
    assert server.ask(SIMPLE) == b"" and b"302" in wrapped[0]
    assert b"302" in server.ask(SIMPLE, secure=True), "TLS is not"


# --- mail that is handed over ---

BODY = b'{"recipient": "ann@example.net"}'
POST = (
    b"POST /v1/send?access_token=x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)


@pytest.mark.parametrize("front", [True, False])
def test_the_api_is_told_the_same_by_both(front):
    server = Server(front)
    said = server.ask(POST)
    (request,) = server.api.requests
    assert (request.method, request.target, request.body) == (b"POST", b"/v1/send?access_token=x", BODY)
    assert request.field(b"content-type") == b"application/json" and request.file is None
    assert (request.address, request.peer, request.secure) == ("192.0.2.7", "192.0.2.7", False)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b'{"ok":true}'
    fields = head.split(b"\r\n")
    for field in (b"Content-Type: application/json", b"Cache-Control: no-store", b"Content-Length: 11"):
        assert field in fields


def test_a_request_that_comes_anyhow():
    for place in range(1, len(POST)):
        server = Server()
        connection = server.connect()
        connection.send(POST[:place])
        connection.send(POST[place:])
        assert server.api.bodies == [BODY] and connection.said().endswith(b'{"ok":true}')


def test_nothing_that_follows_is_looked_at_before_the_answer():
    server = Server()
    waiting = Deferred()

    async def answering(request):
        return await waiting

    server.api.answering = answering
    connection = server.connect()
    connection.send(POST + POST + b"GET /t/demo/x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(server.api.requests) == 1 and not connection.said()
    server.api.answering = None
    waiting.callback(json_response({}))
    server.clock.advance(0)
    server.clock.advance(0)
    assert len(server.api.requests) == 2
    assert connection.said().count(b"HTTP/1.1 200") == 2 and connection.said().count(b"HTTP/1.1 302") == 1


def test_attack_who_sends_on_while_an_answer_is_made_is_not_read():
    server = Server()
    waiting = Deferred()

    async def answering(request):
        return await waiting

    server.api.answering = answering
    connection = server.connect()
    connection.send(POST)
    assert connection.transport.producerState == "producing"
    connection.send(POST)
    assert connection.transport.producerState == "paused"
    server.api.answering = None
    waiting.callback(json_response({}))
    server.clock.advance(0)
    assert connection.transport.producerState == "producing" and len(server.api.requests) == 2


def test_a_client_that_goes_has_its_work_cancelled():
    server = Server()
    cancelled = []

    async def answering(request):
        return await Deferred(cancelled.append)

    server.api.answering = answering
    connection = server.connect()
    connection.send(POST)
    connection.end()
    assert cancelled and not server.clock.getDelayedCalls()


def test_an_answer_may_take_its_time():
    server = Server()
    waiting = Deferred()

    async def answering(request):
        return await waiting

    server.api.answering = answering
    connection = server.connect()
    connection.send(POST)
    server.clock.pump([TIMEOUT, TIMEOUT])
    waiting.callback(json_response({}))
    assert connection.said().startswith(b"HTTP/1.1 200")


def test_the_last_request_of_a_connection():
    server = Server()
    connection = server.connect()
    connection.send(POST.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert b"\r\nConnection: close\r\n" in connection.said() and connection.transport.disconnecting


def test_mail_does_not_wait_for_clicks_to_be_written():
    server = Server()
    server.factory.is_behind = lambda: True
    assert server.ask(POST).endswith(b'{"ok":true}')


def test_a_client_that_fetched_its_answers_while_another_is_made_is_read_again():
    server = Server()
    waiting = Deferred()

    async def answering(request):
        return await waiting

    server.api.answering = answering
    connection = server.connect()
    connection.send(POST)
    connection.protocol.pauseProducing()
    connection.protocol.resumeProducing()
    assert connection.transport.producerState == "paused"
    waiting.callback(json_response({}))
    server.clock.advance(0)
    assert connection.transport.producerState == "producing"


def test_a_request_without_an_answer_ends_the_connection(caplog):
    server = Server()

    async def answering(request):
        raise RuntimeError("a bug")

    server.api.answering = answering
    connection = server.connect()
    aborted = []
    connection.transport.abortConnection = lambda: aborted.append(True)
    connection.send(POST)
    assert aborted
