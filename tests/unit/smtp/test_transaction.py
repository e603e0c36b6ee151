"""Transactions put into commands for receivers with and without each extension."""

from __future__ import annotations

from typing import Any

import pytest

from smtpeter.smtp.transaction import Commands, Transaction, compose_commands
from tests.fakes.jobs import make_recipient

ALL = ("SIZE", "8BITMIME", "SMTPUTF8", "DSN", "PIPELINING")
ASCII = b"Subject: x\r\n\r\nhello\r\n"
EIGHT_BIT = b"Subject: x\r\n\r\ncaf\xc3\xa9\r\n"
UTF8_HEADER = "Subject: café\r\n\r\nhello\r\n".encode()


def compose(offers: tuple[str, ...], address: str = "r@example.net", **changes: Any) -> Commands:
    recipient = make_recipient(1, address, notify=changes.pop("notify", None), orcpt=changes.pop("orcpt", None))
    transaction = Transaction("s@example.org", [recipient], ASCII)._replace(**changes)
    return compose_commands(transaction, dict.fromkeys(offers, ""))


def refused(commands: Commands) -> list[tuple[int, str]]:
    return [(recipient.number, why.enhanced) for recipient, why in commands.refused]


def test_only_what_is_offered_is_used() -> None:
    changes = {"body": "8BITMIME", "ret": "HDRS", "envid": "q+2B1", "notify": "NEVER", "orcpt": "rfc822;r@example.net"}
    bare = compose((), **changes)
    assert (bare.mail, bare.rcpts) == (b"MAIL FROM:<s@example.org>\r\n", [b"RCPT TO:<r@example.net>\r\n"])
    full = compose(ALL, **changes)
    assert full.mail == b"MAIL FROM:<s@example.org> SIZE=%d BODY=8BITMIME RET=HDRS ENVID=q+2B1\r\n" % len(ASCII)
    assert full.rcpts == [b"RCPT TO:<r@example.net> NOTIFY=NEVER ORCPT=rfc822;r@example.net\r\n"]


def test_8_bit_content_is_declared_even_where_its_submitter_did_not() -> None:
    assert b"BODY=8BITMIME" in compose(("8BITMIME",), content=EIGHT_BIT).mail
    assert b"BODY" not in compose(("8BITMIME",)).mail


def test_8_bit_content_is_not_sent_to_a_receiver_that_takes_none() -> None:
    commands = compose((), content=EIGHT_BIT)
    assert refused(commands) == [(1, "5.6.3")]
    assert not commands.recipients


def test_an_8_bit_header_is_not_sent_to_a_receiver_that_takes_no_8_bit_content() -> None:
    assert refused(compose((), content=UTF8_HEADER)) == [(1, "5.6.7")]
    assert refused(compose(("SMTPUTF8",), content=UTF8_HEADER, smtputf8=True)) == [(1, "5.6.7")]


@pytest.mark.parametrize("limit", ["", "0", str(len(ASCII)), str(2**63), "many", "-1", "9" * 30, "\u0663"])
def test_a_message_that_is_not_over_the_limit_is_sent(limit: str) -> None:
    commands = compose_commands(Transaction("s@example.org", [make_recipient(1)], ASCII), {"SIZE": limit})
    assert commands.mail == b"MAIL FROM:<s@example.org> SIZE=%d\r\n" % len(ASCII)


def test_a_message_over_the_limit_is_not_sent_at_all() -> None:
    recipients = [make_recipient(1), make_recipient(2)]
    commands = compose_commands(Transaction("s@example.org", recipients, ASCII), {"SIZE": str(len(ASCII) - 1)})
    assert refused(commands) == [(1, "5.3.4"), (2, "5.3.4")]
    assert not commands.recipients


def test_smtputf8_where_it_is_offered() -> None:
    commands = compose(ALL, "jörg@exämple.net", smtputf8=True, content=UTF8_HEADER)
    assert commands.mail.endswith(b" BODY=8BITMIME SMTPUTF8\r\n")
    assert commands.rcpts == ["RCPT TO:<jörg@exämple.net>\r\n".encode()]


def test_a_domain_becomes_a_labels_where_smtputf8_is_missing() -> None:
    commands = compose(("8BITMIME",), "r@exämple.net", smtputf8=True, reverse_path="s@dömain.org")
    assert commands.mail == b"MAIL FROM:<s@xn--dmain-jua.org>\r\n"
    assert commands.rcpts == [b"RCPT TO:<r@xn--exmple-cua.net>\r\n"]


@pytest.mark.parametrize(
    ("address", "changes"),
    [
        ("jörg@example.net", {}),
        ("r@example.net", {"reverse_path": "jörg@example.org"}),
        ("r@example.net", {"content": UTF8_HEADER}),
        ("r@" + "ä" * 70 + ".net", {}),
    ],
)
def test_what_cannot_be_said_in_ascii_fails(address: str, changes: dict[str, Any]) -> None:
    for offers in (("8BITMIME",), ()):
        commands = compose(offers, address, smtputf8=True, **changes)
        assert refused(commands) == [(1, "5.6.7")]
        assert not commands.rcpts


def test_one_recipient_that_cannot_be_said_in_ascii_does_not_stop_the_others() -> None:
    recipients = [make_recipient(1, "jörg@example.net"), make_recipient(2, "r@example.net", orcpt="utf-8;jörg@x.org")]
    commands = compose_commands(Transaction("s@example.org", recipients, ASCII, smtputf8=True), {"DSN": ""})
    assert refused(commands) == [(1, "5.6.7")]
    assert commands.rcpts == [b"RCPT TO:<r@example.net>\r\n"]


@pytest.mark.parametrize("attack", ["x>\r\nRCPT TO:<y", "x\ny", "x\0y", "x\ry", "x\u2028y"])
def test_crlf_injection_in_an_envelope(attack: str) -> None:
    commands = compose(ALL, f"{attack}@example.net", smtputf8=True)
    assert (refused(commands), commands.rcpts) == ([(1, "5.1.3")], [])
    commands = compose(ALL, smtputf8=True, reverse_path=f"{attack}@example.org")
    assert (refused(commands), commands.mail) == ([(1, "5.1.7")], b"")
