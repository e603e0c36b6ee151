"""Mail with features through a whole server, which is killed and stopped while workers are at it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.workshop import child_processes, copy_plugins

CONTENT = b"From: a@example.com\r\nSubject: hello\r\n%bContent-Type: text/plain\r\n\r\nHello %d.\r\n"


@pytest.fixture
def gateway(tmp_path, receiver):
    plugins = copy_plugins(tmp_path)
    gateway = Gateway(
        tmp_path / "gateway",
        f'mode = "relay"\nrelay = "smtp://127.0.0.1:{receiver.port}"\nretry = ["1s"]',
        f'[features]\npaths = ["{plugins}"]',
    )
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


def submit(gateway, count, **options):
    fields = "".join(f"X-SMTPeter-{name.replace('_', '-')}: {value}\r\n" for name, value in options.items()).encode()
    client = gateway.connect(gateway.login)
    ids = [
        send(client, "a@example.com", [f"r{number}@example.net"], CONTENT % (fields, number)) for number in range(count)
    ]
    client.quit()
    return ids


def workers(gateway):
    return [pid for pid, command in child_processes(gateway.process.pid).items() if b"smtpeter.worker" in command]


def all_came_once(receiver, count, name="zz_marks"):
    """Each recipient has got his mail once, and it was prepared."""
    wait_for(lambda: len(receiver.messages) >= count, 90, "not everything was delivered")
    time.sleep(1)
    got = sorted(recipients[0] for _, recipients, _ in receiver.messages)
    assert got == sorted(f"r{number}@example.net" for number in range(count))
    assert all(f"{name} was here\r\n".encode() in content for _, _, content in receiver.messages)


def events(gateway, id):
    return [event["event"] for event in gateway.json("message", "show", id)["events"]]


def test_mail_is_prepared_and_then_delivered(gateway, receiver):
    ids = submit(gateway, 3, zz_marks="true")
    all_came_once(receiver, 3)
    assert [events(gateway, id) for id in ids] == [["attempt", "prepared", "delivery"]] * 3


def test_no_worker_is_there_as_long_as_no_mail_wants_a_feature(gateway, receiver):
    submit(gateway, 1)
    wait_for(lambda: receiver.messages)
    assert workers(gateway) == []


def test_a_server_that_is_killed_while_mail_is_prepared_loses_and_doubles_nothing(gateway, receiver, tmp_path):
    mark = tmp_path / "mark"
    gateway.run("queue", "pause")  # a message that is under way when its server dies may come twice, and rightly so
    ids = submit(gateway, 6, zz_marks="true", waits_once="true", mark=mark)
    wait_for(lambda: mark.exists() and mark.read_text(), 60)
    os.kill(gateway.process.pid, signal.SIGKILL)  # and not its workers
    gateway.process.wait()
    gateway.start()
    gateway.run("queue", "resume")
    all_came_once(receiver, 6)
    for id in ids:
        assert [event for event in events(gateway, id) if event != "deferral"] == ["attempt", "prepared", "delivery"]
    assert not Path(f"/proc/{mark.read_text()}").exists()


def test_workers_that_are_killed_again_and_again_cost_no_mail(gateway, receiver):
    submit(gateway, 40, zz_marks="true")
    for _ in range(5):
        for pid in workers(gateway):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.2)
    wait_for(lambda: len(receiver.messages) >= 40, 90, "not everything was delivered")
    time.sleep(1)
    got = sorted(recipients[0] for _, recipients, _ in receiver.messages)
    assert got == sorted(f"r{number}@example.net" for number in range(40))


def test_a_server_that_is_stopped_while_mail_is_prepared_goes_on_where_it_was(gateway, receiver, tmp_path):
    mark = tmp_path / "mark"
    submit(gateway, 6, zz_marks="true", waits_once="true", mark=mark)
    wait_for(lambda: mark.exists() and mark.read_text(), 60)
    begun = time.monotonic()
    gateway.stop()
    assert time.monotonic() - begun < 20
    assert not Path(f"/proc/{mark.read_text()}").exists()
    gateway.start()
    all_came_once(receiver, 6)


def test_a_feature_that_refuses_its_message_has_it_returned_to_its_sender(gateway, receiver):
    (id,) = submit(gateway, 1, raises_fail="true")
    wait_for(lambda: receiver.messages, 60)
    ((sender, recipients, report),) = receiver.messages
    assert (sender, recipients) == ("<>", ["a@example.com"])
    assert b"raises_fail failed" in report and b"Action: failed" in report
    assert events(gateway, id) == ["attempt", "failure"]
