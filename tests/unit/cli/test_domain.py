"""``smtpeter domain``: sender domains and their keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from smtpeter.auth.domains import SenderDomains
from smtpeter.auth.keys import load_or_create
from smtpeter.store.opening import result_of
from tests.fakes.domains import signatures, verified
from tests.unit.cli.conftest import EMAIL

OTHER = "bob@example.com"
CONTENT = b"From: Ann <ann@own.example>\r\nSubject: Hi\r\n\r\nHi\r\n"


@pytest.fixture
def pem(tmp_path: Path):
    def write(private) -> str:
        file = tmp_path / "private.pem"
        file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return str(file)

    return write


@pytest.fixture
def domain(gateway):
    gateway.add_account()
    return gateway.json("domain", "add", "own.example", "--account", EMAIL)


def registered(gateway):
    with gateway.open() as store:
        return result_of(store.domains.domains())


def test_add_makes_two_keys_and_tells_their_records(domain):
    rsa, ed25519 = sorted(domain["keys"], key=lambda key: key["algorithm"] != "rsa")
    assert (domain["domain"], domain["account"], domain["warnings"]) == ("own.example", EMAIL, [])
    assert re.fullmatch(r"s\d{6}r", rsa["selector"]) and re.fullmatch(r"s\d{6}e", ed25519["selector"])
    assert rsa["name"] == f"{rsa['selector']}._domainkey.own.example"
    assert rsa["record"].startswith("v=DKIM1; k=rsa; p=MIIBIj")
    assert re.fullmatch(r"v=DKIM1; k=ed25519; p=[A-Za-z0-9+/]{43}=", ed25519["record"])


def test_list_and_remove(gateway, domain):
    gateway.add_account(OTHER)
    gateway.json("domain", "add", "second.example", "--account", OTHER)
    assert [(each["domain"], each["account"]) for each in gateway.json("domain", "list")] == [
        ("own.example", EMAIL), ("second.example", OTHER),
    ]  # fmt: skip
    assert [each["domain"] for each in gateway.json("domain", "list", "--account", OTHER)] == ["second.example"]
    assert "own.example" in gateway.run("domain", "list").stdout
    assert gateway.json("domain", "remove", "own.example") == {"domain": "own.example"}
    assert [each["domain"] for each in gateway.json("domain", "list")] == ["second.example"]
    assert "own.example" in gateway.refused("domain", "remove", "own.example")


def test_people_read_records(gateway):
    gateway.add_account()
    assert gateway.run("domain", "list").stdout == "(none)\n"
    said = gateway.run("domain", "add", "own.example", "--account", EMAIL).stdout.splitlines()
    assert said[0] == f"own.example is a sender domain of {EMAIL}; publish these records:"
    assert sum('._domainkey.own.example. 3600 IN TXT "v=DKIM1;' in line for line in said) == 2
    assert gateway.run("domain", "remove", "own.example").stdout == "own.example is not a sender domain any more\n"


def test_attack_nobody_gets_a_domain_that_is_somebody_elses(gateway, domain):
    gateway.add_account(OTHER)
    assert EMAIL in gateway.refused("domain", "add", "OWN.example", "--account", OTHER)
    assert "there is no account" in gateway.refused("domain", "add", "x.example", "--account", "no@example.com")


@pytest.mark.parametrize(
    ("given", "kept"), [("OWN.Example", "own.example"), ("bücher.example", "xn--bcher-kva.example")]
)
def test_a_domain_is_kept_as_mail_is_compared_with_it(gateway, given, kept):
    gateway.add_account()
    assert gateway.json("domain", "add", given, "--account", EMAIL)["domain"] == kept
    assert gateway.json("domain", "keys", given)["domain"] == kept


@pytest.mark.parametrize(
    "name", ["com", "localhost", "[192.0.2.1]", "192.0.2.1", "a b.example", "", "x@y.example", "a..b", "a_b.example"]
)
def test_attack_what_nobody_can_send_from(gateway, name):
    gateway.add_account()
    gateway.refused("domain", "add", name, "--account", EMAIL, code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("add", "own.example"),
        ("add", "own.example", "--account", EMAIL, "--selector", "s1"),
        ("add", "own.example", "--account", EMAIL, "--key", "/nonexistent", "--selector", "s1"),
        ("keys", "own.example", "--add", "--remove", "s1"),
        ("keys",),
    ],
)
def test_wrong_usage(gateway, arguments):
    gateway.refused("domain", *arguments, code=2)


def test_a_key_of_ones_own(gateway, pem):
    gateway.add_account()
    file = pem(generate_private_key(public_exponent=65537, key_size=1024))
    gateway.refused("domain", "add", "own.example", "--account", EMAIL, "--key", file, code=2)
    added = gateway.json("domain", "add", "own.example", "--account", EMAIL, "--key", file, "--selector", "mine")
    (key,) = added["keys"]
    assert (key["selector"], key["algorithm"]) == ("mine", "rsa")
    assert "1024 bits" in added["warnings"][0]
    assert "selector" in gateway.refused("domain", "keys", "own.example", "--add", "--key", file, "--selector", "Mine")
    assert "mine" in gateway.refused("domain", "keys", "own.example", "--add", "--key", file, "--selector", "mine")
    gateway.refused("domain", "keys", "own.example", "--key", file, "--selector", "x", code=2)
    added = gateway.run(
        "domain", "add", "b.example", "--account", EMAIL, "--key", pem(Ed25519PrivateKey.generate()), "--selector", "s1"
    )
    assert 's1._domainkey.b.example. 3600 IN TXT "v=DKIM1; k=ed25519;' in added.stdout


def test_a_file_that_is_no_key_is_not_shown(gateway, tmp_path):
    gateway.add_account()
    (tmp_path / "f").write_text("a secret of another kind")
    said = gateway.refused(
        "domain", "add", "x.example", "--account", EMAIL, "--key", str(tmp_path / "f"), "--selector", "s"
    )
    assert "secret" not in said
    assert gateway.json("domain", "list") == []


def test_keys_are_changed_one_after_the_other(gateway, domain):
    old = {key["selector"] for key in domain["keys"]}
    added = gateway.json("domain", "keys", "own.example", "--add")
    new = {key["selector"] for key in added["keys"]} - old
    assert {len(old), len(new)} == {2}
    assert {each.rstrip("2") for each in new} == old
    for selector in old:
        left = gateway.json("domain", "keys", "own.example", "--remove", selector)
    assert {key["selector"] for key in left["keys"]} == new
    assert "s1" in gateway.refused("domain", "keys", "own.example", "--remove", "s1")
    for selector in new:
        gateway.run("domain", "keys", "own.example", "--remove", selector)
    assert "has no key" in gateway.run("domain", "keys", "own.example").stdout
    assert "domain add no.example" in gateway.refused("domain", "keys", "no.example")


def test_private_keys_are_never_shown_nor_in_the_database(gateway, domain):
    ring = load_or_create(gateway.data_dir / "keys.toml")
    found = SenderDomains(ring, registered(gateway))
    with gateway.open() as store:
        account = result_of(store.accounts.account(EMAIL)).number
    private = [key.private for key in found.keys(account, "own.example")]
    assert len(private) == 2
    shown = "".join(
        gateway.run("domain", *words).output for words in (("list",), ("list", "--json"), ("keys", "own.example"))
    )
    kept = b"".join(path.read_bytes() for path in gateway.data_dir.glob("smtpeter.db*"))
    for key in private:
        assert key not in kept
        assert key[-32:] not in kept
        assert key.hex() not in shown
    assert b"PRIVATE KEY" not in kept
    assert "PRIVATE" not in shown


def test_a_message_is_shown_with_the_signatures_that_it_goes_with(gateway, domain):
    with gateway.open() as store:
        account = result_of(store.accounts.account(EMAIL)).number
    one = gateway.enqueue("x@example.net", account=account, data=CONTENT)
    several = gateway.enqueue("x@example.net", "y@example.net", account=account, data=CONTENT, number=1)
    foreign = gateway.enqueue("x@example.net", account=account, data=CONTENT.replace(b"own", b"other"), number=2)
    nobodys = gateway.enqueue("x@example.net", data=CONTENT, number=3)

    def raw(id):
        return gateway.run("message", "raw", id).stdout_bytes

    assert raw(one) == raw(one) == raw(f"{several}-2")
    assert raw(one).endswith(CONTENT)
    assert signatures(raw(one)) == 2
    assert verified(raw(one), *registered(gateway))
    assert raw(several) == raw(nobodys) == CONTENT
    assert raw(foreign) == CONTENT.replace(b"own", b"other")
    gateway.run("domain", "remove", "own.example")
    assert raw(one) == CONTENT
