"""What the world does to a server that delivers to it: names that lead nowhere, missing hosts, harmful receivers.

All cases of a kind are under way at the same time, beside a healthy domain, which must not notice.
"""

from __future__ import annotations

import re
import time

import pytest

from tests.fakes.receiver import DROP, EHLO
from tests.integration.gateway import Gateway, queued_id, send, wait_for
from tests.integration.hostile import Dialogue, Hostile, server_context
from tests.integration.receivers.certificates import Authority
from tests.integration.sinks import Behaviour
from tests.integration.test_hostile_receivers import ROWS, TLS_EHLO
from tests.integration.world import World

CONTENT = b"From: a@example.com\r\nSubject: On its way\r\n\r\n.one dot\r\nfine\r\n"


class Faulty:
    """A world in which one host is well, and a server that lives in it."""

    def __init__(self, directory, *delivery, environment=None):
        self.world = World(directory / "world")
        self.well = self.world.host(name="mx.well.example")
        self.world.domain("well.example", self.well)
        self.world.domain("example.com", self.well)
        self._directory = directory
        self._delivery = delivery
        self._environment = environment
        self._hostile = []
        self.gateway = None

    def hostile(self, domain, serve):
        """A domain whose host serves its connections like this."""
        address = self.world.address()
        receiver = Hostile(self.world.port, address).start()
        receiver.serve = serve
        self._hostile.append(receiver)
        self.world.domain(domain, self.world.place(f"mx.{domain}", address))
        return receiver

    def start(self):
        self.world.start()
        self.gateway = Gateway(
            self._directory / "gateway",
            self.world.delivery('retry = ["1h"]', *self._delivery),
            environment=self._environment,
        )
        self.login = self.gateway.add_login()
        self.gateway.start()
        return self

    def end(self):
        if self.gateway is not None:
            self.gateway.end()
        for receiver in self._hostile:
            receiver.stop()
        self.world.stop()

    def submit(self, *recipients):
        with self.gateway.connect(self.login) as client:
            return send(client, "sender@example.com", recipients, CONTENT)

    def log(self):
        return self.gateway.log.read_text()

    def rows(self, id, count, timeout=90):
        """Wait until an attempt of each of so many recipients has ended; by address (state, last event)."""
        attempted = rf"delivery: id={id}\S* "
        wait_for(
            lambda: len(re.findall(attempted, self.log())) >= count,
            timeout,
            lambda: "\n".join(line for line in self.log().splitlines() if id in line or "Traceback" in line),
        )
        time.sleep(0.5)  # it is settled a moment later
        shown = self.gateway.json("message", "show", id)
        return {row["recipient"]: (row["state"], row["events"][-1]) for row in shown.get("messages", [shown])}

    def is_well(self):
        """The healthy domain gets its mail at once, whatever else is under way."""
        before = self.world.counts()[self.well].messages
        began = time.monotonic()
        self.submit("b@well.example")
        wait_for(lambda: self.world.counts()[self.well].messages > before, 30, self.log)
        return time.monotonic() - began


# --- names ---

DELIVERED, PUT_OFF = ("delivered", ""), ("due", "4.4.3")
LIES = {
    "timeout": PUT_OFF,
    "servfail": PUT_OFF,
    "refused": PUT_OFF,
    "notimp": PUT_OFF,
    "truncated always": PUT_OFF,
    "no tcp": PUT_OFF,
    "silent tcp": PUT_OFF,
    "huge": PUT_OFF,
    "lame": PUT_OFF,
    "wrong id": PUT_OFF,
    "garbage": PUT_OFF,
    "slow": DELIVERED,
    "no edns": DELIVERED,
    "truncated": DELIVERED,
    "ttl 0": DELIVERED,
    "forged first": DELIVERED,
    "case": DELIVERED,
}
A_HOST = "mx.well.example"
ZONES = {
    "nothing": (None, ("failed", "5.1.2")),
    "no-data": ({"TXT": ['"x"']}, ("failed", "5.1.2")),
    "null-mx": ({"MX": [(0, "")]}, ("failed", "5.1.10")),
    "no-address": ({"MX": [(10, "nowhere.example")]}, ("failed", "")),
    "alias": ({"CNAME": "well.example"}, DELIVERED),
    "hundred": ({"MX": [(n, f"none{n}.example") for n in range(100)] + [(0, A_HOST)]}, DELIVERED),
    "loop": ({"CNAME": "loop.example"}, ("due", "4.4.3")),
    "thousand": (None, ("due", "4.4.1")),  # nobody listens at any
    "private": ({"MX": [(10, "private.hosts.example")]}, ("failed", "5.4.6")),
    "zero": ({"MX": [(10, "zero.hosts.example")]}, ("failed", "5.4.6")),
    "six": ({"MX": [(10, "six.hosts.example")]}, ("failed", "5.4.6")),
    "mapped": ({"MX": [(10, "mapped.hosts.example")]}, ("failed", "5.4.6")),
    "ourselves": ({"MX": [(10, "localhost")]}, ("failed", "5.4.6")),
    "better-than-us": ({"MX": [(10, A_HOST), (20, "localhost"), (30, "refuses.example")]}, DELIVERED),
}
HOSTS = {
    "private.hosts.example": {"A": ["10.1.2.3", "192.168.0.1", "169.254.169.254"]},
    "zero.hosts.example": {"A": ["0.0.0.0"]},
    "six.hosts.example": {"AAAA": ["::1", "fe80::1", "fd00::1"]},
    "mapped.hosts.example": {"AAAA": ["::ffff:10.0.0.1", "64:ff9b::a00:1"]},
}


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    site = Faulty(tmp_path_factory.mktemp("names"))
    zone = site.world.names.zone
    zone.update(HOSTS)
    thousand = [f"127.250.{n // 250}.{n % 250 + 1}" for n in range(1000)]
    for name, (records, _) in ZONES.items():
        if records is not None:
            zone[f"{name}.example"] = records
    for lie in LIES:
        domain = f"{lie.replace(' ', '-')}.lies.example"
        site.world.domain(domain, site.well)
        # Over TCP nobody can put in a word, so that lie is for UDP.
        site.world.names.lies[domain] = [lie] * 100 if lie == "forged first" else lie
    site.world.domain("thousand.example", site.world.place("thousand.hosts.example", *thousand))
    site.start()
    domains = [f"{name}.example" for name in ZONES] + [f"{lie.replace(' ', '-')}.lies.example" for lie in LIES]
    try:
        id = site.submit(*(f"b@{domain}" for domain in domains))
        site.seconds = site.is_well()
        site.results = site.rows(id, len(domains), 120)
        yield site
    finally:
        site.end()


