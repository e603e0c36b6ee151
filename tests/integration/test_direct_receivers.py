"""Mail to real Postfix, Exim and OpenSMTPD: what arrives there is what went, whatever they offer."""

from __future__ import annotations

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from smtpeter.mime.convert import convert
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
SIGNED = (
    TOP + b"MIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%b\r\n--b\r\n"
    b"Content-Type: application/pgp-signature\r\n\r\nx\r\n--b--\r\n"
)
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
    "unfinished": MIME + "Subject: no end\r\n\r\n.größer\r\n.größer".encode(),
    "longheader": TOP + b"Subject: long" + b" header" * 300 + b"\r\n\r\nx\r\n",
    "signed": SIGNED % (b"z" * 2500),
    "signedeight": SIGNED % "größer".encode(),
}
SMALL = 100_000
OPENSMTPD_LACKS = {"PIPELINING", "SMTPUTF8", "CHUNKING"}
LEAST = frozenset({"SIZE", "8BITMIME"})
PLACES = {
    "postfix-all": (Postfix, Offer(), "known"),
    "postfix-least": (Postfix, Offer(frozenset()), ""),
    "postfix-demands": (Postfix, Offer(demands_tls=True, greylists=True), "unknown"),
    "postfix-some": (Postfix, Offer(EXTENSIONS - {"SIZE", "DSN"}), ""),
    "postfix-helo": (Postfix, Offer(ehlo=False, size=SMALL), ""),
    "exim-all": (Exim, Offer(), "unknown"),
    "exim-least": (Exim, Offer(frozenset({"SIZE"}), greylists=True), ""),
    "exim-some": (Exim, Offer(EXTENSIONS - {"PIPELINING", "CHUNKING"}), ""),
    "exim-seven": (Exim, Offer(EXTENSIONS - {"8BITMIME"}, size=SMALL), ""),
    "exim-helo": (Exim, Offer(ehlo=False, size=SMALL), ""),
    "opensmtpd-all": (OpenSmtpd, Offer(LEAST | {"DSN"}), "unknown"),
    "opensmtpd-least": (OpenSmtpd, Offer(LEAST, size=SMALL), ""),
    "opensmtpd-demands": (OpenSmtpd, Offer(LEAST, demands_tls=True), "known"),
    "opensmtpd-helo": (OpenSmtpd, Offer(LEAST, ehlo=False, size=SMALL), ""),
}
"""What each is and offers, and from whom it has a certificate."""
NAMES = list(PLACES)


class Place:
    """A receiver and its domain.  ``offered`` is what its EHLO tells."""

    def __init__(self, world, name, certificates):
        kind, offer, issuer = PLACES[name]
        self.domain = f"{name}.example"
        host = f"mx.{self.domain}"
        address = world.address()
        if issuer:
            offer = offer._replace(certificate=certificates[issuer].issue(host if issuer == "known" else f"not.{host}"))
        self.offered = offer.extensions - (OPENSMTPD_LACKS if kind is OpenSmtpd else set()) if offer.ehlo else set()
        self.receiver = kind(address, world.port, offer, host)
        world.domain(self.domain, world.place(host, address))


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("direct")
    world = World(directory / "world")
    authority = Authority(directory)
    certificates = {"known": authority, "unknown": Authority(tmp_path_factory.mktemp("unknown"))}
    places, gateway = {}, None
    try:
        for name in NAMES:
            places[name] = Place(world, name, certificates)
        with ThreadPoolExecutor() as together:
            list(together.map(lambda place: place.receiver.start(), places.values()))
        world.start()
        required = ", ".join(f'"{name}.example" = "require"' for name in NAMES if PLACES[name][2] == "known")
        gateway = Gateway(
            directory / "gateway",
            world.delivery('retry = ["2s"]', f"tls_domains = {{ {required} }}"),
            environment={"SSL_CERT_FILE": str(authority.path)},
        )
        gateway.login = gateway.add_login()
        gateway.start()
        gateway.places = places
        gateway.world = world
        yield gateway
    finally:
        if gateway is not None:
            gateway.end()
        with ThreadPoolExecutor() as together:
            list(together.map(lambda place: place.receiver.stop(), places.values()))
        world.stop()


def submit(site, names, content, recipient="b", mail_options=(), rcpt_options=()):
    """One message to somebody at each of these receivers; its id."""
    recipients = [f"{recipient}@{name}.example" for name in names]
    with site.connect(site.login) as client:
        return send(client, "sender@example.com", recipients, content, mail_options, rcpt_options)


def finished(site, id, count=1):
    """What became of it: the events of each recipient's, by the domain without its end."""
    lines = rf"delivery: id={id}\S* recipient=\S+ outcome=(?:delivered|failed)"
    wait_for(lambda: len(re.findall(lines, site.log.read_text())) == count, 60, lambda: site.log.read_text()[-3000:])

    def settled():  # a moment later
        shown = site.json("message", "show", id)
        rows = shown.get("messages", [shown])
        events = {row["recipient"].partition("@")[2].removesuffix(".example"): row["events"] for row in rows}
        return all(each[-1]["event"] in ("delivery", "failure") for each in events.values()) and events

    return wait_for(settled)


