"""Lists of addresses as applications write them."""

from __future__ import annotations

import time
from email.utils import getaddresses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpeter.mime.addresses import NAME_LIMIT, UNFIT, Address, read_addresses
from smtpeter.mime.fields import address_field, wire_mailbox
from smtpeter.smtp.grammar import RECIPIENT, parse_mailbox, parse_path
from tests.fakes.injections import INJECTIONS


def read(value):
    return read_addresses(value, parse_mailbox)


def pairs(value):
    return [(address.name, address.mailbox) for address in read(value)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("  ", []),
        (",, ,", []),
        ("a@b.example", [("", "a@b.example")]),
        (" a@b.example ", [("", "a@b.example")]),
        ("<a@b.example>", [("", "a@b.example")]),
        ("< a@b.example >", [("", "a@b.example")]),
        ("A <a@b.example>", [("A", "a@b.example")]),
        ("A<a@b.example>", [("A", "a@b.example")]),
        ("John Q. Public <a@b.example>", [("John Q. Public", "a@b.example")]),
        ("O'Neil & Söhne <a@b.example>", [("O'Neil & Söhne", "a@b.example")]),
        ('"Last, First" <a@b.example>', [("Last, First", "a@b.example")]),
        ('"Last, First" <a@b.example>, c@d.example', [("Last, First", "a@b.example"), ("", "c@d.example")]),
        ('"a\\"b\\\\c" <a@b.example>', [('a"b\\c', "a@b.example")]),
        ('Joe "The Man" Doe <a@b.example>', [("Joe The Man Doe", "a@b.example")]),
        ('"Team: <x>; (y)" <a@b.example>', [("Team: <x>; (y)", "a@b.example")]),
        ("Company (NL) <a@b.example>", [("Company (NL)", "a@b.example")]),
        ("a@b.example <a@b.example>", [("a@b.example", "a@b.example")]),
        ("Дмитрий 田中　太郎 👩‍💻 <a@b.example>", [("Дмитрий 田中　太郎 👩‍💻", "a@b.example")]),
        ("=?utf-8?Q?M=C3=BCller=2C_A?= <a@b.example>", [("Müller, A", "a@b.example")]),
        ("=?utf-8?B?TcO8?= =?utf-8?B?bGxlcg==?= <a@b.example>", [("Müller", "a@b.example")]),
        ('"=?utf-8?Q?M=C3=BCller?=" <a@b.example>', [("Müller", "a@b.example")]),
        ("=?utf-8?Q?=3Cevil=40x=2Eexample=3E=2C?= <a@b.example>", [("<evil@x.example>,", "a@b.example")]),
        ('"a b"@c.example', [("", '"a b"@c.example')]),
        ('X <"a b"@c.example>', [("X", '"a b"@c.example')]),
        ("a@[192.0.2.1], b@[IPv6:2001:db8::1]", [("", "a@[192.0.2.1]"), ("", "b@[IPv6:2001:db8::1]")]),
        ("用户@例え.jp", [("", "用户@例え.jp")]),
        (
            ["a@b.example", "C <c@d.example>, e@f.example"],
            [("", "a@b.example"), ("C", "c@d.example"), ("", "e@f.example")],
        ),
    ],
)
def test_notations(text, expected):
    assert pairs(text) == expected


def test_the_domain_is_a_queue_key():
    assert [address.domain for address in read("a@B.Example, b@Bücher.example, c@[IPv6:2001:DB8::1]")] == [
        "b.example",
        "xn--bcher-kva.example",
        "[ipv6:2001:db8::1]",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a@",
        "@b.example",
        "postmaster",
        "<>",
        "A <>",
        "A <postmaster>",
        "a b@c.example",
        "a@b.example c@d.example",
        "a@b.example <c@d.example> e",
        "<a@b.example> <c@d.example>",
        "<<a@b.example>>",
        "A <a@b.example",
        "a@b.example>",
        '"A <a@b.example>',
        'A" <a@b.example>',
        '"a@b.example',
        'a@b.example "A"',
        "<@x.example:a@b.example>",
        "@x.example:a@b.example",
        "<@x.example,@y.example:a@b.example>",
        "a@b.example (A)",
        "(A) a@b.example",
        "a(x)@b.example",
        "a@b(x).example",
        "(a@x.example, b@y.example)",
        "friends: a@b.example, c@d.example;",
        "friends:;",
        "a@b.example; c@d.example",
        "Team: A <a@b.example>",
        "A\\ <a@b.example>",
        'A\\" <a@b.example>',
        "a..b@c.example",
        ".a@b.example",
        "a@b..example",
        "a@-b.example",
        "a@b@c.example",
        '"a@evil.example x"@b.example',
        '"a,b"@c.example',
        '"<a@evil.example>"@b.example',
        'A <"a@evil.example> x"@b.example>',
        '"a\\"@evil.example x"@b.example',
        '"a"b@c.example',
        "xn--@evil.example x@b.example",
        "a@b.example\u3002",
        "a@b\u3002evil.example",
        "a\u00a0@b.example",
        "=?utf-8?Q?a,b?= <a@b.example>",
        "=?utf-8?Q?a?=@b.example c",
        "a" * 65 + "@b.example",
        "a@" + "b" * 64 + ".example",
        "x" * (NAME_LIMIT + 1) + " <a@b.example>",
        "a@b.example\r\n",
        "a@b.example,\n c@d.example",
        "A\tB <a@b.example>",
    ],
)
def test_what_could_be_read_in_several_ways_is_refused(text):
    with pytest.raises(ValueError) as error:
        read(text)
    assert len(str(error.value)) < 200
    assert "evil" not in str(error.value)


