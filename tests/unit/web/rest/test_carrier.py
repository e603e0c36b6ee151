"""Requests for the API and their answers, over a transport in memory."""

from __future__ import annotations

import json
import os

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent, globalLogPublisher

from smtpeter.web import uploads
from smtpeter.web.rest.carrier import LINGER, STALLED, UNKNOWN
from smtpeter.web.rest.values import ApiError, Response
from smtpeter.web.uploads import IN_MEMORY
from tests.fakes.web import FakeApi, make_fake_site

LONGEST = 2_000_000
PEER = IPv4Address("TCP", "192.0.2.7", 4000)


class Client:
    def __init__(self, directory, api="fake", **options):
        self.clock = Clock()
        self.directory = directory
        self.api = FakeApi() if api == "fake" else api
        self.site = make_fake_site(directory, clock=self.clock, api=self.api, longest=LONGEST, **options)
        self.site.carrier.uploads.prepare()
        self.transport = StringTransport(peerAddress=PEER)
        self.aborted = False
        self.transport.abortConnection = self.abort
        self.channel = self.site.buildProtocol(PEER)
        self.channel.makeConnection(self.transport)

    def abort(self):
        self.aborted = True
        self.channel.connectionLost(None)

    def send(self, octets):
        self.channel.dataReceived(octets)

    def post(self, body, path=b"/v1/send", fields=b""):
        self.send(b"POST %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (path, fields, len(body)))
        for start in range(0, len(body), 65536):
            self.send(body[start : start + 65536])

    def answer(self):
        """Status, fields by name in lower case, and body."""
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        return int(lines[0].split(b" ")[1]), fields, body

    def files(self):
        return list(self.directory.iterdir())


@pytest.fixture
def client(tmp_path):
    return Client(tmp_path)


def test_a_request_and_its_answer(client):
    client.post(b"{}", b"/v1/send?access_token=x", b"Content-Type: application/json\r\n")
    (request,) = client.api.requests
    assert (request.method, request.target, request.body) == (b"POST", b"/v1/send?access_token=x", b"{}")
    assert request.field(b"content-type") == b"application/json"
    assert (request.address, request.peer, request.secure) == ("192.0.2.7", "192.0.2.7", False)
    status, fields, body = client.answer()
    assert (status, body) == (200, b'{"ok":true}')
    assert fields[b"content-type"] == b"application/json" and fields[b"cache-control"] == b"no-store"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"content-length"] == b"11" and b"access-control-allow-origin" not in fields


def test_requests_that_are_split_anywhere(tmp_path):
    octets = b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd"
    for place in range(1, len(octets)):
        client = Client(tmp_path)
        client.send(octets[:place])
        client.send(octets[place:])
        assert client.api.bodies == [b"abcd"]
        assert client.answer()[0] == 200


