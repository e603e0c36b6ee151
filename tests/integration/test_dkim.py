"""Signatures through the whole program, found good by dkimpy on what a receiver got."""

from __future__ import annotations

import re
import smtplib
from collections import Counter
from pathlib import Path

import dkim
import pytest

from smtpeter.mime.authors import read_fields
from smtpeter.mime.convert import has_long_line
from tests.corpus import messages
from tests.fakes.domains import signatures
from tests.integration.gateway import Gateway, free_ports, send, wait_for
from tests.integration.receiver import Receiver

SENDER = "ann@own.example"
PLAIN = f"From: Ann <{SENDER}>\r\nSubject: hello\r\n\r\nhello\r\n".encode()
FEATURES = b"".join(b"X-SMTPeter-%b: true\r\n" % name for name in (b"InlineCSS", b"TrackClicks", b"TrackOpens"))
HTML = (
    b'Content-Type: text/html\r\nMIME-Version: 1.0\r\n\r\n<style>p {color: red}</style><p><a href="https://x.example/">'
)
_SINGLE = re.compile(rb"(?i)(?:from|sender|resent-[!-~]*)[ \t]*:|>?from ")


@pytest.fixture
def receiver():
    receiver = Receiver(*free_ports(1)).start()
    yield receiver
    receiver.stop()


@pytest.fixture
def gateway(tmp_path: Path, receiver):
    relay = f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"'
    gateway = Gateway(tmp_path, relay, "[limits]\nreceived_fields = 500\n[sending]\nrequire_domain = true")
    yield gateway
    gateway.end()


def lookup(gateway):
    """The DNS as the gateway wants it published."""
    (domain,) = gateway.json("domain", "list")
    records = {f"{key['name']}.".encode(): key["record"].encode() for key in domain["keys"]}
    return lambda name, timeout=5: records.get(name)


def is_good(octets, found, count=2):
    return signatures(octets) == count and all(dkim.DKIM(octets).verify(each, dnsfunc=found) for each in range(count))


def real_messages():
    """Real messages, as from our domain."""
    for name, content in messages().items():
        header, _, body = content.partition(b"\r\n\r\n")
        kept = [line for line in re.split(rb"\r\n(?![ \t])", header) if not _SINGLE.match(line)]
        header = b"\r\n".join([f"From: Ann <{SENDER}>".encode(), *kept]) + b"\r\n"
        try:
            read_fields(header)
        except ValueError:
            continue  # it has lines that are no fields
        content = header + b"\r\n" + body + (b"" if body.endswith(b"\r\n") else b"\r\n")
        if b"\0" not in content and not has_long_line(content) and header.isascii():
            yield name, content


def states(gateway):
    """How many recipients are in which state."""
    return Counter(each["state"] for each in gateway.json("message", "list", "--limit", "5000"))


@pytest.mark.parametrize("lacks", [(), ("8BITMIME",)], ids=["as it is", "converted to 7 bits"])
def test_what_arrives_is_signed_and_is_what_the_command_shows(gateway, receiver, lacks):
    receiver.lacks = lacks
    login = gateway.add_login()
    gateway.json("domain", "add", "own.example", "--account", "owner@example.com")
    gateway.start()
    ids, wanted = {}, {}
    with gateway.connect(login) as client:
        for number, (name, content) in enumerate(real_messages()):
            for kind, fields in (("plain", b""), ("all", FEATURES)):
                option = () if content.isascii() else ("body=8bitmime",)
                address = f"{kind}-{number}@example.net"
                ids[address] = send(client, SENDER, [address], fields + content, option)
                wanted[address] = name
    wait_for(lambda: set(states(gateway)) <= {"delivered", "failed"}, 180, lambda: f"{states(gateway)}")
    found = lookup(gateway)
    # Beside them there are reports on what cannot be converted.
    arrived = {recipients[0]: octets for _, recipients, octets in receiver.messages if recipients[0] in wanted}
    assert len(arrived) > 0.9 * len(wanted)
    for address, octets in arrived.items():
        assert is_good(octets, found), wanted[address]
        assert not lacks or octets.isascii()
    for address in list(arrived)[:40:4]:
        assert gateway.raw(ids[address]) == arrived[address], wanted[address]


def test_each_recipient_of_a_personal_message_has_signatures_of_his_own(gateway, receiver):
    login = gateway.add_login()
    gateway.json("domain", "add", "own.example", "--account", "owner@example.com")
    gateway.start()
    content = FEATURES + f"From: {SENDER}\r\n".encode() + HTML + b"Click</a></p>\r\n"
    with gateway.connect(login) as client:
        id = send(client, SENDER, [f"r{number}@example.net" for number in range(5)], content)
    wait_for(lambda: len(receiver.messages) == 5)
    found = lookup(gateway)
    arrived = {recipients[0]: octets for _, recipients, octets in receiver.messages}
    assert len(set(arrived.values())) == 5
    for number in range(5):
        octets = arrived[f"r{number}@example.net"]
        assert is_good(octets, found)
        assert gateway.raw(f"{id}-{number + 1}") == octets


def test_domains_and_keys_are_followed_while_the_server_runs(gateway, receiver):
    login = gateway.add_login()
    gateway.start()
    with gateway.connect(login) as client:

        def taken():
            try:
                return send(client, SENDER, ["r@example.net"], PLAIN)
            except AssertionError as error:
                assert b"may not send from own.example" in error.args[0]
                return ""

        assert not taken()
        gateway.json("domain", "add", "own.example", "--account", "owner@example.com")
        wait_for(taken, 10)
        wait_for(lambda: receiver.messages)
        assert is_good(receiver.messages[0][2], lookup(gateway))
        gateway.json("domain", "keys", "own.example", "--add")

        def all_sign():
            taken()
            return any(signatures(octets) == 4 for _, _, octets in receiver.messages)

        wait_for(all_sign, 10)
        assert is_good(receiver.messages[-1][2], lookup(gateway), 4)
        gateway.json("domain", "remove", "own.example")
        wait_for(lambda: not taken(), 10)


def test_attack_somebody_elses_domain(gateway, receiver):
    login = gateway.add_login()
    gateway.json("account", "add", "bob@example.com")
    gateway.json("domain", "add", "own.example", "--account", "bob@example.com")
    gateway.start()
    with gateway.connect(login) as client:
        with pytest.raises(smtplib.SMTPDataError) as refused:
            client.sendmail(SENDER, ["r@example.net"], PLAIN)
        assert refused.value.smtp_code == 550
        assert refused.value.smtp_error.startswith(b"5.7.1 ")
    assert receiver.messages == []
