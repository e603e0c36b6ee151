"""Dot-stuffing over all ways to cut a message."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from smtpeter.smtp.data import DataDecoder
from smtpeter.smtp.dotstuff import DotStuffer


def stuff(*chunks: bytes) -> bytes:
    stuffer = DotStuffer()
    return b"".join([*map(stuffer.feed, chunks), stuffer.finish()])


def reference(content: bytes) -> bytes:
    lines = content.split(b"\r\n")
    end = b"" if lines[-1] == b"" else b"\r\n"
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines) + end + b".\r\n"


def chunkings(content: bytes) -> list[list[bytes]]:
    gaps = range(1, len(content))
    cuts = [
        [at for at, cut in zip(gaps, pattern, strict=True) if cut]
        for pattern in itertools.product((0, 1), repeat=len(gaps))
    ]
    return [[content[a:b] for a, b in itertools.pairwise([0, *cut, len(content)])] for cut in cuts]


def test_every_short_message_in_every_chunking() -> None:
    for length in range(6):
        for parts in itertools.product((b"\r\n", b".", b"a"), repeat=length):
            content = b"".join(parts)
            expected = reference(content)
            assert stuff(content) == expected
            for chunks in chunkings(content) if content else []:
                assert stuff(*chunks) == expected, chunks


def test_a_dot_placed_at_the_boundary_of_a_chunk_ends_nothing() -> None:
    body = b"x" * 16382 + b"\r\n.\r\nMAIL FROM:<evil@example.com>\r\n"
    for at in range(16380, 16390):
        decoder = DataDecoder(10**6)
        octets, rest = decoder.feed(stuff(body[:at], body[at:]))
        assert octets == body
        assert rest == b""


@given(st.lists(st.sampled_from([b"\r\n", b".", b"..", b"a", b"\r\n.\r\n", b""])), st.data())
def test_what_is_stuffed_comes_out_again(parts: list[bytes], data: st.DataObject) -> None:
    content = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=8)))
    wire = stuff(*(content[a:b] for a, b in itertools.pairwise([0, *cuts, len(content)])))
    assert wire == reference(content)
    octets, rest = DataDecoder(10**6).feed(wire)
    assert octets == content + (b"" if not content or content.endswith(b"\r\n") else b"\r\n")
    assert rest == b""


def test_no_content_is_only_the_final_dot() -> None:
    assert stuff() == stuff(b"") == b".\r\n"
