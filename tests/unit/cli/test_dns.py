"""``smtpeter dns``: what a real zone parser makes of it."""

from __future__ import annotations

import dns.zone
import pytest

from smtpeter.cli import dns as module
from tests.unit.cli.conftest import EMAIL

PUBLIC = ["198.41.0.4", "2001:503:ba3e::2:30"]


@pytest.fixture(autouse=True)
def system(monkeypatch):
    """The addresses that the system would send from."""
    addresses = list(PUBLIC)
    monkeypatch.setattr(module, "system_addresses", lambda: addresses)
    return addresses


@pytest.fixture
def gateway(gateway):
    gateway.add_account()
    return gateway


def read(text):
    """All records of a zone file: {(name, type): [texts]}."""
    zone = dns.zone.from_text(text, origin=".", relativize=False, check_origin=False)
    found = {}
    for name, ttl, rdata in zone.iterate_rdatas():
        assert ttl == 3600
        is_text = rdata.rdtype == dns.rdatatype.TXT
        text = b"".join(rdata.strings).decode() if is_text else rdata.to_text()
        found.setdefault((str(name), dns.rdatatype.to_text(rdata.rdtype)), []).append(text)
    return found


def records(gateway, *arguments):
    result = gateway.run("dns", *arguments)
    assert result.exit_code == 0, result.output
    return read(result.stdout)


def test_a_domain(gateway):
    added = gateway.json("domain", "add", "own.example", "--account", EMAIL)
    found = records(gateway, "own.example")
    assert found == {
        ("own.example.", "TXT"): ["v=spf1 include:_senderspf.mail.example.com a mx ~all"],
        **{(f"{key['name']}.", "TXT"): [key["record"]] for key in added["keys"]},
    }
    assert max(map(len, gateway.run("dns", "own.example").stdout.split('"'))) <= 255
    text = gateway.run("dns", "own.example").stdout
    assert '; _dmarc.own.example. 3600 IN TXT "v=DMARC1; p=none; rua=mailto:postmaster@own.example"' in text


def test_a_domain_that_nobody_has(gateway):
    assert "domain add no.example" in gateway.refused("dns", "no.example")
    gateway.refused("dns", "not a domain", code=2)


def test_this_server(gateway):
    assert records(gateway) == {
        ("_senderspf.mail.example.com.", "TXT"): ["v=spf1 ip4:198.41.0.4 ip6:2001:503:ba3e::2:30 ~all"],
        ("mail.example.com.", "TXT"): ["v=spf1 include:_senderspf.mail.example.com -all"],
        ("mail.example.com.", "MX"): ["10 mail.example.com."],
        ("mail.example.com.", "A"): ["198.41.0.4"],
        ("mail.example.com.", "AAAA"): ["2001:503:ba3e::2:30"],
    }
    assert "4.0.41.198.in-addr.arpa. IN PTR mail.example.com." in gateway.run("dns").stdout


def test_all_domains_and_this_server(gateway):
    for name in ("own.example", "second.example"):
        gateway.json("domain", "add", name, "--account", EMAIL)
    found = records(gateway)
    assert {
        ("own.example.", "TXT"),
        ("second.example.", "TXT"),
        ("_senderspf.mail.example.com.", "TXT"),
    } <= found.keys()


def test_source_addresses_with_names_and_a_domain_for_bounces(gateway):
    gateway.configure(
        'addresses = [{ address = "198.41.0.4", hostname = "mail1.example.com" }, "199.9.14.201"]\n'
        '[bounces]\ndomain = "bounces.example.com"\n'
    )
    found = records(gateway)
    assert found["_senderspf.mail.example.com.", "TXT"] == ["v=spf1 ip4:198.41.0.4 ip4:199.9.14.201 ~all"]
    assert found["bounces.example.com.", "MX"] == ["10 mail.example.com."]
    assert found["mail1.example.com.", "A"] == ["198.41.0.4"]
    assert found["mail.example.com.", "A"] == ["199.9.14.201"]
    spf = "v=spf1 include:_senderspf.mail.example.com -all"
    for name in ("mail.example.com.", "mail1.example.com.", "bounces.example.com."):
        assert found[name, "TXT"] == [spf]
    assert "4.0.41.198.in-addr.arpa. IN PTR mail1.example.com." in gateway.run("dns").stdout


def test_a_name_never_has_two_spf_records(gateway):
    gateway.configure('[bounces]\ndomain = "own.example"\n')
    gateway.json("domain", "add", "own.example", "--account", EMAIL)
    gateway.json("domain", "add", "mail.example.com", "--account", EMAIL)
    for texts in records(gateway).values():
        assert sum(text.startswith("v=spf1") for text in texts) <= 1


@pytest.mark.parametrize("addresses", [[], ["10.0.0.1", "127.0.0.1", "fe80::1"]])
def test_addresses_that_the_world_does_not_see(gateway, system, addresses):
    system[:] = addresses
    assert records(gateway)["_senderspf.mail.example.com.", "TXT"] == ["v=spf1 ~all"]
    text = gateway.run("dns").stdout
    assert "The addresses are not known" in text
    for address in addresses:
        assert f"; {address} is not a public address" in text


def test_many_addresses_make_several_strings(gateway, system):
    system[:] = [f"198.41.{number}.4" for number in range(100)]
    (text,) = records(gateway)["_senderspf.mail.example.com.", "TXT"]
    assert text.count("ip4:") == 100


def test_with_a_relay_its_operator_has_to_be_asked(gateway):
    gateway.config.write_text(
        gateway.config.read_text().replace('"capture"', '"relay"\nrelay = "smtp://relay.example.net"')
    )
    assert "; Mail leaves through a relay" in gateway.run("dns").stdout


def test_programs_read_one_document(gateway):
    gateway.json("domain", "add", "own.example", "--account", EMAIL)
    domain, server = gateway.json("dns")
    assert domain["title"] == f"own.example, of {EMAIL}"
    assert {"name": "mail.example.com", "type": "MX", "value": "10 mail.example.com."} in server["records"]
    assert domain["advice"][0]["name"] == "_dmarc.own.example"
    assert [each["name"] for each in gateway.json("dns", "own.example")[0]["records"]][-1] == "own.example"


def test_the_systems_own_addresses_are_asked_for_without_sending(monkeypatch):
    monkeypatch.undo()
    assert all(":" in each or each.count(".") == 3 for each in module.system_addresses())
