"""Each recipient gets a copy of his own: his links, and the reverse-path that tells where returned mail comes from."""

from __future__ import annotations

import asyncio
import email
import re

import pytest

from smtpeter.api import ReturnPath
from smtpeter.auth.keys import load_or_create
from smtpeter.features.services import services_of
from smtpeter.settings import load
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver

SENDER = "news@example.com"
LINKS = 12
HTML = "".join(
    f'<p>Zwölf <a href="https://www.example.com/story/{n}?a=1&amp;b=2">Boxkämpfer</a></p>\r\n' for n in range(LINKS)
)
TEXT = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.\r\n" * 20
OPTIONS = b"X-SMTPeter-TrackClicks: true\r\nX-SMTPeter-TrackBounces: true\r\n"
LEAF = "--b\r\nContent-Type: text/{}; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{}\r\n"
MESSAGE = (
    "From: News <news@example.com>\r\nTo: you\r\nSubject: A letter\r\nMIME-Version: 1.0\r\n"
    "Content-Type: multipart/alternative; boundary=b\r\n\r\n"
    f"{LEAF.format('plain', TEXT)}{LEAF.format('html', HTML)}--b--\r\n"
).encode()
TRACKED = re.compile(r"/t/trackclicks/([A-Za-z0-9_-]{24})/([^\"]+)\"")
QUICK = 'retry = ["1s"]\nexpire = "1h"'
RECIPIENTS = ["ann@example.net", "ben@example.net", "cleo@example.org"]


class Slow(Receiver):
    """Takes its time for each message."""

    async def handle_DATA(self, server, session, envelope):
        await asyncio.sleep(0.05)
        return await super().handle_DATA(server, session, envelope)


def start(tmp_path, delivery, extra=""):
    gateway = Gateway(tmp_path / "gateway", delivery, f'[bounces]\ndomain = "bounces.example.com"\n{extra}')
    gateway.login = gateway.add_login()
    return gateway.start()


def relay(receiver):
    return f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"\n{QUICK}'


@pytest.fixture
def receiver():
    receiver = Receiver(*free_ports(1)).start()
    yield receiver
    receiver.stop()


@pytest.fixture
def gateway(tmp_path, receiver):
    gateway = start(tmp_path, relay(receiver))
    yield gateway
    gateway.end()


def states(gateway, id):
    shown = gateway.json("message", "show", id)
    return {each["recipient"]: each["state"] for each in shown.get("messages", [shown])}


def wait_until_delivered(gateway, id, recipients):
    expected = dict.fromkeys(recipients, "delivered")
    wait_for(lambda: states(gateway, id) == expected, 60.0, f"{gateway.log.read_text()[-3000:]}")


def leaves(copy):
    """Plain text and HTML, as a reader's program shows them."""
    parts = [part for part in email.message_from_bytes(copy).walk() if not part.is_multipart()]
    return [part.get_payload(decode=True).decode("utf-8") for part in parts]


def whose(gateway, path):
    """The submission and the number that a reverse-path of ours tells."""
    settings = load(gateway.config)
    services = services_of(settings, load_or_create(settings.keys.file))("trackbounces")
    local, _, domain = path.partition("@")
    assert domain == "bounces.example.com"
    return ReturnPath(services.key_id(), lambda key_id: services.key("return path", key_id)).read(local)


def copies(receiver, recipients):
    """Reverse-path and octets of each one's only copy."""
    found = []
    for recipient in recipients:
        ((path, to, octets),) = [message for message in receiver.messages if recipient in message[1]]
        assert to == [recipient]
        found.append((path, octets))
    return found


def check_copies(gateway, id, found):
    """All that is different from one recipient to the other is his token and his reverse-path."""
    tokens, others = [], set()
    for number, (path, octets) in enumerate(found, 1):
        assert whose(gateway, path) == (id, number)
        text, html = leaves(octets)
        assert text == TEXT
        tracked = TRACKED.findall(html)
        assert len(tracked) == LINKS
        (token,) = {token for token, _ in tracked}
        tokens.append(token)
        destinations = tuple(destination for _, destination in tracked)
        others.add((TRACKED.sub("TOKEN", html), destinations, octets.partition(b"\r\n\r\n")[0], len(octets)))
        assert gateway.raw(f"{id}-{number}") == octets
    assert len(set(tokens)) == len(found)
    assert len(others) == 1
    first = found[0][1]
    for _, octets in found[1:]:
        assert sum(a != b for a, b in zip(first, octets, strict=True)) <= 24 * LINKS


