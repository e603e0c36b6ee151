"""The header as a submission server reads it: what leaves, what stays to the octet."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.header import find_header_end, read_header


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (b"", None),
        (b"S", None),
        (b"Subject: x", None),
        (b"Subject: x\r\n", None),
        (b"Subject: x\r\n\r", None),
        (b"Subject: x\r\n\r\n", 12),
        (b"Subject: x\r\n\r\nbody\r\n\r\nmore", 12),
        (b"A: b\r\n c\r\nD: e\r\n\r\n", 16),
        (b"A: b\r\n \r\n\r\n", 9),
        (b"A: b\r\n \r\nBcc: c\r\n\r\n", 17),
        (b"A:\r\n\r\n", 4),
        (b"A :b\r\n\r\n", 6),
        (b"A\t \t:b\r\n\r\n", 8),
        (b"From a@b.test Mon\r\nA: b\r\n\r\n", 25),
        (b">From a@b.test Mon\r\nA: b\r\n\r\n", 26),
        (b"\r", None),
        (b"\r\n", 0),
        (b"\r\nbody", 0),
        (b"\r\nA: b\r\n\r\n", 0),
        (b"hello\r\n", 0),
        (b"hello world: here\r\n", 0),
        (b" folded: x\r\n\r\n", 0),
        (b": x\r\n\r\n", 0),
        (b"\xff: x\r\n\r\n", 0),
        (b"From\r\n\r\n", 0),
    ],
)
def test_where_the_header_ends(content, end):
    assert find_header_end(content) == end


@given(
    st.lists(st.sampled_from([b"A: b", b"Bcc: c", b"\r\n", b"\r\n\r\n", b" ", b"x", b":", b"From ", b"\r", b"\n"])),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_searching_piece_by_piece_finds_the_same(pieces, cuts):
    content = b"".join(pieces)
    found, searched = None, 0
    for end in [*sorted(cut for cut in cuts if cut < len(content)), len(content)]:
        found = find_header_end(content[:end], searched)
        assert found == find_header_end(content[:end])
        if found is not None:
            break
        searched = end
    assert found == find_header_end(content)


@pytest.mark.parametrize(
    "content",
    [
        b"Subject: x\r\nBcc: y\r\n\r\nbody\r\n\r\n",
        b"\r\nbody",
        b"hello there\r\n\r\n",
        b"A: b\r\n\r\n",
        b"From x\r\nA: b\r\n\r\n",
    ],
)
def test_searching_octet_by_octet_finds_the_same(content):
    found = [find_header_end(content[: length + 1], length) for length in range(len(content))]
    first = next(end for end in found if end is not None)
    assert first == find_header_end(content)
    length = found.index(first)
    assert [find_header_end(content[:shorter]) for shorter in range(length + 1)] == [None] * (length + 1)


@pytest.mark.parametrize(
    ("block", "left"),
    [
        (b"", b""),
        (b"Subject: x\r\n", b"Subject: x\r\n"),
        (b"Bcc: a@a.test\r\n", b""),
        (b"Bcc: a@a.test\r\nSubject: x\r\n", b"Subject: x\r\n"),
        (b"Subject: x\r\nBcc: a@a.test\r\n", b"Subject: x\r\n"),
        (b"A: 1\r\nBcc: a@a.test\r\nB: 2\r\n", b"A: 1\r\nB: 2\r\n"),
        (b"Bcc: a@a.test,\r\n b@b.test,\r\n\tc@c.test\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"A: 1\r\nBcc:\r\n a@a.test\r\n", b"A: 1\r\n"),
        (b"Bcc: a@a.test\r\n \r\n b@b.test\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"Bcc: a\r\nBcc: b\r\nBcc: c\r\n", b""),
        (b"Bcc: a\r\nA: 1\r\nBCC: b\r\nB: 2\r\nbcc: c\r\n", b"A: 1\r\nB: 2\r\n"),
        (b"Bcc : a\r\nbCc\t \t: b\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"Bcc:\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"Resent-Bcc: a\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"RESENT-BCC: a,\r\n\tb\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"X-SMTPeter-Tags: a\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"x-smtpeter-trackclicks : a\r\n b\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"X-SMTPeter-: a\r\nB: 2\r\n", b"B: 2\r\n"),
        (b"Bcc: a", b""),
        (b"B: 2\r\nBcc: a\r\n b", b"B: 2\r\n"),
    ],
)
def test_what_must_not_leave(block, left):
    assert read_header(block).block == left


@pytest.mark.parametrize(
    "block",
    [
        b"Subject: Bcc: nobody\r\n",
        b"Subject: x\r\n Bcc: folded, not a field\r\n",
        b"Subject: x\r\n\tX-SMTPeter-Tags: folded\r\n",
        b"X-Bcc: a\r\n",
        b"Bcc-Not: a\r\n",
        b"Bcc\r\n",
        b"Bcc a: b\r\n",
        b"Abcc: b\r\n",
        b"X-SMTPeter: a\r\n",
        b"Y-X-SMTPeter-Tags: a\r\n",
        b"X-SMTPeterTags: a\r\n",
        b"no field at all\r\nA: 1\r\n",
        b"From a@b.test Mon\r\nTo: x\r\n",
        b"To: x\r\nTo: x\r\nto:y\r\n  z  \r\n",
        b"\xff\xfe: \x80\r\n",
    ],
)
def test_what_stays_to_the_octet(block):
    header = read_header(block)
    assert header.block == block
    assert header.controls == ()


def test_the_mbox_line_stays_and_hides_nothing():
    assert read_header(b"From a@b.test Mon\r\nBcc: x\r\nTo: y\r\n").block == b"From a@b.test Mon\r\nTo: y\r\n"


def test_controls():
    header = read_header(
        b"X-SMTPeter-Tags: a, b\r\nTo: x\r\nx-smtpeter-TRACKClicks:\ttrue \r\nX-SMTPETER-Inlinecss:  a\r\n\tb\r\n c\r\n"
        b"X-SMTPeter-Tags: again\r\nX-SMTPeter-Empty:\r\nX-SMTPeter-Raw: \xff\r\n"
    )
    assert header.block == b"To: x\r\n"
    assert header.controls == (
        ("tags", b"a, b"),
        ("trackclicks", b"true"),
        ("inlinecss", b"a\tb c"),
        ("tags", b"again"),
        ("empty", b""),
        ("raw", b"\xff"),
    )


@pytest.mark.parametrize(
    ("block", "received"),
    [
        (b"", 0),
        (b"Received: a\r\n", 1),
        (b"RECEIVED: a\r\nreceived :b\r\n Received: folded\r\nReceived-SPF: pass\r\nX-Received: c\r\n", 2),
        (b"Received: a\r\n" * 60, 60),
    ],
)
def test_received_fields_are_counted(block, received):
    assert read_header(block).received == received


def test_date_and_message_id():
    assert not read_header(b"Resent-Date: x\r\nX-Date: y\r\n").has_date
    assert read_header(b"date : x\r\n").has_date
    assert read_header(b"Resent-Message-ID: <r>\r\n").message_id is None
    assert read_header(b"MESSAGE-ID:\r\n <a@b.test> \r\nA: b\r\n").message_id == b"<a@b.test>"
    assert read_header(b"Message-ID:\r\n").message_id == b""


def test_subject():
    assert read_header(b"A: b\r\n").subject == b""
    assert read_header(b"Subject: a\r\n b\r\nA: b\r\n").subject == b" a\r\n b\r\n"
    assert read_header(b"Thread-Subject: a\r\n").subject == b""


NAMES = st.sampled_from(
    [
        b"To",
        b"Subject",
        b"Bcc",
        b"BCC",
        b"Resent-Bcc",
        b"X-SMTPeter-Tags",
        b"x-smtpeter-x",
        b"X-Bcc",
        b"Date",
        b"Received",
        b"B",
    ]
)
LINES = st.lists(
    st.sampled_from([b"", b"x", b"Bcc: y", b"a, b", b"\xff", b":", b"Received: z"]), min_size=1, max_size=4
)
FIELDS = st.lists(
    st.builds(
        lambda name, gap, lines, fold: (name, name + gap + b":" + (b"\r\n" + fold).join(lines) + b"\r\n"),
        NAMES,
        st.sampled_from([b"", b" ", b"\t "]),
        LINES,
        st.sampled_from([b" ", b"\t", b"  "]),
    ),
    max_size=12,
)


def leaves(name: bytes) -> bool:
    return name.lower() in (b"bcc", b"resent-bcc") or name.lower().startswith(b"x-smtpeter-")


@given(FIELDS)
def test_everything_else_is_the_same_and_in_order(fields):
    header = read_header(b"".join(field for _, field in fields))
    assert header.block == b"".join(field for name, field in fields if not leaves(name))
    assert header.received == sum(name == b"Received" for name, _ in fields)
    assert len(header.controls) == sum(name.lower().startswith(b"x-smtpeter-") for name, _ in fields)


@given(FIELDS)
def test_reading_again_finds_nothing_to_take_away(fields):
    block = read_header(b"".join(field for _, field in fields)).block
    again = read_header(block)
    assert (again.block, again.controls) == (block, ())


@given(st.lists(st.sampled_from([b"Bcc", b":", b" ", b"\t", b"\r\n", b"x", b"X-SMTPeter-A", b"\xff", b"From "])))
def test_nothing_makes_it_fail(pieces):
    block = b"".join(pieces)
    assert len(read_header(block).block) <= len(block)


@pytest.mark.parametrize(
    "block",
    [
        b"Bcc:" + b"\r\n x" * 80_000,
        b"Bcc: x\r\n" * 30_000,
        b"Bcc" + b" " * 250_000,
        b"X-SMTPeter-" + b"a" * 250_000,
        b"x" * 250_000,
        b"\r\n" * 125_000,
        b"X-SMTPeter-A:\r\n" * 16_000,
    ],
)
def test_hostile_headers_take_no_time(block):
    began = time.process_time()
    find_header_end(block)
    read_header(block)
    assert time.process_time() - began < 0.5
