"""Mail to real Postfix, Exim and OpenSMTPD: what arrives there is what went, whatever they offer."""

from __future__ import annotations

import re
import time

import pytest

from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.hostile import Dialogue, Hostile
from tests.integration.receivers.certificates import Authority
from tests.integration.receivers.exim import Exim
from tests.integration.receivers.offer import EXTENSIONS, Offer
from tests.integration.receivers.opensmtpd import OpenSmtpd
from tests.integration.receivers.postfix import Postfix
from tests.integration.world import World

TOP = (
    b"From: a@example.com\r\nTo: b@example.net\r\nDate: Sat, 21 Nov 2026 14:00:00 +0000\r\n"
    b"Message-ID: <1@example.com>\r\n"
)
MIME = TOP + b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
MESSAGES = {
    "seven": TOP + b"Subject: plain\r\n\r\nHello\r\n\r\n  there  \r\n\r\n\r\n",
    "dots": TOP + b"Subject: dots\r\n\r\n.\r\n..\r\n.a\r\n...\r\nx.\r\n.",
    "longest": TOP + b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n." + b"y" * 997 + b"\r\n",
    "empty": TOP + b"Subject: no body\r\n\r\n",
    "headeronly": TOP + b"Subject: no body at all\r\n",
    "eight": MIME + b"Subject: eight\r\n\r\n" + "Grüße aus Łódź, 你好\r\n".encode() * 3,
    "toolong": MIME + b"Subject: too long\r\n\r\n" + "größer ".encode() * 1000 + b"\r\n",
    "large": TOP + b"Subject: large\r\n\r\n" + (b"." * 70 + b"\r\n") * 20_000,
    "utf8": MIME + "Subject: Grüße\r\n\r\nплатье\r\n".encode(),
}


class Place:
    """A receiver and its domain."""

    def __init__(self, world, kind, variant, offer):
        self.domain = f"{kind.__name__.lower()}-{variant}.example"
        self.host = f"mx.{self.domain}"
        address = world.address()
        self.receiver = kind(address, world.port, offer, self.host)
        world.place(self.host, address)
        world.domain(self.domain, self.host)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("direct")
    world = World(directory / "world")
    authority, unknown = Authority(directory), Authority(tmp_path_factory.mktemp("unknown"))
    places, gateway = [], None
    least = frozenset({"SIZE", "8BITMIME"})
    try:
        for kind, variant, offer in (
            (Postfix, "all", Offer(certificate=authority.issue("mx.postfix-all.example"))),
            (Postfix, "least", Offer(frozenset())),
            (Postfix, "demands", Offer(certificate=unknown.issue("another.example"), demands_tls=True, greylists=True)),
            (Exim, "all", Offer(certificate=unknown.issue("mx.exim-all.example"))),
            (Exim, "least", Offer(frozenset({"SIZE"}), greylists=True)),
            (OpenSmtpd, "all", Offer(least | {"DSN"}, unknown.issue("mx.opensmtpd-all.example"))),
            (OpenSmtpd, "least", Offer(least)),
        ):
            places.append(Place(world, kind, variant, offer))
        for place in places:
            place.receiver.start()
        world.start()
        gateway = Gateway(
            directory / "gateway",
            world.delivery('retry = ["2s"]', 'tls_domains = { "postfix-all.example" = "require" }'),
            environment={"SSL_CERT_FILE": str(authority.path)},
        )
        gateway.login = gateway.add_login()
        gateway.start()
        gateway.places = {place.domain.removesuffix(".example"): place for place in places}
        gateway.world = world
        yield gateway
    finally:
        if gateway is not None:
            gateway.end()
        for place in places:
            place.receiver.stop()
        world.stop()


NAMES = [
    "postfix-all",
    "postfix-least",
    "postfix-demands",
    "exim-all",
    "exim-least",
    "opensmtpd-all",
    "opensmtpd-least",
]


def submit(site, names, content, recipient="b", mail_options=(), rcpt_options=()):
    """One message to somebody at each of these receivers; its id."""
    recipients = [f"{recipient}@{name}.example" for name in names]
    with site.connect(site.login) as client:
        return send(client, "sender@example.com", recipients, content, mail_options, rcpt_options)


def finished(site, id, count=1):
    """What became of it: the events of each recipient's, by the domain without its end."""
    lines = rf"delivery: id={id}\S* recipient=\S+ outcome=(?:delivered|failed)"
    wait_for(lambda: len(re.findall(lines, site.log.read_text())) == count, 60, lambda: site.log.read_text()[-3000:])
    time.sleep(0.5)  # it is settled a moment later
    shown = site.json("message", "show", id)
    rows = shown.get("messages", [shown])
    return {row["recipient"].partition("@")[2].removesuffix(".example"): row["events"] for row in rows}


@pytest.fixture(scope="module")
def sent(site):
    """Every message to every receiver: by the message's name its id, and what became of it."""
    ids = {}
    for message, content in MESSAGES.items():
        options = ["SMTPUTF8", "BODY=8BITMIME"] if message == "utf8" else []
        ids[message] = submit(site, NAMES, content, message, options)
    return {message: (id, finished(site, id, len(NAMES))) for message, id in ids.items()}


