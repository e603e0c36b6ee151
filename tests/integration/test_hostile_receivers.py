"""Receivers on real sockets that do us harm: what becomes of each recipient, and that nothing else suffers."""

from __future__ import annotations

import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.fakes.receiver import DROP, EHLO
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.hostile import (
    Dialogue,
    Flood,
    Hostile,
    Stall,
    make_certificate,
    old_context,
    reset,
    server_context,
)

CONTENT = b"From: a@example.com\r\nSubject: On its way\r\n\r\n.one dot\r\nfine\r\n"
RETRY = 'retry = ["1h"]\nexpire = "24h"'
TLS_EHLO = "250-relay.example\r\n250-PIPELINING\r\n250 STARTTLS"


class Site:
    """A gateway, and the receiver that all of its mail goes to."""

    def __init__(self, directory, scheme="smtp", credentials="", environment=None):
        self.receiver = Hostile(*free_ports(1)).start()
        relay = f'mode = "relay"\nrelay = "{scheme}://{credentials}localhost:{self.receiver.port}"\n{RETRY}'
        self.gateway = Gateway(directory, relay, environment=environment)
        self.login = self.gateway.add_login()
        self.gateway.start()
        self.sent = 0

    def end(self):
        self.gateway.end()
        self.receiver.stop()

    def use(self, serve):
        """From now on every connection is served like this."""
        self.receiver.serve = serve
        self.receiver.disconnect()
        return serve

    def submit(self, count=1, content=CONTENT):
        """One message with so many recipients; its id."""
        self.sent += 1
        recipients = [f"m{self.sent}r{number}@example.net" for number in range(1, count + 1)]
        with self.gateway.connect(self.login) as client:
            return send(client, "sender@example.com", recipients, content)

    def log(self):
        return self.gateway.log.read_text()

    def attempted(self, id, count=1):
        """Wait until an attempt of each recipient has ended; what it came to: (state, event), one each."""
        wait_for(lambda: len(re.findall(rf"delivery: id={id}\S* ", self.log())) >= count, timeout=60)
        time.sleep(0.2)  # it is settled a moment later
        shown = self.gateway.json("message", "show", id)
        rows = shown.get("messages", [shown])
        return [(row["state"], row["events"][-1]) for row in rows]

    def is_well(self):
        """A good receiver gets all that was put off, and what comes now."""
        good = self.use(self.good())
        id = self.submit()
        wait_for(lambda: f"delivery: id={id} " in self.log(), timeout=60)
        self.gateway.json("queue", "retry", "--yes")
        wait_for(lambda: not self.gateway.json("queue", "list", "--state", "due"), timeout=60)
        assert "Traceback" not in self.log()
        return good

    def good(self):
        return Dialogue()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("hostile"))
    yield site
    site.end()


PER_RECIPIENT = ["250 ok", "450 4.2.0 later", "550 5.1.1 unknown", "452 4.5.3 Too many recipients", "250 ok"]
ROWS = {
    "RST after accept": (reset, ["due"], ""),  # it may come so early that there never was a connection
    "closed after accept": (lambda connection: None, ["due"], "greeting"),
    "554 greeting": (Dialogue(greeting="554 5.7.1 go away"), ["due"], "greeting"),
    "another protocol": (Dialogue(greeting="SSH-2.0-OpenSSH_9.6"), ["due"], "greeting"),
    "binary": (Dialogue(greeting=b"\x16\x03\x01\0\n" * 10), ["due"], "greeting"),
    "EHLO with 1000 lines": (Dialogue(ehlo=b"250-X\r\n" * 1000), ["due"], "hello"),
    "answers before commands": (Dialogue(greeting=b"220 hi\r\n250 early\r\n250 early\r\n"), ["due"], "hello"),
    "421 at MAIL": (Dialogue(mail="421 4.3.2 going"), ["due"], "mail"),
    "5xx at MAIL": (Dialogue(mail="550 5.7.1 not you"), ["failed"], "mail"),
    "530 at MAIL": (Dialogue(mail="530 5.7.0 authenticate"), ["held"], "mail"),
    "drop at RCPT": (Dialogue(rcpt=DROP), ["due"], "rcpt"),
    "999 at RCPT": (Dialogue(rcpt="999 what"), ["due"] * 3, "rcpt"),
    "an answer too many at RCPT": (Dialogue(rcpt=["250 a", b"250 b\r\n550 x\r\n", "250 c"]), ["due"] * 3, "data"),
    "an answer too few at RCPT": (Dialogue(rcpt=["250 a", b"", "550 c"]), ["due"] * 3, "rcpt"),
    "drop at DATA": (Dialogue(data=DROP), ["due"] * 2, "data"),
    "drop after the final dot": (Dialogue(end=DROP), ["due"] * 2, "end"),
    "nonsense after the final dot": (Dialogue(end=b"250-a\r\n999 b\r\n"), ["due"] * 2, "end"),
    "554 after the final dot": (Dialogue(end="554 5.6.0 no"), ["failed"] * 2, "end"),
    "mixed": (Dialogue(rcpt=PER_RECIPIENT), ["delivered", "due", "failed", "delivered", "delivered"], ""),
}