def test_a_chunked_body(client):
    client.send(
        b"POST /v1/send HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert client.api.bodies == [b"abcde"]


def test_one_request_after_the_other_on_a_connection(client):
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\nGET /v1/b HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [request.target for request in client.api.requests] == [b"/v1/a", b"/v1/b"]
    assert client.transport.value().count(b"HTTP/1.1 200") == 2


def test_the_answer_to_head_has_no_body(client):
    client.send(b"HEAD /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, body = client.answer()
    assert (status, fields[b"content-length"], body) == (200, b"11", b"")


def test_before_the_start_and_after_the_end_clients_are_asked_to_come_again(tmp_path):
    client = Client(tmp_path, api=None)
    client.post(b"{}")
    status, fields, body = client.answer()
    assert status == 503 and b"retry-after" in fields and "starting" in json.loads(body)["error"]
    ended = client.site.carrier.stop()
    assert ended.called


def test_the_end_waits_for_what_is_under_way(client):
    waiting = Deferred()

    async def answering(request):
        return await waiting

    client.api.answering = answering
    client.post(b"{}")
    ended = client.site.carrier.stop()
    assert not ended.called
    waiting.callback(Response(200, b"text/plain", b"done"))
    assert ended.called and client.answer()[2] == b"done"


# --- large bodies ---


def test_a_large_body_goes_to_a_file_that_is_removed_after_the_answer(client):
    body = os.urandom(IN_MEMORY + 1)
    client.post(body)
    (request,) = client.api.requests
    assert request.body == b"" and client.api.bodies == [body]
    assert client.answer()[0] == 200 and client.files() == []


def test_who_sends_a_large_body_is_looked_at_before_it_is_taken(client):
    waiting = Deferred()
    client.api.admitting = lambda request: waiting
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    client.send(b"x" * UNKNOWN)
    assert not client.api.heads
    client.send(b"x")
    assert len(client.api.heads) == 1 and client.transport.producerState == "paused"
    waiting.callback(None)
    assert client.transport.producerState == "producing"
    client.send(b"x" * (1_000_000 - UNKNOWN - 1))
    assert client.answer()[0] == 200


def test_who_may_not_send_is_told_at_once(client):
    async def admitting(request):
        raise ApiError(401, "no token")

    client.api.admitting = admitting
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
    client.send(b"x" * (UNKNOWN + 1))
    status, fields, body = client.answer()
    assert (status, json.loads(body)) == (401, {"error": "no token"}) and fields[b"connection"] == b"close"
    assert not client.transport.disconnecting, "the rest is read, so that the client reads the answer"
    client.send(b"x" * (1_000_000 - UNKNOWN - 1))
    assert client.transport.disconnecting and client.api.requests == [] and client.files() == []


def test_attack_a_declared_length_that_is_too_large(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (LONGEST + 1))
    status, _, body = client.answer()
    assert status == 413 and str(LONGEST) in json.loads(body)["error"]
    client.clock.advance(LINGER)
    assert client.transport.disconnecting and client.api.requests == []


def test_attack_a_chunked_body_that_never_ends(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(LONGEST // 65536 + 2):
        client.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    assert client.answer()[0] == 413 and client.files() == []
    client.clock.advance(LINGER)
    assert client.transport.disconnecting and client.api.requests == []


def test_too_many_large_bodies_at_once(client, monkeypatch):
    monkeypatch.setattr(uploads, "MOST", 0)
    client.post(b"x" * (IN_MEMORY + 1))
    assert client.answer()[0] == 503 and client.api.requests == []


def test_a_disk_without_room(client, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    client.post(b"x" * (IN_MEMORY + 1))
    monkeypatch.undo()
    assert client.answer()[0] == 503 and client.api.requests == [] and client.files() == []


def test_a_client_that_is_lost_in_the_middle_leaves_nothing(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"x" * (IN_MEMORY + 1))
    assert len(client.files()) == 1
    client.channel.connectionLost(None)
    assert client.files() == [] and client.api.requests == []


def test_a_client_that_is_lost_before_its_answer_has_its_work_cancelled(client):
    cancelled = []
    waiting = Deferred(cancelled.append)

    async def answering(request):
        return await waiting

    client.api.answering = answering
    client.post(b"x" * (IN_MEMORY + 1))
    client.channel.connectionLost(None)
    assert cancelled and client.files() == []


# --- time ---


def test_attack_a_slow_request_is_cut_off(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    for _ in range(13):
        client.clock.advance(5)
        client.send(b"x")
    assert client.transport.disconnecting and client.api.requests == []


def test_a_large_body_has_the_time_that_it_needs(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(200):
        client.clock.advance(1)
        client.send(b"x" * 1000)
    assert client.answer()[0] == 200


def test_attack_a_large_body_that_stops_coming(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1500000\r\n\r\n" + b"x" * 400_000)
    for _ in range(30):
        client.clock.advance(10)
    assert client.transport.disconnecting


# --- answers that are fetched ---


async def pieces(count):
    for number in range(count):
        yield b"%d\n" % number


def test_a_stream(client):
    async def answering(request):
        return Response(200, b"text/csv", pieces(3))

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    status, fields, body = client.answer()
    assert status == 200 and fields[b"transfer-encoding"] == b"chunked"
    assert body == b"2\r\n0\n\r\n2\r\n1\n\r\n2\r\n2\n\r\n0\r\n\r\n"


def test_a_stream_goes_no_faster_than_the_client_takes_it(client):
    fetched = []

    async def body():
        async for piece in pieces(5):
            fetched.append(piece)
            yield piece
            if len(fetched) == 2:
                client.channel.pauseProducing()

    async def answering(request):
        return Response(200, b"text/csv", body())

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert len(fetched) <= 3
    client.channel.resumeProducing()
    assert len(fetched) == 5


def test_a_client_that_takes_nothing_is_cut_off(client):
    async def body():
        yield b"x"
        client.channel.pauseProducing()
        yield b"y"
        yield b"z"

    async def answering(request):
        return Response(200, b"text/csv", body())

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert not client.aborted
    client.clock.advance(STALLED)
    assert client.aborted


def test_a_stream_that_fails_does_not_look_complete(client):
    async def body():
        yield b"x"
        raise RuntimeError("a bug")

    async def answering(request):
        return Response(200, b"text/csv", body())

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.aborted and not client.transport.value().endswith(b"0\r\n\r\n")


def test_what_an_earlier_process_left_is_removed(tmp_path):
    (tmp_path / "abc.upload").write_bytes(b"x")
    (tmp_path / "abc.upload.composed").write_bytes(b"x")
    assert Client(tmp_path).files() == []


def test_statuses_that_twisted_does_not_know_have_their_names(client):
    async def answering(request):
        return Response(429, b"text/plain", b"")

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.transport.value().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


@pytest.mark.parametrize("target", [b"/v1", b"/v1?access_token=x", b"/v1/"])
def test_the_root_is_a_path_of_the_api(client, target):
    client.send(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [request.target for request in client.api.requests] == [target]


def test_names_that_only_begin_like_it_are_not(client):
    client.send(b"GET /v1x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[0] == 404 and client.api.requests == []


def test_answers_have_a_date(client):
    client.post(b"{}")
    assert b"date" in client.answer()[1]


def test_a_target_that_is_written_for_a_proxy(client):
    client.send(b"GET https://host.example:8443/v1/a?b=c HTTP/1.1\r\nHost: x\r\n\r\n")
    assert [request.target for request in client.api.requests] == [b"/v1/a?b=c"]


def test_a_stream_that_is_only_asked_for_by_head_is_closed(client):
    closed = []

    async def body():
        try:
            yield b"x"
        finally:
            closed.append(True)

    stream = body()

    async def answering(request):
        await anext(stream)
        return Response(200, b"text/csv", stream)

    client.api.answering = answering
    client.send(b"HEAD /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert client.answer()[2] == b"" and closed


def test_a_client_that_is_lost_while_it_is_looked_at_is_not_asked_for(client):
    waiting = Deferred()
    client.api.admitting = lambda request: waiting
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000)
    client.channel.connectionLost(None)
    waiting.callback(None)
    assert client.api.requests == []


def test_attack_a_client_that_leaves_in_the_middle_has_no_token_logged(client, caplog):
    async def body():
        yield b"x"
        client.transport.producer.stopProducing()  # as a transport does it, before it tells that it is lost
        yield b"y"

    async def answering(request):
        return Response(200, b"text/csv", body())

    client.api.answering = answering
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        client.send(b"GET /v1/a?access_token=smtpeter_secret HTTP/1.1\r\nHost: x\r\n\r\n")
        client.channel.connectionLost(None)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert not events, [formatEvent(event) for event in events]


def test_nothing_is_asked_for_after_the_last_word(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 900000000\r\n\r\n")
    assert client.answer()[0] == 413 and b"100 Continue" not in client.transport.value()


def test_attack_a_body_that_dribbles_after_a_fast_start(client):
    client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1900000\r\n\r\n" + b"x" * 1_800_000)
    for _ in range(14):
        client.clock.advance(10)
        client.send(b"x")
    assert client.transport.disconnecting


def test_one_account_does_not_have_all_places_for_large_bodies(tmp_path):
    clients = []
    for number in range(uploads.MOST_OF_ONE + 2):
        client = Client(tmp_path) if not clients else Client(tmp_path, api=clients[0].api)
        client.site.carrier.uploads = client.site.carrier.uploads if not clients else clients[0].site.carrier.uploads
        client.api.account = 7 if number <= uploads.MOST_OF_ONE else 8
        clients.append(client)
        client.send(b"POST /v1/send HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        client.send(b"x" * (UNKNOWN + 1))
        client.send(b"x" * IN_MEMORY)
    said = [client.transport.value()[:12] for client in clients]
    assert said == [b""] * uploads.MOST_OF_ONE + [b"HTTP/1.1 503", b""]


def test_an_answer_for_nobody_is_closed(client):
    closed = []

    class Body:
        async def aclose(self):
            closed.append(True)

    async def answering(request):
        client.channel.connectionLost(None)
        return Response(200, b"text/csv", Body())

    client.api.answering = answering
    client.send(b"GET /v1/a HTTP/1.1\r\nHost: x\r\n\r\n")
    assert closed
