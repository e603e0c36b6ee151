"""Whether the REST API is what its description says: ``python -m tests.campaigns.rest_schema --count 10000``.

A server of its own in capture mode, and requests that Schemathesis makes of ``/openapi.json``, for each operation as
many: such as the description allows, and such as it does not.  About half have ids of things that are there.  Nothing
may be answered with 5xx, with a status, a content type or a shape that is not described; without a token, with a wrong
one and in clear nothing is ever carried out.  The token is an administrator's, for everything.  Its own id and its own
account's state are the only things that requests do not get hold of: they are not told, or refused.
"""

from __future__ import annotations

import json
import multiprocessing
import signal
import sys
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests.adapters import HTTPAdapter
from schemathesis import Case, GenerationMode
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.campaigns.command import Figures, Found, main
from tests.integration.gateway import Gateway

CHECKS = [
    status_code_conformance, content_type_conformance, response_headers_conformance, response_schema_conformance,
]  # fmt: skip
ADMIN, OTHER = "root@example.com", "other@example.com"
EXACT = {"application/json"}
"""Of these types exactly one spelling is told."""

RECIPIENTS = ["jane@example.net", "joe@example.org"]
REFILL = 25
"""Requests of one operation, after which there is again something of everything."""

ENOUGH = 100
"""Requests of one operation, of which at least one succeeds."""

MESSAGE = {
    "recipients": RECIPIENTS, "envelope": "sender@example.com", "from": "sender@example.com", "subject": "Hello",
    "text": "Hello", "html": '<p>Hello <img src="cid:x"></p>', "tags": ["june", "invoice"],
    "attachments": [{"data": "SGVsbG8=", "name": "hello.txt", "type": "text/plain"}],
}  # fmt: skip
RELATED = """\
From: sender@example.com\r\nSubject: Hello\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n\
--x\r\nContent-Type: text/html\r\n\r\n<img src="cid:a@b">\r\n\
--x\r\nContent-Type: image/gif; name=dot.gif\r\nContent-ID: <a@b>\r\nContent-Transfer-Encoding: base64\r\n\r\n\
R0lGODlhAQABAAAAACw=\r\n--x--\r\n"""


class From(HTTPAdapter):
    """Comes from an address of its own: wrong tokens make all answers to their address slow."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *given: Any, **more: Any) -> None:
        super().init_poolmanager(*given, source_address=(self.address, 0), **more)


class Api:
    """The server, and what is in it."""

    def __init__(self, directory: Path) -> None:
        self.gateway = Gateway(directory, 'mode = "capture"')
        self.gateway.json("account", "add", ADMIN, "--admin")
        self.gateway.json("account", "add", OTHER)
        scopes = [word for scope in ("send", "read", "manage") for word in ("--scope", scope)]
        self.token = self.gateway.json("token", "add", "--account", ADMIN, *scopes)["token"]
        self.gateway.secrets.append(self.token.encode())
        self.gateway.start()
        self.url = f"https://localhost:{self.gateway.https}"
        self.clear = f"http://localhost:{self.gateway.http}"
        self.verify = str(directory / "data" / "tls" / "ca.pem")
        self.session, self.bare, self.guesser = requests.Session(), requests.Session(), requests.Session()
        for session in (self.session, self.bare, self.guesser):
            session.trust_env = False  # no certificates or proxies of this machine
            session.verify = self.verify
        self.session.headers["Authorization"] = f"Bearer {self.token}"
        self.pools: dict[str, list[str]] = {}
        self.bodies: dict[str, dict[str, Any]] = {}
        self.made = 0

    def description(self) -> dict[str, Any]:
        """What it says of itself."""
        document: dict[str, Any] = self.bare.get(f"{self.url}/openapi.json", timeout=30).json()
        return document

    def stranger(self) -> requests.Session:
        """Somebody without a token."""
        return self.bare

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What is answered to a request that cannot fail."""
        answer = self.session.request(method, f"{self.url}/v1{path}", json=body, timeout=30)
        if answer.status_code != 200:
            raise Found(f"{method} {path}: {answer.status_code} {answer.text}")
        return answer.json()

    def refill(self) -> None:
        """Something of everything; parameters of paths have these values about every other time."""
        sent = self.ask("POST", "/send", MESSAGE)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d %H:%M:%S")
        later = self.ask("POST", "/send", {"recipient": RECIPIENTS[0], "mime": RELATED, "send_at": tomorrow,
                                           "maxdelivertime": "2099-01-01 00:00:00"})  # fmt: skip
        ids = [*sent, next(iter(sent)).partition("-")[0], *later]
        self.made += 1
        self.bodies = {
            "POST /v1/send": MESSAGE, "POST /v1/resend": {"message": ids[0]},
            "POST /v1/accounts": {"email": f"person{self.made}@example.com"}, "POST /v1/logins": {"name": "a login"},
            "POST /v1/tokens": {"scopes": ["read"]}, "PATCH /v1/tokens/{id}": {"name": "another"},
            "PATCH /v1/logins/{id}": {"options": {}}, "PATCH /v1/accounts/{email}": {"state": "approved"},
        }  # fmt: skip
        login = self.ask("POST", "/logins", {"account": OTHER, "options": {"inlinecss": True}})["username"]
        token = self.ask("POST", "/tokens", {"account": OTHER, "name": "a token"})["id"]
        dates = self.ask("GET", "/logfiles")
        files = self.ask("GET", f"/logfiles/{dates[-1]}") if dates else []
        self.pools = {
            "/messages": ids, "/logins": [login], "/tokens": [token], "/accounts": [OTHER, OTHER.upper(), ADMIN],
            "/logfiles": [*dates[-1:], *files], "address": RECIPIENTS, "tags": ["june", "june;invoice"],
            "file": ["1", "1", "hello.txt", "dot.gif"], "/embeds": [*later], "/message": [*later, *ids],
        }  # fmt: skip

    def pool(self, path: str, name: str) -> list[str]:
        """What is there of what a parameter of a path names."""
        first = "/" + path.removeprefix("/v1/").partition("/")[0]
        return self.pools.get(name) or self.pools.get(first) or self.pools["/messages"]


