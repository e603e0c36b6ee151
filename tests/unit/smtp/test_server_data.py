"""Messages within a session: what comes out, and that nothing but CRLF.CRLF ends one."""

from __future__ import annotations

import itertools

import pytest

from smtpeter.smtp.events import CloseEvent, ContentEvent, DataEvent, EndEvent, MailEvent
from tests.fakes.smtp_session import LIMITS, codes, in_data, ready

OPENING = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"


def message(stuffed: bytes) -> bytes | None:
    """The content that the host gets for this stream, None where it is told to refuse it."""
    scripted = in_data()
    scripted.send(stuffed)
    content, end = scripted.events[-2:]
    assert isinstance(end, EndEvent) and isinstance(content, ContentEvent)
    return None if end.refusal else content.octets


@pytest.mark.parametrize(
    ("stuffed", "content"),
    [
        (b".\r\n", b""),
        (b"\r\n.\r\n", b"\r\n"),
        (b"a\r\n.\r\n", b"a\r\n"),
        (b"..\r\n.\r\n", b".\r\n"),
        (b"..a\r\n.\r\n", b".a\r\n"),
        (b".a\r\n.\r\n", b"a\r\n"),
        (b"a\r\n..\r\n...\r\n.\r\n", b"a\r\n.\r\n..\r\n"),
        (b"a.\r\n.\r\n", b"a.\r\n"),
        (b"\xff\x80\x01\x7f\r\n.\r\n", b"\xff\x80\x01\x7f\r\n"),
    ],
)
def test_what_comes_out(stuffed, content):
    assert message(stuffed) == content


def test_no_empty_content_event_comes_for_an_empty_message():
    session = in_data().session
    session.receive(b".\r\n")
    assert session.next_event() == EndEvent(None)


def test_smtp_smuggling():
    """Every string of up to four of CR, LF, NUL and dot in the middle of a message, with commands behind it."""
    hidden = b"MAIL FROM:<evil@a.test>\r\nRCPT TO:<victim@b.test>\r\nDATA\r\nsmuggled\r\n"
    for length in range(1, 5):
        for letters in itertools.product(b"\r\n\0.", repeat=length):
            middle = bytes(letters)
            stream = b"Subject: x\r\n\r\nbefore" + middle + hidden + b".\r\nQUIT\r\n"
            scripted = in_data()
            output = scripted.send(stream)
            kinds = [type(event) for event in scripted.events]
            assert kinds == [ContentEvent, EndEvent, CloseEvent], middle
            unfit = bool({b"\r", b"\n", b"\0"} & {bytes([octet]) for octet in middle.replace(b"\r\n", b"")})
            assert codes(output) == ["550 5.5.2" if unfit else "250 2.0.0", "221 2.0.0"], middle


@pytest.mark.parametrize(
    "fake",
    [
        b"\n.\n",
        b"\r.\r",
        b"\n.\r\n",
        b"\r\n.\n",
        b"\r\n.\r",
        b"\r.\r\n",
        b"\r\n\0.\r\n",
        b"\r\n.\0\r\n",
        b"\r\r\n.\r\r\n",
    ],
)
def test_smtp_smuggling_at_every_cut(fake):
    stream = b"a" + fake + b"MAIL FROM:<evil@a.test>\r\n.\r\nNOOP\r\n"
    for position in range(len(stream)):
        scripted = in_data()
        assert codes(scripted.send(stream[:position], stream[position:])) == ["550 5.5.2", "250 2.0.0"]
        assert not any(isinstance(event, MailEvent) for event in scripted.events)
    scripted = in_data()
    assert codes(scripted.send(*(bytes([octet]) for octet in stream))) == ["550 5.5.2", "250 2.0.0"]


def test_a_line_that_only_begins_with_a_dot_does_not_end_the_message():
    assert message(b"a\r\n.\r\r\n.\r\n") is None
    assert message(b"a\r\n. \r\n.\r\n") == b"a\r\n \r\n"


def test_the_size_limit_counts_crlf_as_two_and_no_stuffing():
    limit = LIMITS.message_size
    lines = b"..\r\n" * 333  # 3 octets each without the stuffed dot
    assert message(lines + b".\r\n") == b".\r\n" * 333
    assert message(b"x" * (limit - 2) + b"\r\n.\r\n") is not None
    assert message(b"x" * (limit - 1) + b"\r\n.\r\n") is None


def test_the_session_goes_on_after_a_message_that_was_too_large():
    scripted = in_data()
    assert codes(scripted.send(b"x\r\n" * 100_000, b".\r\n" + OPENING + b"y\r\n.\r\n")) == [
        "552 5.3.4",
        "250 2.1.0",
        "250 2.1.5",
        "354",
        "250 2.0.0",
    ]


def test_nothing_comes_out_any_more_once_a_message_is_unfit():
    session = in_data().session
    session.receive(b"x" * 2000)
    assert session.next_event() is None
    session.receive(b"x" * 2000)
    assert session.next_event() is None
    assert session.receiving_data


def test_the_envelope_comes_with_data():
    scripted = ready()
    scripted.send(
        b"MAIL FROM:<a@a.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=e1\r\n"
        b"RCPT TO:<B@B.test> NOTIFY=FAILURE ORCPT=rfc822;B@B.test\r\nRCPT TO:<nobody@c.test>\r\nDATA\r\n"
    )
    envelope = scripted.events[-1].envelope
    assert isinstance(scripted.events[-1], DataEvent)
    assert envelope == (
        "a@a.test",
        (("B@B.test", "b.test", "FAILURE", "rfc822;B@B.test"),),
        "8BITMIME",
        True,
        "HDRS",
        "e1",
    )


def test_nothing_of_one_transaction_is_left_for_the_next():
    scripted = ready()
    scripted.send(
        b"MAIL FROM:<a@a.test> SMTPUTF8 BODY=8BITMIME RET=FULL ENVID=x\r\nRCPT TO:<b@b.test> NOTIFY=NEVER\r\n"
    )
    scripted.send(b"RSET\r\nMAIL FROM:<c@c.test>\r\nRCPT TO:<d@d.test>\r\nDATA\r\n")
    assert scripted.events[-1].envelope == (
        "c@c.test",
        (("d@d.test", "d.test", None, None),),
        "7BIT",
        False,
        None,
        None,
    )
