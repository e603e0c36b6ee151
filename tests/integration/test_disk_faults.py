"""What a sick disk, a full one, a slow one and a locked database do to a real server."""

from __future__ import annotations

import smtplib
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from tests.integration.gateway import Gateway, free_ports, queued_id, send, wait_for
from tests.integration.receiver import Receiver
from tests.integration.strace import injected
from tests.integration.tools import missing, tool

SMALL = b"Subject: x\r\n\r\n" + b"x" * 2000 + b"\r\n"
LARGE = b"Subject: x\r\n\r\n" + (b"y" * 70 + b"\r\n") * 10_000


def offer(client, content, recipient="b@example.net"):
    """Offer a message; the reply to its final dot, or to whatever was refused before."""
    for code, reply in (client.mail("a@example.com"), client.rcpt(recipient)):
        if code != 250:
            client.rset()
            return f"{code} {reply.decode()}"
    code, reply = client.data(content)
    return f"{code} {reply.decode()}"


def taken(reply):
    return reply if reply.startswith("250 ") else ""


class Patient:
    """Asks /healthz all the time, and remembers the longest time that an answer took."""

    def __init__(self, gateway):
        self.longest = 0.0
        self.statuses = set()
        self._stopping = threading.Event()
        self._gateway = gateway
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping.is_set():
            began = time.monotonic()
            self.statuses.add(self._gateway.health())
            self.longest = max(self.longest, time.monotonic() - began)
            time.sleep(0.05)

    def stop(self):
        self._stopping.set()
        self._thread.join(20)


@pytest.fixture
def gateway(tmp_path):
    """A server that keeps what it gets, with delivery paused."""
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    gateway.login = gateway.add_login()
    gateway.run("queue", "pause")
    gateway.start()
    yield gateway
    gateway.end()


def queued(gateway):
    return {row["id"] for row in gateway.json("queue", "list", "--limit", "100000")}


def is_sound(gateway):
    database = sqlite3.connect(gateway.directory / "data" / "smtpeter.db")
    try:
        return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        database.close()


def test_a_disk_that_refuses_is_a_temporary_refusal_and_ends_by_itself(gateway):
    ids = set()
    for fault, content, reply in (
        ("pwrite64:error=ENOSPC", SMALL, "452 4.3.1 "),
        ("pwrite64:error=EIO", SMALL, "451 4.3.0 "),
        ("pwrite64:error=EROFS", SMALL, "451 4.3.0 "),
        ("fdatasync:error=EIO", SMALL, "451 4.3.0 "),
        ("fsync:error=EIO", LARGE, "451 4.3.0 "),
        ("fsync:error=ENOSPC", LARGE, "452 4.3.1 "),
        ("fsync:error=EDQUOT", LARGE, "452 4.3.1 "),
        ("rename:error=EROFS", LARGE, "451 4.3.0 "),
    ):
        with gateway.connect(gateway.login) as client:
            ids.add(queued_id(offer(client, content)[10:]))
            with injected(gateway.process.pid, fault):
                for _ in range(3):
                    answer = offer(client, content)
                    assert answer.startswith(reply), (fault, answer)
            ids.add(queued_id(wait_for(lambda: taken(offer(client, content)))[10:]))  # noqa: B023 (asked at once)
    gateway.kill()
    gateway.start()
    assert queued(gateway) == ids
    assert is_sound(gateway)


@pytest.mark.parametrize("crash", [False, True])
def test_a_sync_that_fails_once_is_never_taken_for_done(gateway, crash):
    """The next sync says well whatever became of what the failed one was for."""
    with gateway.connect(gateway.login) as client:
        before = queued_id(offer(client, SMALL)[10:])
        with injected(gateway.process.pid, "fdatasync:error=EIO:when=1"):
            assert offer(client, SMALL).startswith("451 4.3.0 ")
            if crash:
                gateway.kill()
        if crash:
            gateway.start()
            # Everything in the log, whatever the failed sync made of it, is in the database before mail comes in.
            assert (gateway.directory / "data" / "smtpeter.db-wal").stat().st_size < 64 * 1024
    with gateway.connect(gateway.login) as client:
        after = queued_id(offer(client, SMALL)[10:])
    gateway.kill()
    gateway.start()
    found = queued(gateway)
    assert {before, after} <= found
    assert crash or found == {before, after}, "what was refused is not there"
    assert is_sound(gateway)


