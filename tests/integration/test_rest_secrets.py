"""Tokens and passwords in requests of every kind, good and bad: nowhere are they to be found again."""

from __future__ import annotations

import base64
import json
import os
import signal
import smtplib
import socket
import sqlite3
import time
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from smtpeter.web.uploads import IN_MEMORY
from tests.integration.gateway import Gateway, wait_for
from tests.integration.rest import ELSEWHERE, Caller
from tests.integration.strace import injected

LETTER = {"recipient": "joe@example.net", "from": "me@example.com", "text": "x"}
FORM = "application/x-www-form-urlencoded"


class Watched(Caller):
    """Makes requests with its token in every place, and remembers whatever was answered with an error."""

    def __init__(self, gateway, *options):
        super().__init__(gateway, "owner@example.com", *options)
        self.errors = []
        self.secrets = []
        self.keep(self.token)
        self.gone = "smtpeter_0123456789abcdef_" + "secretsecretsecretsecretsecretse"
        self.keep(self.gone)

    def keep(self, secret):
        """Something that is to be found nowhere: as a whole, without its public part, and as others write it."""
        for form in {secret, secret.replace(" ", ""), secret.rpartition("_")[2]}:
            octets = form.encode()
            self.secrets += [octets, base64.b64encode(octets).rstrip(b"="), urllib.parse.quote(form).encode()]

    def exchange(self, octets, port=None, *, patience=30.0, cut=False):
        """These octets, and all that comes back for them; ``cut``: the client leaves at once."""
        with suppress(OSError), closing(self.open(port)) as connection:
            connection.settimeout(patience)
            connection.sendall(octets)
            if cut:
                return b""
            answer = b""
            with suppress(TimeoutError):
                while more := connection.recv(65536):
                    answer += more
            if answer and int(answer.split()[1]) >= 400:
                self.errors.append(answer)
            return answer
        return b""

    def forms(self, token):
        """A token in every place where clients put it: what stands behind the path, and the fields."""
        yield f"?access_token={token}", ()
        yield "", (f"Authorization: Bearer {token}",)
        yield f"?access_token={token}&access_token={token}&x=%ff", (f"Authorization: Basic {token}",)
        yield f"?token={token}", (f"Cookie: token={token}", f"X-Token: {token}", f"Referer: /?access_token={token}")
        yield f"/{token}?access_token={token}", (f"Authorization: bearer  {token} {token}",)


def request(method, target, fields, body=b"", length=None, version="HTTP/1.1"):
    lines = [f"{method} {target} {version}", "Host: localhost", "Connection: close", *fields]
    if body or length is not None:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture(scope="module", params=["text", "json"])
def watched(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("watched")
    gateway = Gateway(directory, 'mode = "capture"', f'[log]\nformat = "{request.param}"')
    gateway.login = gateway.add_login()
    gateway.start()
    watched = Watched(gateway, "--scope", "send", "--scope", "read", "--scope", "manage")
    watched.keep(gateway.login[1])
    yield watched
    gateway.end()


def test_requests_good_and_bad_leave_no_secret_anywhere(watched):
    gateway = watched.gateway
    good = json.dumps(LETTER).encode()
    statuses = set()
    kinds = (("application/json", good), ("application/json", b"{"), (FORM, b"a=%ff"), ("x/y", b"z"))
    for behind, fields in watched.forms(watched.token):
        for target in ("/v1/send", "/v1/events", "/v1/nothing", "/v2/send", "/t/clicks/x", "/openapi.json", "/"):
            for kind, body in kinds if target == "/v1/send" else kinds[:1]:
                sent = request("POST", target + behind, (*fields, f"Content-Type: {kind}"), body)
                statuses.add(watched.exchange(sent).split()[1])
        statuses.add(watched.exchange(request("GET", "/v1/messages" + behind, fields)).split()[1])
    assert {b"200", b"400", b"401", b"404", b"405", b"415"} <= statuses
    use_other_secrets(watched)
    make_malformed_requests(watched)
    make_large_requests(watched)
    make_requests_in_clear(watched)
    make_trouble(watched)
    use_wrong_secrets(watched)
    assert len(watched.errors) > 100
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.http}/metrics", timeout=30) as metrics:
        watched.errors.append(metrics.read())
    gateway.stop()
    assert_nothing_is_found(watched)


