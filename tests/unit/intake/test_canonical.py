"""The octets of a whole message, looked at as they pass."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.intake.canonical import CanonicalOctets
from smtpeter.smtp.data import LINE_LIMIT


def look(*pieces, limit=1_000_000):
    octets = CanonicalOctets(limit)
    for piece in pieces:
        octets.look(piece)
    return octets, octets.end()


def refusal_of(*pieces, limit=1_000_000):
    with pytest.raises(Refusal) as raised:
        look(*pieces, limit=limit)
    return raised.value.reply


def test_whole_lines_are_counted_and_nothing_is_missing():
    octets, missing = look(b"one\r\n", b"", b"two\r", b"", b"\n\r\n")
    assert (octets.size, octets.seven_bit, missing) == (12, True, b"")
    assert look()[1] == look(b"")[1] == b""


def test_a_last_line_without_an_end_is_given_one():
    assert look(b"one\r\ntwo")[1] == b"\r\n"


def test_what_is_not_ascii_is_found_wherever_it_is():
    assert not look(b"caf\xc3", b"\xa9\r\n", b"plain\r\n")[0].seven_bit


@pytest.mark.parametrize(
    "message", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\r\n", b"\n", b"a\r", b"a\r\n\n", b"a\0\r\n", b"\r\r\n\n", b"a\n\r"]
)
def test_bare_line_ends_and_nul_are_refused_however_they_are_cut(message):
    for cut in range(len(message) + 1):
        reply = refusal_of(message[:cut], message[cut:])
        assert reply[:2] == (554, "5.6.0") and "every line must end in CRLF" in reply.text


@given(st.lists(st.sampled_from([b"a", b"\r", b"\n", b"\r\n", b"\0", b"bc", b""]), max_size=12))
def test_it_is_refused_just_where_a_line_end_stands_alone(pieces):
    whole = b"".join(pieces)
    bad = re.search(rb"\r(?!\n)|(?<!\r)\n|\0", whole) is not None
    try:
        octets, missing = look(*pieces)
    except Refusal:
        assert bad
    else:
        assert not bad and octets.size == len(whole)
        assert (whole + missing).endswith(b"\r\n") or not whole


def test_a_message_of_exactly_the_limit_is_taken_and_one_octet_more_is_not():
    look(b"12345678\r\n", limit=10)
    assert refusal_of(b"12345678\r\n", b"x", limit=10)[:2] == (552, "5.3.4")


@pytest.mark.parametrize("step", [1000, 1024, 1025, 65536])
def test_the_longest_line_is_taken_and_a_longer_one_is_not(step):
    def cut(message):
        return [message[start : start + step] for start in range(0, len(message), step)]

    line = b"x" * LINE_LIMIT
    look(*cut(b"a\r\n" + line + b"\r\n" + line + b"\r\nb\r\n"))
    look(*cut(line))
    assert refusal_of(*cut(b"a\r\nx" + line + b"\r\nb\r\n"))[:2] == (554, "5.6.0")
    assert refusal_of(*cut(line + b"x")).text == "A line of the message is longer than 65536 octets"