@pytest.mark.parametrize("when", [1, 2])  # the file, and its directory
def test_a_file_whose_sync_fails_once_is_not_taken(gateway, when):
    with gateway.connect(gateway.login) as client:
        offer(client, LARGE)
        with injected(gateway.process.pid, f"fsync:error=EIO:when={when}"):
            replies = [offer(client, LARGE) for _ in range(6)]
        assert any(reply.startswith("451 4.3.0 ") for reply in replies)
        kept = {queued_id(reply[10:]) for reply in replies if reply.startswith("250 ")}
        assert kept < queued(gateway)
    content = gateway.directory / "data" / "content"
    assert len([file for file in content.rglob("*") if file.is_file()]) == len(queued(gateway))


@pytest.mark.parametrize(("delay", "clients", "each"), [(0.2, 10, 3), (2.0, 10, 1)])
def test_a_slow_disk_is_slow_for_all_together_and_stalls_nothing_else(gateway, delay, clients, each):
    sessions = [gateway.connect(gateway.login) for _ in range(clients)]
    replies = []

    def run(client):
        for _ in range(each):
            replies.append(offer(client, SMALL))

    with injected(gateway.process.pid, f"fdatasync:delay_enter={round(delay * 1_000_000)}"):
        patient = Patient(gateway)
        threads = [threading.Thread(target=run, args=(client,)) for client in sessions]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        took = time.monotonic() - began
        patient.stop()
    assert len(replies) == clients * each and all(map(taken, replies))
    assert took >= delay
    assert took < clients * each * delay / 2, "one sync is for many"
    assert patient.statuses == {200} and patient.longest < 1.5
    for client in sessions:
        client.close()