def test_the_complaint_tells_which_address_it_is_about():
    with pytest.raises(ValueError, match=r"\(address 3\)$"):
        read("a@b.example, c@d.example, e")


@pytest.mark.parametrize("payload", INJECTIONS)
def test_injection_by_an_address_list(payload):
    """What is taken means one mailbox at the domain that policy sees, and is written as one field."""
    for text in (
        payload,
        f"{payload} <a@b.example>",
        f'"{payload}" <a@b.example>',
        f"{payload}@b.example",
        f"A <{payload}>",
        f"A <{payload}@b.example>",
        f"a@{payload}",
        f"a@b.example, {payload}",
    ):
        try:
            addresses = read(text)
        except ValueError:
            continue
        for address in addresses:
            assert UNFIT.search(address.name + address.mailbox) is None
            assert parse_path(f"<{address.mailbox}>", RECIPIENT) == (address.mailbox, address.domain, "")
        field = address_field("To", addresses) if addresses else "To: x\r\n"
        assert field.count("\r") == field.count("\n") == field.count("\r\n ") + 1


@pytest.mark.parametrize(
    "text",
    [
        "," * 200_000,
        '"' * 200_001,
        "<" * 200_000,
        "(" * 200_000,
        ":" * 200_000,
        '"a" ' * 50_000,
        '"\\' * 100_000,
        "a@b.example," * 20_000,
        "a <" * 70_000,
        "=?utf-8?q?a?= " * 20_000 + "<a@b.example>",
        "=?" * 100_000 + "<a@b.example>",
        '"' + "\\a" * 100_000 + '" <a@b.example>',
        "friends:" * 30_000,
        "<a@b.example>" * 20_000,
        "a " * 100_000 + "<a@b.example>",
        '"' + "@" * 100_000 + '"@b.example',
        "a." * 100_000 + "@b.example",
        "a" * 200_000,
    ],
)
def test_hostile_lists_take_little_time(text):
    """CVE-2025-14874 and CVE-2024-23184 were lists of addresses that kept a machine busy."""
    started = time.process_time()
    try:
        read(text)
    except ValueError:
        pass
    assert time.process_time() - started < 5


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40).map(str.strip)
MAILBOXES = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z0-9]{1,10}\.example", fullmatch=True)


@given(st.lists(st.tuples(NAMES, MAILBOXES), max_size=6))
@example([(",", "a@b.example")])
@example([('"', "a@b.example"), ("\\", "a@b.example")])
def test_quoted_names_come_back(given_pairs):
    """But for encoded words, which are decoded."""
    given_pairs = [(name.replace("=?", "="), mailbox) for name, mailbox in given_pairs]
    texts = []
    for name, mailbox in given_pairs:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        texts.append(f'"{quoted}" <{mailbox}>')
    assert pairs(", ".join(texts)) == given_pairs
    assert pairs(texts) == given_pairs


@given(st.text())
def test_any_text_is_taken_or_refused(text):
    try:
        addresses = read(text)
    except ValueError:
        return
    for address in addresses:
        assert isinstance(address, Address)
        assert parse_mailbox(address.mailbox) == address.domain


SCRAPS = [
    *'@<>,;:()"\\ .[]=?',
    "a",
    "b.example",
    "a@b.example",
    "<a@b.example>",
    "ä",
    "=?utf-8?q?=40?=",
    "evil@c.example",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(SCRAPS), max_size=14).map("".join))
def test_others_read_the_same_mailboxes_in_what_is_written(text):
    """Whatever notation somebody came with: what leaves is understood in one way."""
    try:
        addresses = read(text)
    except ValueError:
        return
    if addresses:
        field = address_field("To", addresses)[4:].replace("\r\n", "")
        written = [wire_mailbox(address) for address in addresses]
        assert [mailbox for _, mailbox in getaddresses([field])] == written
        assert [address.mailbox for address in read(field)] == written
