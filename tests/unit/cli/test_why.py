import os

import pytest

from smtpeter.cli.installation import result_of
from smtpeter.clock import WallClock
from smtpeter.model.delivery import Lane
from smtpeter.model.event import format_time
from smtpeter.model.route import SiteCondition, SiteState
from smtpeter.store.opening import take_lock
from tests.unit.cli.conftest import START

NOW = float(int(WallClock().time()))


@pytest.fixture
def served(gateway):
    """As if a server were running."""
    with gateway.open():
        lock = take_lock(gateway.data_dir / "smtpeter.db")
    yield
    os.close(lock)


def test_one_recipient(gateway, served):
    id = gateway.enqueue("x@example.net")
    sentence = "it waits for its turn"
    assert gateway.run("queue", "why", id).stdout == f"{sentence}\n"
    assert gateway.json("queue", "why", id) == {
        "id": id, "recipient": "x@example.net", "state": "due", "why": sentence, "until": None,
    }  # fmt: skip


def test_each_recipient_of_a_submission(gateway, served):
    id = gateway.enqueue("x@example.net", "y@example.org")
    gateway.json("queue", "cancel", f"{id}-1", "--yes")
    first, second = gateway.run("queue", "why", id).stdout.splitlines()
    assert first == f"y@example.org ({id}-2): it waits for its turn"  # what is not over comes first
    assert second.startswith(f"x@example.net ({id}-1): it was cancelled at ")
    document = gateway.json("queue", "why", id)
    assert document["id"] == id and [each["id"] for each in document["messages"]] == [f"{id}-1", f"{id}-2"]
    assert gateway.json("queue", "why", f"{id}-2")["state"] == "due"


def test_of_many_some_are_told_and_the_rest_is_counted(gateway, served):
    id = gateway.enqueue(*(f"r{number}@example.net" for number in range(50)))
    gateway.json("queue", "cancel", f"{id}-7", "--yes")
    lines = gateway.run("queue", "why", id).stdout.splitlines()
    assert len(lines) == 21 and lines[1].endswith("behind 1 of the same account to example.net")
    assert lines[-1] == "and 30 more: 29 due, 1 cancelled (--json tells of all)"
    assert len(gateway.json("queue", "why", id)["messages"]) == 50


def test_a_site_that_is_paused(gateway, served):
    id = gateway.enqueue("x@example.net")
    with gateway.open() as store:
        result_of(store.queue.park([Lane("example.net", 0)], "mx.example.net", NOW + 36_000))
        state = SiteState("mx.example.net", "", SiteCondition.PAUSED, "nobody is there", NOW, NOW + 36_000)
        result_of(store.sites.write([state]))
    document = gateway.json("queue", "why", id)
    assert "its site mx.example.net, paused until" in document["why"] and "nobody is there" in document["why"]
    # It was enqueued long ago.
    assert f"before that, at {format_time(START + 86400)}, its time is over" in document["why"]
    assert document["until"] == format_time(NOW + 36_000)


def test_what_is_being_attempted(gateway, served):
    id = gateway.enqueue("x@example.net")
    with gateway.open() as store:
        result_of(store.queue.claim_due([(Lane("example.net", 0), 1)], NOW, NOW + 39_000))
    document = gateway.json("queue", "why", id)
    assert (document["state"], document["until"]) == ("leased", format_time(NOW + 39_000))


def test_paused_delivery(gateway, served):
    id = gateway.enqueue("x@example.net")
    gateway.json("queue", "pause")
    assert "`smtpeter queue resume`" in gateway.json("queue", "why", id)["why"]


def test_features(gateway, served):
    id = gateway.enqueue("x@example.net", prepare=True)
    assert gateway.json("queue", "why", id)["why"] == "it waits for its features to prepare it"
    with gateway.open() as store:
        result_of(store.queue.claim_incoming(1, NOW, NOW + 36_000))
    assert gateway.json("queue", "why", id)["why"].startswith("its features are preparing it now")
    with gateway.open() as store:
        assert result_of(store.queue.postpone_prepare(id, 1, NOW + 39_000, "it is Tuesday"))
    document = gateway.json("queue", "why", id)
    assert document["why"].startswith("its features try again") and document["why"].endswith("it is Tuesday")
    assert document["until"] == format_time(NOW + 39_000)


def test_without_a_server(gateway):
    id = gateway.enqueue("x@example.net")
    assert gateway.json("queue", "why", id)["why"].startswith("no server seems to be running")


def test_ids_of_nothing(gateway):
    id = gateway.enqueue("x@example.net")
    assert "is not the id of a message" in gateway.refused("queue", "why", "x@example.net")
    assert f"there is no message {id}-2" in gateway.refused("queue", "why", f"{id}-2")
