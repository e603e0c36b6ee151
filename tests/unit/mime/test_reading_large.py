"""Large messages are read piece by piece, and say the same as in one."""

from __future__ import annotations

import base64
import codecs
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpeter.mime.charset import _CHARSETS
from smtpeter.mime.reading import MessageReader, _references

PNG = b"Content-Type: image/png"
QUOTED = b"Content-Transfer-Encoding: quoted-printable"


def message(body, *fields):
    return b"".join([field + b"\r\n" for field in (b"MIME-Version: 1.0", *fields)]) + b"\r\n" + body


def small_pieces(size):
    """Pieces of so few octets that borders are everywhere."""
    patched = pytest.MonkeyPatch()
    patched.setattr("smtpeter.mime.reading._PIECE", size)
    patched.setattr("smtpeter.mime.reading._BROKEN_PIECE", size)
    return patched.undo


def whole_text(octets, codec):
    """Decoded in one go."""
    try:
        text = octets.decode(codec or "utf-8")
    except UnicodeError:
        text = octets.decode(codec or "cp1252", "replace")
    return text.encode("utf-8", "replace").decode("utf-8")


OCTETS = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [b"a", b"\r\n", b"\xe2\x82\xac", b"\xe2", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xff\xfe", b"\xfe\xff",
             b"\xff\xfe\0\0", b"\0", b"\xd8", b"+", b"+2D3eAA-", b"+AGE", b"-", b"\x1b$B", b"\x1b(B", b"\x1b$)C",
             b"\x0e", b"\x0f", b"~{", b"~}", b"~", b"F|", b"\x81", b"\x810\x810", b"\xb0\xa1", b"\x8f"]
        ),
        max_size=12,
    ).map(b"".join),
    st.text(max_size=12).flatmap(
        lambda text: st.sampled_from(["utf-8", "utf-7", "utf-16", "utf-16-be", "utf-32", "gb18030"]).map(
            lambda codec: text.encode(codec, "ignore")
        )
    ),
)  # fmt: skip


@settings(max_examples=500)
@given(
    st.sampled_from(sorted({charset.codec: label for label, charset in _CHARSETS.items()}.values())),
    OCTETS,
    st.integers(1, 9),
)
def test_text_in_pieces_is_the_same_text(charset, octets, size):
    codec = _CHARSETS[charset].codec.replace("ascii", "")
    body = base64.b64encode(octets)
    undo = small_pieces(size)
    try:
        reader = MessageReader(
            message(body, b"Content-Type: text/html; charset=" + charset.encode(), b"Content-Transfer-Encoding: base64")
        )
        assert reader.html == "".join(reader.html_pieces) == whole_text(octets, codec)
    finally:
        undo()


def test_large_text_comes_in_pieces():
    for charset, octet in ((b"windows-1255", b"\xff"), (b"utf-8", b"a"), (b"utf-7", b"+AGE "), (b"utf-16", b"\0a")):
        octets = octet * 50_000
        reader = MessageReader(message(octets, b"Content-Type: text/plain; charset=" + charset))
        assert max(map(len, reader.text_pieces)) <= 65_536 < len(octets) * 2
        assert reader.text == whole_text(octets, codecs.lookup(charset.decode()).name)


def test_attack_base64_of_utf_7_that_never_ends():
    """The decoder answers nothing, and reads it again with each piece, until it ends."""
    reader = MessageReader(message(b"+" + b"A" * 1_000_000, b"Content-Type: text/plain; charset=utf-7"))
    assert max(map(len, reader.text_pieces)) < 200_000


@given(
    st.lists(
        st.sampled_from(["cid:", "CID:", "c", "i", "d", ":", "a", "%61", "é", "<", " ", '"', "b" * 998, "b" * 997]),
        max_size=12,
    ).map("".join),
    st.integers(1, 1500),
)
@example("cid:" + "b" * 50 + "cid:a " + "x" * 2000, 1010)
@example("x" * 12 + "cid:" + "b" * 998 + " ", 1010)
def test_references_across_pieces(html, size):
    pieces = [html[start : start + size] for start in range(0, len(html), size)]
    assert list(_references(pieces)) == re.findall(r"cid:([^\s\"'<>()]{1,998})", html, re.I)


@given(
    st.lists(st.sampled_from([b"a=3D", b"b ", b"=C3=A9", b"=\r\n", b" \t", b"\r\n"]), max_size=20).map(b"".join),
    st.integers(12, 40),
)
def test_quoted_printable_in_pieces_is_the_same(body, size):
    def read_all():
        reader = MessageReader(message(body, PNG, QUOTED))
        [file] = reader.attachments
        return reader.content(file), file.size

    whole = read_all()
    undo = small_pieces(size)
    try:
        assert read_all() == whole
    finally:
        undo()


@pytest.mark.parametrize("blanks", [0, 1, 65_535, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("text", [b"", b"abc", b"abc\r\n"])
def test_white_space_at_the_end_of_quoted_printable(text, blanks):
    [file] = MessageReader(message(text + b" \t"[: blanks % 3] + b" " * blanks, PNG, QUOTED)).attachments
    assert file.size == len(text)
