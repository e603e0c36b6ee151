"""Messages of any structure, edited in any way, with Python's email package as the judge."""

from __future__ import annotations

from binascii import b2a_base64, b2a_qp
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.mime import transfer
from smtpeter.mime.editing import EditableMessage
from smtpeter.mime.structure import scan
from smtpeter.model.feature import Slot
from tests.unit.mime.reading import assert_only_these_differ, fill, leaves_of, python_leaves
from tests.unit.mime.test_structure import HOSTILE

CHARSETS = {
    "us-ascii": "ascii", "utf-8": "utf-8", "iso-8859-1": "latin-1", "windows-1252": "cp1252", "koi8-r": "koi8-r",
    "shift_jis": "cp932", "iso-2022-jp": "iso2022_jp", "gb18030": "gb18030", "gbk": "gbk", "big5": "cp950",
    "utf-16le": "utf-16-le", "utf-7": "utf-7", "x-unknown": "latin-1",
}  # fmt: skip
WORDS = [
    "a",
    "é",
    "ж",
    "日本",
    "ソ",
    "<p>",
    "<a href='x'>",
    "=",
    "--",
    "--one",
    "--two--",
    " ",
    "\t",
    ".",
    "x" * 75,
    "\ufeff",
]
LINE_ENDS = ["\r\n", "\r\n", "\r\n\r\n", "\n", "\r"]
BOUNDARIES = ["one", "two", "-", "=_x y", "one--"]


@st.composite
def leaf(draw: st.DrawFn) -> bytes:
    charset = draw(st.sampled_from(sorted(CHARSETS)))
    text = "".join(draw(st.lists(st.sampled_from(WORDS + LINE_ENDS), max_size=20)))
    octets = text.encode(CHARSETS[charset], "ignore")
    encoding = draw(st.sampled_from(["", "7bit", "8bit", "quoted-printable", "base64", "x-odd"]))
    if encoding == "quoted-printable":
        octets = b2a_qp(octets, istext=False).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    elif encoding == "base64":
        octets = b2a_base64(octets).replace(b"\n", draw(st.sampled_from([b"\r\n", b""])))
    else:
        octets = octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    type = draw(st.sampled_from(["text/html", "text/plain", "text/plain", "text/css", "image/png"]))
    header = [b"Content-Type: %b; charset=%b" % (type.encode(), charset.encode())]
    if encoding:
        header.append(b"Content-Transfer-Encoding: " + encoding.encode())
    if draw(st.booleans()):
        header.append(draw(st.sampled_from([b"Content-Disposition: inline", b"Content-Disposition: attachment"])))
    if draw(st.booleans()):
        header.append(b"X-Folded: a\r\n  b ")
    return b"\r\n".join([*header, b"", octets])


