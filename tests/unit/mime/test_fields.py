"""The header of a composed message."""

from __future__ import annotations

import re
from email.utils import getaddresses

import pytest

from smtpeter.mime.addresses import Address, read_addresses
from smtpeter.mime.compose import Unsubscribe, compose
from smtpeter.mime.words import decode_field
from smtpeter.smtp.grammar import parse_mailbox
from tests.fakes.injections import INJECTIONS
from tests.unit.mime.composing import ENTROPY, PLAIN, SENDER, as_python, field_of, header, octets, python_text


def test_addresses_are_written_as_everybody_reads_them():
    addresses = [
        Address("Last, First", "a@b.example", "b.example"),
        Address("Müller", "m@bücher.example", "xn--bcher-kva.example"),
        Address('A "B" \\ C', "c@[192.0.2.1]", "[192.0.2.1]"),
        Address("=?utf-8?q?x?=", '"a b"@d.example', "d.example"),
    ]
    content = octets(PLAIN._replace(to=addresses, cc=addresses[:1], reply_to=addresses[1:2]))
    assert field_of(content, "To") == (
        '"Last, First" <a@b.example>, =?utf-8?Q?M=C3=BCller?= <m@xn--bcher-kva.example>,'
        ' "A \\"B\\" \\\\ C" <c@[192.0.2.1]>, =?utf-8?B?PT91dGYtOD9xP3g/PQ==?= <"a b"@d.example>'
    )
    assert field_of(content, "Cc") == '"Last, First" <a@b.example>'
    assert field_of(content, "Reply-To") == "=?utf-8?Q?M=C3=BCller?= <m@xn--bcher-kva.example>"
    assert all(len(line) <= 78 for line in header(content).split("\r\n"))


def test_only_a_local_part_needs_smtputf8():
    composed = compose(PLAIN._replace(sender=Address("用户", "用户@例え.jp", "xn--r8jz45g.jp")), ENTROPY)
    assert composed.smtputf8
    assert "<用户@xn--r8jz45g.jp>".encode() in b"".join(composed.pieces)
    assert not compose(PLAIN._replace(sender=Address("用户", "a@例え.jp", "xn--r8jz45g.jp")), ENTROPY).smtputf8


def test_a_comma_in_an_encoded_word_parts_nothing():
    """CVE-2025-1795: a list that was folded in the wrong place had an address more."""
    name = "ä, evil@attacker.example, " * 6
    content = octets(PLAIN._replace(to=[Address(name.strip(), "a@b.example", "b.example")] * 3))
    field = as_python(content)["To"]
    assert [mailbox for _, mailbox in getaddresses([field])] == ["a@b.example"] * 3
    assert (
        read_addresses(re.sub("\r\n", "", field), parse_mailbox)
        == [Address(name.strip(), "a@b.example", "b.example")] * 3
    )


@pytest.mark.parametrize(
    "subject",
    [
        "x" * 78,
        "x" * 900,
        "x" * 901,
        "x" * 5000,
        "word " * 500 + "x",
        "a" + " " * 2000 + "b",
        "ä" * 2000,
        "👩‍💻" * 300,
        "a  b",
        " a ",
        "=?utf-8?q?a?=",
        "a =?b",
        "\u200b",
        "a\u00a0b",
    ],
)
def test_subjects(subject):
    content = octets(PLAIN._replace(subject=subject))
    value = as_python(content)["Subject"]
    assert python_text(value.replace("\r\n", "")) == subject
    assert decode_field(field_of(content, "Subject").encode(), 10_000) == subject.strip()
    for line in value.split("\r\n"):
        assert line.strip(" ")
        assert len(line) <= 78 or " " not in line.strip(" ")


def test_unsubscribe():
    email = Address("", "leave+%?&ä@bücher.example", "xn--bcher-kva.example")
    letter = PLAIN._replace(unsubscribe=Unsubscribe(email, "https://x.example/u?a=1,2&b=%20", True))
    content = octets(letter)
    assert field_of(content, "List-Unsubscribe") == (
        "<https://x.example/u?a=1,2&b=%20>, <mailto:leave+%25%3F%26%C3%A4@xn--bcher-kva.example>"
    )
    assert field_of(content, "List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
    assert "list-unsubscribe-post" not in header(octets(letter._replace(unsubscribe=Unsubscribe(email)))).lower()
    assert "unsubscribe" not in header(octets(letter._replace(unsubscribe=Unsubscribe()))).lower()
    octets(letter._replace(unsubscribe=Unsubscribe(None, "http://" + "x" * 893)))


@pytest.mark.parametrize(
    "given",
    [
        Unsubscribe(None, "", True),
        Unsubscribe(SENDER, "", True),
        Unsubscribe(None, "http://x.example/", True),
        Unsubscribe(None, "mailto:a@b.example"),
        Unsubscribe(None, "javascript:alert(1)"),
        Unsubscribe(None, "https://"),
        Unsubscribe(None, "https://x.example/ä"),
        Unsubscribe(None, "https://x.example/>, <mailto:evil@x.example"),
        Unsubscribe(None, "https://x.example/ x"),
        Unsubscribe(None, "https://" + "x" * 900),
        Unsubscribe(None, "x"),
    ],
)
def test_unsubscribe_that_is_refused(given):
    with pytest.raises(ValueError, match=r"^unsubscribe\."):
        compose(PLAIN._replace(unsubscribe=given), ENTROPY)


def test_extra_fields():
    name = "X-" + "n" * 74
    content = octets(PLAIN._replace(extra=[("X-A", "1"), ("x-a", "ä"), (name, "ö" * 100), ("X-Empty", "")]))
    found = [(name, python_text(value.replace("\r\n", ""))) for name, value in as_python(content).items()]
    assert found[3:7] == [("X-A", "1"), ("x-a", "ä"), (name, "ö" * 100), ("X-Empty", "")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "X-",
        "Bcc",
        "Subject",
        "Content-Type",
        "DKIM-Signature",
        "Return-Path",
        "Received",
        "X",
        "Xa",
        " X-A",
        "X-A ",
        "X-A:",
        "X-A: b\r\nBcc",
        "X-\r\n",
        "X-A\n",
        "X-ä",
        "X-\0",
        "X-" + "n" * 75,
        "X-SMTPeter-Tags",
        "x-smtpeter-x",
        "X-SMTPETER-",
        "\nX-A",
        "X-A\u2028",
        "Resent-Bcc",
        *INJECTIONS,
    ],
)
def test_extra_names_that_are_refused(name):
    with pytest.raises(ValueError, match=r"^extra: ") as error:
        compose(PLAIN._replace(extra=[(name, "x")]), ENTROPY)
    assert len(str(error.value)) < 200


def test_a_header_beyond_the_limit_is_refused():
    with pytest.raises(ValueError, match=r"256 KiB"):
        compose(PLAIN._replace(extra=[("X-A", "x y " * 70_000)]), ENTROPY)
