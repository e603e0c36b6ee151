"""Lines of commands: where they end, how long they may be, what is kept."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.smtp.framing import LineBuffer, LineFault

LIMIT = 20


def lines(*pieces: bytes, limit: int = LIMIT) -> list[bytes | LineFault]:
    buffer = LineBuffer()
    found = []
    for piece in pieces:
        buffer.append(piece)
        while (line := buffer.take_line(limit)) is not None:
            found.append(line)
    return found


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"NOOP", []),
        (b"NOOP\r", []),
        (b"NOOP\r\n", [b"NOOP"]),
        (b"\r\n", [b""]),
        (b"A\r\nB\r\nC", [b"A", b"B"]),
        (b"A\n", [LineFault.BARE_NEWLINE]),
        (b"\n", [LineFault.BARE_NEWLINE]),
        (b"A\nB\r\n", [LineFault.BARE_NEWLINE, b"B"]),
        (b"A\rB\r\n", [LineFault.BARE_NEWLINE]),
        (b"A\r\r\n", [LineFault.BARE_NEWLINE]),
        (b"A\0B\r\n", [LineFault.BARE_NEWLINE]),
        (b"\n\r\n", [LineFault.BARE_NEWLINE, b""]),
        (b"x" * 18 + b"\r\n", [b"x" * 18]),
        (b"x" * 19 + b"\r\n", [LineFault.TOO_LONG]),
        (b"x" * 18 + b"\r\nA\r\n", [b"x" * 18, b"A"]),
        (b"x" * 1000 + b"\r\nA\r\n", [LineFault.TOO_LONG, b"A"]),
        (b"x" * 1000 + b"\nA\r\n", [LineFault.TOO_LONG, b"A"]),
        (b"x" * 50 + b"\r\n" + b"y" * 50 + b"\r\nA\r\n", [LineFault.TOO_LONG, LineFault.TOO_LONG, b"A"]),
    ],
)
def test_lines_at_every_cut(stream, expected):
    assert lines(stream) == expected
    assert lines(*(bytes([octet]) for octet in stream)) == expected
    for position in range(len(stream)):
        assert lines(stream[:position], stream[position:]) == expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"\0", b"x", b"y" * 15])), st.data())
def test_cuts_never_matter(pieces, data):
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    bounds = [0, *cuts, len(stream)]
    assert lines(*itertools.starmap(lambda a, b: stream[a:b], itertools.pairwise(bounds))) == lines(stream)


def test_an_endless_line_keeps_no_more_than_one_limit():
    buffer = LineBuffer()
    for _ in range(1000):
        buffer.append(b"x" * 7)
        assert buffer.take_line(LIMIT) is None
        assert len(buffer) <= LIMIT
    buffer.append(b"\r\n")
    assert buffer.take_line(LIMIT) is LineFault.TOO_LONG
    assert len(buffer) == 0


def test_take_all_gives_what_lines_left():
    buffer = LineBuffer()
    buffer.append(b"DATA\r\nhello\nworld")
    assert len(buffer) == 17
    assert buffer.take_line(LIMIT) == b"DATA"
    assert len(buffer) == 11
    assert buffer.take_all() == b"hello\nworld"
    assert len(buffer) == 0
    assert buffer.take_all() == b""


def test_octets_that_come_behind_a_taken_line_stand_behind_the_rest():
    buffer = LineBuffer()
    buffer.append(b"A\r\nB")
    assert buffer.take_line(LIMIT) == b"A"
    buffer.append(b"C\r\n")
    assert buffer.take_line(LIMIT) == b"BC"
    buffer.append(b"D\r\n")
    assert buffer.take_line(LIMIT) == b"D"


def test_the_limit_may_be_another_for_each_line():
    buffer = LineBuffer()
    buffer.append(b"x" * 30 + b"\r\n" + b"x" * 30 + b"\r\n")
    assert buffer.take_line(100) == b"x" * 30
    assert buffer.take_line(20) is LineFault.TOO_LONG


def test_nothing_is_kept_alive_of_what_was_read():
    """A session that is idle after a large group of commands must not keep that group."""
    buffer = LineBuffer()
    group = b"NOOP\r\n" * 10_000
    buffer.append(group + b"NO")
    for _ in range(10_000):
        assert buffer.take_line(512) == b"NOOP"
    assert buffer.take_line(512) is None
    assert buffer._data == b"NO"
    buffer.append(b"OP\r\n")
    assert buffer.take_line(512) == b"NOOP" and buffer.take_line(512) is None
    assert buffer._data == b""
