"""Two accounts on one server: what belongs to one of them is not there for the other, on any route."""

from __future__ import annotations

import json
import re
import ssl
from http.client import HTTPSConnection

import pytest

from tests.integration.gateway import Gateway

ALICE, BOB = "alice@example.com", "bob@example.com"
MESSAGE = {
    "recipients": ["jane@example.net", "joe@example.org"], "envelope": ALICE, "from": ALICE, "subject": "private",
    "text": "private", "html": '<p>private <img src="cid:x"></p>', "tags": ["private"],
    "attachments": [{"data": "cHJpdmF0ZQ==", "name": "private.txt", "type": "text/plain"}],
}  # fmt: skip

OF_ADMINISTRATORS = {"/v1/accounts/{email}", "/v1/accounts/{email}/password"}
"""403, whether the account is there or not."""

LISTS = {
    "/v1/events/email/{address}", "/v1/events/tags/{tags}", "/v1/events/template/{id}", "/v1/logfiles/{name}",
    "/v1/logfiles/{name}/header", "/v1/logfiles/{name}/json", "/v1/logfiles/{name}/xml",
}  # fmt: skip
"""Their parameter is no id of something that belongs to somebody: they show what is one's own, which may be nothing."""

BODIES = {
    ("PATCH", "/v1/logins/{id}"): {"name": "mine"},
    ("PATCH", "/v1/tokens/{id}"): {"name": "mine", "scopes": ["read"]},
    ("PATCH", "/v1/accounts/{email}"): {"state": "suspended"},
}


class Client:
    """Somebody with a token for everything."""

    def __init__(self, gateway, email):
        gateway.json("account", "add", email)
        scopes = [word for scope in ("send", "read", "manage") for word in ("--scope", scope)]
        self.token = gateway.json("token", "add", "--account", email, *scopes)["token"]
        gateway.secrets.append(self.token.encode())
        self.gateway = gateway

    def ask(self, method, path, body=None):
        """The status and the body of an answer."""
        fields = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        context: ssl.SSLContext = self.gateway.trust()
        connection = HTTPSConnection("localhost", self.gateway.https, timeout=30, context=context)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def made(self, method, path, body=None):
        status, octets = self.ask(method, path, body)
        assert status == 200, (path, octets)
        return json.loads(octets)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    gateway = Gateway(tmp_path_factory.mktemp("tenants"), 'mode = "capture"')
    gateway.alice, gateway.bob = Client(gateway, ALICE), Client(gateway, BOB)
    gateway.run("queue", "pause")  # so that there is something to cancel
    gateway.start()
    yield gateway
    gateway.end()


@pytest.fixture(scope="module")
def hers(gateway):
    """Ids of what is Alice's: of several kinds for each first word of a path."""
    sent = gateway.alice.made("POST", "/v1/send", MESSAGE)
    files = gateway.alice.made("GET", "/v1/logfiles/" + gateway.alice.made("GET", "/v1/logfiles")[0])
    messages = [*sent, next(iter(sent)).partition("-")[0]]
    return {
        "logins": [gateway.alice.made("POST", "/v1/logins", {"name": "private"})["username"]],
        "tokens": [gateway.alice.made("POST", "/v1/tokens", {"name": "private"})["id"]],
        "accounts": [ALICE], "logfiles": files, "messages": messages,
    }  # fmt: skip


@pytest.fixture(scope="module")
def routes(gateway):
    """(method, path) of all that there is."""
    _, octets = gateway.alice.ask("GET", "/openapi.json")
    return [(method.upper(), path) for path, each in json.loads(octets)["paths"].items() for method in each]


def filled(path, hers):
    """A path with each of Alice's ids that it may have."""
    ids = hers.get(path.split("/")[2], hers["messages"])
    path = path.replace("{file}", "1").replace("{address}", "jane@example.net").replace("{tags}", "private")
    return {re.sub(r"\{\w+\}", id, path) for id in ids}


def test_attack_every_route_with_somebody_elses_id(gateway, routes, hers):
    tried = 0
    for method, path in routes:
        if "{" not in path or path in LISTS:
            continue
        expected = 403 if path in OF_ADMINISTRATORS else 404
        body = BODIES.get((method, path))
        unknown = gateway.bob.ask(method, re.sub(r"\{\w+\}", "nobody", path), body)
        for target in filled(path, hers):
            tried += 1
            status, octets = gateway.bob.ask(method, target, body)
            assert status == expected, f"{method} {path}: {status} {octets!r}"
            assert b"private" not in octets
            if path in OF_ADMINISTRATORS or "file" not in path:
                assert (status, octets) == unknown, f"{method} {path}: it shows that this is somebody's"
    assert tried > 30


def test_attack_somebody_elses_id_in_a_body(gateway, hers):
    unknown = gateway.bob.ask("POST", "/v1/resend", {"message": "nobody"})
    assert unknown[0] == 404
    for id in hers["messages"]:
        assert gateway.bob.ask("POST", "/v1/resend", {"message": id}) == unknown
    for path in ("/v1/logins", "/v1/tokens"):
        assert gateway.bob.ask("POST", path, {"account": ALICE})[0] == 403
        assert gateway.bob.ask("GET", f"{path}?account={ALICE}")[0] == 403


def test_lists_have_nothing_of_others(gateway, routes, hers):
    lists = [path for method, path in routes if method == "GET" and ("{" not in path or path in LISTS)]
    assert set(lists) > LISTS and len(lists) > len(LISTS) + 5
    for path in lists:
        for target in filled(path, hers):
            _, octets = gateway.bob.ask("GET", target)
            for word in ("private", "jane@example.net", ALICE, *hers["messages"], *hers["logins"], *hers["tokens"]):
                assert word.encode() not in octets, f"{path} has {word}"


def test_the_same_routes_are_there_for_their_owner(gateway, routes, hers):
    """The last test: some of these end what they are about."""
    found = 0
    for method, path in sorted(routes, key=lambda each: each[0] == "DELETE"):
        if "{" not in path or path in LISTS or path in OF_ADMINISTRATORS or "embeds/{id}/" in path:
            continue
        for target in filled(path, hers):
            status, octets = gateway.alice.ask(method, target, BODIES.get((method, path)))
            assert status == 200, f"{method} {target}: {status} {octets!r}"
            found += 1
    assert found > 30
