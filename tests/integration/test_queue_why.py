"""What ``queue why`` and ``queue sites`` say is what happens: with a server in direct mode and its world."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from smtpeter.cli.main import smtpeter
from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.sinks import Behaviour
from tests.integration.workshop import copy_plugins
from tests.integration.world import World

CONTENT = b"From: a@example.com\r\nSubject: hello\r\n%b\r\nHello\r\n"
SHAPING = """
[[site]]
name = "crawling"
mx = ["mx.crawling.example"]
message_rate = "2/h"

[[reaction]]
name = "They asked for less"
site = "slowed"
code = 451
action = "slow"
for = "1h"

[[site]]
name = "slowed"
mx = ["mx.slowed.example"]
message_rate = "2/h"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.domain("well.example", world.host())
    world.domain("full.example", world.host(Behaviour({"rcpt": "450 4.2.2 the mailbox is full"})))
    world.domain("nobody.example", world.host(Behaviour({"rcpt": "550 5.1.1 no such user"})))
    world.domain("silent.example", world.host(Behaviour(silent=True)))
    for name in ("dead", "gone"):
        world.domain(f"{name}.example", world.host(refuses=True, name=f"mx.{name}.example"))
    world.domain("crawling.example", world.host(name="mx.crawling.example"))
    world.domain("slowed.example", world.host(Behaviour({"mail": "451 4.7.1 go slower"}), name="mx.slowed.example"))
    yield world.start()
    world.stop()


class Neighbour(Gateway):
    """Its commands run here, as they need no process for each question."""

    def json(self, *arguments):
        result = CliRunner().invoke(smtpeter, ["--config", str(self.config), *arguments, "--json"])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture(scope="module")
def gateway(world, tmp_path_factory):
    directory = tmp_path_factory.mktemp("why")
    shaping = directory / "shaping.toml"
    shaping.write_text(SHAPING)
    gateway = Neighbour(
        directory / "gateway",
        world.delivery('retry = ["3s", "1h"]', f'shaping = "{shaping}"'),
        f'[features]\npaths = ["{copy_plugins(directory)}"]\nworkers = 1',
    )
    gateway.login = gateway.add_login()
    gateway.start()
    yield gateway
    gateway.end()


def submit(gateway, *recipients, fields=b""):
    with gateway.connect(gateway.login) as client:
        return send(client, "a@example.com", recipients, CONTENT % fields)


def why(gateway, id):
    told = gateway.json("queue", "why", id)
    assert (told["id"], set(told)) == (id, {"id", "recipient", "state", "why", "until"})
    return told


def until_why(gateway, id, text):
    """Wait until it says so."""
    said = []

    def says():
        said.append(why(gateway, id))
        return said[-1] if text in said[-1]["why"] else None

    return wait_for(says, 30, lambda: f"{text!r} was not said, but {said[-3:]}")


def events(gateway, id, *kinds):
    return [each for each in gateway.json("message", "show", id)["events"] if each["event"] in kinds]


def sites(gateway):
    return {state["site"]: state for state in gateway.json("queue", "sites")}


def seconds(text):
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp()


def submit_to_dead(gateway, name):
    """A message that comes when the site was paused because another one met nobody there."""
    submit(gateway, f"x@{name}.example")
    wait_for(lambda: f"mx.{name}.example" in sites(gateway), 20)
    return submit(gateway, f"y@{name}.example")


def test_what_is_over(gateway, world):
    delivered, failed, cancelled = (submit(gateway, f"x@{name}.example") for name in ("well", "nobody", "full"))
    told = until_why(gateway, delivered, "it was delivered at")
    assert (told["state"], told["until"]) == ("delivered", None) and told["why"].endswith("said 250 2.0.0 Ok")
    told = until_why(gateway, failed, "it failed at")
    assert told["state"] == "failed" and told["why"].endswith("said 550 5.1.1 no such user")
    wait_for(lambda: gateway.json("queue", "cancel", cancelled, "--yes")["count"], 20)
    assert why(gateway, cancelled)["why"].startswith("it was cancelled at")


def test_the_next_attempt_comes_at_the_time_that_was_told(gateway):
    id = submit(gateway, "x@full.example")
    told = until_why(gateway, id, "waits for its next attempt, not before")
    assert told["why"].endswith("said 450 4.2.2 the mailbox is full")
    wait_for(lambda: len(events(gateway, id, "deferral")) == 2, 30)
    second = events(gateway, id, "deferral")[1]
    assert 0 <= seconds(second["time"]) - seconds(told["until"]) <= 15
    assert why(gateway, id)["until"] == second["next_attempt"]


