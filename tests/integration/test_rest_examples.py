"""What docs/rest.md tells people to do, done against the demonstration; and what it says that there is, looked up."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path

import pytest

from smtpeter.web.rest.records import LOGS
from tests.integration.demonstration import Demo
from tests.integration.gateway import wait_for
from tests.integration.tools import missing, node, php, tool

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "rest.md"
TEXT = DOCUMENT.read_text("utf-8")
EXAMPLES = re.findall(r"^```([a-z ]+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PROGRAMS = [(kind, code) for kind, code in EXAMPLES if kind.split()[0] in ("python", "php", "javascript")]
REQUESTS = [code for kind, code in EXAMPLES if kind == "json request"]
RUN = {"sh", "json request", "json answer", "json event", "text", *(kind for kind, _ in PROGRAMS)}
PNG = base64.b64decode("iVBORw0KGgo=")
_ID = re.compile(r"[0-9a-hjkmnp-tv-z]{26}(-[0-9]+)?")


class Api:
    """The demonstration's API, and what a shell has that follows the document."""

    def __init__(self, demo, directory):
        self.base = f"http://{re.search(r'http://([0-9.:]+)/v1', demo.text)[1]}"
        self.https = re.search(r"https://localhost:[0-9]+", demo.text)[0]
        self.authority = demo.told("certificate authority")
        self.token = demo.told("token")
        self.directory = directory
        self.environment = {**os.environ, "SMTPETER": self.base, "TOKEN": self.token}

    def ask(self, path, message=None):
        body = None if message is None else json.dumps(message).encode()
        request = urllib.request.Request(self.base + path, body)
        request.add_header("Authorization", f"Bearer {self.token}")
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def run(self, command, **environment):
        return subprocess.run(
            command, cwd=self.directory, env=self.environment | environment, capture_output=True, text=True, timeout=120
        )

    def final(self, id):
        """A message, when everything is over for it."""
        return wait_for(lambda: (told := self.ask(f"/v1/messages/{id}"))["state"] == "delivered" and told)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rest")
    (directory / "invoice.pdf").write_bytes(b"%PDF-1.4\n")
    (directory / "logo.png").write_bytes(PNG)
    message = EmailMessage()
    message["From"], message["Subject"] = "shop@example.com", "Hello"
    message.set_content("Hello!\n")
    (directory / "message.eml").write_bytes(bytes(message))
    demo = Demo(directory)
    try:
        yield Api(demo, directory)
    finally:
        demo.process.kill()


@pytest.fixture
def ids(api):
    """Messages that a reader has made before he comes to an example."""
    files = [
        {"name": "invoice.pdf", "data": "JVBERi0xLjQK"},
        {"name": "logo.png", "data": "iVBORw0KGgo="},
    ]
    message = {
        "recipient": "jane@example.net", "from": "shop@example.com", "subject": "Your order", "text": "Hello.",
        "html": '<img src="cid:logo.png">', "attachments": files,
    }  # fmt: skip
    (id,) = api.ask("/v1/send", message)
    later = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(time.time() + 3600))
    (waiting,) = api.ask("/v1/send", {"recipient": "jane@example.net", "from": "shop@example.com", "send_at": later})
    api.final(id)
    return {"ID": id, "LATER": waiting}