@pytest.mark.parametrize("lie", LIES)
def test_name_servers_that_lie(names, lie):
    state, event = names.results[f"b@{lie.replace(' ', '-')}.lies.example"]
    assert (state, event["status"] if state != "delivered" else "") == LIES[lie], event
    if state == "due":
        assert event["event"] == "deferral" and event["state"] == "route", event


@pytest.mark.parametrize("name", ZONES)
def test_ways_that_lead_nowhere_and_ways_that_do(names, name):
    state, event = names.results[f"b@{name}.example"]
    expected, status = ZONES[name][1]
    assert not expected or state == expected, event
    assert not status or event["status"] == status, event
    if name == "thousand":
        assert names.log().count(" host=thousand.hosts.example") <= 40
    if state == "failed":
        assert event["event"] == "failure" and event["state"] == "route" and not event["to"], event


def test_those_who_can_be_reached_do_not_wait_for_those_who_cannot(names):
    assert names.seconds < 15
    assert "Traceback" not in names.log()


# --- hosts ---


def test_hosts_that_are_not_there(tmp_path):
    site = Faulty(tmp_path)
    world = site.world
    world.domain("refuses.example", world.host(refuses=True))
    world.domain("second.example", world.host(refuses=True), site.well)
    silent = world.host(Behaviour(silent=True))
    world.domain("silent.example", silent)
    busy = world.host(Behaviour({"greeting": "421 4.3.2 too busy"}))
    world.domain("busy.example", busy)
    world.domain("third.example", busy, world.host(refuses=True), site.well)
    site.start()
    try:
        for _ in range(3):
            site.submit("a@silent.example")
        others = ("refuses", "second", "busy", "third")
        results = site.rows(site.submit(*(f"b@{name}.example" for name in others)), len(others))
        assert {name: results[f"b@{name}.example"][0] for name in others} == {
            "refuses": "due", "second": "delivered", "busy": "due", "third": "delivered"
        }  # fmt: skip
        assert results["b@refuses.example"][1]["status"] == "4.4.1"
        assert results["b@busy.example"][1]["code"] == 421
        assert site.is_well() < 15
        # What comes now waits for the pause of the dead site to end, and costs no connection.
        id = site.submit("c@refuses.example", "c@busy.example")
        time.sleep(2.0)
        assert [each["attempts"] for each in site.gateway.json("message", "show", id)["messages"]] == [0, 0]
        assert world.counts()[busy].connections <= 3 and world.counts()[silent].connections <= 5
        assert "Traceback" not in site.log()
    finally:
        site.end()


# --- receivers ---


