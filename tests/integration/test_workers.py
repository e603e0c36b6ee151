"""Real worker processes, and features that do what none should: every message is prepared all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from smtpeter.model.delivery import RecipientState
from smtpeter.model.event import EventKind
from smtpeter.model.listing import Filter, Verb
from tests.integration.gateway import wait_for
from tests.integration.workshop import MESSAGE, Loop, Workshop, child_processes

CHECKOUT = Path(__file__).parents[2]
LARGE = MESSAGE.replace(b"text/plain", b"multipart/mixed; boundary=x").replace(
    b"Hello.\r\n", b"--x\r\n\r\nHello.\r\n--x\r\nContent-Type: image/png\r\n\r\n" + b"x" * 900_000 + b"\r\n--x--\r\n"
).replace(b"x" * 900, b"x" * 898 + b"\r\n")  # fmt: skip


@pytest.fixture(scope="module")
def loop():
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="module")
def workshop(loop, tmp_path_factory):
    workshop = Workshop(loop, tmp_path_factory.mktemp("workshop"))
    yield workshop
    workshop.close()


@pytest.fixture
def make(loop, tmp_path):
    made = []

    def make(**fields):
        made.append(Workshop(loop, tmp_path, **fields))
        return made[-1]

    yield make
    for workshop in made:
        workshop.close()


def was_here(content, name):
    return f"X-{name}: was here".encode() in content and f"{name} was here\r\n".encode() in content


def workers():
    return [pid for pid, command in child_processes(os.getpid()).items() if b"smtpeter.worker" in command]


def test_a_message_is_prepared(workshop):
    data, content, _ = workshop.prepared(workshop.submit(recipients=3, zz_marks=True))
    assert was_here(content, "zz_marks")
    assert data == {"features": "zz_marks", "description": "zz_marks: 3 recipients"}


def test_a_message_that_no_feature_changes_goes_as_it_came(workshop):
    data, content, job = workshop.prepared(workshop.submit())
    assert content == MESSAGE and data["features"] == "" and not job.content.prepared


def test_large_content_goes_from_file_to_file_and_never_through_the_server(workshop, loop):
    sizes = []
    for worker in workshop.pool._workers:
        receive = worker.outReceived
        worker.outReceived = lambda data, receive=receive: (sizes.append(len(data)), receive(data))
    _, content, job = workshop.prepared(workshop.submit(LARGE, zz_marks=True))
    assert was_here(content, "zz_marks") and len(content) > 900_000
    assert job.content.file is not None
    assert sizes and sum(sizes) < 2000


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("raises", "ValueError: it is Tuesday"),
        ("leaves", "SystemExit: good-bye"),
        ("loops", "OutOfTime"),
        ("loops_stubbornly", "OutOfTime"),
        ("searches", "OutOfTime"),
        ("stays_in_c", "could only be killed"),
        ("hogs", "MemoryError"),
        ("exits", "ended with status 7"),
        ("crashes", "signal 11 (SIGSEGV)"),
        ("slots_of_nobody", "slots that nobody fills"),
    ],
)
def test_without_a_feature_that_fails_a_message_goes_on(workshop, name, reason):
    data, content, _ = workshop.prepared(workshop.submit(zz_marks=True, **{name: True}))
    assert was_here(content, "zz_marks") and b"X-" + name.encode() not in content
    assert name + b" was here".decode() not in content.decode()
    assert (data["features"], data["failed"]) == ("zz_marks", name)
    assert f"{name} failed: " in data["description"] and reason in data["description"]


def test_what_a_feature_prints_does_no_harm(workshop):
    data, content, _ = workshop.prepared(workshop.submit(zz_marks=True, prints=True))
    assert data["features"] == "prints;zz_marks" and was_here(content, "prints")


@pytest.mark.parametrize("name", ["raises_fail", "exits_fail"])
def test_a_feature_may_have_its_message_returned(workshop, name):
    id = workshop.submit(recipients=2, zz_marks=True, **{name: True})
    event = workshop.wait_for_event(id, "failure")
    assert (event["type"], event["state"]) == ("failed", "prepare")
    assert name in event["description"]
    assert [job.submission for job, _ in workshop.reports].count(id) == 1


def test_a_feature_may_have_its_message_wait(make):
    workshop = make(retry=(0.5,))
    id = workshop.submit(zz_marks=True, raises_defer=True, lifetime=3.0)
    events = [entry.kind for entry in until_final(workshop, id)]
    assert events[0] is EventKind.ATTEMPT and events[-1] is EventKind.FAILURE
    assert len(events) > 3 and set(events[1:-1]) == {EventKind.DEFERRAL}
    assert workshop.events(id, "failure")[0]["type"] == RecipientState.EXPIRED


def test_a_feature_that_kills_its_worker_may_have_its_message_wait(make):
    workshop = make(retry=(0.5,))
    id = workshop.submit(zz_marks=True, exits_defer=True, lifetime=86400.0)
    event = workshop.wait_for_event(id, "deferral")
    assert "exits_defer failed: its worker ended with status 7" in event["description"]


def until_final(workshop, id):
    workshop.wait_for_event(id, "failure")
    return workshop.loop.wait_for(workshop.store.journal.of_submission(id, 1))


def test_a_feature_that_waits_for_ever_is_ended_by_the_clock(make):
    workshop = make(deadline=2.0)
    data, content, _ = workshop.prepared(workshop.submit(zz_marks=True, sleeps=True))
    assert "sleeps failed: no answer for 2 s" in data["description"] and was_here(content, "zz_marks")


def test_one_death_of_a_worker_costs_a_message_nothing(make, tmp_path):
    workshop = make()
    data, content, _ = workshop.prepared(workshop.submit(zz_marks=True, dies_once=True, mark=tmp_path / "mark"))
    assert data["features"] == "dies_once;zz_marks" and was_here(content, "dies_once")


def test_whoever_kills_workers_stops_no_mail(make):
    workshop = make()
    ids = [workshop.submit(zz_marks=True) for _ in range(60)]
    for _ in range(4):
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        workshop.turn_for(0.3)
    for id in ids:
        workshop.wait_for_event(id, "prepared")
        assert len(workshop.events(id, "prepared")) == 1


def test_workers_end_when_their_server_stops(make):
    workshop = make()
    workshop.prepared(workshop.submit(zz_marks=True))
    assert (before := set(workers()))
    began = time.monotonic()
    workshop.stop()
    assert time.monotonic() - began < 4 and not before & set(workers())


def test_no_secret_can_be_seen_from_outside(workshop):
    workshop.prepared(workshop.submit(zz_marks=True))
    for pid in workers():
        seen = (Path(f"/proc/{pid}/cmdline").read_bytes(), Path(f"/proc/{pid}/environ").read_bytes())
        assert b"k" * 8 not in b"".join(seen)
        assert workshop.url.encode() not in b"".join(seen)


def test_workers_come_after_the_server(workshop):
    workshop.prepared(workshop.submit(zz_marks=True))
    for pid in workers():
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert "Max core file size        0 " in limits
        (memory,) = [line.split()[3] for line in limits.splitlines() if line.startswith("Max address space")]
        assert memory != "unlimited" and int(memory) < 1_000_000_000
        if hasattr(os, "sched_getscheduler"):
            assert os.sched_getscheduler(pid) == os.SCHED_BATCH
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
        descriptors = {str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert not [each for each in descriptors if "socket" in each or each.endswith(".lock")]


def test_ctrl_c_on_the_terminal_is_the_servers_affair(workshop):
    workshop.prepared(workshop.submit(zz_marks=True))
    before = set(workers())
    for pid in before:
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
    data, _, _ = workshop.prepared(workshop.submit(zz_marks=True))
    assert data["features"] == "zz_marks" and before <= set(workers())


def test_a_server_that_is_killed_takes_its_workers_with_it_and_its_messages_are_prepared_by_the_next(make, tmp_path):
    mark = tmp_path / "mark"
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.workshop", tmp_path, "waits_once=true", f"mark={mark}"],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
    )
    try:
        ids = [server.stdout.readline().decode().strip() for _ in range(5)]
        wait_for(lambda: mark.exists() and mark.read_text(), 60)
        ours = [pid for pid, command in child_processes(server.pid).items() if b"smtpeter.worker" in command]
        assert int(mark.read_text()) in ours
    finally:
        server.kill()
        server.wait()
        server.stdout.close()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in ours), 10, "workers outlive their server")
    workshop = make()
    for id in ids:
        data, content, _ = workshop.prepared(id)
        assert data["features"] == "waits_once;zz_marks" and was_here(content, "zz_marks")
        assert len(workshop.events(id, "prepared")) == 1


def test_what_is_damaged_is_held_and_is_prepared_when_it_was_mended_and_released(make, loop):
    workshop = make()
    id = workshop.submit(LARGE, zz_marks=True)
    (file,) = [path for path in (workshop.directory / "content").rglob("*") if path.is_file()]
    octets = file.read_bytes()
    file.write_bytes(octets[:-1] + b"?")
    assert "damaged" in workshop.wait_for_event(id, "held")["description"]
    file.write_bytes(octets)
    queue, now = workshop.store.queue, workshop.clock.time()
    assert loop.wait_for(queue.apply(Filter(submission=id), Verb.RELEASE, now, 9)) == 1
    data, content, _ = workshop.prepared(id)
    assert data["features"] == "zz_marks" and was_here(content, "zz_marks")