@pytest.mark.parametrize("name", NAMES)
def test_what_arrives_is_what_went(site, sent, name):
    place = site.places[name]
    offered = place.receiver.offer.extensions if "opensmtpd" not in name else {"8BITMIME", "SIZE"}
    delivered = 0
    for message, content in MESSAGES.items():
        id, events = sent[message]
        event = events[name][-1]
        if message == "utf8" and "SMTPUTF8" not in offered:
            assert (event["event"], event["status"]) == ("failure", "5.6.7"), event
            continue
        assert event["event"] == "delivery", (message, event)
        delivered += 1
        [got] = wait_for(lambda m=message: place.receiver.got(f"{m}@{place.domain}"), 30, place.receiver.log)
        ours = got[got.index(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n\tby localhost") :]
        if message == "toolong" or (message == "eight" and "8BITMIME" not in offered):
            raw = site.raw(f"{id}-{NAMES.index(name) + 1}")
            assert ours == raw, (message, ours, raw)
            assert re.search(rb"Content-Transfer-Encoding: (?:quoted-printable|base64)", raw) and raw.isascii()
            converted = "7bit" if "8BITMIME" not in offered else None
        else:
            whole = content if content.endswith(b"\r\n") else content + b"\r\n"
            end = b"\r\n" if message == "headeronly" and "exim" in name else b""  # it wants a body
            trace = ours.removesuffix(end).removesuffix(whole)
            assert trace.count(b"\n") == 4 and trace.endswith(b"\r\n"), (message, ours)
            converted = None
        assert event.get("converted") == converted, (message, event)
    assert sum(not each.recipient.startswith("other") for each in place.receiver.messages()) == delivered


@pytest.mark.parametrize("name", ["postfix-all", "exim-all"])
def test_addresses_that_are_not_ascii_arrive(site, name):
    place = site.places[name]
    with site.connect(site.login) as client:
        client.ehlo()
        client.send("MAIL FROM:<jürgen@example.com> SMTPUTF8\r\n".encode())
        assert client.getreply()[0] == 250
        client.send(f"RCPT TO:<otherñ@{place.domain}>\r\n".encode())
        assert client.getreply()[0] == 250
        code, reply = client.data(MESSAGES["utf8"])
        assert code == 250
    assert finished(site, reply.decode().rpartition(" ")[2])[name][-1]["event"] == "delivery"
    [message] = wait_for(
        lambda: [each for each in place.receiver.messages() if each.sender.startswith("j")], 30, place.receiver.log
    )
    assert (message.sender, message.recipient) == ("jürgen@example.com", f"otherñ@{place.domain}")


TLS = {
    "postfix-all": r"TLSv1\.3 TLS_\w+, verified",
    "postfix-demands": r"TLSv1\.3 TLS_\w+.*",
    "postfix-least": "",
    "exim-all": r"TLSv1\.3 TLS_\w+.*",
    "exim-least": "",
    "opensmtpd-all": "|TLS.*",  # its handshakes fail, where it has OpenSSL 3: mail goes in clear
    "opensmtpd-least": "",
}


@pytest.mark.parametrize("name", TLS)
def test_tls_is_used_where_it_is_offered_and_events_name_it(site, sent, name):
    event = sent["seven"][1][name][-1]
    assert re.fullmatch(TLS[name], event.get("tls", "")), event
    if event.get("tls") and name != "postfix-all":
        assert "verified" not in event["tls"].replace("not verified", "").replace("unverified", "")
    receiver = site.places[name].receiver
    if event.get("tls") and "exim" in name:
        assert b"with esmtps" in receiver.got("seven@exim-all.example")[0]
    if event.get("tls") and "postfix" in name:
        assert "TLSv1.3" in receiver.log()


@pytest.mark.parametrize("name", ["postfix-demands", "exim-least"])
def test_what_a_greylist_puts_off_arrives_once(site, sent, name):
    events = sent["seven"][1][name]
    assert [event["event"] for event in events] == ["attempt", "deferral", "delivery"]
    assert events[1]["code"] == 451


def test_what_is_asked_to_be_told_is_passed_on(site):
    """RFC 3461: by us to Postfix, which offers DSN, and by Postfix to the next hop."""
    world = site.world
    sink = Hostile(world.port, world.address()).start()
    dialogue = sink.serve = Dialogue()
    address = world.address()
    hop = Postfix(address, world.port, Offer(EXTENSIONS), "mx.hop.example", next_hop=(sink.address, sink.port))
    world.domain("hop.example", world.place("mx.hop.example", address))
    try:
        hop.start()
        with site.connect(site.login) as client:
            id = send(
                client,
                "a@example.com",
                ["b@hop.example"],
                MESSAGES["seven"],
                ["RET=HDRS", "ENVID=QQ+2B314159"],
                ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;first+2B@example.org"],
            )
        assert finished(site, id)["hop"][-1]["event"] == "delivery"
        wait_for(lambda: dialogue.messages, 30, hop.log)
    finally:
        hop.stop()
        sink.stop()
    [mail] = [command for command in dialogue.commands if command.startswith("MAIL")]
    [rcpt] = [command for command in dialogue.commands if command.startswith("RCPT")]
    assert "RET=HDRS" in mail and "ENVID=QQ+2B314159" in mail, mail
    assert set(re.search(r"NOTIFY=(\S+)", rcpt)[1].split(",")) == {"SUCCESS", "DELAY"}, rcpt
    assert "ORCPT=rfc822;first+2B@example.org" in rcpt, rcpt
    [row] = [row for row in site.json("message", "list", "--limit", "1000") if row["id"] == id]
    assert not [each for each in site.json("message", "list") if each["envelope"] == "" and each["id"] > row["id"]]
