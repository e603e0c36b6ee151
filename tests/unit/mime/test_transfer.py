"""Transfer encodings, with Python's quopri as the other side."""

from __future__ import annotations

import quopri
import re
from binascii import a2b_qp

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from smtpeter.mime.transfer import (
    SLOT_LIMIT,
    WIDTH,
    decode,
    decode_quoted,
    encode_base64,
    encode_quoted,
    put_encoding,
    quoted_pieces,
)

TEXT = st.lists(
    st.sampled_from(
        [b"\r\n", b"\r", b"\n", b" ", b"\t", b".", b"=", b"=3D", b"-", b"--", b"--b", b"--b--", b"\0", b"\x7f",
         b"\xc3\xa9", b"a", b"word " * 9, b"x" * 70, b"x" * 73, b"x" * 74, b"x" * 75, b"x" * 76, b"-" * 80, b"From "]
    ),
    max_size=12,
).map(b"".join)  # fmt: skip
SLOTS = st.text("AZaz09-_", min_size=1, max_size=SLOT_LIMIT).map(str.encode)
DELIMITERS = (b"--b", b"--b--", b"--" + b"-" * 70)


@given(st.lists(st.tuples(TEXT, SLOTS), max_size=4), TEXT)
@example([(b"x" * 75 + b"\r\n", b"A" * SLOT_LIMIT), (b"", b"A" * SLOT_LIMIT)], b"\r\nx\n")
@example([(b"x" * 70 + b"From -\xe9", b"A")], b"")
@example([(b"x" * 73 + b"=y", b"A")], b"")
@example([], b"x" * 74 + b" \r\n" + b"y" * 75 + b"\n")
def test_quoted_printable_is_exact(pairs: list[tuple[bytes, bytes]], last: bytes) -> None:
    pieces = [piece for pair in pairs for piece in pair] + [last]
    encoded, slots = encode_quoted(pieces, DELIMITERS)
    body = b"".join(encoded)
    assert a2b_qp(body) == quopri.decodestring(body) == b"".join(pieces)
    assert [body[offset : offset + len(slot)] for offset, (_, slot) in zip(slots, pairs, strict=True)] == [
        slot for _, slot in pairs
    ]
    for line in body.split(b"\r\n"):
        assert len(line) <= WIDTH
        assert re.fullmatch(rb"[\t -~]*", line) and not line.endswith((b" ", b"\t"))
    for piece in encoded[::2]:
        assert not any(line.startswith(DELIMITERS) for line in piece.split(b"\r\n"))


@pytest.mark.parametrize(
    ("raw", "octets"),
    [
        (b"a=\r\nb", b"ab"), (b"a= \r\nb", b"ab"), (b"a=\t \r\nb", b"ab"),
        (b"a \t\r\nb\r\n", b"a\r\nb\r\n"), (b"a \t", b"a"), (b"a=20\r\nb=09", b"a \r\nb\t"), (b"a b", b"a b"),
        (b"a=", b"a"),
        (b"=3d=3D", b"=="), (b"a == b", b"a == b"), (b"===3D=zz=", b"====zz"), (b"a==\r\nb", b"a=b"),
        (b"a=b\xe9=c", b"a=b\xe9=c"),
    ],
)  # fmt: skip
def test_quoted_printable_as_it_comes(raw: bytes, octets: bytes) -> None:
    assert decode(raw, "quoted-printable") == octets


@given(TEXT, SLOTS, TEXT)
def test_a_slot_begins_no_line_where_something_stands_before_it(before: bytes, slot: bytes, after: bytes) -> None:
    (offset,) = (found := encode_quoted([before, slot, after], ()))[1]
    assert (b"".join(found[0])[:offset].endswith(b"\n") or not offset) is (not before)


@given(TEXT)
def test_text_that_needs_nothing_stays(text: bytes) -> None:
    if (
        re.fullmatch(rb"(?:[ -<>-~]{0,74}[!-<>-~]\r\n)*", text)
        and b"--" not in text
        and not re.search(rb"^\.\r", text, re.M)
    ):
        assert encode_quoted([text], DELIMITERS)[0] == [text]


@given(st.binary())
def test_base64(octets: bytes) -> None:
    encoded = encode_base64(octets)
    assert decode(encoded + b"\r\n", "base64") == octets
    assert all(len(line) == WIDTH for line in encoded.split(b"\r\n")[:-1])


@pytest.mark.parametrize(
    "raw", [b"QQ", b"Q", b"QQ==QQ==", b"QQ==\r\n-- \r\nfooter", b"====", b"=QQ=", b"Q\xffQ=", b"Q-_="]
)
def test_base64_that_is_none(raw: bytes) -> None:
    with pytest.raises(ValueError):
        decode(raw, "base64")


def test_an_unknown_encoding_is_not_decoded() -> None:
    assert decode(b"x", "binary") == decode(b"x", "") == b"x"
    with pytest.raises(ValueError, match="unknown"):
        decode(b"x", "x-uuencode")


@pytest.mark.parametrize(
    ("header", "new"),
    [
        (b"", b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n"),
        (b"A: b", b"A: b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n"),
        (b"mime-VERSION : 1.0\r\n", b"mime-VERSION : 1.0\r\nContent-Transfer-Encoding: base64\r\n"),
        (
            b"MIME-Version: 1.0\r\nCONTENT-TRANSFER-ENCODING:\r\n 7bit\r\nA: b\r\nContent-Transfer-Encoding: x\r\n",
            b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\nA: b\r\n",
        ),
    ],
)
def test_the_field(header: bytes, new: bytes) -> None:
    assert put_encoding(header, "base64", version=True) == new


LINES = st.lists(TEXT.map(lambda text: text.replace(b"\n", b"")), max_size=6).map(b"\r\n".join)
LONG_LINES = st.lists(
    st.sampled_from(
        [b"=3D", b"=c3=A9", b"=\r\n", b"= \r\n", b"\r\n", b" \t\r\n", b" ", b"\t", b"ab", b"a==b", b"\xe9 x"]
    )
).map(b"".join)


def in_pieces(raw: bytes, size: int) -> bytes:
    pieces = list(quoted_pieces(b"--" + raw + b"--", 2, 2 + len(raw), size))
    assert b"".join(pieces) == raw and all(0 < len(piece) <= size for piece in pieces)
    return b"".join(map(decode_quoted, pieces))


@given(LINES, st.integers(0, 20))
def test_quoted_printable_in_pieces_of_lines(raw: bytes, more: int) -> None:
    size = max(len(line) + 2 for line in raw.split(b"\r\n")) + more
    assert in_pieces(raw, size) == decode_quoted(raw)


@given(LONG_LINES, st.integers(30, 50))
@example(b"ab" * 20 + b"\t\r\n", 41)
@example(b"ab" * 20 + b" \r\n", 41)
@example(b"ab" * 20 + b" \r\n", 42)
def test_quoted_printable_in_pieces_of_long_lines(raw: bytes, size: int) -> None:
    assume(max(map(len, re.findall(rb"[ \t=\r\n]*", raw))) < size - 6)
    assert in_pieces(raw, size) == decode_quoted(raw)


@pytest.mark.parametrize("octet", [b"=", b" ", b"\t", b"\r", b"=\r", b"=a", b"\n"])
def test_what_is_no_quoted_printable_comes_in_pieces_too(octet: bytes) -> None:
    raw = octet * (150_000 // len(octet))
    pieces = list(quoted_pieces(raw, 0, len(raw)))
    assert b"".join(pieces) == raw and max(map(len, pieces)) <= 65_536 and len(pieces) < 10