_LOCK = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
time.sleep(float(sys.argv[2]))
database.execute("COMMIT")
"""


def lock(gateway, seconds):
    path = gateway.directory / "data" / "smtpeter.db"
    process = subprocess.Popen([sys.executable, "-c", _LOCK, path, str(seconds)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"locked\n"
    return process


def test_a_locked_database_is_waited_for_and_then_refused(gateway):
    with gateway.connect(gateway.login) as client:
        for seconds, reply in ((1, "250 2.0.0 "), (15, "451 4.3.0 ")):
            process, patient = lock(gateway, seconds), Patient(gateway)
            assert offer(client, SMALL).startswith(reply)
            patient.stop()
            assert patient.longest < 1.5
            process.kill() if seconds > 10 else process.wait(20)
            process.communicate()
        assert wait_for(lambda: taken(offer(client, SMALL)))
    assert len(queued(gateway)) == 2


def test_a_server_waits_for_a_locked_database_when_it_starts(tmp_path):
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"')
    gateway.login = gateway.add_login()
    process = lock(gateway, 300)
    try:
        starting = threading.Thread(target=gateway.start, daemon=True)
        starting.start()
        wait_for(lambda: gateway.health() == 503, 30)
        with pytest.raises(smtplib.SMTPConnectError) as caught:
            smtplib.SMTP("localhost", gateway.smtp, timeout=10)
        assert caught.value.smtp_code == 421
        process.kill()
        process.communicate()
        starting.join(30)
        with gateway.connect(gateway.login) as client:
            assert taken(offer(client, SMALL))
        assert "the start waits" in gateway.log.read_text()
    finally:
        process.kill()
        gateway.end()


def test_backups_beside_a_server_break_nothing(gateway, tmp_path):
    database = gateway.directory / "data" / "smtpeter.db"
    stopping, ids = threading.Event(), []

    def load():
        with gateway.connect(gateway.login) as client:
            while not stopping.is_set():
                ids.append(queued_id(offer(client, SMALL)[10:]))

    thread = threading.Thread(target=load)
    thread.start()
    copies = [tmp_path / f"copy{number}" for number in range(6)]
    for number, copy in enumerate(copies):
        command = f"VACUUM INTO '{copy}'" if number % 2 else f".backup '{copy}'"
        subprocess.run([tool("sqlite3"), database, command], check=True, timeout=60)
    stopping.set()
    thread.join(30)
    for copy in copies:
        opened = sqlite3.connect(copy)
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        opened.close()
    gateway.kill()
    gateway.start()
    assert queued(gateway) == set(ids)
    assert is_sound(gateway)


class Volume:
    """A small file system, and something that takes up its room."""

    def __init__(self, directory, size):
        directory.mkdir(parents=True)
        mounted = subprocess.run([tool("mount"), "-t", "tmpfs", "-o", f"size={size}", "none", directory])
        if mounted.returncode:
            missing("a tmpfs cannot be mounted here")
        self._directory = directory
        self._filler = directory / "filler"

    def fill(self, leave=0):
        with self._filler.open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(64 * 1024))
            except OSError:
                pass
            filler.truncate(filler.tell() - leave)

    def make_room(self):
        self._filler.unlink()

    def unmount(self):
        subprocess.run([tool("umount"), "-l", self._directory], check=True)


@pytest.fixture
def volume(tmp_path):
    volume = Volume(tmp_path / "gateway" / "data", "48m")
    yield volume
    volume.unmount()


def test_a_full_volume_refuses_mail_and_goes_on_by_itself(tmp_path, volume):
    gateway = Gateway(tmp_path / "gateway", 'mode = "capture"', '[limits]\nfree_space = "1"')
    gateway.login = gateway.add_login()
    gateway.run("queue", "pause")
    ids = []
    try:
        gateway.start()
        with gateway.connect(gateway.login) as client:
            ids += [queued_id(offer(client, content)[10:]) for content in (SMALL, LARGE)]
            volume.fill(leave=100_000)
            assert offer(client, LARGE).startswith("452 4.3.1 ")
            replies = [offer(client, SMALL * 20) for _ in range(40)]
            ids += [queued_id(reply[10:]) for reply in replies if taken(reply)]
            assert all(reply.startswith("452 4.3.1 ") for reply in replies if not taken(reply))
            assert not taken(replies[-1])
            wait_for(lambda: gateway.health() == 503)
            volume.make_room()
            for content in (SMALL, LARGE):
                ids.append(queued_id(wait_for(lambda content=content: taken(offer(client, content)))[10:]))
            wait_for(lambda: gateway.health() == 200, 30)
        gateway.kill()
        gateway.start()
        assert queued(gateway) == set(ids)
        assert is_sound(gateway)
    finally:
        gateway.end()


def test_deliveries_go_on_while_there_is_no_room_for_more_mail(tmp_path, volume):
    [port] = free_ports(1)
    receiver = Receiver(port).start()
    gateway = Gateway(
        tmp_path / "gateway",
        f'mode = "relay"\nrelay = "smtp://localhost:{port}"',
        '[limits]\nfree_space = "16 MiB"',
    )
    gateway.login = gateway.add_login()
    gateway.run("queue", "pause")
    try:
        gateway.start()
        with gateway.connect(gateway.login) as client:
            for number in range(50):
                send(client, "a@example.com", [f"to{number}@example.net"], SMALL)
            volume.fill(leave=8 * 1024 * 1024)
            wait_for(lambda: gateway.health() == 503)
            assert offer(client, SMALL).startswith("452 4.3.1 ")
            gateway.run("queue", "resume")
            wait_for(lambda: not gateway.json("queue", "list", "--limit", "1"), 60)
            assert len(receiver.messages) == 50
            assert offer(client, SMALL).startswith("452 4.3.1 ")
            volume.make_room()
            wait_for(lambda: gateway.health() == 200)
            assert taken(offer(client, SMALL))
    finally:
        gateway.end()
        receiver.stop()
