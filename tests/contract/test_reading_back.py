"""What REST clients read back, of every engine: two accounts, and nothing of one is seen by the other."""

from __future__ import annotations

import csv
import io
from typing import Any, NamedTuple

import pytest
from twisted.internet.defer import Deferred, execute

from smtpeter.features.sent import SentMessages
from smtpeter.model.account import Account, AccountState
from smtpeter.model.delivery import RecipientState
from smtpeter.model.submission import Submission
from smtpeter.web.rest import events, logfiles, messages, reading
from smtpeter.web.rest.routes import Route
from smtpeter.web.rest.values import ApiError
from tests.contract.engines import START, Engine, claim, enqueue, settle
from tests.fakes.features import FakeCatalog
from tests.fakes.reading_back import FakeSubmitter, fetch

TODAY = "2027-01-15"
DELIVERED = {"attempt": 0, "from": "192.0.2.1", "to": "198.51.100.7", "code": 250, "status": "2.0.0",
             "description": "Ok"}  # fmt: skip


class World(NamedTuple):
    """An open store with mail in it, and the routes that read it."""

    engine: Engine
    routes: list[Route]
    ann: Account
    bob: Account
    one: Submission
    two: Submission

    def get(self, target: str, account: Account | None = None) -> Any:
        asked = fetch(self.routes, target, FakeSubmitter(account or self.ann))
        return self.engine.wait(Deferred.fromCoroutine(asked))

    def refusal(self, target: str, account: Account | None = None) -> tuple[int, str]:
        with pytest.raises(ApiError) as caught:
            self.get(target, account)
        return caught.value.status, caught.value.text


@pytest.fixture
def world(engine: Engine) -> World:
    store = engine.store
    ann, bob = (
        engine.wait(store.accounts.add_account(email, "", True, AccountState.APPROVED, ""))
        for email in ("Ann@example.com", "bob@example.com")
    )
    one = enqueue(engine, "one@example.net", account=ann.number, tags=("x", "y"), options=(("inlinecss", "true"),))
    two = enqueue(engine, "a@example.net", "b@example.net", account=ann.number, time=START + 0.5)
    enqueue(engine, "bobs@example.net", account=bob.number, tags=("x",))
    for job in claim(engine):
        if job.submission == one.id:
            settle(engine, job, RecipientState.DELIVERED, **DELIVERED)
    sent = SentMessages(store.queue, store.content, store.journal, FakeCatalog, execute)  # type: ignore[arg-type]
    routes = [
        *reading.routes(store.queue, store.content, sent, execute),
        *events.routes(store.queue, store.journal, engine.clock),
        *logfiles.routes(store.journal, engine.clock),
        *messages.routes(store.queue, store.journal),
    ]
    return World(engine, routes, ann, bob, one, two)


def test_parts_of_a_message(world: World) -> None:
    assert world.get(f"/recipient/{world.two.id}").text == "a@example.net\nb@example.net"
    assert world.get(f"/recipient/{world.two.id}-2").text == "b@example.net"
    assert world.get(f"/envelope/{world.one.id}").text == "me@example.com"
    assert world.get(f"/text/{world.one.id}").text == "body\r\n"
    assert world.get(f"/headers/{world.one.id}").text == "Subject: x\r\n"
    assert world.get(f"/raw/{world.one.id}").body == b"Subject: x\r\n\r\nbody\r\n"


def test_events(world: World) -> None:
    found = world.get(f"/events/messageid/{world.one.id}").json
    assert [event["event"] for event in found] == ["attempt", "delivery"]
    assert found[0]["properties"] == "inlinecss"
    assert found[1]["data"]["to"] == "198.51.100.7"
    assert [event["id"] for event in world.get(f"/events/messageid/{world.two.id}-2").json] == [f"{world.two.id}-2"]
    assert len(world.get("/events/email/ONE@example.net").json) == 2
    assert len(world.get("/events/tags/x;y").json) == 2
    assert len(world.get("/events/tags/x", world.bob).json) == 1


def test_events_by_cursor(world: World) -> None:
    seen, cursor, more = [], "0", True
    while more:
        page = world.get(f"/events?after={cursor}&limit=2").json
        seen += [(event["event"], event["id"]) for event in page["events"]]
        cursor, more = page["cursor"], page["more"]
    assert seen == [
        ("attempt", world.one.id), ("attempt", f"{world.two.id}-1"), ("attempt", f"{world.two.id}-2"),
        ("delivery", world.one.id),
    ]  # fmt: skip
    assert world.get(f"/events?after={cursor}").json == {"events": [], "cursor": cursor, "more": False}


def test_log_files(world: World) -> None:
    assert world.get("/logfiles").json == [TODAY]
    assert world.get(f"/logfiles/{TODAY}").json == [f"attempts.{TODAY}.log", f"deliveries.{TODAY}.log"]
    assert world.get(f"/logfiles/{TODAY}", world.bob).json == [f"attempts.{TODAY}.log"]
    text = world.get(f"/logfiles/deliveries.{TODAY}.log/header").text
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["id"], row["attempt"], row["tags"]) == (world.one.id, "0", "x;y")
    assert len(world.get(f"/logfiles/attempts.{TODAY}.log/json").json) == 3
    assert world.refusal(f"/logfiles/deliveries.{TODAY}.log", world.bob)[0] == 404


def test_messages(world: World) -> None:
    page = world.get("/messages?limit=2").json
    assert [row["id"] for row in page["messages"]] == [f"{world.two.id}-1", f"{world.two.id}-2"]
    rest = world.get(f"/messages?limit=2&cursor={page['cursor']}").json
    assert ([row["id"] for row in rest["messages"]], rest["cursor"]) == ([world.one.id], None)
    shown = world.get(f"/messages/{world.one.id}").json
    assert (shown["state"], [event["event"] for event in shown["events"]]) == ("delivered", ["attempt", "delivery"])
    assert [row["recipient"] for row in world.get("/messages", world.bob).json["messages"]] == ["bobs@example.net"]


def test_every_route_with_an_id_of_somebody_else(world: World) -> None:
    unknown = world.one.id[:-1] + ("0" if world.one.id[-1] != "0" else "1")
    with_ids = [route for route in world.routes if "{id}" in route.path and "template" not in route.path]
    assert len(with_ids) == 13
    for route in with_ids:
        for id in (world.one.id, world.two.id, f"{world.two.id}-1"):
            target = route.path.replace("{file}", "1")
            foreign = world.refusal(target.replace("{id}", id), world.bob)
            assert foreign == world.refusal(target.replace("{id}", unknown), world.bob)
            assert foreign[0] == 404
