"""What is served over HTTP, asked over a transport in memory."""

from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport

from smtpeter.web.metrics import Metrics
from smtpeter.web.site import Document
from tests.fakes.web import make_fake_site


class Server:
    def __init__(self, peer=None):
        self.trouble = None
        self.metrics = Metrics()
        self.documents = {}
        self.site = make_fake_site(trouble=lambda: self.trouble, metrics=self.metrics, documents=self.documents)
        self.peer = peer or IPv4Address("TCP", "127.0.0.1", 4000)

    def ask(self, request):
        self.transport = StringTransport(peerAddress=self.peer)
        channel = self.site.buildProtocol(self.peer)
        channel.makeConnection(self.transport)
        for piece in request if isinstance(request, list) else [request]:
            channel.dataReceived(piece)
        head, _, body = self.transport.value().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head, body

    def get(self, path, method=b"GET"):
        return self.ask(method + b" " + path + b" HTTP/1.0\r\n\r\n")


def test_health_is_ok_only_while_mail_can_be_accepted():
    server = Server()
    assert server.get(b"/healthz")[::2] == (200, b"ok\n")
    server.trouble = "452 4.3.1 Not enough room"
    assert server.get(b"/healthz")[::2] == (503, b"452 4.3.1 Not enough room\n")
    assert server.get(b"/healthz", b"HEAD")[::2] == (503, b"")


def test_health_tells_everybody_and_metrics_only_whom_they_are_for():
    server = Server(IPv4Address("TCP", "192.0.2.1", 4000))
    assert server.get(b"/healthz")[0] == 200
    status, _, body = server.get(b"/metrics")
    assert status == 403 and b"smtpeter_" not in body


@pytest.mark.parametrize(
    ("peer", "status"),
    [
        (IPv4Address("TCP", "127.0.0.2", 1), 200),
        (IPv6Address("TCP", "::1", 1), 200),
        (IPv6Address("TCP", "::ffff:127.0.0.1", 1), 200),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), 403),
        (IPv6Address("TCP", "2001:db8::1", 1), 403),
        (UNIXAddress(b"/run/x"), 403),
    ],
)
def test_metrics_are_for_those_addresses_that_are_allowed(peer, status):
    assert Server(peer).get(b"/metrics")[0] == status


def test_metrics_show_what_was_counted():
    server = Server()
    server.metrics.count("smtp_sessions")
    status, head, body = server.get(b"/metrics")
    assert status == 200 and b"smtpeter_smtp_sessions_total 1.0\n" in body
    assert b"text/plain; version=0.0.4" in head


@pytest.mark.parametrize("path", [b"/", b"/nothing", b"/nothing/healthz", b"//healthz", b"/%2e%2e/healthz", b"/metric"])
def test_nothing_else_is_there(path):
    assert Server().get(path)[::2] == (404, b"Not found\n")


@pytest.mark.parametrize("path", [b"/healthz", b"/metrics", b"/robots.txt", b"/openapi.json", b"/docs"])
@pytest.mark.parametrize("method", [b"POST", b"DELETE", b"OPTIONS", b"secret"])
def test_a_method_that_is_not_there_is_refused_without_a_word_of_the_url(path, method):
    status, head, body = Server().get(path + b"?access_token=secret", method)
    assert status == 405 and b"\r\nAllow: GET, HEAD\r\n" in head + b"\r\n"
    assert body == b"This page has GET and HEAD only\n"


def test_attack_a_request_with_a_huge_body_fills_no_disk(monkeypatch):
    def no_file(*arguments, **keywords):
        raise AssertionError("a body was kept")

    monkeypatch.setattr("tempfile.TemporaryFile", no_file)
    piece = b"x" * 65536
    request = b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (len(piece) * 16)
    server = Server()
    assert server.ask([request] + [piece] * 16)[0] == 405
    assert server.ask([request.replace(b"POST", b"GET")] + [piece] * 16)[0] == 200


def test_attack_an_endless_chunked_body_is_not_kept():
    server = Server()
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.ask([head] + [b"10000\r\n" + b"x" * 65536 + b"\r\n"] * 16 + [b"0\r\n\r\n"])[0] == 200


def test_an_error_shows_no_traceback():
    server = Server()
    server.metrics.gauge("broken", "x", "y", lambda: 1 / 0)
    status, _, body = server.get(b"/metrics")
    assert status == 500 and b"ZeroDivisionError" not in body


@pytest.mark.parametrize("path", [b"/metrics/", b"/metrics/x", b"/healthz/", b"/healthz/x"])
def test_attack_other_names_do_not_get_around_a_proxys_rule(path):
    assert Server().get(path)[0] == 404


def test_documents_are_there_once_the_server_has_started():
    server = Server()
    assert server.get(b"/docs")[0] == 503
    server.documents[b"docs"] = Document(b"text/html; charset=utf-8", b"<p>")
    status, head, body = server.get(b"/docs")
    assert (status, body) == (200, b"<p>") and b"Content-Type: text/html; charset=utf-8" in head
    assert b"default-src 'none'" in head
