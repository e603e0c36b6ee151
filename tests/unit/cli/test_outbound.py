"""What is said of how mail will leave."""

import json
import time

import pytest

from smtpeter.cli import outbound
from smtpeter.cli.outbound import inspect_records, named_sources
from smtpeter.delivery.nameservers import Silence
from smtpeter.model.answer import Answer, AnswerKind, RecordType, trouble
from smtpeter.settings import read_settings
from tests.fakes.nameserver import LyingNameServer

NAME = "mail.example.com"
NOBODY = 'resolver = "127.0.0.1:9"\n'


@pytest.fixture
def warnings(gateway, monkeypatch):
    """What ``check`` warns of for these lines of ``[delivery]``, but for what it always does here."""
    monkeypatch.setattr(outbound, "system_addresses", lambda: ["198.51.100.1", "8.8.4.4"])

    def run(*lines):
        gateway.config.write_text(
            f'hostname = "{NAME}"\ndata_dir = "{gateway.data_dir}"\n'
            "[listen]\nsmtp = []\nmx = []\nsmtps = []\nhttps = []\nhttp = []\n"
            f'[web]\ntracking_url = "https://click.example.com"\n[delivery]\n' + "\n".join(lines)
        )
        gateway.config.chmod(0o640)
        result = gateway.run("check", "--json")
        assert result.exit_code == 0, result.output
        told = json.loads(result.stdout)["warnings"]
        return [each for each in told if not each.startswith("tls.certificate")]

    return run


def test_direct_delivery_without_a_network_is_checked_fast_and_without_complaint(warnings):
    began = time.monotonic()
    assert warnings(NOBODY) == []
    assert time.monotonic() - began < 30


def test_name_servers_that_say_nothing_are_not_waited_for(warnings):
    with LyingNameServer({}, lies={"4.4.8.8.in-addr.arpa": "timeout"}) as names:
        began = time.monotonic()
        assert warnings(f'resolver = "{names.address}"') == []
        assert time.monotonic() - began < 30


def test_a_port_that_is_nobodys(warnings):
    (warning,) = warnings(NOBODY, "port = 2525")
    assert warning.startswith("delivery.port")


@pytest.mark.parametrize("policy", ["encrypt", "require"])
def test_strict_encryption_for_everybody(warnings, policy):
    (warning,) = warnings(NOBODY, f'tls = "{policy}"')
    assert warning.startswith(f'delivery.tls: "{policy}"') and "tls_domains" in warning


def test_source_addresses(warnings):
    (warning,) = warnings(NOBODY, 'addresses = ["127.0.0.1", "203.0.113.77"]')
    assert warning.startswith("delivery.addresses: 203.0.113.77 is not an address of this machine")
    (warning,) = warnings(NOBODY, 'addresses = [{ address = "127.0.0.1", hostname = "mail" }]')
    assert warning.startswith("delivery.addresses: mail is not fully qualified")


def test_relays_in_clear_text_are_warned_about_without_their_passwords(warnings):
    (warning,) = warnings(NOBODY, 'relays = { "example.net" = "smtp://user:geheim@host", "x.example" = "smtp://host" }')
    assert warning.startswith("delivery.relays: smtp:// for example.net") and "geheim" not in warning
    assert warnings('mode = "capture"', 'relays = { "example.net" = "smtp://user:geheim@host" }') == []


def test_the_dns_is_asked_about_public_addresses(warnings):
    zone = {NAME: {"A": ["198.51.100.7"]}, "4.4.8.8.in-addr.arpa": {"PTR": ["dns.example."]}}
    with LyingNameServer(zone) as names:
        first, second = warnings(f'resolver = "{names.address}"')
    assert first == f"DNS: the PTR record of 8.8.4.4 is dns.example, and not {NAME}, as we call ourselves there"
    assert second == f"DNS: {NAME}, as we call ourselves at 8.8.4.4, has 198.51.100.7 as A record: see smtpeter dns"


def answers(**known):
    def ask(question):
        answer = known.get(question.type.value, ())
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Answer):
            return answer
        kind = AnswerKind.FOUND if answer else AnswerKind.NODATA
        return Answer(kind, question.name, 60.0, (), tuple(answer))

    return ask


@pytest.mark.parametrize(
    ("address", "known", "said"),
    [
        ("8.8.8.8", {"PTR": [NAME], "A": ["8.8.8.8"]}, []),
        ("8.8.8.8", {"PTR": ["other.example", NAME], "A": ["8.8.4.4", "8.8.8.8"]}, []),
        ("2001:4860::8", {"PTR": [NAME], "AAAA": ["2001:4860:0::8"]}, []),
        ("8.8.8.8", {"A": ["8.8.8.8"]}, ["has no PTR record"]),
        ("8.8.8.8", {"PTR": [NAME]}, ["has nothing as A record"]),
        ("8.8.8.8", {}, ["has no PTR record", "has nothing as A record"]),
        ("8.8.8.8", {"PTR": Silence()}, []),
        ("8.8.8.8", {"PTR": trouble(outbound.Question("x", RecordType.PTR), "SERVFAIL")}, []),
        ("8.8.8.8", {"A": Silence()}, ["has no PTR record"]),
    ],
)
def test_addresses_and_names_lead_to_each_other(address, known, said):
    found = list(inspect_records([(address, NAME)], answers(**known)))
    assert len(found) == len(said) and all(text in line for text, line in zip(said, found, strict=True))


def test_which_addresses_mail_leaves_from(tmp_path):
    def settings(addresses):
        return read_settings({"hostname": NAME, "delivery": {"addresses": addresses}}, tmp_path)

    assert named_sources(settings([]), ["10.0.0.1", "8.8.8.8"]) == [("8.8.8.8", NAME)]
    ours = [{"address": "8.8.8.8", "hostname": "mx1.example.com"}, "2001:4860::8", "192.168.0.1"]
    assert named_sources(settings(ours), ["8.8.4.4"]) == [("8.8.8.8", "mx1.example.com"), ("2001:4860::8", NAME)]