def test_a_dead_site_keeps_what_comes_later_until_it_is_resumed(gateway):
    later = submit_to_dead(gateway, "dead")
    told = until_why(gateway, later, "it waits for its site mx.dead.example, paused until")
    state = sites(gateway)["mx.dead.example"]
    assert state == {**state, "condition": "paused", "source": ""} and "No connection to" in state["reason"]
    assert told["until"] == state["until"] and state["reason"] in told["why"]
    time.sleep(2)
    assert not events(gateway, later, "deferral")  # it said that it waits
    began = time.monotonic()
    assert gateway.json("queue", "sites", "--resume", "mx.dead.example") == {"count": 1}
    wait_for(lambda: events(gateway, later, "deferral"), 20)
    assert time.monotonic() - began < 10
    # It is as dead as before, and that is told anew.
    until_why(gateway, later, "it waits for its next attempt")
    wait_for(lambda: sites(gateway).get("mx.dead.example", state)["since"] >= state["since"], 20)


def make_known(gateway, domain, *kinds):
    """The way there is known afterwards."""
    id = submit(gateway, f"first@{domain}")
    wait_for(lambda: events(gateway, id, *kinds), 20)


def test_a_site_that_takes_no_more_now(gateway):
    make_known(gateway, "crawling.example", "delivery")
    ids = [submit(gateway, f"r{number}@crawling.example") for number in range(4)]
    until_why(gateway, ids[-1], "it waits for its site crawling, which takes no more at the moment")
    assert "crawling" not in sites(gateway)
    time.sleep(2)
    assert why(gateway, ids[-1])["state"] == "due" and not events(gateway, ids[-1], "deferral", "delivery")


def test_a_site_that_was_asked_to_go_slower(gateway):
    make_known(gateway, "slowed.example", "deferral")
    state = wait_for(lambda: sites(gateway).get("slowed"), 20)
    assert state["condition"] == "slowed" and "They asked for less" in state["reason"]
    ids = [submit(gateway, f"s{number}@slowed.example") for number in range(4)]
    told = until_why(gateway, ids[-1], "it waits for its site slowed, slowed until")
    assert state["until"] in told["why"]


def test_a_domain_whose_way_is_not_known(gateway, world):
    world.names.lies["lost.example"] = "servfail"
    id = submit(gateway, "x@lost.example")
    told = until_why(gateway, id, "it waits for its next attempt")
    assert "The hosts of lost.example cannot be found out now" in told["why"]


def test_what_an_operator_or_a_sender_wanted(gateway):
    later = datetime.fromtimestamp(time.time() + 3600, UTC).strftime("%Y-%m-%d %H:%M:%S")
    id = submit(gateway, "x@well.example", fields=b"X-SMTPeter-Send-At: %b\r\n" % later.encode())
    told = why(gateway, id)
    assert told["why"] == f"its sender wants it to be delivered not before {later}" and told["until"] == later
    gateway.json("queue", "hold", id, "--yes")
    told = why(gateway, id)
    assert told["state"] == "held" and "as an operator wanted" in told["why"]
    assert f"`smtpeter queue release {id}`" in told["why"]
    gateway.json("queue", "release", id, "--yes")
    until_why(gateway, id, "it was delivered")


def test_paused_delivery(gateway):
    gateway.json("queue", "pause")
    time.sleep(1)
    id = submit(gateway, "x@well.example")
    assert why(gateway, id)["why"] == "all delivery is paused: `smtpeter queue resume` starts it again"
    time.sleep(1)
    assert why(gateway, id)["state"] == "due"
    gateway.json("queue", "resume")
    until_why(gateway, id, "it was delivered")


def test_what_is_under_way(gateway):
    id = submit(gateway, "x@silent.example")
    told = until_why(gateway, id, "it is being attempted now")
    assert told["state"] == "leased" and seconds(told["until"]) > time.time()


def test_features_at_work(gateway):
    busy = submit(gateway, "x@asleep.example", fields=b"X-SMTPeter-Sleeps: true\r\n")
    told = until_why(gateway, busy, "its features are preparing it now")
    assert told["state"] == "due"


def test_a_site_is_resumed_that_the_server_has_not_met_since_its_start(gateway):
    later = submit_to_dead(gateway, "gone")
    until_why(gateway, later, "paused until")
    gateway.stop()
    told = why(gateway, later)
    assert told["why"].startswith("no server seems to be running") and told["state"] == "due"
    gateway.start()
    until_why(gateway, later, "it waits for its site mx.gone.example, paused until")
    assert gateway.json("queue", "sites", "--resume-all")["count"] >= 1
    wait_for(lambda: events(gateway, later, "deferral"), 20)


def test_each_recipient_has_a_line_and_most_are_counted(gateway):
    id = submit(gateway, *(f"r{number}@well.example" for number in range(30)), "x@full.example")
    wait_for(lambda: len(events(gateway, f"{id}-31", "deferral")) == 1, 20)
    document = gateway.json("queue", "why", id)
    assert document["id"] == id and len(document["messages"]) == 31
    wait_for(lambda: not gateway.json("queue", "list", "--domain", "well.example"), 20)
    lines = gateway.run("queue", "why", id).stdout.decode().splitlines()
    assert len(lines) == 21 and lines[0].startswith(f"x@full.example ({id}-31): it waits")
    assert lines[-1].startswith("and 11 more: 11 delivered")
