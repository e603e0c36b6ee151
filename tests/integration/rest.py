"""A program that speaks to the REST API of a real server, with Python's own HTTP client."""

from __future__ import annotations

import http.client
import json
import socket
from typing import NamedTuple

JSON = "application/json"

ELSEWHERE = 200 * 1024
"""Octets of a body that stays in memory, and is read by another process; its content is a file."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    fields: http.client.HTTPMessage
    body: bytes

    @property
    def value(self):
        assert self.fields["Content-Type"] == JSON, self
        return json.loads(self.body)


class Caller:
    """Whoever has a token of a gateway's."""

    def __init__(self, gateway, email="owner@example.com", *options):
        gateway.run("account", "add", email, check=False)
        self.gateway = gateway
        self.token = gateway.json("token", "add", "--account", email, *options)["token"]
        gateway.secrets.append(self.token.encode())

    def connect(self, timeout=60):
        return http.client.HTTPSConnection(
            "localhost", self.gateway.https, timeout=timeout, context=self.gateway.trust()
        )

    def ask(self, method, path, body=None, *, connection=None, chunked=False, **fields):
        """One request, on a connection of its own unless there is one."""
        if body is not None and not isinstance(body, (bytes, list)):
            body = json.dumps(body).encode()
        if chunked:
            body = iter([body])
        fields = {name.replace("_", "-"): value for name, value in fields.items()}
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": JSON} | fields
        own = connection is None
        connection = connection or self.connect()
        try:
            connection.request(method, path, body, headers, encode_chunked=chunked)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            if own:
                connection.close()

    def send(self, body, **more):
        return self.ask("POST", "/v1/send", body, **more)

    def rows(self, domain):
        """What there is of one's own for recipients of a domain."""
        answer = self.ask("GET", "/v1/messages?limit=1000").value
        assert answer["cursor"] is None
        return [row for row in answer["messages"] if row["recipient"].endswith(f"@{domain}")]

    def open(self, port=None):
        """A bare connection, over TLS unless it is to another port."""
        plain = socket.create_connection(("localhost", port or self.gateway.https), 60)
        return plain if port else self.gateway.trust().wrap_socket(plain, server_hostname="localhost")


def uploads(gateway):
    """What is kept of large requests."""
    return list((gateway.directory / "data" / "uploads").iterdir())


def content_files(gateway):
    """What is kept of large messages."""
    return [file for file in (gateway.directory / "data" / "content").rglob("*") if file.is_file()]
