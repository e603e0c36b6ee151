"""Signatures that Exim verifies as a receiver: it asks the DNS for the keys that we tell to publish."""

from __future__ import annotations

import functools
import re
import smtplib

import pytest

from tests.fakes.nameserver import LyingNameServer
from tests.integration.gateway import Gateway, send, wait_for
from tests.integration.receivers.exim import Exim
from tests.integration.receivers.offer import EXTENSIONS, Offer
from tests.integration.test_direct_receivers import MESSAGES
from tests.integration.test_dkim import FEATURES, SENDER, real_messages
from tests.integration.world import World

BOTH = {"rsa-sha256": "PASS", "ed25519-sha256": "PASS"}
NEITHER = {"rsa-sha256": "FAIL", "ed25519-sha256": "FAIL"}
_ARRIVED = re.compile(r" \[\d+\] (\S+) <= .* for (\S+)$", re.M)
_FOUND = re.compile(r" \[\d+\] (\S+) DKIM-(PASS|FAIL) d=own\.example a=(\S+)", re.M)


class Verifier:
    """An Exim and the domain whose mail it takes."""

    def __init__(self, world: World, name: str, extensions: frozenset[str], nameserver: str) -> None:
        address = world.address()
        self.name = name
        self.exim = Exim(address, world.port, Offer(extensions), f"mx.{name}", nameserver)
        world.domain(name, world.place(f"mx.{name}", address))

    def found(self) -> dict[str, dict[str, str]]:
        """What it says of each signature, by the local part of the recipient."""
        log = self.exim.log()
        recipients = dict(_ARRIVED.findall(log))
        results: dict[str, dict[str, str]] = {each.partition("@")[0]: {} for each in recipients.values()}
        for id, result, algorithm in _FOUND.findall(log):
            if id in recipients:
                results[recipients[id].partition("@")[0]][algorithm] = result
        return results


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dkim-at-exim")
    world = World(directory / "world")
    gateway = Gateway(directory / "gateway", world.delivery(), "[limits]\nreceived_fields = 500")
    # The resolver of the C library knows no other port.  Nobody else has ours, so nobody has this address.
    asked = f"127.53.{world.port >> 8}.{world.port & 255}"
    names = LyingNameServer(world.names.zone, host=asked, port=53)
    gateway.verifiers = []
    try:
        names.start()
        for name, extensions in (("eight.example", EXTENSIONS), ("seven.example", EXTENSIONS - {"8BITMIME"})):
            gateway.verifiers.append(Verifier(world, name, extensions, asked))
            gateway.verifiers[-1].exim.start()
        world.start()
        gateway.login = gateway.add_login()
        for key in gateway.json("domain", "add", "own.example", "--account", "owner@example.com")["keys"]:
            world.names.zone[key["name"]] = {"TXT": [quoted(key["record"])]}
        gateway.start()
        yield gateway
    finally:
        gateway.end()
        for verifier in gateway.verifiers:
            verifier.exim.stop()
        names.stop()
        world.stop()


def quoted(text: str) -> str:
    """A TXT record of strings of at most 255 octets each."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


@functools.cache
def contents() -> dict[str, bytes]:
    """By a name that may be a local part."""
    ours = {name: content.replace(b"a@example.com", SENDER.encode(), 1) for name, content in MESSAGES.items()}
    # Where not even an empty line ends the header, Exim (4.96) hashes one as the body (against RFC 6376 section 3.4.4).
    del ours["headeronly"]
    ours["features"] = FEATURES + ours["seven"].replace(b"Subject:", b"Content-Type: text/html\r\nSubject:")
    real = {f"real{number}": content for number, (_, content) in enumerate(real_messages())}
    assert len(real) > 20
    return ours | real


def test_every_signature_is_good_as_it_is_and_converted_to_7_bits(site):
    sent = contents()
    with site.connect(site.login) as client:
        for name, content in sent.items():
            options = ["SMTPUTF8"] * (name == "utf8") + ["BODY=8BITMIME"] * (not content.isascii())
            send(client, SENDER, [f"{name}@{each.name}" for each in site.verifiers], content, options)
    ends = re.compile(r"delivery: id=\S+ recipient=\S+@(?:eight|seven)\.example outcome=(?:delivered|failed)")
    wait_for(
        lambda: len(ends.findall(site.log.read_text())) == 2 * len(sent), 120, lambda: site.log.read_text()[-3000:]
    )
    eight, seven = (verifier.found() for verifier in site.verifiers)
    assert not {name: found for name, found in (*eight.items(), *seven.items()) if found != BOTH}
    assert set(eight) == set(sent)
    # What is signed by others, or has a header that is not ASCII, cannot be converted.
    assert set(sent) - set(seven) >= {"utf8", "signedeight"} and len(seven) > 0.9 * len(sent)
    for verifier, found in zip(site.verifiers, (eight, seven), strict=True):
        wait_for(lambda v=verifier, f=found: len(v.exim.messages()) == len(f), message=verifier.exim.log)
    assert [each.content.isascii() for each in site.verifiers[0].exim.messages()].count(False) > 5
    assert all(each.content.isascii() for each in site.verifiers[1].exim.messages())


@pytest.mark.parametrize("part", ["body", "header", "neither"])
def test_attack_a_message_changed_on_its_way(site, part):
    """What went through us is sent to Exim once more, by somebody else."""
    verifier = site.verifiers[0]
    with site.connect(site.login) as client:
        id = send(client, SENDER, [f"first-{part}@{verifier.name}"], contents()["seven"])
    wait_for(lambda: verifier.found().get(f"first-{part}"), message=verifier.exim.log)
    octets = site.raw(id)
    changed = {"body": octets.replace(b"Hello", b"Hallo"), "header": octets.replace(b": plain", b": plane")}
    with smtplib.SMTP(verifier.exim.address, verifier.exim.port, "localhost") as other:
        other.sendmail(SENDER, [f"again-{part}@{verifier.name}"], changed.get(part, octets))
    found = wait_for(lambda: verifier.found().get(f"again-{part}"), message=verifier.exim.log)
    assert found == (BOTH if part == "neither" else NEITHER)
