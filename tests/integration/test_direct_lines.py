"""Direct delivery while hosts hang, lines are slow, cables are pulled and packets are lost, all at the same time."""

from __future__ import annotations

import re
import time

import pytest

from tests.fakes.receiver import EHLO
from tests.integration.gateway import send, wait_for
from tests.integration.hostile import Dialogue, Hostile, Stall, reset
from tests.integration.lines import Blackhole, Line
from tests.integration.sinks import Behaviour
from tests.integration.test_direct_faults import CONTENT, Faulty

SLOW = 8000.0  # octets a second: 64 kbit/s
LARGE = b"From: a@example.com\r\nSubject: Large\r\n\r\n" + (b"x" * 998 + b"\r\n") * 150
NOWHERE = "127.255.255.255"  # the system says at once that the network is unreachable
STAGES = {"greeting": "greeting", "ehlo": "hello", "mail": "mail", "rcpt": "rcpt", "data": "data", "end": "end"}
TLS_EHLO = "250-relay.example\r\n250-PIPELINING\r\n250 STARTTLS"
HANGS = {
    **{f"hangs-at-{stage}": Dialogue(**{stage: None}) for stage in STAGES},
    "hangs-at-starttls": Dialogue(ehlo=TLS_EHLO, starttls=None),
    "hangs-in-the-handshake": Dialogue(ehlo=TLS_EHLO, tls=b""),
}


class Site(Faulty):
    """``add`` has something stopped at the end."""

    def __init__(self, directory, *delivery):
        super().__init__(directory, *delivery)
        self._lines = []

    def add(self, line):
        self._lines.append(line)
        return line

    def line(self, domain, serve, rate=None):
        """A domain behind a line; the receiver at its other end."""
        receiver = self.hostile(f"behind.{domain}", serve)
        address = self.world.address()
        line = self.add(Line(address, self.world.port, (receiver.address, self.world.port), rate))
        self.world.domain(domain, self.world.place(f"mx.{domain}", address))
        return line

    def blackhole(self):
        address = self.world.address()
        self.add(Blackhole(address, self.world.port))
        return address

    def submit(self, *recipients, content=CONTENT):
        with self.gateway.connect(self.login) as client:
            return send(client, "sender@example.com", recipients, content)

    def states(self, id):
        shown = self.gateway.json("message", "show", id)
        return {row["recipient"].partition("@")[2]: row for row in shown.get("messages", [shown])}

    def end(self):
        super().end()
        for line in self._lines:
            line.stop()


@pytest.fixture(scope="module")
def trouble(tmp_path_factory):
    """One message to a recipient in each trouble, a large one on a slow line, and what became of them."""
    site = Site(tmp_path_factory.mktemp("lines"))
    world = site.world
    site.hangs = {name: site.hostile(f"{name}.example", serve) for name, serve in HANGS.items()}
    site.stall = site.hostile("reads-nothing.example", Stall())
    world.domain("hangs-at-quit.example", world.host(Behaviour({"quit": ""})))
    world.domain("says-yes-late.example", world.host(Behaviour(delay=12.0)))
    for stage in STAGES:
        site.hostile(f"421-at-{stage}.example", Dialogue(**{stage: "421 4.3.2 not now"}))
        world.domain(f"421-at-{stage}.example", f"mx.421-at-{stage}.example", site.well)
    full = ["452 4.5.3 Too many recipients"]
    site.full = Dialogue(rcpt=[*["250 ok"] * 3, *full * 4, *["250 ok"] * 3, full[0], "250 ok"])
    site.hostile("takes-three.example", site.full)
    hole = site.blackhole()
    well = world.names.zone[site.well]["A"][0]
    world.domain("hole.example", world.place("mx.hole.example", hole))
    world.domain("hole-then-well.example", "mx.hole.example", site.well)
    world.domain("hole-beside-well.example", world.place("mx.both.example", hole, well))
    world.domain("no-network.example", world.place("mx.no-network.example", NOWHERE))
    world.domain("no-network-then-well.example", "mx.no-network.example", site.well)
    resets = world.address()
    site.add(Hostile(world.port, resets).start()).serve = reset
    world.domain("reset-then-well.example", world.place("mx.reset.example", resets), site.well)
    site.slow = Dialogue()
    site.line("slow.example", site.slow, SLOW)
    site.start()
    try:
        began = time.monotonic()
        site.large = site.submit("a@slow.example", content=LARGE)
        site.stalled = site.submit("a@reads-nothing.example", content=LARGE * 20)
        others = [f"421-at-{stage}" for stage in STAGES]
        others += ["hangs-at-quit", "says-yes-late", "hole", "hole-then-well", "hole-beside-well"]
        others += ["no-network", "no-network-then-well", "reset-then-well"]
        site.id = site.submit(*(f"a@{name}.example" for name in others))
        site.seven = site.submit(*(f"r{number}@takes-three.example" for number in range(7)))
        site.hanging = site.submit(*(f"a@{name}.example" for name in HANGS))
        site.waits = [site.is_well() for _ in range(3)]
        site.results = site.rows(site.id, len(others))
        site.again = site.submit("b@hole-then-well.example")
        site.rows(site.again, 1, 10)  # nobody tries the hole first now
        site.sevens = site.rows(site.seven, 7)
        site.slow_result = site.rows(site.large, 1)
        site.seconds = time.monotonic() - began
        site.waits.append(site.is_well())
        yield site
    finally:
        site.end()