@pytest.mark.parametrize("name", ROWS)
def test_what_a_receiver_does(site, name):
    serve, states, stage = ROWS[name]
    site.use(serve)
    id = site.submit(len(states))
    results = site.attempted(id, len(states))
    assert [state for state, _ in results] == states
    if stage:
        assert {event["state"] for _, event in results} == {stage}
    for state, event in results:
        assert (
            event["event"] == {"due": "deferral", "failed": "failure", "held": "held", "delivered": "delivery"}[state]
        )
        assert event.get("possible_duplicate", False) == ("dot" in name and state == "due")
    log = site.log()
    assert "Traceback" not in log
    assert not re.search(rf" error .*{id}", log) or "held" in states
    good = site.is_well()
    due = sum(state == "due" for state in states)
    assert sum(len(recipients) for _, recipients, _ in good.messages) == due + 1


@pytest.mark.parametrize(("beginning", "octets"), [(b"220-", b"x"), (b"220 hi\r\n", b"250-more\r\n")])
def test_an_answer_without_end(site, beginning, octets):
    """It is cut, costs no memory, and holds up nothing."""
    flood = site.use(Flood(beginning, octets))
    id = site.submit()
    started = time.monotonic()
    [(state, _)] = site.attempted(id)
    assert state == "due"
    assert site.gateway.health() == 200
    assert time.monotonic() - started < 30
    assert flood.sent < 64 * 1024 * 1024 * site.receiver.connections
    site.is_well()


def test_what_is_in_memory_for_receivers_that_never_read_is_bounded(tmp_path):
    """Fourteen messages of 30 MB are under way: 420 MB, of which 100 MB may be there."""
    site = Site(tmp_path / "gateway")
    try:
        stall = site.use(Stall())
        line = b"x" * 998 + b"\r\n"
        content = b"Subject: large\r\n\r\n" + line * 30_000
        for _ in range(14):
            site.submit(content=content)
        wait_for(lambda: stall.stalled >= 3, timeout=60)
        time.sleep(2.0)
        assert stall.stalled == 3
        assert memory_of(site.gateway) < 280_000_000
        small = site.submit()
        wait_for(lambda: stall.stalled == 4, timeout=30)  # it passes by
        assert site.gateway.json("message", "show", small)["state"] == "leased"
    finally:
        site.end()


def memory_of(gateway):
    [size] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{gateway.process.pid}/status").read_text())
    return int(size) * 1024