def make_malformed_requests(watched):
    token = watched.token
    field = f"Authorization: Bearer {token}"
    target = f"/v1/send?access_token={token}"
    body = json.dumps(LETTER).encode()
    malformed = (
        f"POST {target}\r\n\r\n",
        f"POST {target} HTTP/9.9\r\nHost: x\r\n\r\n",
        f"POST {target} HTTP/1.1 {token}\r\n{field}\r\n\r\n",
        f"{token} / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"P\0ST {target} HTTP/1.1\r\nHost: {token}\r\n\r\n",
        f"POST {target} HTTP/1.1\r\n{token}\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\n{token} : x\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\n{field}\0\r\nContent-Length: 0\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {token}\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n{field}\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{token}\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {token}\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nExpect: {token}\r\nContent-Length: 2\r\n{field}\r\n\r\n{{}}",
        f"POST {target} HTTP/1.1\r\nHost: x\r\nUpgrade: {token}\r\nContent-Length: 1\r\n{field}\r\n\r\n{{",
        f"POST /v1/send?{token * 400} HTTP/1.1\r\n{field}\r\nHost: x\r\n\r\n",
        f"POST {target} HTTP/1.1\r\nX: {token * 400}\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        f"POST http://{token}@localhost{target}#{token} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        f"CONNECT {token}:443 HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n",
        f"PATCH {target}&{'&'.join('a=b' for _ in range(200))} HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    with ThreadPoolExecutor(len(malformed)) as pool:
        for octets in malformed:
            for port in (None, watched.gateway.http):
                pool.submit(watched.exchange, octets.encode(), port, patience=1.0)
            pool.submit(watched.exchange, octets.encode(), cut=True)
    for key in (token * 10, "a\tb"):
        watched.exchange(request("POST", target, (f"Idempotency-Key: {key}",), body))
    watched.exchange(request("POST", target, (f"Idempotency-Key: {token}", "Content-Type: application/json"), body))
    # HTTP to where TLS is spoken, and TLS to where HTTP is.
    watched.exchange(request("POST", target, (field,), body), watched.gateway.https, patience=1.0)
    with suppress(OSError), closing(socket.create_connection(("localhost", watched.gateway.http), 0.5)) as plain:
        watched.gateway.trust().wrap_socket(plain, server_hostname="localhost")


def make_large_requests(watched):
    target = f"/v1/send?access_token={watched.token}"
    fields = (f"Authorization: Bearer {watched.token}", "Content-Type: application/json")
    for size in (ELSEWHERE, IN_MEMORY + 1):
        body = json.dumps(LETTER | {"text": "y" * size}).encode()
        assert watched.exchange(request("POST", target, fields, body)).split()[1] == b"200"
        assert watched.exchange(request("POST", target, fields, body[:-1])).split()[1] == b"400"
        watched.exchange(request("POST", target, fields, body, len(body) + 1), cut=True)
        chunks = b"%x\r\n%s\r\n" % (len(body), body)
        head = request("POST", target, (*fields, "Transfer-Encoding: chunked"))
        assert watched.exchange(head + chunks + b"0\r\n\r\n").split()[1] == b"200"
        assert watched.exchange(head + chunks + b"x\r\n\r\n").split()[1] == b"400"
    assert watched.exchange(request("POST", target, fields, length=10**9), patience=1.0).split()[1] == b"413"


def make_requests_in_clear(watched):
    for behind, fields in watched.forms(watched.token):
        sent = request("POST", f"/v1/send{behind}", fields, json.dumps(LETTER).encode())
        assert watched.exchange(sent, watched.gateway.http).split()[1] == b"400"


def make_trouble(watched):
    """What goes wrong here is logged, with tracebacks where nobody knows why."""
    target, fields = f"/v1/send?access_token={watched.token}", ("Content-Type: application/json",)
    small = request("POST", target, fields, json.dumps(LETTER).encode())
    large = request("POST", target, fields, json.dumps(LETTER | {"text": "y" * 2 * IN_MEMORY}).encode())
    with injected(watched.gateway.process.pid, "pwrite64:error=EIO"):
        assert watched.exchange(small).split()[1] == b"503"
    wait_for(lambda: watched.exchange(small).split()[1] == b"200")
    assert watched.exchange(large).split()[1] == b"200"  # so that there is a composer
    for child in composers(watched.gateway):
        os.kill(child, signal.SIGSTOP)
    with closing(watched.open()) as connection:
        connection.sendall(large)
        time.sleep(0.5)
        for child in composers(watched.gateway):
            os.kill(child, signal.SIGKILL)
        answer = connection.recv(65536)
        assert answer.split()[1] == b"503"
        watched.errors.append(answer)


def composers(gateway):
    """The processes that read large requests."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    return [int(child) for child in children if b"composer" in Path(f"/proc/{child}/cmdline").read_bytes()]


def use_other_secrets(watched):
    """Passwords and tokens that the API makes, and one of SMTP's."""
    for path, body in (("logins", {"name": "a"}), ("tokens", {"name": "b", "scopes": ["send"]})):
        answer = watched.ask("POST", f"/v1/{path}", body)
        assert answer.status in (200, 201), answer
        made = answer.value.get("password") or answer.value["token"]
        watched.keep(made)
        watched.exchange(request("GET", f"/v1/messages?access_token={urllib.parse.quote(made)}", ()))
    with watched.gateway.connect(watched.gateway.login):
        pass


def use_wrong_secrets(watched):
    """All at once, for each has to wait longer than the one before."""
    tokens = (watched.gone, watched.token[:-1] + "?", watched.token + "%00", watched.token.upper())
    wrong = [form for token in tokens for form in watched.forms(token)]
    large = json.dumps(LETTER | {"text": "y" * IN_MEMORY}).encode()
    with ThreadPoolExecutor(len(wrong) + 2) as pool:
        for behind, fields in wrong:
            pool.submit(watched.exchange, request("POST", f"/v1/send{behind}", fields), patience=3.0)
        for password in (f"{watched.gateway.login[1]}x", watched.token):
            pool.submit(log_in, watched.gateway, password)
        watched.exchange(request("POST", f"/v1/send?access_token={watched.gone}", (), large), patience=3.0)


def log_in(gateway, password):
    context = gateway.trust()
    with (
        suppress(smtplib.SMTPException, OSError),
        smtplib.SMTP_SSL("localhost", gateway.smtps, timeout=3, context=context) as client,
    ):
        client.login(gateway.login[0], password)


def assert_nothing_is_found(watched):
    gateway = watched.gateway
    places = {"the log": gateway.log.read_bytes()} | {f"error {n}": each for n, each in enumerate(watched.errors)}
    data = gateway.directory / "data"
    places |= {str(file): file.read_bytes() for file in data.rglob("*") if file.is_file()}
    # What a row has may lie on several pages of the file.
    with closing(sqlite3.connect(data / "smtpeter.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        for table in tables:
            cells = [cell for row in database.execute(f'SELECT * FROM "{table}"') for cell in row]
            places[table] = b"\n".join(each if isinstance(each, bytes) else str(each).encode() for each in cells)
    for place, octets in places.items():
        assert not [secret for secret in watched.secrets if secret in octets], (
            f"a secret is in {place}: {octets[:2000]}"
        )
    assert len(places["credential"]) > 0 and b"joe@example.net" in places["recipient"], "this looks where things are"
