"""Requests to send, octet for octet as clients in the field write them, to a real server; and what becomes of them."""

from __future__ import annotations

import base64
import email
import json
import random
import re
import socket
from datetime import UTC, datetime, timedelta

import pytest

from tests.integration.gateway import Gateway, wait_for


class Site:
    """A server, and a token for it."""

    def __init__(self, directory):
        self.gateway = Gateway(directory, 'mode = "capture"')
        self.gateway.start()
        self.gateway.json("account", "add", "owner@example.com")
        self.token = self.gateway.json("token", "add", "--account", "owner@example.com")["token"]
        self.gateway.secrets.append(self.token.encode())

    def ask(self, octets):
        """The status, the header and the body that answer these octets."""
        plain = socket.create_connection(("localhost", self.gateway.https), 30)
        with self.gateway.trust().wrap_socket(plain, server_hostname="localhost") as connection:
            connection.sendall(octets)
            answer = b""
            while b"\r\n\r\n" not in answer or len(answer) < answer.index(b"\r\n\r\n") + 4 + length_of(answer):
                more = connection.recv(65536)
                assert more, answer
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head, body

    def post(self, path, body, content_type=b"application/json", *fields):
        lines = [
            b"POST %s HTTP/1.1" % path.replace(b"TOKEN", self.token.encode()),
            b"Host: localhost",
            b"Content-Type: " + content_type,
            b"Content-Length: %d" % len(body),
            *fields,
        ]
        return self.ask(b"\r\n".join(lines) + b"\r\n\r\n" + body)

    def taken(self, body, content_type=b"application/json", *fields):
        """The ids of what was taken, with their addresses."""
        status, head, answer = self.post(b"/v1/send?access_token=TOKEN", body, content_type, *fields)
        assert status == 200, answer
        assert b"\r\nContent-Type: application/json\r\n" in head
        return json.loads(answer)

    def captured(self, id):
        """The message that went to a recipient."""
        wait_for(lambda: self.gateway.run("message", "raw", id, check=False).returncode == 0)
        return email.message_from_bytes(self.gateway.raw(id))

    def state(self, id):
        return self.gateway.json("message", "show", id)["state"]


def length_of(answer):
    return int(re.search(rb"(?i)\r\ncontent-length: *([0-9]+)", answer)[1])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.gateway.end()


def test_php_with_curl_and_json(site):
    body = b'{"envelope":"me@example.com","recipient":"joe@example.net","mime":"Subject: Caf\\u00e9\\n\\nHello\\n"}'
    fields = (b"Accept: */*", b"User-Agent: PHP")
    ((id, address),) = site.taken(body, b"application/json", *fields).items()
    assert address == "joe@example.net"
    assert site.captured(id).get_payload() == "Hello\r\n"


def test_camel_case_and_older_names(site):
    body = (
        b'{"Recipients":["joe@example.net","jim@example.net"],"From":"Jane <jane@example.com>","To":"joe@example.net",'
        b'"replyTo":"answers@example.com","Subject":"News","Html":"<style>p{color:red}</style><p>x</p>",'
        b'"inlinizecss":true,"Tags":"a;b"}'
    )
    first, second = site.taken(body, b"application/json;charset=UTF-8")
    assert second == first.removesuffix("-1") + "-2"
    found = site.captured(second)
    assert found["Reply-To"] == "answers@example.com" and "style=" in found.get_payload(decode=True).decode()
    assert site.gateway.json("message", "show", first)["tags"] == ["a", "b"]


def test_a_form_of_http_build_query(site):
    body = (
        b"recipients%5B0%5D=joe%40example.net&recipients%5B1%5D=jim%40example.net&from=jane%40example.com&subject=Hello+you"
        b"&text=Hi%21&dsn%5Bnotify%5D=NEVER&trackclicks=0"
    )
    taken = site.taken(body, b"application/x-www-form-urlencoded")
    assert list(taken.values()) == ["joe@example.net", "jim@example.net"]
    assert site.captured(next(iter(taken)))["Subject"] == "Hello you"


def test_a_token_in_the_header(site):
    fields = (b"Authorization: Bearer " + site.token.encode(),)
    status, _, _ = site.post(
        b"/v1/send", b'{"recipient":"joe@example.net","body":"a: b"}', b"application/json", *fields
    )
    assert status == 200


