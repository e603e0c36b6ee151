"""Envelopes out of what requests say: recipients, the reverse-path, and what the sender wants to hear."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.model.envelope import Recipient
from smtpeter.smtp import grammar
from smtpeter.web.rest import addressing
from smtpeter.web.rest.values import ApiError


def read(*texts, most=1000, notify=None, orcpt=None):
    return addressing.read_recipients(texts, most, notify, orcpt)


def addresses(*texts, **more):
    return [each.address for each in read(*texts, **more)]


def refusal(function, *arguments):
    with pytest.raises(ApiError) as caught:
        function(*arguments)
    assert caught.value.status == 400 and caught.value.text.isprintable()
    return caught.value.text


# --- recipients ---


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a@example.org"], ["a@example.org"]),
        (["a@example.org", "b@example.org"], ["a@example.org", "b@example.org"]),
        (["a@example.org,b@example.org"], ["a@example.org", "b@example.org"]),
        ([" a@example.org , b@example.org, "], ["a@example.org", "b@example.org"]),
        (["a@example.org,b@example.org", "c@example.org"], ["a@example.org", "b@example.org", "c@example.org"]),
        (["<a@example.org>, <b@example.org>"], ["a@example.org", "b@example.org"]),
        (["b@example.org", "a@example.org", "b@example.org"], ["b@example.org", "a@example.org"]),
        (["a@example.org", "", " ", ","], ["a@example.org"]),
        (["a@[192.0.2.1]"], ["a@[192.0.2.1]"]),
        (['"a b"@example.org'], ['"a b"@example.org']),
        (["j\u00e9r\u00f4me@ex\u00e4mple.org"], ["j\u00e9r\u00f4me@ex\u00e4mple.org"]),
    ],
)
def test_forms_of_recipients(texts, expected):
    assert addresses(*texts) == expected


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a@example.org", "a@EXAMPLE.org"], ["a@example.org"]),
        (["a@EXAMPLE.org", "a@example.org"], ["a@EXAMPLE.org"]),
        (["a@ex\u00e4mple.org", "a@xn--exmple-cua.org"], ["a@ex\u00e4mple.org"]),
        (["a@[IPv6:::1]", "a@[ipv6:0:0:0:0:0:0:0:1]"], ["a@[IPv6:::1]"]),
        (["a@example.org", "A@example.org"], ["a@example.org", "A@example.org"]),
        (["a@example.org", "a@example.com"], ["a@example.org", "a@example.com"]),
    ],
)
def test_the_same_recipient_counts_once(texts, expected):
    assert addresses(*texts) == expected


def test_everybody_gets_what_the_sender_wants_to_hear():
    assert read("a@Example.org", notify="NEVER", orcpt="rfc822;x@y") == (
        Recipient("a@Example.org", "example.org", "NEVER", "rfc822;x@y"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "a@",
        "@example.org",
        "a@b@example.org",
        "a@example..org",
        "Jane <jane@example.org>",
        '"x" <a@example.org>',
        "a@example.org b@example.org",
        "a@example.org;b@example.org",
        "a@example.org\r\nRCPT TO:<b@example.org>",
        "a@example.org>",
        "<a@example.org",
        "<<a@example.org>>",
        "<@relay.example:a@example.org>",
        "postmaster",
        "<>",
        "a@example.org\0",
        "a@example.org\u2028",
        "group: a@example.org;",
        "(x) a@example.org",
        "a@example.org> NOTIFY=NEVER",
        '"a@evil.example x"@example.org',
        "a" * 65 + "@example.org",
        "a@" + "b." * 130 + "org",
        "a@-b.org",
        "a@[1.2.3]",
        "\ud800@example.org",
        "a@\ud800.org",
        '"a@example.org',
    ],
)
def test_what_is_no_bare_address_is_refused_with_its_place(text):
    assert refusal(read, text).startswith("recipients: ")
    assert refusal(read, "good@example.org", text).startswith("recipients.1: ")


def test_nobody_is_no_recipient():
    for texts in ([], [""], [" , "]):
        assert "at least one" in refusal(read, *texts)


def test_there_is_a_limit_that_counts_each_once():
    texts = [f"a{number}@example.org" for number in range(5)]
    assert len(addresses(*texts, *texts, most=5)) == 5
    assert "at most 4" in refusal(lambda: read(*texts, most=4))


@given(st.text('ab@.,<>" \\;:()[]\r\n\u00e9', max_size=30))
def test_whatever_is_taken_is_a_mailbox_of_smtp(text):
    try:
        found = read(text)
    except ApiError:
        return
    for recipient in found:
        path = grammar.parse_path(f"<{recipient.address}>", grammar.RECIPIENT)
        assert path == (recipient.address, recipient.domain, "")


# --- the reverse-path ---


@pytest.mark.parametrize(("text", "expected"), [("", ""), (" ", ""), ("<>", ""), (" a@example.org ", "a@example.org")])
def test_reverse_paths(text, expected):
    assert addressing.read_reverse_path(text) == expected


@pytest.mark.parametrize(
    "text", ["a", "<a@example.org>", "A <a@example.org>", "a@example.org,b@example.org", "a@b\r\n", "\0"]
)
def test_what_is_no_reverse_path(text):
    assert refusal(addressing.read_reverse_path, text).startswith("envelope: ")


# --- DSN ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], None),
        ([""], None),
        (["NEVER"], "NEVER"),
        (["never"], "NEVER"),
        (["delay, failure"], "FAILURE,DELAY"),
        (["DELAY", "Success"], "SUCCESS,DELAY"),
        (["FAILURE,SUCCESS,DELAY"], "SUCCESS,FAILURE,DELAY"),
    ],
)
def test_notify(words, expected):
    assert addressing.read_notify(words) == expected


@pytest.mark.parametrize(
    "words", [["ALWAYS"], ["NEVER,DELAY"], ["DELAY", "DELAY"], ["FAILURE\r\n,x"], ["fa\u0131lure"]]
)
def test_no_notify(words):
    assert refusal(addressing.read_notify, words).startswith("dsn.notify: ")


def test_ret():
    assert [addressing.read_ret(text) for text in ("", "full", " HDRS ")] == [None, "FULL", "HDRS"]
    for text in ("HEADERS", "FULL\0", "full,hdrs"):
        assert refusal(addressing.read_ret, text).startswith("dsn.ret: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("order-17", "order-17"),
        ("order 17", "order+2017"),
        ("a=b", "a+3Db"),
        ("a+3Db", "a+3Db"),
        ("a+b", "a+2Bb"),
        ("a+0Ab", "a+2B0Ab"),
        ("\u00e9", "+C3+A9"),
    ],
)
def test_envid(text, expected):
    assert addressing.read_envid(text) == expected


@pytest.mark.parametrize("text", ["x" * 101, "\u00e9" * 17, "a\r\nb", "a\0", "\u2028"])
def test_no_envid(text):
    assert refusal(addressing.read_envid, text).startswith("dsn.envid: ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("rfc822;jane@example.org", "rfc822;jane@example.org"),
        ("jane@example.org", "rfc822;jane@example.org"),
        ("jane+tag@example.org", "rfc822;jane+2Btag@example.org"),
        ("x400;c=nl a", "x400;c+3Dnl+20a"),
        ("j\u00e9@example.org", "utf-8;j\\x{E9}@example.org"),
    ],
)
def test_orcpt(text, expected):
    assert addressing.read_orcpt(text) == expected


@pytest.mark.parametrize("text", [";a@b", "rfc822;", "a b;c", "rfc822;a\r\nb", "rfc822;" + "x" * 500])
def test_no_orcpt(text):
    assert refusal(addressing.read_orcpt, text).startswith("dsn.orcpt: ")


@given(st.text(max_size=60))
def test_what_is_made_of_them_is_what_smtp_takes(text):
    for read_one, check in ((addressing.read_envid, grammar.check_envid), (addressing.read_orcpt, grammar.check_orcpt)):
        try:
            found = read_one(text)
        except ApiError:
            continue
        if found is not None:
            assert check(found) == found and found.isascii() and found.isprintable() and " " not in found
