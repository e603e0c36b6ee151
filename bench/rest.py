"""How fast the REST API is: requests a second beside aiohttp, a request with 1,000 recipients, and a large log file.

    python bench/rest.py [--only send|recipients|logfile] [--rounds 3] [--seconds 8] [--json FILE]

*send*: ``POST /v1/send`` with 2 KB of JSON over TLS on connections that stay open, durable, the server on one core and
``wrk`` on the other, beside a handler on aiohttp (where it is installed) that composes the same message and syncs a
file for each.  *recipients*: how long one request with 1,000 recipients waits for its 200.  *logfile*: how many records
a second a log file of a million has, and how much memory that takes.  It needs Debian's ``wrk``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from run import FIRST_PORT, keep
from servers import CLIENT_CORE, SERVER_CORE, Smtpeter, process_seconds

from smtpeter.auth.certificate import ensure_certificate
from smtpeter.clock import WallClock
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.event import format_time
from smtpeter.model.ids import ENTROPY_BYTES, make_submission_id
from smtpeter.model.submission import Content, Submission
from smtpeter.store.opening import open_for_command, result_of

CONNECTIONS = 50
PEER_PORT = 18090
SUBMISSIONS, RECIPIENTS = 1000, 1000  # of the large log file
PASSAGE = "It was on a Tuesday that the parcel left the warehouse, and on Thursday it will be with you. "

SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer %s"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
file:close()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=("", "send", "recipients", "logfile"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--serve-peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_peer:
        serve_peer(arguments.serve_peer)
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    figures: dict[str, Any] = {}
    works: dict[str, Callable[[Path], Any]] = {
        "send": lambda directory: send(directory, arguments.rounds, arguments.seconds),
        "recipients": lambda directory: recipients(directory, arguments.rounds),
        "logfile": logfile,
    }
    for name, work in works.items():
        if arguments.only in ("", name):
            with tempfile.TemporaryDirectory(prefix="smtpeter-bench-") as directory:
                figures[name] = work(Path(directory))
    if arguments.json:
        keep(arguments.json, {"rest": figures})


# --- many small requests ----------------------------------------------------------------------------------------------


def small_request() -> bytes:
    """2 KB of JSON, as a shop sends them."""
    text = PASSAGE * 6
    request = {
        "recipient": "customer@example.net",
        "envelope": "bounces@example.com",
        "from": "The Shop <shop@example.com>",
        "to": "Ann Example <customer@example.net>",
        "subject": "Your order 4711 is on its way",
        "text": text,
        "html": f"<html><body><h1>Thank you!</h1><p>{text}</p><p>{PASSAGE * 6}</p></body></html>",
    }
    return json.dumps(request).encode()


def send(directory: Path, rounds: int, seconds: int) -> dict[str, Any]:
    """Both take turns."""
    body = directory / "body.json"
    body.write_bytes(small_request())
    figures: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        server = Smtpeter(directory / f"smtpeter-{number}", FIRST_PORT)
        try:
            url = f"https://127.0.0.1:{server.https_port}/v1/send"
            figure = load(directory, url, server.token, body, seconds, server.cpu_seconds)
            figures.setdefault("smtpeter", []).append(figure)
        finally:
            server.stop()
        peer = start_peer(directory / f"aiohttp-{number}")
        if peer is not None:
            try:
                url = f"https://127.0.0.1:{PEER_PORT}/v1/send"
                figure = load(directory, url, "secret", body, seconds, lambda: process_seconds(peer.pid))  # noqa: B023
                figures.setdefault("aiohttp", []).append(figure)
            finally:
                peer.terminate()
                peer.wait()
    for name, each in figures.items():
        rate, cpu = (statistics.median(figure[what] for figure in each) for what in ("rate", "cpu"))
        worst = max(figure["p99"] for figure in each)
        print(
            f"{name:<12}{rate:8.0f} requests a second{cpu * 1000:8.3f} ms of CPU each   99 % within {worst:.0f} ms",
            flush=True,
        )
    return figures


def load(
    directory: Path, url: str, token: str, body: Path, seconds: int, cpu_seconds: Callable[[], float]
) -> dict[str, float]:
    """One run of wrk."""
    script = directory / "send.lua"
    script.write_text(SCRIPT % (token, body))
    client = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{CONNECTIONS}", "--latency", "-s", str(script)]
    subprocess.run([*client, "-d2s", url], capture_output=True, check=True)
    before = cpu_seconds()
    said = subprocess.run([*client, f"-d{seconds}s", url], capture_output=True, text=True, check=True).stdout
    used = cpu_seconds() - before
    requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    if "Non-2xx" in said or "Socket errors" in said:
        print(said, file=sys.stderr)
    worst = re.search(r"99%\s+([0-9.]+)(us|ms|s)", said)
    assert worst is not None
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[worst[2]]
    return {"rate": requests / seconds, "cpu": used / requests, "p99": float(worst[1]) * unit}


def start_peer(directory: Path) -> subprocess.Popen[bytes] | None:
    """The handler on aiohttp, None where that is not installed."""
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        print("aiohttp is not installed", file=sys.stderr)
        return None
    directory.mkdir()
    peer = subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, sys.executable, __file__, "--serve-peer", str(directory)],
        stdout=subprocess.PIPE,
    )
    assert peer.stdout is not None
    peer.stdout.readline()
    return peer


def serve_peer(directory: Path) -> None:
    """What one would write with aiohttp: check the token, compose with the standard library, sync a file."""
    import email.policy
    import hmac
    from email.message import EmailMessage
    from email.utils import formatdate

    from aiohttp import web

    files = ensure_certificate(directory / "tls", "localhost", time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)

    async def handle(request: web.Request) -> web.Response:
        if not hmac.compare_digest(request.headers.get("Authorization", ""), "Bearer secret"):
            return web.json_response({"error": "no"}, status=401)
        given = await request.json()
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"], message["To"], message["Subject"] = given["from"], given["to"], given["subject"]
        message["Date"] = formatdate()
        message.set_content(given["text"])
        message.add_alternative(given["html"], subtype="html")
        id = make_submission_id(int(time.time() * 1000), os.urandom(ENTROPY_BYTES))
        with (directory / id).open("xb") as file:
            file.write(f"{given['envelope']}\n{given['recipient']}\n".encode() + message.as_bytes())
            file.flush()
            os.fsync(file.fileno())
        return web.json_response({id: given["recipient"]})

    async def started(app: web.Application) -> None:
        print("ready", flush=True)

    app = web.Application()
    app.router.add_post("/v1/send", handle)
    app.on_startup.append(started)
    web.run_app(app, host="127.0.0.1", port=PEER_PORT, ssl_context=context, print=None, access_log=None)


# --- one request with many recipients ---------------------------------------------------------------------------------


def recipients(directory: Path, rounds: int) -> dict[str, float]:
    """How long it takes to its 200."""
    server = Smtpeter(directory / "smtpeter", FIRST_PORT)
    request = {
        "recipients": [f"reader-{number}@example.net" for number in range(RECIPIENTS)],
        "from": "letter@example.com",
        "subject": "The letter",
        "text": PASSAGE * 20,
    }
    connection = connect(server)
    waited = []
    try:
        for _ in range(10 * rounds):
            start = time.monotonic()
            status, answer = ask(connection, server, "POST", "/v1/send", json.dumps(request).encode())
            waited.append((time.monotonic() - start) * 1000)
            assert status == 200 and len(json.loads(answer)) == RECIPIENTS, answer[:200]
    finally:
        server.stop()
    figures = {"median": statistics.median(waited), "worst": max(waited)}
    print(
        f"{RECIPIENTS} recipients: {figures['median']:.1f} ms to the 200, at most {figures['worst']:.1f} ms", flush=True
    )
    return figures


def connect(server: Smtpeter) -> HTTPSConnection:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection("127.0.0.1", server.https_port, context=context)


def ask(
    connection: HTTPSConnection, server: Smtpeter, method: str, path: str, body: bytes | None = None
) -> tuple[int, bytes]:
    """A request, and all of its answer."""
    fields = {"Authorization": f"Bearer {server.token}"} | ({"Content-Type": "application/json"} if body else {})
    connection.request(method, path, body, fields)
    response = connection.getresponse()
    return response.status, response.read()


# --- a large log file -------------------------------------------------------------------------------------------------


def logfile(directory: Path) -> dict[str, Any]:
    """A million records, in each form, read while nothing is kept."""
    server = Smtpeter(directory / "smtpeter", FIRST_PORT)
    figures: dict[str, Any] = {}
    try:
        fill(directory / "smtpeter" / "data")
        today = format_time(time.time())[:10]
        connection = connect(server)
        before = server.peak_memory()
        for form in ("", "/header", "/json", "/xml"):
            path = f"/v1/logfiles/attempts.{today}.log{form}"
            start = time.monotonic()
            used = server.cpu_seconds()
            fields = {"Authorization": f"Bearer {server.token}"}
            connection.request("GET", path, headers=fields)
            response = connection.getresponse()
            assert response.status == 200, response.read()
            octets = lines = 0
            left = b""
            while piece := response.read(256 * 1024):
                octets += len(piece)
                lines += (left + piece).count(b"@example.net") - left.count(b"@example.net")
                left = piece[-20:]
            seconds = time.monotonic() - start
            assert lines == SUBMISSIONS * RECIPIENTS, lines
            grown = server.peak_memory() - before
            cpu = server.cpu_seconds() - used
            print(
                f"log file{form or ' (CSV)'}: {lines / seconds:,.0f} records a second, "
                f"{octets / seconds / 1e6:.0f} MB/s, "
                f"{cpu / lines * 1e6:.1f} us of CPU each; memory grew by {grown / 1024:.0f} MB at most",
                flush=True,
            )
            figures[form or "/csv"] = {"rate": lines / seconds, "cpu": cpu / lines, "grown": grown}
    finally:
        server.stop()
    return figures


def fill(data: Path) -> None:
    """Put submissions of the bench's account into the store of a server that runs."""
    store = open_for_command(f"sqlite://{data / 'smtpeter.db'}", data, WallClock())
    try:
        account = result_of(store.accounts.account("bench@example.com"))
        assert account is not None
        content = b"Subject: x\r\n\r\nx\r\n"
        for _ in range(SUBMISSIONS):
            now = time.time()
            spool = store.content.spool()
            spool.write(content)
            kept: Content = result_of(spool.finish())
            envelope = Envelope(
                "letter@example.com",
                tuple(Recipient(f"reader-{each}@example.net", "example.net") for each in range(RECIPIENTS)),
            )
            result_of(
                store.queue.enqueue(
                    Submission(
                        make_submission_id(int(now * 1000), os.urandom(ENTROPY_BYTES)),
                        account.number,
                        "bench",
                        "rest",
                        envelope,
                        kept,
                        now,
                        now,
                        now + 86400,
                        "The letter",
                        "<x@example.com>",
                        ("news", "autumn"),
                        (("trackclicks", "true"),),
                    )
                )
            )
    finally:
        result_of(store.close())


if __name__ == "__main__":
    main()