def check(api: Api, case: Case, response: Any) -> None:
    """What is wrong with an answer is raised."""
    status, kind = response.status_code, response.headers["content-type"][0]
    if status >= 500:
        raise Found(f"{status} {response.text}")
    if kind.partition(";")[0] in EXACT and kind not in EXACT:
        raise Found(f"Content-Type: {kind}")
    if status >= 400 and (kind not in EXACT or not isinstance(json.loads(response.content).get("error"), str)):
        raise Found(f"{status} {response.text}")
    if api.token in response.text:
        raise Found("the token is in the answer")
    case.validate_response(response, checks=CHECKS)


def check_strangers(api: Api, case: Case, number: int) -> None:
    """Without a token, with a wrong one and in clear."""
    api.guesser.mount("https://", From(f"127.{number >> 16 & 127}.{number >> 8 & 255}.{number & 255}"))
    api.guesser.headers["Authorization"] = f"Bearer smtpeter_{number:012}_{'0' * 32}"
    strangers = ((401, api.url, api.stranger()), (401, api.url, api.guesser), (400, api.clear, api.session))
    for expected, base, session in strangers:
        response = case.call(base_url=base, session=session, verify=api.verify, timeout=30)
        if response.status_code != expected or set(json.loads(response.content)) != {"error"}:
            raise Found(f"a stranger is answered {response.status_code} {response.text}")


def campaign(number: int, first: int, count: int) -> Figures:
    """So many requests, shared out among the operations."""
    figures: Counter[str] = Counter()
    wrong: dict[str, str] = {}
    if multiprocessing.parent_process() is not None:
        # Another process found something: this one's server ends too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="rest-schema-") as directory:
        api = Api(Path(directory))
        try:
            schema = schemathesis.openapi.from_dict(api.description())
            schema.config.generation.update(with_security_parameters=False)
            operations = [each.ok() for each in schema.get_all_operations()]
            for place, operation in enumerate(operations):
                share = count * (place + 1) // len(operations) - count * place // len(operations)
                if share:
                    _try(api, operation, number * 1_000_003 + first + place, share, figures, wrong)
        finally:
            api.gateway.end()
        log = api.gateway.log.read_text()
    if "Traceback" in log or "[critical]" in log or " critical " in log:
        wrong["log"] = "the log has a failure:\n" + log[max(0, log.find("Traceback") - 500) :][:3000]
    if wrong:
        raise Found("\n\n".join(f"{what}\n{text}" for what, text in wrong.items()))
    return figures


def _try(api: Api, operation: Any, number: int, share: int, figures: Counter[str], wrong: dict[str, str]) -> None:
    """So many requests of one operation."""
    strategies = [operation.as_strategy(generation_mode=GenerationMode.POSITIVE)]
    # Where there is nothing that could be wrong, there is no such strategy.
    if operation.body or operation.query or operation.path_parameters:
        strategies.append(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    tried = succeeded = 0

    @seed(number)
    @settings(
        max_examples=share, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    )  # fmt: skip
    @given(st.data())
    def run(data: st.DataObject) -> None:
        nonlocal tried, succeeded
        if tried % REFILL == 0:
            api.refill()
        tried += 1
        case = data.draw(st.one_of(strategies))
        for name in list(case.path_parameters or {}):
            if data.draw(st.integers(0, 3)):
                case.path_parameters[name] = data.draw(st.sampled_from(api.pool(operation.path, name)))
        good = api.bodies.get(operation.label)
        if good and isinstance(case.body, dict) and data.draw(st.integers(0, 3)):
            # What is right but for one field, if at all: else hardly anything would ever be done.
            names = data.draw(st.sets(st.sampled_from(sorted(case.body, key=str)), max_size=1)) if case.body else ()
            case.body = good | {name: case.body[name] for name in names}
        response = case.call(base_url=api.url, session=api.session, verify=api.verify, timeout=30)
        figures["requests"] += 1
        figures[f"{response.status_code}"] += 1
        succeeded += response.status_code == 200
        try:
            check(api, case, response)
            if tried % 10 == 1:
                check_strangers(api, case, number + tried)
                figures["strangers"] += 3
        except (Found, FailureGroup, AssertionError) as error:
            told = error.exceptions if isinstance(error, FailureGroup) else [error]
            for each in told:
                key = f"{operation.label}: {type(each).__name__} {response.status_code}"
                wrong.setdefault(key, f"{str(each)[:1500]}\n{case.as_curl_command()[:1500]}\n{response.text[:500]}")

    run()
    # Else it is not known what is answered where all is well.
    if tried > ENOUGH and not succeeded:
        wrong[operation.label] = f"none of {tried} requests was answered 200"


if __name__ == "__main__":
    main("rest_schema", campaign, 10_000, "requests")