@pytest.mark.parametrize("kind", ["json", "form"])
def test_a_large_attachment_arrives_whole_and_once(site, kind):
    data = random.Random(2).randbytes(5 * 128 * 1024)
    if kind == "json":
        attachment = {"name": "a.bin", "data": base64.b64encode(data).decode()}
        tree = {"recipient": "joe@example.net", "from": "jane@example.com", "text": "x", "attachments": [attachment]}
        bodies = [(json.dumps(tree).encode(), b"application/json")] * 2
    else:
        bodies = [form(boundary, data) for boundary in (b"one", b"two")]
    key = b"Idempotency-Key: " + kind.encode()
    (id,) = site.taken(*bodies[0], key)
    assert list(site.taken(*bodies[1], key)) == [id]
    (part,) = [part for part in site.captured(id).walk() if part.get_filename()]
    assert part.get_payload(decode=True) == data
    assert not list((site.gateway.directory / "data" / "uploads").iterdir())


def form(boundary, data):
    parts = [
        (b"recipient", b"joe@example.net"),
        (b"from", b"jane@example.com"),
        (b'attachments[]"; filename="a.bin', data),
    ]
    lines = [b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (boundary, *part) for part in parts]
    return b"".join(lines) + b"--%s--\r\n" % boundary, b"multipart/form-data; boundary=" + boundary


def test_a_key_for_another_request_is_a_conflict(site):
    key = b"Idempotency-Key: order 17"
    first = site.taken(b'{"recipient":"joe@example.net","mime":"a: b"}', b"application/json", key)
    assert site.taken(b'{"recipient":"joe@example.net","mime":"a: b"}', b"application/json", key) == first
    other = b'{"recipient":"joe@example.net","mime":"a: c"}'
    status, _, body = site.post(b"/v1/send?access_token=TOKEN", other, b"application/json", key)
    assert status == 409 and "Idempotency-Key" in json.loads(body)["error"]


def test_nothing_is_sent_when_anything_is_refused(site):
    before = len(site.gateway.json("message", "list"))
    body = b'{"recipients":["joe@example.net","nobody"],"mime":"a: b"}'
    status, _, answer = site.post(b"/v1/send?access_token=TOKEN", body)
    assert status == 400 and json.loads(answer)["error"].startswith("recipients.1: ")
    body = b'{"recipients":["joe@example.net"],"mime":"a: b","trackclicks":"perhaps"}'
    status, _, answer = site.post(b"/v1/send?access_token=TOKEN", body)
    assert status == 400 and json.loads(answer)["error"].startswith("trackclicks: ")
    assert len(site.gateway.json("message", "list")) == before


def test_a_bomb_ends_nothing_but_itself(site):
    bomb = b'{"recipient":"joe@example.net","x":[' + b"{}," * 15_000_000 + b"{}]}"
    status, _, _ = site.post(b"/v1/send?access_token=TOKEN", bomb)
    assert status == 413
    assert site.taken(b'{"recipient":"joe@example.net","mime":"a: b"}')


def test_cancel_and_send_again(site):
    later = (datetime.now(UTC) + timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S").encode()
    body = b'{"recipients":["joe@example.net","jim@example.net"],"mime":"a: b","send_at":"%s"}'
    first, second = site.taken(body % later)
    delete = b"DELETE /v1/message/%s?access_token=%s HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert json.loads(site.ask(delete % (second.encode(), site.token.encode()))[2]) == {
        "cancelled": [second],
        "others": {},
    }
    assert (site.state(first), site.state(second)) == ("due", "cancelled")
    status, _, answer = site.post(b"/v1/resend?access_token=TOKEN", json.dumps({"message": second}).encode())
    assert status == 200
    ((again, address),) = json.loads(answer).items()
    assert address == "jim@example.net" and site.captured(again)["a"] == "b"
    wait_for(lambda: site.state(again) == "delivered")
    status, _, answer = site.ask(delete % (again.encode(), site.token.encode()))
    assert status == 409 and json.loads(answer)["others"] == {again: "delivered"}
