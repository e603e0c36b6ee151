"""The process that reads large requests, as it really runs: what it makes, and what no request can do to the server."""

from __future__ import annotations

import base64
import email
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from smtpeter.features.process import environment_of_worker
from smtpeter.web.rest.exchange import COMPOSED, Setup, encode_task
from smtpeter.web.rest.outgoing import Rules

SIZE = 20_000_000
JSON = b"application/json"
SETUP = Setup(os.getpid(), Rules({"tags": "tags"}, 1000), SIZE)


class Composer:
    """One process, and a directory for its files."""

    def __init__(self, directory):
        self.directory = directory
        command = [sys.executable, "-P", "-m", "smtpeter.composer"]
        environment = environment_of_worker(os.environ)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self.process.stdin.write(SETUP.encode())

    def ask(self, body, content_type=JSON):
        """The answer, and the composed octets; None where the process has ended."""
        file = self.directory / "one.upload"
        file.write_bytes(body)
        composed = Path(f"{file}{COMPOSED}")
        self.process.stdin.write(encode_task(file, content_type))
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        try:
            return (json.loads(line), composed.read_bytes() if composed.exists() else None) if line else None
        finally:
            composed.unlink(missing_ok=True)

    def status(self):
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return dict(line.split(":", 1) for line in lines)

    def end(self):
        self.process.stdin.close()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
            self.process.stdout.close()


@pytest.fixture
def composer(tmp_path):
    composer = Composer(tmp_path)
    yield composer
    if not composer.process.stdin.closed:
        composer.end()


def letter(**more):
    return json.dumps({"recipients": "a@example.com", "from": "me@example.org", "text": "x"} | more).encode()


def test_it_composes_one_after_the_other_and_leaves_when_nothing_comes(composer):
    data = random.Random(1).randbytes(1_000_000)
    for _ in range(2):
        told, octets = composer.ask(
            letter(tags="a;b", attachments=[{"data": base64.b64encode(data).decode(), "name": "x"}])
        )
        assert told["envelope"][1] == [["a@example.com", "example.com", None, None]] and told["options"] == {
            "tags": "a,b"
        }
        (part,) = list(email.message_from_bytes(octets).walk())[2:]
        assert part.get_payload(decode=True) == data
    assert composer.end() == 0


def test_it_comes_after_the_server(composer):
    composer.ask(b"{}")
    fields = Path(f"/proc/{composer.process.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[16]) >= 5


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{", JSON, 400),
        (b"[" * 10_000_000, JSON, 400),
        (b'{"a":' * 1_000_000, JSON, 400),
        (letter(subject="x\ny"), JSON, 400),
        (b"x", b"text/plain", 415),
        (b"--B", b"multipart/form-data; boundary=B", 400),
        (letter(html="x" * (SIZE + 1)), JSON, 413),
        (letter(html="\u00e9" * (SIZE // 2)), JSON, 413),
    ],
)
def test_it_refuses_and_goes_on(composer, body, content_type, status):
    told, _ = composer.ask(body, content_type)
    assert told["status"] == status and told["error"]
    assert "envelope" in composer.ask(letter())[0]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"recipients": "a@example.com", "x": [' + b"{}," * 12_000_000 + b"{}]}", JSON),
        (b'{"recipients": "a@example.com", "x": [' + b"[[1]]," * 6_000_000 + b"1]}", JSON),
        (b"&".join(b"a[%d][b]=1" % number for number in range(2_000_000)), b"application/x-www-form-urlencoded"),
    ],
)
def test_a_bomb_is_refused_within_its_bounds(composer, body, content_type):
    answer = composer.ask(body, content_type)
    if answer is None:  # it took too much CPU
        assert composer.process.wait(20) == -signal.SIGPROF
        return
    assert answer[0]["status"] in (400, 413)
    assert int(composer.status()["VmHWM"].split()[0]) * 1024 < SETUP.memory + 100 * 1024 * 1024


def test_a_file_that_is_gone_is_for_another_time(composer):
    told, _ = composer.ask(letter())
    composer.process.stdin.write(encode_task(composer.directory / "gone.upload", JSON))
    composer.process.stdin.flush()
    assert json.loads(composer.process.stdout.readline())["status"] == 503
    assert "envelope" in told


def test_what_was_composed_before_is_not_written_over(composer):
    (composer.directory / f"one.upload{COMPOSED}").write_bytes(b"")
    assert composer.ask(letter())[0]["status"] == 503