def shape(value):
    """What programs rely on: names, and what is below them.  Ids are names too, and there may be any number of them."""
    if isinstance(value, dict):
        return {"ID" if _ID.fullmatch(name) else name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return "value"


def shell_blocks():
    """Each block for the shell, with the answer that stands behind it, if one does."""
    for (kind, code), (following, answer) in zip(EXAMPLES, [*EXAMPLES[1:], ("", "")], strict=True):
        if kind == "sh":
            yield code, json.loads(answer) if following == "json answer" else None


def test_every_example_is_run():
    assert {kind for kind, _ in EXAMPLES} == RUN
    assert sum(kind == "json answer" for kind, _ in EXAMPLES) == sum(answer is not None for _, answer in shell_blocks())
    for kind, code in EXAMPLES:
        if kind == "text":
            assert "export TOKEN=smtpeter_..." in code or "smtpeter token add" in code


@pytest.mark.parametrize(("code", "answer"), list(shell_blocks()), ids=lambda each: "")
def test_the_shell_does_what_is_told(api, ids, code, answer):
    tool("curl")
    result = api.run(["sh", "-euc", code.replace("curl ", "curl -sS ")], **ids)
    assert result.returncode == 0, result
    assert '"error"' not in result.stdout and "curl:" not in result.stderr
    if answer is not None:
        assert shape(json.loads(result.stdout)) == shape(answer)
    if "Idempotency-Key" in code:
        first, second = re.findall(r"\{.*?\}", result.stdout)
        assert first == second


@pytest.mark.parametrize("code", REQUESTS, ids=lambda code: "")
def test_each_request_is_taken(api, code):
    tomorrow = time.strftime("%Y-%m-%d", time.gmtime(time.time() + 86400))
    message = json.loads(code.replace("2026-12-24", tomorrow))
    answer = api.ask("/v1/send", message)
    assert list(answer.values()) == message.get("recipients", [message.get("recipient")])
    if "send_at" in message:
        assert api.ask(f"/v1/messages/{next(iter(answer))}")["next_attempt"] == message["send_at"]
    if "attachments" in message:
        id = next(iter(answer))
        assert [each["name"] for each in api.ask(f"/v1/embeds/{id}")] == ["logo.png", "photo.png"]
        assert [each["name"] for each in api.ask(f"/v1/attachments/{id}")] == ["Rechnung für März.pdf"]


def test_an_event_has_the_fields_that_are_told(api, ids):
    told = next(json.loads(code) for kind, code in EXAMPLES if kind == "json event")
    events = api.ask(f"/v1/events/messageid/{ids['ID']}")
    assert shape(told) in [shape(event) for event in events]


def command_of(kind, api):
    if kind == "php":
        return [php("curl"), "-d", f"curl.cainfo={api.authority}", "example"]
    if kind == "javascript":
        return [node(), "example"]
    if kind == "python requests" and find_spec("requests") is None:
        missing("requests is not installed")
    return [sys.executable, "example"]


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(("kind", "code"), PROGRAMS, ids=[kind for kind, _ in PROGRAMS])
def test_the_program_does_what_is_told(api, ids, kind, code, secure):
    (api.directory / "example").write_text(code, "utf-8")
    before = len(api.ask("/v1/messages?limit=1000")["messages"])
    trust = {}
    if secure:
        names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE")
        trust = {"SMTPETER": api.https} | dict.fromkeys(names, api.authority)
    (api.directory / "cursor").unlink(missing_ok=True)
    result = api.run(command_of(kind, api), **trust)
    assert result.returncode == 0, result
    listed = api.ask("/v1/messages?limit=1000")["messages"]
    if kind == "python events":
        assert ids["ID"] in result.stdout
        assert api.run(command_of(kind, api), **trust).stdout == ""
        return
    assert len(listed) == before + (2 if kind == "python requests" else 1)
    assert listed[0]["id"] in result.stdout
    assert listed[0]["subject"] in ("Grüße", "Your invoice")


def test_what_is_told_of_a_certificate_of_our_own_works_for_curl_too(api):
    tool("curl")
    command = next(shell_blocks())[0].replace("curl ", "curl -sS ")
    assert api.run(["sh", "-euc", command], SMTPETER=api.https).returncode != 0
    result = api.run(["sh", "-euc", command], SMTPETER=api.https, CURL_CA_BUNDLE=api.authority)
    assert list(json.loads(result.stdout).values()) == ["jane@example.net"]


@pytest.mark.parametrize("kind", ["python", "php", "javascript"])
def test_a_program_says_what_was_wrong(api, kind):
    code = next(code for each, code in PROGRAMS if each == kind)
    (api.directory / "example").write_text(code, "utf-8")
    result = api.run(command_of(kind, api), TOKEN="smtpeter_wrong")
    assert "This access token is not valid" in result.stdout + result.stderr


# --- what is said to be there -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def description(api):
    return api.ask("/openapi.json")


def test_all_routes_are_told(description):
    told = {re.sub("ID|FILE|ADDRESS|TAGS|NAME|EMAIL", "{}", each) for each in re.findall(r"`([A-Z]+ /v1/\S+)`", TEXT)}
    there = {
        re.sub(r"\{[a-z]+\}", "{}", f"{method.upper()} {path}")
        for path, operations in description["paths"].items()
        for method in operations
    }
    in_prose = {"POST /v1/logins/USER{}/rotate", "GET /v1/events?after={}"}
    assert told - in_prose == there


def test_all_fields_of_a_request_are_told(description):
    operation = description["paths"]["/v1/send"]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    fields = schema["properties"]
    assert not [name for name in fields if f"`{name}`" not in TEXT]
    schemas = description["components"]["schemas"]
    for model in ("Attachment", "Unsubscribe", "Dsn"):
        assert not [name for name in schemas[model]["properties"] if name not in TEXT], model


def test_all_fields_of_records_are_told_in_their_order():
    told = dict(re.findall(r"^\| `\w+` \| `(\w+)` \| ([\w ]+) \|$", TEXT, re.MULTILINE))
    assert told == {log.prefix: " ".join(log.fields) for log in LOGS}


def test_all_statuses_are_told(description):
    told = set(re.findall(r"^\| ([0-9]{3}) \|", TEXT, re.MULTILINE))
    there = {status for each in description["paths"].values() for one in each.values() for status in one["responses"]}
    assert told == there - {"200"}


def test_all_scopes_are_told_as_they_are(description):
    rows = re.findall(r"^\| (`[A-Z]+ /v1/.*?`) \| (\w+) \|", TEXT, re.MULTILINE)
    told = {
        re.sub("ID|FILE|ADDRESS|TAGS|NAME|EMAIL", "{}", route): scope
        for routes, scope in rows
        for route in re.findall(r"`([^`]+)`", routes)
    }
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            scope = re.search(r"The token has to be for `(\w+)`", operation["description"])[1]
            assert told[re.sub(r"\{[a-z]+\}", "{}", f"{method.upper()} {path}")] == scope


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", TEXT):
        assert (DOCUMENT.parent / target).exists(), target
    assert "docs/rest.md" in DOCUMENT.parents[1].joinpath("README.md").read_text("utf-8")
