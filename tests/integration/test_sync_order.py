"""Before 250 is sent, what it promises is on the disk: seen from outside, call by call."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from typing import NamedTuple

import pytest

from tests.integration.gateway import Gateway, queued_id, wait_for

TRACED = "trace=openat,mkdir,mkdirat,rename,renameat,renameat2,write,writev,pwrite64,sendto,sendmsg,fsync,fdatasync"
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()(?P<rest>.*)")


class Call(NamedTuple):
    """A system call: where in the trace it began and ended, and its text, with the paths behind descriptors."""

    name: str
    text: str
    began: int
    ended: int


def read_calls(text: str) -> list[Call]:
    """Calls that succeeded.  One that another thread interrupted stands on two lines."""
    calls, unfinished = [], {}
    for position, line in enumerate(text.splitlines()):
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        pid, rest, began = match["pid"], match["rest"], position
        if match["resumed"]:
            name, start, began = unfinished.pop(pid)
            rest = start + rest
        else:
            name = match["name"]
        if rest.endswith("<unfinished ...>"):
            unfinished[pid] = name, rest.removesuffix("<unfinished ...>"), began
        elif not re.search(r"= -\d", rest):
            calls.append(Call(name, rest, began, position))
    return calls


class Traced:
    """A server under strace."""

    def __init__(self, directory):
        self.gateway = Gateway(directory, 'mode = "capture"')
        self.login = self.gateway.add_login()
        self.gateway.run("queue", "pause")
        self.trace = directory / "trace"
        strace = ["strace", "-f", "-yy", "-s", "5000", "-e", TRACED, "-e", "signal=none", "-o", self.trace]
        self.gateway.start(*strace)

    def accept(self, size):
        """The calls between 354 and 250 for a message, and before that, its id, a word in it, the client's address."""
        word = secrets.token_hex(16)
        content = f"Subject: x\r\n\r\n{word}\r\n".encode() + (b"x" * 74 + b"\r\n") * (size // 76)
        with self.gateway.connect(self.login) as client:
            host, port = client.sock.getsockname()[:2]
            assert client.mail("a@example.com")[0] == client.rcpt("b@example.net")[0] == 250
            client.putcmd("data")
            assert client.getreply()[0] == 354
            time.sleep(0.5)  # strace writes a call down when it is over
            before = self.trace.read_text(errors="replace")
            client.send(content + b".\r\n")
            code, reply = client.getreply()
            assert code == 250, reply
            time.sleep(0.5)
            after = self.trace.read_text(errors="replace")
        lines = before.count("\n")
        calls = read_calls(after)
        now = [call for call in calls if call.ended >= lines]
        return calls, now, queued_id(reply), word, f"->{host}:{port}"


@pytest.fixture
def traced(tmp_path):
    if shutil.which("strace") is None:
        if os.environ.get("SMTPETER_REQUIRE_TOOLS"):
            pytest.fail("strace is not installed")
        pytest.skip("strace is not installed")
    traced = Traced(tmp_path / "gateway")
    yield traced
    traced.gateway.end()


def the_answer(calls, client):
    """The one write to the client: 250."""
    [answer] = [c for c in calls if c.name in ("write", "writev", "sendto", "sendmsg") and client in c.text]
    return answer


def synced(calls, path, after, before):
    """Whether a file or directory was synced after one line of the trace and before another."""
    return any(
        c.name in ("fsync", "fdatasync") and f"<{path}>" in c.text and c.began > after and c.ended < before
        for c in calls
    )


def test_the_log_is_synced_before_a_small_message_is_acknowledged(traced):
    data = traced.gateway.directory / "data"
    log = data / "smtpeter.db-wal"
    for _ in range(3):
        calls, now, id, word, client = traced.accept(2000)
        answer = the_answer(now, client)
        written = [c for c in now if c.name == "pwrite64" and f"<{log}>" in c.text and c.began < answer.began]
        assert any(word in c.text for c in written), "the message itself goes to the log"
        assert synced(now, log, max(c.ended for c in written), answer.began)
    # A log that is not in its directory after a loss of power is no log.
    made = min(c.ended for c in calls if c.name == "openat" and f'"{log}"' in c.text and "O_CREAT" in c.text)
    assert synced(calls, data, made, answer.began)
    assert traced.gateway.json("message", "show", id)["state"] == "due"


def test_a_large_message_is_a_durable_file_before_its_row_is_written(traced):
    data = traced.gateway.directory / "data"
    content, log = data / "content", data / "smtpeter.db-wal"
    calls, now, id, word, client = traced.accept(1_000_000)
    answer = the_answer(now, client)
    [(growing, name)] = {
        (path, path.rpartition("/")[2]) for c in now for path in re.findall(r"<([^<>]*/incoming/\w+)>", c.text)
    }
    part = content / name[:2]
    last = max(c.ended for c in now if c.name == "write" and f"<{growing}>" in c.text)
    [rename] = [c for c in now if c.name.startswith("rename") and growing in c.text]
    assert synced(now, growing, last, rename.began)
    assert not any(c.name.startswith("mkdir") for c in now), "its directory is there and durable since the start"
    rows = [c for c in now if c.name == "pwrite64" and f"<{log}>" in c.text and c.began < answer.began]
    row = min(c.began for c in rows if name in c.text)
    assert synced(now, part, rename.ended, row)
    assert synced(now, log, max(c.ended for c in rows), answer.began)
    assert synced(calls, content, -1, answer.began)
    assert not any(word in c.text for c in rows), "large content does not go through the log"
    wait_for(lambda: (part / name).exists())
    assert word.encode() in traced.gateway.raw(id)


def test_what_the_log_held_is_in_the_database_before_the_log_begins_again(traced):
    data = traced.gateway.directory / "data"
    log, database = data / "smtpeter.db-wal", data / "smtpeter.db"
    traced.accept(2000)
    time.sleep(1.5)  # a checkpoint
    calls, _, _, _, _ = traced.accept(2000)
    restarts = [c for c in calls if c.name == "pwrite64" and f"<{log}>" in c.text and c.text.endswith("32, 0) = 32")]
    assert len(restarts) >= 2, "the log began again"
    copied = [c for c in calls if c.name == "pwrite64" and f"<{database}>" in c.text and c.ended < restarts[-1].began]
    assert copied
    assert synced(calls, database, max(c.ended for c in copied), restarts[-1].began)
    assert synced(calls, log, restarts[-2].ended, min(c.began for c in copied if c.began > restarts[-2].ended))