@pytest.fixture(scope="module")
def sent(site):
    """Every message to every receiver: by the message's name its id, and what became of it."""
    ids = {}
    for message, content in MESSAGES.items():
        options = ["SMTPUTF8", "BODY=8BITMIME"] if message == "utf8" else []
        ids[message] = submit(site, NAMES, content, message, options)
    return {message: (id, finished(site, id, len(NAMES))) for message, id in ids.items()}


def refusal(place, message, content):
    """With which status this message fails for this receiver; None where it arrives."""
    if message == "utf8" and not {"SMTPUTF8", "8BITMIME"} <= place.offered:
        return "5.6.7"
    if message == "signedeight" and "8BITMIME" not in place.offered:
        return "5.6.3"
    if len(content) > place.receiver.offer.size:
        exim = isinstance(place.receiver, Exim)  # it has no such statuses
        return "" if exim and "SIZE" not in place.offered else "5.3.4"
    return None


@pytest.mark.parametrize("name", NAMES)
def test_what_arrives_is_what_went(site, sent, name):
    place = site.places[name]
    delivered = 0
    for message, content in MESSAGES.items():
        id, events = sent[message]
        event = events[name][-1]
        refused = refusal(place, message, content)
        if refused is not None:
            assert (event["event"], event["status"]) == ("failure", refused), (message, event)
            continue
        assert event["event"] == "delivery", (message, event)
        delivered += 1
        [got] = wait_for(lambda m=message: place.receiver.got(f"{m}@{place.domain}"), 30, place.receiver.log)
        ours = got[got.index(b"Received: from [127.0.0.1] ([127.0.0.1])\r\n\tby localhost") :]
        eight_bit = "8BITMIME" in place.offered
        whole = content if content.endswith(b"\r\n") else content + b"\r\n"
        form = convert(whole, eight_bit=eight_bit)
        assert (form != whole) == (message in ("toolong", "longheader") or not (eight_bit or content.isascii()))
        assert message == "signed" or max(map(len, form.split(b"\r\n"))) <= 998
        end = b"\r\n" if message == "headeronly" and "exim" in name else b""  # it wants a body
        trace = ours.removesuffix(end).removesuffix(form)
        assert trace.count(b"\n") == 4 and trace.endswith(b"\r\n"), (message, ours)
        converted = "7bit" if form != whole and not eight_bit else None
        if converted and name == "postfix-least":
            assert site.raw(f"{id}-{NAMES.index(name) + 1}") == ours, message
        assert event.get("converted") == converted, (message, event)
    assert sum(not each.recipient.startswith("other") for each in place.receiver.messages()) == delivered


@pytest.mark.parametrize("name", [name for name in NAMES if PLACES[name][1].size == SMALL])
def test_what_is_too_large_is_not_even_sent_where_the_size_is_told(site, sent, name):
    place = site.places[name]
    event = sent["large"][1][name][-1]
    told = "SIZE" in place.offered
    assert event["event"] == "failure" and event["code"] in (552, 554), event
    assert ("the receiver takes no more than" in event["description"]) == told, event
    assert event["state"] == ("mail" if told else "end"), event


def test_ten_megabytes_arrive_octet_for_octet(site):
    """Lines begin and end, and have dots, wherever a piece of what is sent may end."""
    names = ["postfix-all", "exim-all", "exim-some", "opensmtpd-all"]
    chosen = random.Random(10)
    lines = chosen.choices([b"", b".", b"..", b".x", b"x", b"y" * 77, b"." * 998], [1, 1, 1, 1, 1, 1, 1], k=62_000)
    content = TOP + b"Subject: ten megabytes\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
    assert 9_000_000 < len(content) < 11_000_000
    events = finished(site, submit(site, names, content, "other"), len(names))
    for name in names:
        assert events[name][-1]["event"] == "delivery", events[name]
        place = site.places[name]
        [got] = wait_for(lambda p=place: p.receiver.got(f"other@{p.domain}"), 30, place.receiver.log)
        assert got.endswith(b"\r\n" + content), name


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


@pytest.mark.parametrize("name", NAMES)
def test_tls_is_used_where_it_is_offered_and_events_name_it(site, sent, name):
    tls = sent["seven"][1][name][-1].get("tls", "")
    issuer = PLACES[name][2]
    assert re.fullmatch({"known": r"TLSv1\.3 TLS_\w+, verified", "unknown": r"TLSv1\.3 TLS_\w+", "": ""}[issuer], tls)
    receiver = site.places[name].receiver
    if issuer and "exim" in name:
        assert b"with esmtps" in receiver.got(f"seven@{name}.example")[0]
    elif issuer:
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