def test_what_receivers_do(tmp_path):
    """The cases of test_hostile_receivers, each at a domain of its own."""
    site = Faulty(tmp_path)
    cases = {f"case{number}.example": name for number, name in enumerate(ROWS)}
    receivers = {domain: site.hostile(domain, ROWS[name][0]) for domain, name in cases.items()}
    site.start()
    try:
        addresses = {
            domain: [f"r{number}@{domain}" for number in range(len(ROWS[name][1]))] for domain, name in cases.items()
        }
        everybody = [address for each in addresses.values() for address in each]
        id = site.submit(*everybody)
        assert site.is_well() < 15
        results = site.rows(id, len(everybody))
        due = 0
        for domain, name in cases.items():
            _, states, stage = ROWS[name]
            if name == "530 at MAIL":
                continue  # at a relay it is trouble with our login
            assert [results[address][0] for address in addresses[domain]] == states, (name, results)
            due += states.count("due")
            for address in addresses[domain]:
                state, event = results[address]
                assert not stage or event["state"] == stage, (name, event)
                assert event.get("possible_duplicate", False) == ("dot" in name and state == "due"), (name, event)
        assert "Traceback" not in site.log()
        good = Dialogue()
        for receiver in receivers.values():
            receiver.serve = good
            receiver.disconnect()
        site.gateway.run("queue", "retry", "--yes")
        site.gateway.run("queue", "sites", "--resume-all")
        wait_for(lambda: not site.gateway.json("queue", "list", "--state", "due"), 90, site.log)
        assert sum(len(recipients) for _, recipients, _ in good.messages) >= due
    finally:
        site.end()


INSIDE = "250-relay.example\r\n250 PIPELINING"
BROKEN_TLS = {
    "garbage": {"ehlo": TLS_EHLO, "tls": b"\x16\x03\x03\xff\xff" + b"\0" * 1000},
    "plain-text": {"ehlo": TLS_EHLO, "tls": b"250 what\r\n"},
    "not-now": {"ehlo": TLS_EHLO, "starttls": "454 4.7.0 not now"},
    "not-offered": {"ehlo": EHLO},
    "unknown": {"ehlo": [TLS_EHLO, INSIDE], "tls": None},
    "closed": {"ehlo": [TLS_EHLO, DROP], "tls": None},
}


def test_tls_that_is_broken_costs_mail_that_must_be_safe_and_no_other(tmp_path):
    site = Faulty(tmp_path, 'tls_domains = { "*.must.example" = "require" }')
    context = server_context(Authority(tmp_path).issue("mx.example"))
    receivers = {}
    for name, script in BROKEN_TLS.items():
        script = {**script, "tls": context} if script.get("tls", 0) is None else script
        for policy in ("may", "must"):
            domain = f"{name}.{policy}.example"
            receivers[domain] = site.hostile(domain, Dialogue(**script))
    site.start()
    try:
        results = site.rows(site.submit(*(f"b@{domain}" for domain in receivers)), len(receivers))
        for domain, receiver in receivers.items():
            state, event = results[f"b@{domain}"]
            if domain.endswith("must.example"):
                assert state == "due", (domain, event)
                assert not receiver.serve.messages
                assert not [command for command in receiver.serve.commands if command.startswith("MAIL")], domain
            elif not domain.startswith("closed"):
                assert state == "delivered", (domain, event)
                assert bool(event.get("tls")) == domain.startswith("unknown"), (domain, event)
    finally:
        site.end()


# --- loops ---


def test_two_servers_that_send_to_each_other_end_with_one_report(tmp_path):
    """Each takes the other for the one who knows; the mail ends after so many rounds, and its sender is told once."""
    one, other = Gateway(tmp_path / "one", 'mode = "capture"'), Gateway(tmp_path / "other", 'mode = "capture"')
    logins = [each.add_login() for each in (one, other)]
    world = World(tmp_path / "world")
    sink = Hostile(world.port, world.address()).start()
    home = sink.serve = Dialogue()
    for here, there, login in ((one, other, logins[1]), (other, one, logins[0])):
        username, password = login[0], login[1].replace(" ", "%20")
        relay = f"smtps://{username}:{password}@localhost:{there.smtps}"
        authority = tmp_path / f"trusted-by-{here.directory.name}.pem"
        here.environment["SSL_CERT_FILE"] = str(authority)
        lines = 'mode = "relay"\nrelay = "%s"\nrelays = { "home.example" = "smtp://%s:%d" }\nretry = ["1s"]\n'
        here.config.write_text(
            here.config.read_text().replace('mode = "capture"\n', lines % (relay, sink.address, sink.port))
        )
        here.config.chmod(0o600)
    try:
        for gateway, peer in ((one, other), (other, one)):
            gateway.start()
            (tmp_path / f"trusted-by-{peer.directory.name}.pem").write_bytes(
                (gateway.directory / "data/tls/ca.pem").read_bytes()
            )
        with one.connect(logins[0]) as client:
            client.mail("sender@home.example")
            client.rcpt("b@round.example")
            code, reply = client.data(CONTENT)
            assert code == 250 and queued_id(reply)
        wait_for(lambda: home.messages, 120, lambda: one.log.read_text()[-3000:])
        time.sleep(3.0)
        reports = [content for sender, recipients, content in home.messages if recipients == ("sender@home.example",)]
        assert len(reports) == len(home.messages) == 1
        assert b"5.4.6" in reports[0], reports[0][-3000:]
        for gateway in (one, other):
            assert not gateway.json("queue", "list")
    finally:
        one.end()
        other.end()
        sink.stop()
