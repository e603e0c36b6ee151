"""Headers as they gather, and the memory they may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.errors import Refusal
from smtpeter.intake.heading import IN_HAND, HeaderRoom, Heading
from smtpeter.mime.header import find_header_end

LIMIT = 256 * 1024
LINE = b"x: " + b"a" * 60 + b"\r\n"


def gather(heading, octets, step):
    for start in range(0, len(octets), step):
        found = heading.add(octets[start : start + step])
        if found is not None:
            return found[0] + octets[start + step :], found[1]
    return None


@given(st.lists(st.sampled_from([b"a: b\r\n", b"\r\n", b" c\r\n", b"\r", b"\n", b"text", b":"]), max_size=20))
def test_the_end_of_a_header_is_the_same_however_it_is_cut(pieces):
    content = b"".join(pieces)
    end = find_header_end(content)
    for step in range(1, 8):
        found = gather(Heading(LIMIT, HeaderRoom()), content, step)
        assert found == (None if end is None else (content, end))


def test_nothing_is_kept_of_what_was_given_out():
    heading = Heading(LIMIT, HeaderRoom())
    heading.add(LINE)
    assert heading.add(b"\r\n")[0] == LINE + b"\r\n"
    assert heading.take_all() == b""


def test_a_header_over_its_limit_is_refused():
    with pytest.raises(Refusal) as caught:
        gather(Heading(1000, HeaderRoom()), LINE * 20, 100)
    assert caught.value.reply[:2] == (554, "5.6.0")
    with pytest.raises(Refusal):
        Heading(1000, HeaderRoom()).add(LINE * 20 + b"\r\n")


def large():
    """The beginning of a header that needs more than every session may have."""
    return LINE * (IN_HAND // len(LINE) + 1)


def test_attack_many_large_headers_at_once_share_one_room():
    room = HeaderRoom(2 * LIMIT)
    first, second, third = (Heading(LIMIT, room) for _ in range(3))
    assert gather(first, large(), 5000) is None and gather(second, large(), 5000) is None
    with pytest.raises(Refusal) as caught:
        gather(third, large(), 5000)
    assert caught.value.reply[:2] == (452, "4.3.1")
    assert gather(Heading(LIMIT, room), LINE * 500, 5000) is None, "those that are not large are not concerned"
    assert first.add(b"\r\n") is not None
    assert gather(Heading(LIMIT, room), large(), 5000) is None
    second.forget()
    second.forget()
    assert gather(Heading(LIMIT, room), large(), 5000) is None


def test_one_large_header_always_finds_room():
    assert gather(Heading(LIMIT, HeaderRoom(1)), large(), 5000) is None
