"""Whom a message is from, where all readers have to agree on it."""

from __future__ import annotations

import time

import pytest

from smtpeter.mime.authors import FROM_LIMIT, author_domains, read_fields
from smtpeter.smtp.grammar import parse_mailbox


def authors(header: bytes) -> list[str]:
    return author_domains(read_fields(header), parse_mailbox)


def from_(value: str | bytes) -> list[str]:
    octets = value.encode() if isinstance(value, str) else value
    return authors(b"Subject: x\r\nFrom:" + octets + b"\r\nTo: b@other.example\r\n")


@pytest.mark.parametrize(
    "value",
    [
        " a@own.example",
        "a@own.example",
        " <a@own.example>",
        " Ann <a@OWN.Example>",
        ' "Doe, Ann" <a@own.example>',
        ' "a@evil.example" <a@own.example>',
        " Ann Q. Doe <a@own.example>",
        "\r\n Ann\r\n\t<a@own.example>",
        " a@own.example (Cron Daemon)",
        " a@own.example ()",
        " =?utf-8?B?w4TDtsO8?= <a@own.example>",
        " =?utf-8?Q?evil=40evil.example=2C?= <a@own.example>",
        " Änn <ä@own.example>",
        b" J\xf6rg <a@own.example>",
        ' "a b"@own.example',
        " a@own.example,",
    ],
)
def test_one_address(value: str | bytes) -> None:
    assert from_(value) == ["own.example"]


def test_several_addresses_in_their_order() -> None:
    assert from_(" a@own.example, B <b@other.example>, c@own.example") == [
        "own.example",
        "other.example",
        "own.example",
    ]


def test_domains_are_a_labels() -> None:
    assert from_(" a@bücher.example") == from_(" a@xn--bcher-kva.example") == ["xn--bcher-kva.example"]


@pytest.mark.parametrize("name", [b"From", b"FROM", b"from", b"From ", b"From\t "])
def test_names_of_fields_compare_without_case_and_white_space(name: bytes) -> None:
    assert authors(name + b": a@own.example\r\n") == ["own.example"]
    with pytest.raises(ValueError, match="more than one From field"):
        authors(b"From: a@own.example\r\n" + name + b": b@own.example\r\n")


def test_attack_two_from_fields() -> None:
    for header in (
        b"From: a@own.example\r\nFrom: b@evil.example\r\n",
        b"From: a@own.example\r\nX: y\r\nfRoM : b@evil.example\r\n",
        b"From: a@own.example\r\n \r\nFrom: b@evil.example\r\n",  # a line of white space ends no header
        b"From: a@own.example\r\nFrom:\r\n b@evil.example\r\n",
        b"From: a@own.example\r\nFrom\r\n : b@evil.example\r\n",
    ):
        with pytest.raises(ValueError, match="more than one From field"):
            authors(header)


def test_attack_no_from_field() -> None:
    for header in (b"", b"Subject: From: a@own.example\r\n", b"X-From: a@own.example\r\n", b"Sender: a@own.example\r\n",
                   b"X: y\r\n From: a@own.example\r\n"):  # fmt: skip
        with pytest.raises(ValueError, match="no From field"):
            authors(header)


@pytest.mark.parametrize(
    "header",
    [
        b"From: a@own.example\r\nno field at all\r\n",
        b"From a@evil.example Mon Jan  1 00:00:00 2024\r\nFrom: a@own.example\r\n",
        b" From: a@own.example\r\n",
        b"From\0: b@evil.example\r\nFrom: a@own.example\r\n",
        b"From\xa0: b@evil.example\r\nFrom: a@own.example\r\n",
        b"\xef\xbb\xbfFrom: b@evil.example\r\nFrom: a@own.example\r\n",
        b"Fr om: b@evil.example\r\nFrom: a@own.example\r\n",
        b": b@evil.example\r\nFrom: a@own.example\r\n",
        b"From: a@own.example\r\nX: y\nFrom: b@evil.example\r\n",
        b"From: a@own.example\r\nX: y\rFrom: b@evil.example\r\n",
        b"From: a@own.example\nFrom: b@evil.example\r\n",
        b"From: a@own.example\r\nX: y\r\r\nFrom: b@evil.example\r\n",
        b"From: a@own.example\0\r\n",
        b"From: a@own.example\r\n\r\nFrom: b@evil.example\r\n",
    ],
)
def test_attack_lines_that_readers_see_in_different_ways(header: bytes) -> None:
    with pytest.raises(ValueError, match=r"is no field|bare line end"):
        authors(header)


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        " <>",
        " a",
        " @own.example",
        " a@",
        " a@own.example b@evil.example",
        " a@own.example <b@evil.example> <c@own.example>",
        " <a@own.example",
        " a@own.example>",
        " a@b@own.example",
        " <a@evil.example@own.example>",
        " undisclosed-recipients:;",
        " Group: a@own.example;",
        " Group: b@evil.example; <a@own.example>",
        " a@own.example (b@evil.example)",
        " a@own.example (one (two))",
        " a@own.example (one) (two)",
        " (Ann) a@own.example",
        " a(comment)@own.example",
        " a@own(.evil).example",
        " a@own.example (not closed",
        ' "a@evil.example x"@own.example',
        ' "not closed <a@own.example>',
        " =?utf-8?Q?a=40evil.example?=",
        " =?utf-8?B?YUBldmlsLmV4YW1wbGU=?=",
        " a@=?utf-8?Q?evil.example?=",
        " <@evil.example:a@own.example>",
        " a@[192.0.2.1",
        " a@own..example",
        " a@own.example\x0b",
        " a@own.example\x7f",
        " a@own\u3002example",
        " a@own.exam\u202eple",
        b" a@own.\xff\xfe",
        " Doe, Ann <a@own.example>",
    ],
)
def test_attack_what_could_be_read_in_several_ways(value: str | bytes) -> None:
    with pytest.raises(ValueError):
        from_(value)


def test_attack_a_from_field_of_64_kib_and_one_with_very_many_addresses() -> None:
    for value in (
        b" " + b"x" * 65_536 + b" <a@own.example>",
        b" " + b"(" * 65_536 + b"a@own.example",
        b" " + b"a@own.example," * 5000,
        b" " + b"\r\n " * 20_000 + b"a@own.example",
        b" " + b'"\\' * 30_000,
        " ä@bücher.example,".encode() * 400,
    ):
        began = time.perf_counter()
        with pytest.raises(ValueError):
            from_(value)
        assert time.perf_counter() - began < 1.0
    assert from_(b" " + b"x" * 200 + b" <a@own.example>" + b" " * (FROM_LIMIT - 300)) == ["own.example"]


def test_fields_are_unfolded_and_stay_as_they_are_otherwise() -> None:
    header = b"A: 1\r\nb-C:\t2\r\n\t 3 \r\nA:\r\n"
    assert read_fields(header) == [(b"a", b" 1"), (b"b-c", b"\t2\t 3 "), (b"a", b"")]
    assert read_fields(b"A: 1") == [(b"a", b" 1")]