def container(parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    @st.composite
    def build(draw: st.DrawFn) -> bytes:
        kind = draw(st.sampled_from([b"mixed", b"alternative", b"related", b"signed", b"digest"]))
        boundary = draw(st.sampled_from(BOUNDARIES)).encode()
        inner = draw(st.lists(parts, min_size=1, max_size=3))
        head = b'Content-Type: multipart/%b; boundary="%b"\r\n\r\n' % (kind, boundary)
        head += draw(st.sampled_from([b"", b"preamble\r\n", b"\r\n"]))
        body = b"\r\n".join([b"--" + boundary + b"\r\n" + part for part in inner])
        return (
            head
            + body
            + draw(st.sampled_from([b"\r\n--" + boundary + b"--", b"\r\n--" + boundary + b"--\r\nend", b""]))
        )

    @st.composite
    def message(draw: st.DrawFn) -> bytes:
        return b"Content-Type: message/rfc822\r\n\r\n" + draw(parts)

    return st.one_of(build(), build(), message())


TREES = st.recursive(leaf(), container, max_leaves=6)
MESSAGES: Any = st.builds(
    lambda head, tree, end: head + tree + end,
    st.sampled_from([b"", b"From: a@example.com\r\nMIME-Version: 1.0\r\n", b"From x\r\nSubject:\r\n y\r\n"]),
    TREES,
    st.sampled_from([b"", b"\r\n", b"\r\n\r\n"]),
)
NEW = st.sampled_from(
    [b"", b"new", b"<b>", b"\r\n", b"\n", b"--one", b"\r\n--two--\r\n", b"=", b" ", "é".encode(), b"y" * 990]
)
VALUE = st.text("AZaz09-_", min_size=12, max_size=12).map(str.encode)


def edit_leaves(data: st.DataObject, message: EditableMessage) -> None:
    for edited in leaves_of(message).values():
        for _ in range(data.draw(st.integers(0, 2))):
            piece = st.one_of(NEW, st.just(Slot("f", "k", 12))) if edited.takes_slots else NEW
            held = edited.snapshot().slots
            places = [
                place
                for place in range(len(edited.octets) + 1)
                if not any(offset < place < offset + slot.length for offset, slot in held)
            ]
            start, end = sorted(data.draw(st.lists(st.sampled_from(places), min_size=2, max_size=2)))
            edited.splice([(start, end, data.draw(st.lists(piece, max_size=3)))])


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=200)
@given(MESSAGES, st.data())
def test_edits(content: bytes, data: st.DataObject) -> None:
    message = EditableMessage(content)
    leaves = leaves_of(message)
    assert message.render()[0] is content
    state = message.snapshot()
    edit_leaves(data, message)
    edited = {index for index, leaf in leaves.items() if leaf.edited}
    rendered, slots = message.render()
    values = data.draw(st.lists(VALUE, min_size=len(slots), max_size=len(slots)))
    for copy in (values, [b"-" * 12] * len(slots), [b"A" * 12] * len(slots)):
        filled = fill(rendered, slots, copy)
        parts = assert_only_these_differ(content, filled, edited)
        left = iter(copy)
        for index in sorted(edited):
            pieces = leaves[index]._wire_pieces()
            pieces[1::2] = [next(left) for _ in pieces[1::2]]
            part = parts[index]
            decoded = transfer.decode(filled[part.body : part.end], part.encoding)
            assert decoded == b"".join(pieces)
        assert next(left, None) is None
    message.restore(state)
    assert message.render()[0] is content


@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=100)
@given(st.lists(leaf(), min_size=1, max_size=4), st.data())
def test_edits_as_python_reads_them(parts: list[bytes], data: st.DataObject) -> None:
    """Where structure is beyond doubt, another reader finds the same octets."""
    boundary = b"=_a boundary that nothing looks like"
    content = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="%b"\r\n' % boundary
    content += b"".join([b"\r\n--%b\r\n%b" % (boundary, part) for part in parts]) + b"\r\n--%b--\r\n" % boundary
    before = python_leaves(content)
    message = EditableMessage(content)
    edit_leaves(data, message)
    for _ in range(data.draw(st.integers(0, 2))):
        message.add_field("X-Test", "x")
    rendered, slots = message.render()
    values = data.draw(st.lists(VALUE, min_size=len(slots), max_size=len(slots)))
    after = python_leaves(fill(rendered, slots, values))
    left = iter(values)
    assert len(before) == len(after) == len(parts)
    leaves = leaves_of(message)
    for index, (was, now) in enumerate(zip(before, after, strict=True), 1):
        if index in leaves and leaves[index].edited:
            pieces = leaves[index]._wire_pieces()
            pieces[1::2] = [next(left) for _ in pieces[1::2]]
            assert now == (was[0], b"".join(pieces))
        else:
            assert now == was


@settings(max_examples=200)
@given(HOSTILE, st.data())
def test_whatever_comes_can_be_edited(content: bytes, data: st.DataObject) -> None:
    message = EditableMessage(content)
    assert message.render()[0] is content
    edit_leaves(data, message)
    message.add_field("X-Test", "x")
    rendered, _ = message.render()
    assert scan(rendered) is not None
    found = EditableMessage(rendered)
    assert "x" in found.fields("x-test")
