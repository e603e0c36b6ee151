"""How many tracked links are redirected in a second, each with an event that is made durable.

    python bench/clicks.py [--seconds 10] [--connections 50] [--depth 1] [--rounds 3] [--peer aiohttp] [--json FILE]

The server is one process on one core, the client (wrk) on the other: plain HTTP, keep-alive, the fields of a browser,
one ``User-Agent`` of 500 for each request.  The links are of 20,000 recipients of 200 messages, five links each; they
are clicked in an order that looks random.  ``front`` is smtpeter as it is, ``twisted.web`` the same without the reader
of simple requests, ``aiohttp`` (where it is installed) checks the link's MAC, redirects, and keeps no event.
``constant`` is no more than Twisted's reactor and sockets, the most that can be had of them: each time something comes
it sends the same answer.  It needs Debian's ``wrk``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from smtpeter.api import LinkSeal
from smtpeter.features.services import FeatureKeys, FeatureServices, Surroundings
from smtpeter.model.delivery import Lane
from smtpeter.model.envelope import Envelope, Recipient
from smtpeter.model.ids import make_submission_id
from smtpeter.model.submission import Content, Submission

SERVER_CORE, CLIENT_CORE = "0", "1"
PORT = 18080
MESSAGES, RECIPIENTS, LINKS = 200, 100, 5
DEFAULT_PEERS = ("front", "twisted.web", "constant", "aiohttp")
KEYS = FeatureKeys("a1", {"a1": bytes(32)})

SCRIPT = """
local paths, agent = {}, 0
function init(arguments)
  for line in io.lines("%s") do paths[#paths + 1] = line end
  math.randomseed(1)
end
local function one()
  agent = (agent + 1) %% 500
  return wrk.format("GET", paths[math.random(#paths)], {
    ["Host"] = "click.example.com",
    ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128." .. agent,
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.5", ["Accept-Encoding"] = "gzip, deflate, br",
    ["Upgrade-Insecure-Requests"] = "1", ["Connection"] = "keep-alive",
  })
end
function request()
  local group = {}
  for number = 1, %d do group[number] = one() end
  return table.concat(group)
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--depth", type=int, default=1, help="requests that are sent together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", action="append", help="only this one; may be repeated")
    parser.add_argument("--python", default=sys.executable, help="which Python runs the servers")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    parser.add_argument("--serve", nargs=2, metavar=("PEER", "DIRECTORY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve[0], Path(arguments.serve[1]))
        return
    if shutil.which("wrk") is None:
        sys.exit("wrk is missing: apt-get install wrk")
    figures: dict[str, list[dict[str, float]]] = {}
    for _ in range(arguments.rounds):
        for peer in arguments.peer or DEFAULT_PEERS:
            with tempfile.TemporaryDirectory() as directory:
                figure = measure(peer, Path(directory), arguments)
            if figure is not None:
                figures.setdefault(peer, []).append(figure)
    for peer, rounds in figures.items():
        rates = [figure["rate"] for figure in rounds]
        events = ", ".join(f"{figure['events']:.0f} of {figure['requests']:.0f}" for figure in rounds)
        cpu = statistics.median(figure["cpu"] for figure in rounds)
        written = statistics.median(figure["written"] for figure in rounds)
        print(
            f"{peer:12} {statistics.median(rates):8.0f} a second   {cpu:5.1f} us of CPU each   "
            f"{written:8.0f} events a second until all are written: {events}"
        )
    if arguments.json:
        document = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
        arguments.json.write_text(json.dumps({**document, "clicks": figures}, indent=1))


def measure(peer: str, directory: Path, arguments: argparse.Namespace) -> dict[str, float] | None:
    """One run: the rate, the server's CPU time for a request in microseconds, how many events became durable, and at
    what rate: some 50,000 may wait to be written when the last request was answered."""
    command = ["taskset", "-c", SERVER_CORE, arguments.python, __file__, "--serve", peer, str(directory)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        if server.stdout.readline().strip() != "ready":
            print(f"{peer} is not installed", file=sys.stderr)
            return None
        script = directory / "clicks.lua"
        script.write_text(SCRIPT % (directory / "paths", arguments.depth))
        before, begun = cpu_seconds(server.pid), time.monotonic()
        client = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{arguments.connections}", f"-d{arguments.seconds}s"]
        said = subprocess.run(
            [*client, "-s", str(script), f"http://127.0.0.1:{PORT}/"], capture_output=True, text=True, check=True
        ).stdout
        requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
        if "Non-2xx" in said or "Socket errors" in said:
            print(said, file=sys.stderr)
        server.send_signal(signal.SIGTERM)
        events = int(server.stdout.readline() or 0)
        written = time.monotonic() - begun
        used = float(server.stdout.readline() or 0) - before
        return {
            "requests": requests,
            "rate": requests / arguments.seconds,
            "cpu": used / requests * 1e6,
            "events": events,
            "written": events / written,
        }
    finally:
        server.kill()
        server.wait()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- the servers ------------------------------------------------------------------------------------------------------


def make_links(seal: LinkSeal, ids: list[str]) -> list[str]:
    """All paths."""
    links = []
    for id in ids:
        for link in range(LINKS):
            url = f"https://www.example.com/shop/articles/{link}?utm_source=newsletter&utm_campaign=spring-{link}"
            destination = seal.destination(id, 1, url.encode())
            links += [
                f"/t/trackclicks/{seal.token(seal.current, id, number)}/{destination}"
                for number in range(1, RECIPIENTS + 1)
            ]
    random.Random(1).shuffle(links)
    return links


def serve(peer: str, directory: Path) -> None:
    seal = FeatureServices(Surroundings("", "", ""), KEYS).links
    now = time.time()
    ids = [make_submission_id(int(now * 1000), number.to_bytes(10, "big")) for number in range(MESSAGES)]
    (directory / "paths").write_text("\n".join(make_links(seal, ids)))
    if peer == "aiohttp":
        serve_aiohttp(seal)
    elif peer == "constant":
        serve_constant()
    else:
        serve_ours(peer, directory, ids, now)


def serve_ours(peer: str, directory: Path, ids: list[str], now: float) -> None:
    from smtpeter.plugins.trackclicks import plugin
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from smtpeter.clock import WallClock
    from smtpeter.eager import EagerTransport
    from smtpeter.store.opening import open_for_server
    from smtpeter.tap import LOCK_SECONDS
    from smtpeter.web.front import FrontFactory
    from smtpeter.web.metrics import Metrics
    from smtpeter.web.recorder import Recorder
    from smtpeter.web.rest.carrier import Carrier
    from smtpeter.web.site import make_site
    from smtpeter.web.tracking import Tracking
    from smtpeter.web.uploads import Uploads

    sys.setswitchinterval(LOCK_SECONDS)
    loop: Any = reactor
    clock = WallClock()
    store = open_for_server(
        f"sqlite://{directory / 'smtpeter.db'}",
        directory,
        clock,
        loop.callFromThread,
        on_trouble=lambda error: print(error, file=sys.stderr),
        call_soon=lambda function: loop.callLater(0, function),
    )
    metrics = Metrics()
    recorder = Recorder(store.journal, metrics, loop)

    services = FeatureServices(
        Surroundings("localhost", "http://localhost", "localhost"), KEYS, recorder.record, lambda *asked: False
    )
    tracking = Tracking(clock)
    tracking.open({plugin.name: plugin.configure({}, services)})
    site = make_site(
        trouble=lambda: None, metrics=metrics, metrics_allow=(), tracking=tracking,
        carrier=Carrier(Uploads(directory), 0, loop), documents={}, reactor=loop,
    )  # fmt: skip
    front = FrontFactory(site, tracking, clock, loop, eager=EagerTransport, is_behind=recorder.is_behind)
    factory: Any = site if peer == "twisted.web" else front

    async def begin() -> None:
        recipients = tuple(Recipient(f"{number}@example.net", "example.net") for number in range(RECIPIENTS))
        data = b"Subject: Hi\r\n\r\nHi\r\n"
        content = Content(len(data), hashlib.sha256(data).digest(), data)
        envelope = Envelope("a@example.com", recipients)
        for id in ids:
            await store.queue.enqueue(Submission(id, None, "", "smtp", envelope, content, now, now, now + 86400))
        for job in await store.queue.claim_due([(Lane("example.net", 0), 100_000)], now, now + 900):
            await store.queue.release(job.submission, job.lease)
        loop.listenTCP(PORT, factory, backlog=1024, interface="127.0.0.1")
        gc.collect()
        gc.freeze()  # as the program does when it is ready
        print("ready", flush=True)

    async def end() -> None:
        await recorder.stop()
        print(metrics._counts[("events_recorded",)], flush=True)
        await store.close()
        print(cpu_seconds(os.getpid()), flush=True)
        loop.stop()

    loop.callWhenRunning(lambda: Deferred.fromCoroutine(begin()).addErrback(lambda failure: print(failure)))
    signal.signal(signal.SIGTERM, lambda number, frame: loop.callFromThread(lambda: Deferred.fromCoroutine(end())))
    loop.run(installSignalHandlers=False)


def serve_constant() -> None:
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory, Protocol

    from smtpeter.eager import EagerTransport
    from smtpeter.web.lean import write_answer
    from smtpeter.web.tracking import STRICT, Answer

    loop: Any = reactor
    fields = (*STRICT, (b"Location", b"https://www.example.com/" + bytes(60).replace(b"\0", b"a")))
    answer = write_answer(Answer(302, fields, b"Moved\n"), b"Thu, 01 Jan 1970 00:00:00 GMT", b"GET", False)

    class Constant(Protocol):
        def connectionMade(self) -> None:
            self.write = EagerTransport(self.transport).write

        def dataReceived(self, data: bytes) -> None:
            self.write(answer)

    def end() -> None:
        print(0)
        print(cpu_seconds(os.getpid()), flush=True)
        loop.stop()

    loop.listenTCP(PORT, Factory.forProtocol(Constant), backlog=1024, interface="127.0.0.1")
    loop.callWhenRunning(lambda: print("ready", flush=True))
    signal.signal(signal.SIGTERM, lambda number, frame: loop.callFromThread(end))
    loop.run(installSignalHandlers=False)


def serve_aiohttp(seal: LinkSeal) -> None:
    try:
        from aiohttp import web  # type: ignore[import-not-found]
    except ImportError:
        print("missing", flush=True)
        return

    async def redirect(request: Any) -> Any:
        found = seal.read(request.match_info["token"], request.match_info["destination"])
        if found is None:
            return web.Response(status=404, text="Not found\n")
        return web.Response(status=302, headers={"Location": found.payload.decode("latin-1")}, text="Moved\n")

    async def run() -> None:
        application = web.Application()
        application.router.add_get("/t/trackclicks/{token}/{destination}", redirect)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", PORT, backlog=1024).start()
        print("ready", flush=True)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
        print(0)
        print(cpu_seconds(os.getpid()), flush=True)

    asyncio.run(run())


if __name__ == "__main__":
    main()
