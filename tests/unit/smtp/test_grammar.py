"""Paths, parameters and xtext."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.smtp import grammar
from smtpeter.smtp.grammar import RECIPIENT, SENDER, decode_xtext, parse_mailbox, parse_parameters, parse_path


@pytest.mark.parametrize(
    ("text", "mailbox", "domain"),
    [
        ("<a@b.test>", "a@b.test", "b.test"),
        ("<A.b+c@B.Test>", "A.b+c@B.Test", "b.test"),
        ("<!#$%&'*+/=?^_`{|}~-@b.test>", "!#$%&'*+/=?^_`{|}~-@b.test", "b.test"),
        ("<a@localhost>", "a@localhost", "localhost"),
        ("<a@1.2>", "a@1.2", "1.2"),
        ("<a@a-b.test>", "a@a-b.test", "a-b.test"),
        ("<a@xn--bcher-kva.test>", "a@xn--bcher-kva.test", "xn--bcher-kva.test"),
        ("<a@_dmarc.b.test>", "a@_dmarc.b.test", "_dmarc.b.test"),
        ('<"a b"@b.test>', '"a b"@b.test', "b.test"),
        ('<""@b.test>', '""@b.test', "b.test"),
        ('<"a@evil.test"@b.test>', '"a@evil.test"@b.test', "b.test"),
        ('<"a>b"@b.test>', '"a>b"@b.test', "b.test"),
        ('<"a@evil.test>x"@b.test>', '"a@evil.test>x"@b.test', "b.test"),
        (r'<"a\"b\\c"@b.test>', r'"a\"b\\c"@b.test', "b.test"),
        ('<"a..b."@b.test>', '"a..b."@b.test', "b.test"),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]", "[192.0.2.1]"),
        ("<a@[IPv6:2001:DB8::0:1]>", "a@[IPv6:2001:DB8::0:1]", "[ipv6:2001:db8::1]"),
        ("<@r.test:a@b.test>", "a@b.test", "b.test"),
        ("<@r.test,@s.test:a@b.test>", "a@b.test", "b.test"),
        ("<>", "", ""),
        ("<ä@b.test>", "ä@b.test", "b.test"),
        ('<"ä b"@b.test>', '"ä b"@b.test', "b.test"),
        ("<a@bücher.test>", "a@bücher.test", "xn--bcher-kva.test"),
        ("<a@BÜCHER.Test>", "a@BÜCHER.Test", "xn--bcher-kva.test"),
        ("<a@例え.テスト>", "a@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("<用户@例え.テスト>", "用户@例え.テスト", "xn--r8jz45g.xn--zckzah"),
        ("<👍@b.test>", "👍@b.test", "b.test"),
        ("<" + "l" * 64 + "@b.test>", "l" * 64 + "@b.test", "b.test"),
        ("<a@" + "d" * 63 + ".test>", "a@" + "d" * 63 + ".test", "d" * 63 + ".test"),
    ],
)
@pytest.mark.parametrize("where", [SENDER, RECIPIENT])
def test_good_paths(text, mailbox, domain, where):
    assert parse_path(text, where) == (mailbox, domain, "")
    assert parse_path(f"{text} SIZE=1", where) == (mailbox, domain, " SIZE=1")
    assert parse_path(f"{text}>", where) == (mailbox, domain, ">")


LONG_DOMAIN = ".".join(["d" * 60] * 4)  # 243 octets


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a@b.test",
        "<a@b.test",
        "a@b.test>",
        " <a@b.test>",
        "<<a@b.test>",
        "<<a@b.test>>",
        "< a@b.test>",
        "<a@b.test >",
        "<a @b.test>",
        "<a@ b.test>",
        "<a>",
        "<@>",
        "<a@>",
        "<@b.test>",
        "<@r.test:>",
        "<@r.test>",
        "<@r.test:@s.test:a@b.test>",
        "<r.test:a@b.test>",
        "<@r.test,s.test:a@b.test>",
        "<a@b@c.test>",
        "<a@b.test@c.test>",
        "<.a@b.test>",
        "<a.@b.test>",
        "<a..b@b.test>",
        "<a@.b.test>",
        "<a@b..test>",
        "<a@b.test.>",
        "<a@-b.test>",
        "<a@b-.test>",
        "<a@b!c.test>",
        "<a@b/c>",
        "<a(comment)@b.test>",
        "<a@b.test(comment)>",
        "<a,b@b.test>",
        "<a;b@b.test>",
        "<a:b@b.test>",
        "<group:a@b.test;>",
        "<a\\b@b.test>",
        "<a\tb@b.test>",
        '<"a"b"@b.test>',
        '<"a@b.test>',
        '<a"b"@b.test>',
        '<"a"."b"@b.test>',
        '<"a\\"@b.test>',
        '<"a\x7f"@b.test>',
        '<"a\tb"@b.test>',
        '<"a\\\x01"@b.test>',
        "<a\x00b@b.test>",
        "<a\x01b@b.test>",
        "<a\x7fb@b.test>",
        "<a\x85b@b.test>",
        "<a\x9bb@b.test>",
        "<a\xa0b@b.test>",
        "<a\u2028b@b.test>",
        "<a\u2029b@b.test>",
        "<a\u3000b@b.test>",
        '<"a\x85b"@b.test>',
        '<"a\u2028b"@b.test>',
        "<a@b\x85.test>",
        "<a@[]>",
        "<a@[1.2.3]>",
        "<a@[256.0.0.1]>",
        "<a@[1.2.3.4>",
        "<a@1.2.3.4]>",
        "<a@[1.2.3.4].test>",
        "<a@[IPv6:]>",
        "<a@[IPv6:2001:db8::1::2]>",
        "<a@[2001:db8::1]>",
        "<a@[IPv6:fe80::1%eth0]>",
        "<a@[x-tag:y]>",
        "<a@[1.2.3.4 ]>",
        "<a@\u00ad.test>",
        "<a@b\u3002test>",
        "<a@bü\u3002test>",
        "<a@bücher.test\u3002>",
        "<a@bü\uff0etest>",
        "<a@bü\u2024test>",
        "<a@\u2100.test>",
        "<a@bü\u2028.test>",
        "<a@-bü.test>",
        "<a@" + "ü" * 63 + ".test>",
        "<a@" + "d" * 64 + ".test>",
        "<" + "l" * 65 + "@b.test>",
        "<" + "ä" * 33 + "@b.test>",
        '<"' + "l" * 63 + '"@b.test>',
        "<" + "l" * 11 + "@" + LONG_DOMAIN + ".test>",
        "<a@" + "d." * 200 + "test>",
        "<postmaster@>",
        "<postmasters>",
    ],
)
@pytest.mark.parametrize("where", [SENDER, RECIPIENT])
def test_bad_paths(text, where):
    with pytest.raises(Refusal) as caught:
        parse_path(text, where)
    assert caught.value.reply[:2] == (501, where.code)


def test_the_longest_path():
    local = "l" * (256 - len(LONG_DOMAIN) - 3)
    assert parse_path(f"<{local}@{LONG_DOMAIN}>", SENDER)[0] == f"{local}@{LONG_DOMAIN}"
    with pytest.raises(Refusal):
        parse_path(f"<{local}l@{LONG_DOMAIN}>", SENDER)


def test_a_postmaster_without_domain_may_only_receive():
    assert parse_path("<PostMaster> NOTIFY=NEVER", RECIPIENT) == ("PostMaster", "", " NOTIFY=NEVER")
    with pytest.raises(Refusal):
        parse_path("<postmaster>", SENDER)


def test_the_smuggled_bracket_ends_the_path_where_the_standard_says():
    """What stands behind the first unquoted ``>`` is never part of the address."""
    assert parse_path("<a@b.test>@evil.test>", RECIPIENT) == ("a@b.test", "b.test", "@evil.test>")
    with pytest.raises(Refusal):
        parse_parameters("@evil.test>")
    with pytest.raises(Refusal):
        parse_path("<@r.test>:a@b.test>", RECIPIENT)


@given(st.text(max_size=40))
@example("<a@[1.1.1.1]>")
def test_a_path_is_read_or_refused(text):
    for where in (SENDER, RECIPIENT):
        try:
            mailbox, domain, rest = parse_path(text, where)
        except Refusal as refusal:
            assert refusal.reply[:2] == (501, where.code)
        else:
            assert text.endswith(rest) and domain.isascii() and len(f"{mailbox}{domain}".splitlines()) <= 1


ATOM = st.text("abcZ09!#$%&'*+/=?^_`{|}~-ä用", min_size=1, max_size=8)
LABEL = st.text("abcxyz059", min_size=1, max_size=8)
QUOTED = st.lists(st.sampled_from(["a", " ", "@", ">", "<", ".", ",", ":", r"\"", r"\\", r"\a", "ä"]), max_size=8)


@given(
    st.one_of(st.lists(ATOM, min_size=1, max_size=3).map(".".join), QUOTED.map(lambda parts: f'"{"".join(parts)}"')),
    st.lists(LABEL, min_size=1, max_size=4).map(".".join),
    st.sampled_from(["", " SIZE=1", "x", ">"]),
)
def test_policy_and_wire_see_the_same_domain(local, domain, rest):
    """What is read of an address is what the next server reads of it when it is written out again."""
    mailbox, key, behind = parse_path(f"<{local}@{domain}>{rest}", RECIPIENT)
    assert (mailbox, key, behind) == (f"{local}@{domain}", domain, rest)
    assert parse_path(f"<{mailbox}>", RECIPIENT) == (mailbox, key, "")


@pytest.mark.parametrize(
    "text",
    [
        "<" + "a" * 100_000,
        "<" + "a." * 50_000,
        "<a@" + "b" * 100_000,
        "<a@" + "b." * 50_000,
        "<a@" + "b-" * 50_000,
        "<a@" + "-" * 100_000,
        "<" + "@a" * 50_000,
        "<@a" + ",@a" * 33_000,
        "<@" + "a." * 50_000 + "a:",
        '<"' + "a" * 100_000,
        '<"' + "\\a" * 50_000,
        '<"' + "\\" * 100_000,
        "<a@[" + "1" * 100_000,
        "<" + "ä" * 100_000 + "@",
        "<a@" + "ä." * 50_000 + ">",
    ],
)
def test_regular_expressions_do_not_explode(text):
    began = time.process_time()
    with pytest.raises(Refusal):
        parse_path(text, SENDER)
    assert time.process_time() - began < 0.25


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        (" ", {}),
        (" SIZE=1", {"SIZE": "1"}),
        (" size=1  SMTPUTF8 ", {"SIZE": "1", "SMTPUTF8": None}),
        (" X-A=<>", {"X-A": "<>"}),
        (" A=ä", {"A": "ä"}),
    ],
)
def test_parameters(text, expected):
    assert parse_parameters(text) == expected


@pytest.mark.parametrize(
    "text", ["SIZE=1", ">", "\tA", " A\tB", " =", " A=", " A=b=c", " -A", " A_", " Ä", " A=1 a=2", " A\x0bB", " A=\x01"]
)
def test_bad_parameters(text):
    with pytest.raises(Refusal) as caught:
        parse_parameters(text)
    assert caught.value.reply[:2] == (501, "5.5.4")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("abc", "abc"),
        ("a+2Bb", "a+b"),
        ("+41+42", "AB"),
        ("a+20b", "a b"),
        ("+C3+A4", "ä"),
        ("+FF", "\ufffd"),
    ],
)
def test_xtext(value, text):
    assert decode_xtext(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "+",
        "+4",
        "a+",
        "+4g",
        "+4a",
        "a=b",
        "a b",
        "ä",
        "\x7f",
        "a\n",
        "+00",
        "+0A",
        "+0D+0A",
        "+1B",
        "+7F",
        "+C2+85",
        "+E2+80+A8",
    ],
)
def test_bad_xtext(value):
    with pytest.raises(ValueError, match=r"xtext|control"):
        decode_xtext(value)


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=20))
def test_xtext_comes_back_as_it_was(text):
    encoded = "".join(f"+{octet:02X}" for octet in text.encode())
    assert decode_xtext(encoded) == text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("NEVER", "NEVER"),
        ("never", "NEVER"),
        ("DELAY,SUCCESS", "SUCCESS,DELAY"),
        ("delay,failure,success", "SUCCESS,FAILURE,DELAY"),
        ("FAILURE", "FAILURE"),
    ],
)
def test_notify_has_one_order(value, expected):
    assert grammar.check_notify(value) == expected


def test_orcpt_and_envid_are_kept_as_given():
    assert grammar.check_orcpt("rfc822;A+2Bb@X.test") == "rfc822;A+2Bb@X.test"
    assert grammar.check_orcpt("utf-8;\\x{E4}@x.test") == "utf-8;\\x{E4}@x.test"
    assert grammar.check_envid("A+2Bb") == "A+2Bb"


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("a@B.test", "b.test"),
        ('"a b"@b.test', "b.test"),
        ("a@b\u00fccher.test", "xn--bcher-kva.test"),
        ("a@[192.0.2.1]", "[192.0.2.1]"),
    ],
)
def test_a_bare_mailbox(text, domain):
    assert parse_mailbox(text) == domain


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "<a@b.test>",
        "a@b.test>",
        "a@b.test> SIZE=1",
        "a@b.test>x",
        "postmaster",
        "@c.test:a@b.test",
        " a@b.test",
        "a@b.test ",
        "a@b.test\n",
        "a@b.test, c@d.test",
        "A <a@b.test>",
        "a@b\u3002test",
    ],
)
def test_what_is_no_bare_mailbox(text):
    """Whatever takes it says whose it is, and repeats nothing of it."""
    with pytest.raises(Refusal) as error:
        parse_mailbox(text)
    assert error.value.reply.code == 501
    assert error.value.reply.text.startswith("Bad address: ")