def result(site, name):
    state, event = site.results[f"a@{name}.example"]
    return state, event["code"], event["status"], event["state"]


@pytest.mark.parametrize("stage", STAGES)
def test_421_at_any_stage(trouble, stage):
    """Before MAIL the next host gets it, afterwards it waits; even after the final dot there is no doubt."""
    state, event = trouble.results[f"a@421-at-{stage}.example"]
    if stage in ("greeting", "ehlo"):
        assert (state, event["code"]) == ("delivered", 250), event
    else:
        assert (state, event["code"], event["state"]) == ("due", 421, STAGES[stage]), event
    assert "possible_duplicate" not in event


def test_hosts_that_cannot_be_reached(trouble):
    for name in ("hole", "no-network"):
        assert result(trouble, name) == ("due", 0, "4.4.1", "connect")
        assert "connect" in trouble.results[f"a@{name}.example"][1]["state"]
    for name in ("hole-then-well", "hole-beside-well", "no-network-then-well", "reset-then-well"):
        assert trouble.results[f"a@{name}.example"][0] == "delivered", name
    paused = {row["site"] for row in trouble.gateway.json("queue", "sites") if row["condition"] == "paused"}
    assert {"mx.hole.example", "mx.no-network.example"} <= paused
    assert trouble.well not in paused


def test_hangs_keep_their_own_mail_and_no_other(trouble):
    assert max(trouble.waits) < 15
    assert {name: row["state"] for name, row in trouble.states(trouble.hanging).items()} == {
        f"{name}.example": "leased" for name in HANGS
    }
    assert trouble.states(trouble.stalled)["reads-nothing.example"]["state"] == "leased"
    assert all(each.connections == 1 for each in trouble.hangs.values())
    assert trouble.gateway.health() == 200


def test_an_answer_that_comes_late_is_waited_for_and_a_quit_that_hangs_is_not(trouble):
    for name, seconds in (("says-yes-late", 12.0), ("hangs-at-quit", 0.0)):
        state, event = trouble.results[f"a@{name}.example"]
        assert state == "delivered" and not event.get("possible_duplicate"), event
        [answered] = re.findall(r"^ *(\d+) > \.\n *(\d+) < 250", event["dialogue"], re.MULTILINE)
        assert (int(answered[1]) - int(answered[0])) / 1000 >= seconds - 0.1


def test_a_receiver_that_takes_three_recipients_at_a_time_gets_seven_at_once(trouble):
    assert {state for state, _ in trouble.sevens.values()} == {"delivered"}
    got = [recipient for _, recipients, _ in trouble.full.messages for recipient in recipients]
    assert got == [f"r{number}@takes-three.example" for number in range(7)]
    assert [len(recipients) for _, recipients, _ in trouble.full.messages] == [3, 3, 1]


def test_a_slow_line_gets_a_large_message(trouble):
    [(state, event)] = trouble.slow_result.values()
    assert state == "delivered", event
    assert len(LARGE) / SLOW < trouble.seconds
    [(_, _, content)] = trouble.slow.messages
    assert content.endswith(LARGE[-1000:]) and len(content) > len(LARGE)
    assert "Traceback" not in trouble.log()


def test_cables_that_are_pulled(tmp_path):
    """Nobody hears of it.  What had its final dot is in doubt; all else goes once the cable is back."""
    site = Site(tmp_path, 'in_doubt = "hold"')
    dot, half = Dialogue(end=b""), Dialogue()
    lines = {
        "dot.example": site.line("dot.example", dot),
        "half.example": site.line("half.example", half, SLOW),
        "idle.example": site.line("idle.example", Dialogue(ehlo=EHLO)),
    }
    site.start()
    try:
        first = site.submit("a@idle.example")
        site.rows(first, 1)

        def states():
            time.sleep(0.5)  # asking costs something
            return {domain: site.states(id)[domain]["state"] for domain, id in ids.items()}

        ids = {
            "dot.example": site.submit("a@dot.example"),
            "half.example": site.submit("a@half.example", content=LARGE * 40),
        }
        wait_for(lambda: dot.messages and lines["half.example"].carried > 20_000, 60, site.log)
        for line in lines.values():
            line.cut()
        ids["idle.example"] = site.submit("b@idle.example")
        wait_for(lambda: states() == dict.fromkeys(ids, "leased"), 30)
        assert site.is_well() < 15
        site.gateway.kill()
        for line in lines.values():
            line.rate = None
            line.mend()
        for receiver in site._hostile:
            receiver.serve = Dialogue()
            receiver.disconnect()
        site.gateway.start()
        expected = {"dot.example": "held", "half.example": "delivered", "idle.example": "delivered"}
        wait_for(lambda: states() == expected, 90, site.log)
        [held] = site.states(ids["dot.example"]).values()
        assert held["events"][-1]["event"] == "held" and held["events"][-1]["possible_duplicate"]
        assert "Traceback" not in site.log()
    finally:
        site.end()