def test_each_recipient_has_his_own_links_and_his_own_reverse_path(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        id = send(client, SENDER, RECIPIENTS, OPTIONS + MESSAGE, ["BODY=8BITMIME", "ENVID=letter", "RET=HDRS"])
    wait_until_delivered(gateway, id, RECIPIENTS)
    found = copies(receiver, RECIPIENTS)
    check_copies(gateway, id, found)
    assert all(b"X-SMTPeter" not in octets for _, octets in found)
    # What the submitter gave is still what is told of the message, which was prepared once.
    for shown in gateway.json("message", "show", id)["messages"]:
        assert shown["envelope"] == SENDER
        assert [event["event"] for event in shown["events"]] == ["attempt", "prepared", "delivery"]
    # By the submission's id: what all have in common, which nobody can use to click for others.
    common = gateway.raw(id)
    assert len(common) == len(found[0][1]) and common not in [octets for _, octets in found]


def test_reverse_paths_alone_need_no_preparing(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        id = send(client, "", RECIPIENTS, b"X-SMTPeter-BounceTracking: yes\r\n" + MESSAGE, ["BODY=8BITMIME"])
    wait_until_delivered(gateway, id, RECIPIENTS)
    found = copies(receiver, RECIPIENTS)
    assert [whose(gateway, path) for path, _ in found] == [(id, 1), (id, 2), (id, 3)]
    assert len({octets for _, octets in found}) == 1 and found[0][1].endswith(MESSAGE)
    assert all(
        [event["event"] for event in each["events"]] == ["attempt", "delivery"]
        for each in gateway.json("message", "show", id)["messages"]
    )


def test_a_relay_without_8bitmime_gets_each_copy_in_7_bits(gateway, receiver):
    receiver.lacks = ("8BITMIME",)
    with gateway.connect(gateway.login) as client:
        id = send(client, SENDER, RECIPIENTS, OPTIONS + MESSAGE, ["BODY=8BITMIME"])
    wait_until_delivered(gateway, id, RECIPIENTS)
    found = copies(receiver, RECIPIENTS)
    assert all(octets.isascii() for _, octets in found)
    check_copies(gateway, id, found)


def test_what_we_cannot_deliver_is_told_to_the_submitters_own_reverse_path(gateway, receiver):
    with gateway.connect(gateway.login) as client:
        id = send(
            client, SENDER, ["hard@example.net", "ann@example.net"], OPTIONS + MESSAGE, ["ENVID=letter", "RET=FULL"]
        )
    wait_for(lambda: states(gateway, id) == {"hard@example.net": "failed", "ann@example.net": "delivered"})
    [notice] = wait_for(lambda: receiver.got(SENDER))
    assert b"Final-Recipient: rfc822; hard@example.net" in notice and b"Original-Envelope-Id: letter" in notice
    assert b"https://www.example.com/story/1?" in notice and b"/t/trackclicks/" not in notice
    [(path, _, _)] = [message for message in receiver.messages if SENDER in message[1]]
    assert path in ("", "<>", None)  # a report about a report would never end


def test_a_server_that_is_killed_sends_the_same_copies_again(tmp_path):
    receiver = Slow(*free_ports(1)).start()
    recipients = [f"r{number}@example.net" for number in range(500)]
    gateway = start(tmp_path, relay(receiver))
    try:
        with gateway.connect(gateway.login) as client:
            id = send(client, SENDER, recipients, OPTIONS + MESSAGE, ["BODY=8BITMIME"])
        wait_for(lambda: len(receiver.messages) > 350, 60.0)
        gateway.kill()
        settled = [recipient for recipient, state in states(gateway, id).items() if state == "delivered"]
        gateway.start()
        wait_until_delivered(gateway, id, recipients)
        assert settled  # a long letter is written down piece by piece
        for recipient in recipients:
            mine = [(path, octets) for path, to, octets in receiver.messages if to == [recipient]]
            assert len(set(mine)) == 1 and len(mine) <= (1 if recipient in settled else 2)
        assert len({octets for _, _, octets in receiver.messages}) == len(recipients)
    finally:
        gateway.end()
        receiver.stop()


def test_a_message_waits_for_a_feature_that_is_gone(tmp_path, receiver):
    gateway = start(tmp_path, relay(receiver))
    try:
        gateway.run("queue", "pause")
        with gateway.connect(gateway.login) as client:
            id = send(client, SENDER, RECIPIENTS[:1], OPTIONS + MESSAGE)
        wait_for(lambda: [e["event"] for e in gateway.json("message", "show", id)["events"]] == ["attempt", "prepared"])
        gateway.stop()
        config = gateway.config.read_text()
        gateway.config.write_text(f'{config}\n[features]\ndisabled = ["trackclicks"]\n')
        assert (
            b"trackclicks, which this message needs, is not there"
            in gateway.run("message", "raw", id, check=False).stderr
        )
        gateway.start()
        gateway.run("queue", "resume")
        wait_for(lambda: states(gateway, id) == {RECIPIENTS[0]: "held"})
        event = gateway.json("message", "show", id)["events"][-1]
        assert event["description"] == "The feature trackclicks, which this message needs, is not there"
        assert receiver.messages == []
        gateway.stop()
        gateway.config.write_text(config)
        gateway.start()
        gateway.run("queue", "release", "--yes")
        wait_until_delivered(gateway, id, RECIPIENTS[:1])
        check_copies(gateway, id, copies(receiver, RECIPIENTS[:1]))
    finally:
        gateway.end()


def test_captured_mail_shows_what_each_would_have_got(tmp_path):
    gateway = start(tmp_path, 'mode = "capture"')
    try:
        with gateway.connect(gateway.login) as client:
            id = send(client, SENDER, RECIPIENTS, OPTIONS + MESSAGE, ["BODY=8BITMIME"])
        wait_until_delivered(gateway, id, RECIPIENTS)
        tokens = set()
        for number in (1, 2, 3):
            ((token, *_),) = {tuple(token for token, _ in TRACKED.findall(leaves(gateway.raw(f"{id}-{number}"))[1]))}
            tokens.add(token)
        assert len(tokens) == 3
    finally:
        gateway.end()
