"""Signatures: made as the RFCs have them, found good by dkimpy, and only where the author's domain is the account's."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import dkim
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpeter.plugins.dkim import OVERSIGNED, SIGNED, plugin
from zope.interface.verify import verifyObject

from smtpeter.api import ConfigError, IFeaturePlugin, ISigningFeature, KeyAlgorithm
from smtpeter.auth.domains import SenderDomains
from smtpeter.features.services import services_of
from smtpeter.interfaces import ISenderDomains
from smtpeter.mime.convert import convert
from smtpeter.mime.transfer import has_bare_newline
from smtpeter.plugins import dkim as module
from smtpeter.settings import Settings
from tests.corpus import messages
from tests.fakes.domains import (
    ACCOUNT,
    RING,
    keys_of,
    long_key,
    make_domain,
    make_domains,
    signatures,
    verified,
    verified_one,
)

MESSAGE = (
    b"Received: from client.test (client.test [192.0.2.1])\r\n\tby mx.test; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"From: Ann <ann@own.example>\r\nTo: Bob <bob@other.example>\r\nSubject: Hello \t  there\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <1@own.example>\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: text/plain\r\n\r\nHello,  Bob. \r\n\r\n\tBye\t\r\n\r\n\r\n"
)
ADDED = re.compile(rb"(?:DKIM-Signature:(?:[^\r\n]|\r\n )*\r\n)*")


def feature(domains: ISenderDomains | None = None) -> Any:
    services = services_of(Settings.default(), RING, domains=domains or make_domains("own.example"))
    return plugin.configure({}, services("dkim"))


FEATURE = feature()


def sign(content: bytes, account: int | None = ACCOUNT) -> bytes:
    fields: bytes = FEATURE.sign(content, account)
    assert ADDED.fullmatch(fields)
    return fields


def from_(value: bytes) -> bytes:
    return MESSAGE.replace(b" Ann <ann@own.example>", value)


def test_it_is_what_it_says() -> None:
    verifyObject(IFeaturePlugin, plugin)
    verifyObject(ISigningFeature, FEATURE)
    assert FEATURE.wants({})
    with pytest.raises(ConfigError, match=r"features\.dkim\.selector"):
        plugin.configure({"selector": "x"}, None)  # type: ignore[arg-type]


def test_there_is_a_signature_by_each_key_and_both_are_good() -> None:
    fields = sign(MESSAGE)
    assert [re.findall(tag, fields) for tag in (rb"a=(\S+);", rb"s=(\S+);", rb"d=(\S+);")] == [
        [b"rsa-sha256", b"ed25519-sha256"],
        [b"s202311r", b"s202311e"],
        [b"own.example"] * 2,
    ]
    assert verified(fields + MESSAGE)


def test_what_is_in_a_signature_and_what_is_not() -> None:
    for field in re.split(rb"(?=DKIM-Signature)", sign(MESSAGE))[1:]:
        tags = dict(part.strip().split(b"=", 1) for part in field.partition(b":")[2].split(b";"))
        assert tags.keys() == {b"v", b"a", b"c", b"d", b"s", b"h", b"bh", b"b"}, "no l=, no t=, no x="
        assert (tags[b"v"], tags[b"c"]) == (b"1", b"relaxed/relaxed")


def test_lines_are_short() -> None:
    for content in (MESSAGE, b"To: x@y.example\r\n" * 900 + MESSAGE):
        assert max(map(len, sign(content).split(b"\r\n"))) <= 78


def test_the_same_octets_always_get_the_same_signatures() -> None:
    assert sign(MESSAGE) == sign(MESSAGE) == feature().sign(MESSAGE, ACCOUNT)


@pytest.mark.parametrize("name", OVERSIGNED)
def test_attack_a_field_added_or_changed_or_taken_away_breaks_both_signatures(name: str) -> None:
    has = f"\r\n{name}:".encode() in MESSAGE
    fields = sign(MESSAGE)
    line = f"{name}: eve@evil.example\r\n".encode()
    within = MESSAGE.replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n", 1)
    for attack in (line + fields + MESSAGE, fields + line + MESSAGE, fields + within):
        assert not any(verified_one(attack, index) for index in range(2))
    if has:
        without = re.sub(rf"(?m)^{name}:.*\r\n".encode(), b"", MESSAGE)
        changed = re.sub(rf"(?m)^{name}:.*\r\n".encode(), line, MESSAGE)
        assert without != MESSAGE != changed
        for attack in (fields + without, fields + changed):
            assert not any(verified_one(attack, index) for index in range(2))


@pytest.mark.parametrize("name", SIGNED)
def test_fields_that_forwarders_add_are_signed_where_they_are_and_may_be_added_where_they_are_not(name: str) -> None:
    line = f"{name}: <one.own.example>\r\n".encode()
    assert verified(line + sign(MESSAGE) + MESSAGE)
    there = line + MESSAGE
    fields = sign(there)
    assert verified(fields + there)
    assert not verified_one(fields + there.replace(b"<one", b"<two"), 0)


def test_attack_anything_behind_or_within_the_body() -> None:
    fields = sign(MESSAGE)
    for attack in (
        MESSAGE + b"more\r\n",
        MESSAGE.replace(b"Bye", b"By"),
        MESSAGE.replace(b"Hello,  Bob", b"Hello, Eve"),
    ):
        assert not verified_one(fields + attack, 0)
        assert not verified_one(fields + attack, 1)


def test_what_relays_may_do_to_white_space_breaks_nothing() -> None:
    fields = sign(MESSAGE)
    changed = MESSAGE.replace(b"Hello,  Bob. ", b"Hello, Bob.").replace(b"Subject: Hello", b"SUBJECT:   Hello\r\n ")
    assert verified(fields + changed.rstrip(b"\r\n") + b"\r\n")
    assert verified(b"Received: from x by y; today\r\n" + fields + MESSAGE)


@pytest.mark.parametrize("header", [b"", b"Cc: a@b.example\r\nCC: c@d.example\r\n", b"Subject:\r\nSubject: 2\r\n"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\r\n",
        b"\r\n" * 5,
        b"  \t\r\n \r\n",
        b"no end",
        b"no end \t",
        b" ",
        b"\r\n\r\nx",
        b"a\r\n" + b"\r\n" * 500 + b"b\r\n" + b" \r\n" * 500,
        b"x" * 200_000 + b"\r\n",
        b"\t " * 1000 + b"x\r\n",
        (b"word " * 10 + b" \r\n") * 4000,
        "Grüße \u2003\r\n".encode(),
        b"\x00\xff\x0b\x0c \x0b\r\n",
    ],
)
def test_headers_and_bodies_of_every_kind(header: bytes, body: bytes) -> None:
    content = header + MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" + body
    on_the_wire = content if content.endswith(b"\r\n") else content + b"\r\n"
    assert sign(content) == sign(on_the_wire)
    assert verified(sign(content) + on_the_wire)


def test_a_message_without_the_empty_line() -> None:
    content = MESSAGE.partition(b"\r\n\r\n")[0] + b"\r\n"
    assert signatures(sign(content)) == 2
    assert verified(sign(content) + content + b"\r\n")


@given(
    st.lists(st.sampled_from([b"\r\n", b" ", b"\t", b"a", b"\r\n\r\n", b"  ", b"bc ", b"\x0b", b"\xe9"])),
    st.integers(1, 40),
)
def test_bodies_have_the_hash_that_dkimpy_finds(pieces: list[bytes], size: int) -> None:
    body = b"".join(pieces)
    on_the_wire = body if body.endswith(b"\r\n") else body + b"\r\n"
    expected = dkim.canonicalization.Relaxed.canonicalize_body(on_the_wire)
    before, module._PIECE = module._PIECE, size
    try:
        assert module.hash_body(b"head" + body, 4) == hashlib.sha256(expected).digest()
    finally:
        module._PIECE = before


# --- whose mail is signed


def test_mail_from_a_domain_below_is_signed_by_the_one_that_is_registered() -> None:
    content = from_(b" ann@shop.own.example")
    assert b" d=own.example;" in sign(content)
    assert verified(sign(content) + content)


def test_several_authors_are_signed_for_only_where_all_are_the_accounts() -> None:
    both = feature(make_domains("own.example", "second.example"))
    content = from_(b" a@second.example, b@own.example, c@x.own.example")
    fields = both.sign(content, ACCOUNT)
    assert verified(fields + content, make_domain("second.example"))
    assert FEATURE.sign(content, ACCOUNT) == b""
    assert both.sign(from_(b" a@own.example, b@other.example"), ACCOUNT) == b""


@pytest.mark.parametrize(
    "value",
    [b" eve@evil.example", b" a@own.example.net", b" a@notown.example", b" a@example", b" a@[192.0.2.1]", b" <>", b""],
)
def test_attack_a_domain_that_is_not_the_accounts(value: bytes) -> None:
    assert sign(from_(value)) == b""


def test_attack_somebody_elses_account() -> None:
    for account in (8, 0, None):
        assert sign(MESSAGE, account) == b""
    assert FEATURE.signs(ACCOUNT)
    assert not FEATURE.signs(8)
    assert not FEATURE.signs(None)


def test_it_is_quick_but_for_accounts_with_a_long_rsa_key() -> None:
    assert FEATURE.is_quick(ACCOUNT)
    long = make_domain("more.example", keys=(long_key("more.example"),))
    mixed = feature(SenderDomains(RING, [make_domain(), long, make_domain("other.example", 8)]))
    assert not mixed.is_quick(ACCOUNT)
    assert mixed.is_quick(8)


@pytest.mark.parametrize(
    "content",
    [
        b"From: eve@evil.example\r\n" + MESSAGE,
        MESSAGE.replace(b"\r\n\r\n", b"\r\nfrom : eve@evil.example\r\n\r\n", 1),
        from_(b" Group: eve@evil.example; <ann@own.example>"),
        from_(b" =?utf-8?Q?eve=40evil.example?= ann@own.example"),
        from_(b" ann@own.example (eve@evil.example)"),
        from_(b" " + b"x" * 65_536 + b" <ann@own.example>"),
        MESSAGE.replace(b"From: Ann <ann@own.example>\r\n", b""),
        MESSAGE.replace(b"Subject: ", b"Subject: \nFrom: eve@evil.example\n "),
        MESSAGE.replace(b"Subject: ", b"Subject: \rFrom: eve@evil.example\r "),
        MESSAGE.replace(b"Subject: ", b"Subject: x\r\n\r\r\n"),
        MESSAGE.replace(b"Subject: ", b"no field\r\nSubject: "),
        b"\r\n" + MESSAGE,
        b"",
        b"no header",
    ],
)
def test_attack_a_message_that_readers_take_for_somebody_elses(content: bytes) -> None:
    assert sign(content) == b""


def test_an_encoded_name_is_only_a_name() -> None:
    content = from_(b" =?utf-8?Q?eve=40evil.example=2C?= <ann@own.example>")
    assert verified(sign(content) + content)


def test_international_domains_are_signed_for_as_a_labels() -> None:
    domains = make_domains("xn--bcher-kva.example")
    content = MESSAGE.replace(b"Ann <ann@own.example>", "Ann <änn@bücher.example>".encode())
    fields = feature(domains).sign(content, ACCOUNT)
    assert fields.isascii()
    assert b" d=xn--bcher-kva.example;" in fields
    assert verified(fields + content, make_domain("xn--bcher-kva.example"))


def test_one_key_is_enough_and_keys_that_are_gone_are_used_no_more() -> None:
    domains = make_domains("own.example")
    made = feature(domains)
    rsa, ed25519 = keys_of("own.example")
    for key in (rsa, ed25519):
        domains.take([make_domain(keys=(key,))])
        fields = made.sign(MESSAGE, ACCOUNT)
        assert signatures(fields) == 1
        assert f"s={key.selector};".encode() in fields
        assert verified(fields + MESSAGE, count=1)
    domains.take([])
    assert made.sign(MESSAGE, ACCOUNT) == b""


def test_keys_are_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    real = module.load_der_private_key
    monkeypatch.setattr(module, "load_der_private_key", lambda *a, **k: loaded.append(a) or real(*a, **k))
    monkeypatch.setattr(module, "_KEYS_KEPT", 2)
    domains = make_domains("own.example")
    made = feature(domains)
    for _ in range(3):
        made.sign(MESSAGE, ACCOUNT)
    assert len(loaded) == 2
    domains.take([make_domain(), make_domain("second.example")])
    second = from_(b" a@second.example")
    assert verified(made.sign(second, ACCOUNT) + second, make_domain("second.example"))
    assert verified(made.sign(MESSAGE, ACCOUNT) + MESSAGE)


def test_a_key_that_is_none_fails_and_nothing_goes_unsigned() -> None:
    class Broken(SenderDomains):
        def keys(self, account: int | None, domain: str) -> Any:
            return [key._replace(private=b"nonsense") for key in super().keys(account, domain)]

    made = feature(Broken(RING, [make_domain()]))
    with pytest.raises(ValueError):
        made.sign(MESSAGE, ACCOUNT)


# --- real messages


def real_messages() -> list[tuple[str, bytes]]:
    """Those that can be sent, as from our domain."""
    found = []
    for name, content in messages().items():
        header, _, body = content.partition(b"\r\n\r\n")
        others = [
            line for line in re.split(rb"\r\n(?![ \t])", header) if not re.match(rb"(?i)from[ \t]*:|>?from ", line)
        ]
        content = b"From: Ann <ann@own.example>\r\n" + b"\r\n".join(others) + b"\r\n\r\n" + body
        if b"\0" not in content and not has_bare_newline(content):
            found.append((name, content))
    return found


@pytest.mark.parametrize("eight_bit", [True, False])
def test_real_messages_are_signed_and_good_as_they_are_and_converted(eight_bit: bool) -> None:
    signed = 0
    for name, content in real_messages():
        octets = convert(content, eight_bit=eight_bit)
        fields = sign(octets)
        if fields:
            assert verified(fields + octets), name
            signed += 1
    assert signed >= 20


def test_rsa_comes_first() -> None:
    domains = make_domains("own.example")
    domains.take([make_domain(keys=tuple(reversed(keys_of("own.example"))))])
    algorithms = re.findall(rb" a=(\w+)-", feature(domains).sign(MESSAGE, ACCOUNT))
    assert [KeyAlgorithm(each.decode()) for each in algorithms] == [KeyAlgorithm.RSA, KeyAlgorithm.ED25519]