# --- TLS that is demanded ---


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """A gateway that demands TLS of a receiver with a login, and trusts certificates of which one only is good."""
    directory = tmp_path_factory.mktemp("tls")
    now = datetime.now(UTC)
    day = timedelta(days=1)
    certificates = {
        "good": make_certificate(directory, "localhost", now - day),
        "expired": make_certificate(directory, "localhost", now - 800 * day),
        "another host": make_certificate(directory, "other.example", now - day),
    }
    trusted = directory / "trusted.pem"
    trusted.write_bytes(b"".join(path.read_bytes() for path in certificates.values()))
    certificates["unknown"] = make_certificate(directory, "localhost", now - 2 * day)
    site = Site(directory / "gateway", "smtp+starttls", "user:correct%20horse@", {"SSL_CERT_FILE": str(trusted)})
    site.contexts = {name: server_context(path) for name, path in certificates.items()}
    site.contexts["old"] = old_context(certificates["good"])
    inside = "250-relay.example\r\n250-PIPELINING\r\n250 AUTH PLAIN"
    site.good = lambda: Dialogue(ehlo=[TLS_EHLO, inside], tls=site.contexts["good"])
    yield site
    site.end()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("expired", "certificate verify failed"),
        ("another host", "another host"),
        ("unknown", "certificate verify failed"),
        ("old", "version|protocol"),
        ("garbage", "TLS failed"),
        ("plain text", "TLS failed"),
        ("closed", "closed"),
        ("injected", "in clear"),
        ("454", "not now"),
        ("not offered", "does not offer STARTTLS"),
        ("no EHLO", "does not offer STARTTLS"),
    ],
)
def test_nothing_goes_in_clear_where_tls_is_demanded(tls, name, text):
    scripts = {
        "garbage": {"ehlo": TLS_EHLO, "tls": b"\x16\x03\x03\xff\xff" + b"\0" * 1000},
        "plain text": {"ehlo": TLS_EHLO, "tls": b"250 what\r\n"},
        "closed": {"ehlo": [TLS_EHLO, DROP], "tls": tls.contexts["good"]},
        "injected": {
            "ehlo": TLS_EHLO,
            "starttls": b"220 go\r\n250-r\r\n250 AUTH PLAIN\r\n",
            "tls": tls.contexts["good"],
        },
        "454": {"ehlo": TLS_EHLO, "starttls": "454 4.7.0 not now"},
        "not offered": {"ehlo": "250-relay.example\r\n250 AUTH PLAIN"},
        "no EHLO": {"ehlo": "502 what"},
    }
    script = scripts.get(name) or {"ehlo": [TLS_EHLO, EHLO], "tls": tls.contexts[name]}
    bad = tls.use(Dialogue(**script))
    id = tls.submit()
    [(state, event)] = tls.attempted(id)
    assert state == "due"
    assert re.search(text, event["description"], re.IGNORECASE), event["description"]
    assert not {command[:4] for command in bad.commands} - {"EHLO", "HELO", "STAR", "QUIT"}
    good = tls.is_well()
    assert len(good.messages) == 2
    assert "correct horse" not in tls.log()


def test_a_login_that_is_refused_is_an_alarm_and_no_bounce(tls):
    inside = "250-relay.example\r\n250 AUTH PLAIN"
    tls.use(Dialogue(ehlo=[TLS_EHLO, inside], tls=tls.contexts["good"], auth="535 5.7.8 wrong password"))
    id = tls.submit()
    [(state, event)] = tls.attempted(id)
    assert (state, event["event"], event["code"]) == ("held", "held", 535)
    assert re.search(r" error .*site trouble: .*stage=auth code=535", tls.log())
    tls.use(tls.good())
    tls.gateway.json("queue", "release", "--yes")
    wait_for(lambda: tls.gateway.json("message", "show", id)["state"] == "delivered", timeout=90)


# --- stopping ---


def test_a_server_that_is_told_to_stop_leaves_no_doubt_that_need_not_be(tmp_path):
    """What had its final dot is waited for; what is nowhere near it is given back, and is no attempt."""
    site = Site(tmp_path / "gateway")
    try:
        told = threading.Event()

        class Slow(Dialogue):
            def __call__(self, connection):
                first = not self.receivers
                if first:
                    self._script = {"end": b""}
                    threading.Thread(target=self.answer, args=(connection,), daemon=True).start()
                else:
                    self._script = {"rcpt": None}
                super().__call__(connection)

            def answer(self, connection):
                told.wait()
                time.sleep(2.0)
                connection.sendall(b"250 2.0.0 at last\r\n")

        slow = site.use(Slow())
        first = site.submit()
        wait_for(lambda: slow.messages)
        second = site.submit()
        wait_for(lambda: len(slow.receivers) == 2 and any("RCPT" in each for each in slow.receivers[1].commands))
        told.set()
        started = time.monotonic()
        site.gateway.stop()
        assert time.monotonic() - started < 30
        assert site.gateway.json("message", "show", first)["state"] == "delivered"
        shown = site.gateway.json("message", "show", second)
        assert (shown["state"], shown["attempts"]) == ("due", 0)
        assert [event["event"] for event in shown["events"]] == ["attempt"]
        assert "Traceback" not in site.log()

        site.use(Dialogue())
        site.gateway.start()
        wait_for(lambda: site.gateway.json("message", "show", second)["state"] == "delivered", timeout=30)
        assert "possible_duplicate" not in str(site.gateway.json("message", "show", second))
    finally:
        site.end()
