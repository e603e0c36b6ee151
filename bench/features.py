"""What features cost: a newsletter of 50 KB with its styles inlined, its links and its opening tracked.

    python bench/features.py [--only economy|recipients|sustained] [--seconds 20] [--rate 300] [--json FILE]

*economy*: CPU time of preparing it, beside the same work done with the standard library's email package, premailer and
lxml.  *recipients*: CPU time for each of 1,000 recipients of one prepared newsletter.  *sustained*: the whole program
on both cores, accepting, preparing and delivering to a sink, and how much plain mail it takes meanwhile.  It needs what
``run.py`` needs, and the extra ``fast``.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import logging
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from newsletter import MARK, newsletter
from run import FIRST_PORT, SINK_PORT, build_client, keep
from servers import Sink, Smtpeter

from smtpeter.auth.keys import KeyRing
from smtpeter.features.catalog import Catalog, load_catalog
from smtpeter.features.exchange import Task
from smtpeter.features.personal import Personalizer
from smtpeter.features.pipeline import Result, prepare
from smtpeter.features.services import services_of
from smtpeter.model.delivery import Job, LeasedRecipient
from smtpeter.model.submission import Content
from smtpeter.settings import Settings

FEATURES = ("inlinecss", "preventscam", "trackclicks", "trackopens", "trackbounces")
BOTH_CORES = "0,1"
PLAIN = "2048"  # octets of a plain message
ROUNDS = 60
SUBMISSION = "01m7ztmsgpb0q5mbe6rmvbtpzk"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=("", "economy", "recipients", "sustained"))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=300, help="newsletters a second that are asked for")
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if arguments.only in ("", "economy"):
        figures["economy"] = economy()
    if arguments.only in ("", "recipients"):
        figures["recipients"] = recipients()
    if arguments.only in ("", "sustained"):
        figures["sustained"] = sustained(arguments.seconds, arguments.rate)
    if arguments.json:
        keep(arguments.json, {"features": figures})


# --- one process, a tight loop ----------------------------------------------------------------------------------------


def lowest(works: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of CPU of each, which take turns; the median of the lower half of all rounds."""
    figures: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds):
        for name, work in works.items():
            start = time.process_time()
            work(number)
            figures[name].append((time.process_time() - start) * 1000)
    return {name: statistics.median(sorted(each)[: rounds // 2 + 1]) for name, each in figures.items()}


def economy() -> dict[str, float]:
    """Ours with either engine, unseen and seen before, beside the usual libraries."""
    unseen = [newsletter(f"{number:08d}") for number in range(ROUNDS)]
    # One row more in each, so that nothing is known of its tags.
    others = [newsletter("x", more="<tr><td>more</td></tr>" * (number + 1)) for number in range(ROUNDS)]
    works: dict[str, Callable[[int], object]] = {
        "email, premailer, lxml": lambda number: usual_libraries(unseen[number])
    }
    tags: dict[str, Callable[[int], object]] = {}  # not beside the others, whose caches in premailer would suffer
    for engine in ("premailer", "css-inline"):
        ours = preparation(make_catalog(engine))
        ours(newsletter("warm"))
        works[f"{engine}, other words"] = lambda number, ours=ours: ours(unseen[number])  # type: ignore[misc]
        works[f"{engine}, the same again"] = lambda number, ours=ours: ours(unseen[0])  # type: ignore[misc]
        tags[f"{engine}, other tags"] = lambda number, ours=ours: ours(others[number])  # type: ignore[misc]
    figures = lowest(works, ROUNDS) | lowest(tags, ROUNDS)
    usual = figures["email, premailer, lxml"]
    for name, milliseconds in figures.items():
        print(f"{name:<34}{milliseconds:9.2f} ms{usual / milliseconds:9.1f} times", flush=True)
    return figures


def usual_libraries(content: bytes) -> bytes:
    """What one would write without us."""
    import lxml.html
    import premailer

    logging.disable(logging.WARNING)  # of properties that the style sheet has and the CSS standard has not

    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    for part in message.walk():
        if part.get_content_type() == "text/html":
            html = premailer.transform(part.get_content(), allow_network=False, disable_validation=True)
            tree = lxml.html.document_fromstring(html)
            for link in tree.iter("a", "area"):
                href = link.get("href", "")
                if href.startswith(("http:", "https:")):
                    link.set("href", f"https://click.example.com/t/trackclicks/{'x' * 24}/{href.encode().hex()}")
            tree.body.append(
                lxml.html.fromstring('<img src="https://click.example.com/o" width="1" height="1" alt="">')
            )
            part.set_content(lxml.html.tostring(tree, encoding="unicode"), subtype="html", cte="quoted-printable")
    return message.as_bytes()


def make_catalog(engine: str) -> Catalog:
    """All features, with keys of no account."""
    tables = MappingProxyType({"inlinecss": {"engine": engine}})
    settings = Settings.default()
    settings = replace(settings, features=replace(settings.features, tables=tables))
    return load_catalog(settings, services_of(settings, KeyRing("1", {"1": bytes(32)})))


def preparation(catalog: Catalog) -> Callable[[bytes], Result]:
    """All that a worker does with a message that it has read."""
    options = dict.fromkeys(FEATURES, "true")
    features = catalog.preparing(options)

    def prepare_one(content: bytes) -> Result:
        task = Task(1, SUBMISSION, 1, "letter@example.com", 1000, options, Content(len(content), b""), {})
        return prepare(task, content, features, FEATURES, lambda name, work: work())

    return prepare_one


def recipients() -> dict[str, float]:
    """Fills and reverse-paths of 1,000 recipients, as delivery asks for them."""
    catalog = make_catalog("css-inline")
    result = preparation(catalog)(newsletter("everybody"))
    assert result.octets is not None
    content = result.octets
    leased = tuple(
        LeasedRecipient(number, f"{SUBMISSION}-{number}", f"r{number}@example.net", "example.net", None, None, 0, False)
        for number in range(1, 1001)
    )
    job = Job(
        submission=SUBMISSION, lease=1, lease_until=0.0, account=1, reverse_path="letter@example.com", ret=None,
        envid=None, body="7BIT", smtputf8=False, content=Content(len(content), b"", content, None, True), time=0.0,
        expires=0.0, recipients=leased, options=tuple(dict.fromkeys(FEATURES, "true").items()), slots=result.slots,
    )  # fmt: skip

    def all_of_them(number: int) -> None:
        copies = Personalizer(catalog).personalize(job, content)
        for recipient in leased:
            copies.reverse_path(recipient)
            copies.fill(recipient)

    each = lowest({"": all_of_them}, 9)[""] / len(leased)
    print(f"a recipient of {len(content)} octets with {len(result.slots)} slots: {each:.4f} ms of CPU", flush=True)
    return {"ms": each, "slots": len(result.slots)}


# --- the whole program, on both cores ---------------------------------------------------------------------------------


class Backlog(threading.Thread):
    """Looks ten times a second at what waits to be prepared, and at all that is not finished."""

    def __init__(self, server: Smtpeter) -> None:
        super().__init__(daemon=True)
        self.unprepared = self.unfinished = 0
        self._database = server.database
        self._stop_asked = threading.Event()

    def run(self) -> None:
        with closing(sqlite3.connect(f"file:{self._database}?mode=ro", uri=True)) as connection:
            while not self._stop_asked.wait(0.1):
                (unprepared,) = connection.execute("SELECT count(*) FROM preparation").fetchone()
                (unfinished,) = connection.execute("SELECT count(*) FROM recipient WHERE state < 4").fetchone()
                self.unprepared = max(self.unprepared, unprepared)
                self.unfinished = max(self.unfinished, unfinished)

    def stop(self) -> None:
        """Look no more."""
        self._stop_asked.set()
        self.join()


def sustained(seconds: float, rate: int) -> dict[str, Any]:
    """A stream of newsletters at a steady rate, and what becomes of it; then plain mail beside it."""
    directory = Path(tempfile.mkdtemp(prefix="smtpeter-bench-"))
    directory.chmod(0o755)
    figures: dict[str, Any] = {}
    client = build_client(directory)
    sink = Sink(SINK_PORT)
    fields = "".join(f"X-SMTPeter-{name}: true\r\n" for name in FEATURES)
    try:
        for engine, mark in (("css-inline", MARK), ("premailer", "everybody")):
            content = directory / f"{engine}.eml"
            content.write_bytes(newsletter(mark, fields).replace(b"\r\n.", b"\r\n..") + b".\r\n")
            name = "unseen, css-inline" if mark == MARK else "bulk, premailer"
            server = Smtpeter(
                directory / engine, FIRST_PORT, sink.address, cores=BOTH_CORES,
                settings=f'[features.inlinecss]\nengine = "{engine}"\n',
            )  # fmt: skip
            try:
                figures[name] = stream(client, server, content, seconds, rate)
                show(name, figures[name], rate)
            finally:
                server.stop()
    finally:
        sink.stop()
        shutil.rmtree(directory)
    return figures


def stream(client: Path, server: Smtpeter, content: Path, seconds: float, rate: int) -> dict[str, float]:
    """One kind of newsletters: at the rate to be kept up, as fast as it goes, and with plain mail beside."""
    send(client, server, content, 200)
    wait_until_done(server)
    figures: dict[str, float] = {}

    watch = Backlog(server)
    watch.start()
    start = time.monotonic()
    send(client, server, content, int(rate * seconds), rate=rate)
    wait_until_done(server)
    figures["steady"] = rate * seconds / (time.monotonic() - start)
    watch.stop()
    figures["unprepared"], figures["unfinished"] = watch.unprepared, watch.unfinished

    start = time.monotonic()
    send(client, server, content, int(rate * seconds))
    wait_until_done(server)
    figures["most"] = rate * seconds / (time.monotonic() - start)

    send(client, server, PLAIN, 2000)
    alone = send(client, server, PLAIN, 8000)
    figures["plain_alone"] = alone["messages"] / alone["seconds"]
    wait_until_done(server)
    newsletters = threading.Thread(
        target=send, args=(client, server, content, int(rate * seconds)), kwargs={"rate": rate}, daemon=True
    )
    newsletters.start()
    time.sleep(1)
    beside = []
    while newsletters.is_alive() and len(beside) < 5:
        answer = send(client, server, PLAIN, 2000)
        beside.append(answer["messages"] / answer["seconds"])
    newsletters.join()
    figures["plain_beside"] = statistics.median(beside)
    wait_until_done(server)
    return figures


def send(
    client: Path, server: Smtpeter, content: Path | str, messages: int, *, rate: float = 0, connections: int = 20
) -> dict[str, float]:
    """Let the client send; what it tells.  ``content`` is a file, or how many octets of plain text."""
    arguments = (server.port, server.user, server.password, connections, messages, 1000, content, 0, rate)
    result = subprocess.run([client, *map(str, arguments)], check=False, capture_output=True)
    answer: dict[str, float] = json.loads(result.stdout)
    if answer["errors"]:
        print(f"{answer['errors']} errors of the load client", flush=True)
    return answer


def wait_until_done(server: Smtpeter) -> None:
    """Until everything is delivered."""
    while server.unfinished():
        time.sleep(0.05)


def show(name: str, figures: dict[str, float], rate: int) -> None:
    """Print a kind's lines."""
    print(
        f"{name}: asked for {rate}/s: {figures['steady']:.0f}/s until delivered, at most {figures['unprepared']:.0f} "
        f"unprepared and {figures['unfinished']:.0f} unfinished; as fast as it goes: {figures['most']:.0f}/s; "
        f"plain mail {figures['plain_alone']:.0f}/s alone, {figures['plain_beside']:.0f}/s beside it",
        flush=True,
    )


if __name__ == "__main__":
    main()
