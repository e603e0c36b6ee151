"""The fields on top of a message."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from smtpeter.mime.trace import Origin, format_date, received_field, trace_fields

ORIGIN = Origin("client.test", "192.0.2.1", "ESMTPSA", "TLSv1.3 TLS_AES_256_GCM_SHA384")
DATE = "Tue, 14 Nov 2023 22:13:20 +0000"


def test_the_date():
    assert format_date(1_700_000_000.9) == DATE
    assert parsedate_to_datetime(format_date(1_700_000_000)).timestamp() == 1_700_000_000


def test_received_to_the_letter():
    assert received_field(ORIGIN, "mx.test", "id1", DATE, "bob@b.test") == (
        "Received: from client.test ([192.0.2.1])\r\n"
        "\tby mx.test with ESMTPSA (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n"
        "\tid id1\r\n"
        "\tfor <bob@b.test>;\r\n"
        f"\t{DATE}\r\n"
    )


def test_received_names_nobody_where_there_are_several():
    assert "for" not in received_field(ORIGIN, "mx.test", "id1", DATE, None)


def test_received_stays_ascii_whoever_the_recipient_is():
    """Else mail for an internationalized domain could never be passed to a receiver without SMTPUTF8."""
    field = received_field(ORIGIN._replace(client_name="bücher.test"), "mx.test", "id1", DATE, "bob@bücher.test")
    assert field.isascii()
    assert "for" not in field


def test_received_without_tls():
    assert "by mx.test with ESMTP\r\n" in received_field(
        Origin("client.test", "192.0.2.1", "ESMTP", ""), "mx.test", "id1", DATE, None
    )


@pytest.mark.parametrize(("address", "literal"), [("192.0.2.1", "[192.0.2.1]"), ("2001:db8::1", "[IPv6:2001:db8::1]")])
def test_a_client_that_tells_no_name_is_known_by_its_address(address, literal):
    field = received_field(Origin("", address, "HTTP", ""), "mx.test", "id1", DATE, None)
    assert field.startswith(f"Received: from {literal} ({literal})\r\n\tby mx.test with HTTP\r\n\tid id1;")


def test_an_ipv6_client_is_an_address_literal():
    """RFC 5321 section 4.1.3."""
    field = received_field(ORIGIN._replace(address="2001:db8::1"), "mx.test", "id1", DATE, None)
    assert field.startswith("Received: from client.test ([IPv6:2001:db8::1])\r\n")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("client.test", "client.test"),
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"),
        ("my_host-1", "my_host-1"),
        ("a b", "a?b"),
        ("a(b", "a?b"),
        ("a)b", "a?b"),
        ("a;b", "a?b"),
        ('a"b', "a?b"),
        ("a\\b", "a?b"),
        ("<a@b>", "?a?b?"),
        ("a\r\nBcc: x", "a??Bcc:?x"),
        ("bücher.test", "b?cher.test"),
        ("a\x85b", "a?b"),
        ("a\u2028b", "a?b"),
    ],
)
def test_what_a_client_says_of_itself_cannot_inject_anything(said, written):
    """Only ASCII: raw 8-bit in a header needs SMTPUTF8, and a host name never does (RFC 6531 section 3.7.1)."""
    field = received_field(ORIGIN._replace(client_name=said), "mx.test", "id1", DATE, None)
    assert field.startswith(f"Received: from {written} ([192.0.2.1])\r\n")


def trace(**flags: bool) -> bytes:
    return trace_fields(ORIGIN, "mx.test", "id1", 1_700_000_000.0, None, **flags)


def test_date_and_message_id_are_added_only_where_they_are_missing():
    received = received_field(ORIGIN, "mx.test", "id1", DATE, None).encode()
    message_id, date = b"Message-ID: <id1@mx.test>\r\n", f"Date: {DATE}\r\n".encode()
    assert trace(add_date=False, add_message_id=False) == received
    assert trace(add_date=True, add_message_id=False) == received + date
    assert trace(add_date=False, add_message_id=True) == received + message_id
    assert trace(add_date=True, add_message_id=True) == received + message_id + date


def test_no_line_is_too_long():
    """RFC 5322 section 2.1.1, with the longest of everything."""
    fields = trace_fields(
        Origin("c" * 255, "2001:db8:1111:2222:3333:4444:5555:6666", "UTF8SMTPSA", "TLSv1.3 " + "X" * 40),
        "h" * 255,
        "i" * 26,
        1_700_000_000.0,
        "ä" * 120 + "@b.test",
        add_date=True,
        add_message_id=True,
    )
    assert all(len(line) <= 998 for line in fields.split(b"\r\n"))
    assert fields.endswith(b"\r\n") and b"\r\n\r\n" not in fields
