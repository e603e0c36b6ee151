"""The demonstration as a new user meets it: start it, and do exactly what it prints."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

import pytest

from tests.integration.demonstration import Demo
from tests.integration.gateway import queued_id, wait_for
from tests.integration.tools import tool


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    demo = Demo(tmp_path_factory.mktemp("demo"))
    yield demo
    demo.process.kill()


@pytest.mark.parametrize("program", ["swaks", "printf", "curl"])
def test_the_printed_commands_work_as_they_are(demo, program):
    tool("swaks" if program == "swaks" else "curl")
    before = len(json.loads(demo.smtpeter("message", "list", "--json")))
    result = demo.shell(demo.printed(program))
    assert result.returncode == 0, result
    listed = json.loads(demo.smtpeter("message", "list", "--json"))
    assert len(listed) == before + 1
    id = listed[0]["id"]
    if program == "swaks":
        assert queued_id(re.search(r"250 2\.0\.0 (Ok, queued as \S+)", result.stdout)[1]) == id
    if program == "curl":
        assert json.loads(result.stdout) == {id: "somebody@example.net"}
    assert id in demo.shell(demo.printed(r"\S+smtpeter --demo message list")).stdout
    shown = demo.shell(demo.printed(r"\S+smtpeter --demo message show").replace("ID", id))
    assert shown.returncode == 0 and "somebody@example.net" in shown.stdout
    raw = demo.shell(demo.printed(r"\S+smtpeter --demo message raw").replace("ID", id))
    assert raw.returncode == 0 and raw.stdout.startswith("Received: from ")


def test_the_printed_links_answer(demo):
    links = [url for url in re.findall(r"http://\S+", demo.text) if "/v1" not in url]  # which wants a token
    assert {url.rpartition("/")[2] for url in links} == {"healthz", "metrics", "docs", "openapi.json"}
    for url in links:
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200


def test_a_second_start_prints_the_same_secrets(demo):
    first = re.findall(r"^  (?:login|its password|token|account) +(.+)$", demo.text, re.MULTILINE)
    assert len(first) == 5
    demo.stop()
    demo.start()
    assert re.findall(r"^  (?:login|its password|token|account) +(.+)$", demo.text, re.MULTILINE) == first


def test_send_test_tells_what_happened(demo):
    shown = demo.smtpeter("send-test", "somebody@example.net").decode()
    assert "delivered" in shown and "somebody@example.net" in shown


def test_busy_ports_are_stepped_over(demo, tmp_path):
    other = Demo(tmp_path)
    try:
        with urllib.request.urlopen(re.search(r"http://\S+healthz", other.text)[0]) as answer:
            assert answer.status == 200
        assert other.printed("swaks") != demo.printed("swaks")
    finally:
        other.process.kill()


def test_its_state_is_private(demo):
    directory = wait_for(lambda: re.search(r"its state stays in (\S+)", demo.text))[1]
    assert Path(directory).stat().st_mode & 0o777 == 0o700
    for each in Path(directory).iterdir():
        assert each.stat().st_mode & 0o077 == 0, each
