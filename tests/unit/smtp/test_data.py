"""The octets after DATA."""

from __future__ import annotations

import itertools

import pytest

from smtpeter.smtp.data import LINE_LIMIT, DataDecoder, DataFault


def decode(*pieces: bytes, limit: int = 10_000_000) -> tuple[bytes, DataFault | None, bytes | None, int]:
    """Content (empty where it is unfit), fault, what came behind the end (None: no end), size."""
    decoder = DataDecoder(limit)
    content, rest = b"", None
    for piece in pieces:
        if rest is not None:
            rest += piece
            continue
        octets, rest = decoder.feed(piece)
        content += octets
    return (b"" if decoder.fault else content), decoder.fault, rest, decoder.size


@pytest.mark.parametrize(
    ("stream", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b".\r\nQUIT\r\n", b"", b"QUIT\r\n"),
        (b".\r\n.\r\n", b"", b".\r\n"),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"\r\n\r\n.\r\n", b"\r\n\r\n", b""),
        (b"a\r\n.\r\nb", b"a\r\n", b"b"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"...\r\n.\r\n", b"..\r\n", b""),
        (b".a\r\n.b\r\n.\r\n", b"a\r\nb\r\n", b""),
        (b"a.\r\n.\r\n", b"a.\r\n", b""),
        (b"a\r\n..b\r\n\r\n..\r\n.\r\n", b"a\r\n.b\r\n\r\n.\r\n", b""),
        (b"a\r\n.\r\n\r\n.\r\n", b"a\r\n", b"\r\n.\r\n"),
    ],
)
def test_content_at_every_cut(stream, content, rest):
    expected = (content, None, rest, len(content))
    assert decode(stream) == expected
    assert decode(*(bytes([octet]) for octet in stream)) == expected
    for first, second in itertools.combinations_with_replacement(range(len(stream) + 1), 2):
        assert decode(stream[:first], stream[first:second], stream[second:]) == expected


@pytest.mark.parametrize(
    "stream", [b"", b".", b".\r", b"a", b"a\r\n", b"a\r\n.", b"a\r\n.\r", b"a\n.\n", b"\n.\r\n", b"..\r\n"]
)
def test_no_end_yet(stream):
    assert decode(stream)[2] is None


def test_only_crlf_dot_crlf_ends_a_message():
    """Every string of up to four of CR, LF, NUL and dot, cut at every place."""
    for length in range(1, 5):
        for letters in itertools.product(b"\r\n\0.", repeat=length):
            middle = bytes(letters)
            stream = b"a" + middle + b"MAIL\r\n.\r\nQUIT\r\n"
            end = stream.index(b"\r\n.\r\n")
            unfit = any(octet in stream[:end].replace(b"\r\n", b"") for octet in (b"\r", b"\n", b"\0"))
            for position in range(len(stream)):
                content, fault, rest, _ = decode(stream[:position], stream[position:])
                assert rest == stream[end + 5 :], middle
                assert (fault is DataFault.BARE_NEWLINE) == unfit, middle
                assert unfit or content.endswith(b"MAIL\r\n"), middle


@pytest.mark.parametrize("stray", [b"\r", b"\n", b"\0"])
def test_one_stray_octet_anywhere_makes_a_message_unfit(stray):
    good = b"ab\r\n\r\n..c\r\n"
    for position in range(len(good) + 1):
        stream = good[:position] + stray + good[position:] + b"\r\n.\r\n"
        assert decode(stream)[1:3] == (DataFault.BARE_NEWLINE, b"")


def test_the_size_limit():
    assert decode(b"x" * 98 + b"\r\n.\r\n", limit=100)[1] is None
    assert decode(b"x" * 99 + b"\r\n.\r\n", limit=100)[1:3] == (DataFault.TOO_LARGE, b"")
    assert decode(b"..\r\n" * 33 + b".\r\n", limit=100) == (b".\r\n" * 33, None, b"", 99)
    assert decode(*[b"x"] * 101, b"\r\n.\r\n", limit=100)[1:3] == (DataFault.TOO_LARGE, b"")


def test_the_limit_of_a_line():
    """64 KiB without CRLF, and without the dot that only stands for transparency."""
    fits = b"x" * LINE_LIMIT
    for head, tail in itertools.product((b"", b"a\r\n", b"b" * 100_000 + b"\r\n"), (b"", b"z\r\n")):
        long_before = len(head) > LINE_LIMIT
        for line, good in ((fits, True), (b"." + fits[1:], True), (fits + b"x", False), (b"." + fits, False)):
            stuffed = b"." + line if line.startswith(b".") else line
            stream = head + stuffed + b"\r\n" + tail + b".\r\n"
            expected = None if good and not long_before else DataFault.LINE_TOO_LONG
            assert decode(stream)[1:3] == (expected, b"")
            step = 30_000
            pieces = [stream[start : start + step] for start in range(0, len(stream), step)]
            assert decode(*pieces)[1:3] == (expected, b"")


def test_the_limit_of_a_line_at_every_cut_around_its_end():
    for length, expected in ((LINE_LIMIT, None), (LINE_LIMIT + 1, DataFault.LINE_TOO_LONG)):
        stream = b"x" * length + b"\r\n.\r\n"
        for position in range(length - 3, len(stream) + 1):
            assert decode(stream[:position], stream[position:])[1:3] == (expected, b"")


def test_an_unfit_message_gives_nothing_more_and_keeps_nothing():
    decoder = DataDecoder(1000)
    assert decoder.feed(b"a\nb\r\nc") == (b"", None)
    assert decoder.fault is DataFault.BARE_NEWLINE
    for _ in range(100):
        assert decoder.feed(b"good\r\n" * 1000) == (b"", None)
    assert decoder.feed(b".\r\nQUIT\r\n") == (b"", b"QUIT\r\n")


def test_content_comes_out_as_it_comes_in():
    decoder = DataDecoder(1000)
    assert decoder.feed(b"hello") == (b"hello", None)
    assert decoder.feed(b" world\r\n") == (b" world", None)
    assert decoder.feed(b".\r\n") == (b"\r\n", b"")


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (b"x" * 80 + b"\r\n" + b"a\nb\r\n", DataFault.BARE_NEWLINE),
        (b"x" * 80 + b"\r\n" + b"y" * (LINE_LIMIT + 1) + b"\r\n", DataFault.LINE_TOO_LONG),
        (b"y" * (LINE_LIMIT + 1) + b"\r\n" + b"a\rb\r\n", DataFault.BARE_NEWLINE),
    ],
)
def test_what_a_client_is_told_does_not_hang_on_how_its_message_was_cut(message: bytes, fault: DataFault) -> None:
    for cut in (1, 82, 84, len(message) - 1):
        decoder = DataDecoder(50)
        decoder.feed(message[:cut])
        assert decoder.feed(message[cut:] + b".\r\n")[1] == b""
        assert decoder.fault is fault
