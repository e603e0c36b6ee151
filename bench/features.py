"""What features cost: a newsletter of 50 KB with its styles inlined, its links and its opening tracked.

    python bench/features.py [--only economy|recipients|sustained] [--seconds 20] [--json FILE]

*economy*: CPU time of preparing it, beside the same work done with the standard library's email package, premailer and
lxml.  *recipients*: CPU time for each of 1,000 recipients of one prepared newsletter.  *sustained*: the whole program on
both cores, accepting, preparing and delivering to a sink, and how much plain mail it takes meanwhile.  It needs what
``run.py`` needs, and the extra ``fast``.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
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
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
from newsletter import newsletter
from run import FIRST_PORT, SINK_PORT, build_client, keep
from servers import Sink, Smtpeter

FEATURES = ("inlinecss", "preventscam", "trackclicks", "trackopens", "trackbounces")
BOTH_CORES = "0,1"
RATE = 300  # newsletters a second that have to be kept up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=("", "economy", "recipients", "sustained"))
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {}
    if arguments.only in ("", "economy"):
        figures["economy"] = economy()
    if arguments.only in ("", "recipients"):
        figures["recipients"] = recipients()
    if arguments.only in ("", "sustained"):
        figures["sustained"] = sustained(arguments.seconds)
    if arguments.json:
        keep(arguments.json, {"features": figures})


# --- one process, a tight loop ----------------------------------------------------------------------------------------


def lowest(work: Callable[[int], object], rounds: int) -> float:
    """Milliseconds of CPU; the median of the lower half of all rounds."""
    figures = []
    for number in range(rounds):
        start = time.process_time()
        work(number)
        figures.append((time.process_time() - start) * 1000)
    return statistics.median(sorted(figures)[: rounds // 2 + 1])


def economy() -> dict[str, float]:
    """Ours with either engine, unseen and seen before, beside the usual libraries."""
    unseen = [newsletter(f"{number:08d}") for number in range(300)]
    figures = {
        "email, premailer, lxml": lowest(lambda number: usual_libraries(unseen[number]), 60),
    }
    for engine in ("premailer", "css-inline"):
        prepare = preparation(engine)
        prepare(newsletter("warm"))
        figures[f"{engine}, unseen"] = lowest(lambda number, prepare=prepare: prepare(unseen[number]), 100)  # type: ignore[misc]
        figures[f"{engine}, the same again"] = lowest(lambda number, prepare=prepare: prepare(unseen[0]), 100)  # type: ignore[misc]
    usual = figures["email, premailer, lxml"]
    for name, milliseconds in figures.items():
        print(f"{name:<34}{milliseconds:9.2f} ms{usual / milliseconds:9.1f} times", flush=True)
    return figures


def usual_libraries(content: bytes) -> bytes:
    """What one would write without us."""
    import lxml.html
    import premailer

    message = email.message_from_bytes(content, policy=email.policy.SMTP)
    for part in message.walk():
        if part.get_content_type() == "text/html":
            html = premailer.transform(part.get_content(), allow_network=False, disable_validation=True)
            tree = lxml.html.document_fromstring(html)
            for link in tree.iter("a", "area"):
                href = link.get("href", "")
                if href.startswith(("http:", "https:")):
                    link.set("href", f"https://click.example.com/t/trackclicks/{'x' * 24}/{href.encode().hex()}")
            tree.body.append(lxml.html.fromstring('<img src="https://click.example.com/o" width="1" height="1" alt="">'))
            part.set_content(lxml.html.tostring(tree, encoding="unicode"), subtype="html", cte="quoted-printable")
    return message.as_bytes()


def make_catalog(engine: str) -> Any:
    from smtpeter.auth.keys import KeyRing
    from smtpeter.features.catalog import load_catalog
    from smtpeter.features.services import FeatureKeys, services_for
    from smtpeter.settings import Settings

    settings = Settings.default()
    tables = MappingProxyType({"inlinecss": {"engine": engine}})
    settings = replace(settings, features=replace(settings.features, tables=tables))
    return load_catalog(settings, services_for(settings, FeatureKeys.of(KeyRing("1", {"1": b"k" * 32}))))


def preparation(engine: str) -> Callable[[bytes], Any]:
    """All that a worker does with a message that it has read."""
    from smtpeter.features.pipeline import prepare

    catalog = make_catalog(engine)
    options = dict.fromkeys(FEATURES, "true")
    raise NotImplementedError


def recipients() -> dict[str, float]:
    raise NotImplementedError
