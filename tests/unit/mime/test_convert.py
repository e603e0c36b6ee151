"""Conversion for the next hop, with the standard library's email package as the judge of what was kept."""

from __future__ import annotations

import email
from binascii import a2b_qp
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smtpeter.mime.convert import convert, has_long_line
from smtpeter.mime.structure import scan
from tests.unit.mime.reading import python_leaves as leaves
from tests.unit.mime.test_structure import HOSTILE, lines

LONG = b"word " * 250 + b"end"
BOTH = pytest.mark.parametrize("eight_bit", [False, True])


def message(body: bytes, header: str = "Content-Type: text/plain; charset=utf-8\r\n") -> bytes:
    return b"Subject: x\r\nMIME-Version: 1.0\r\n" + header.encode() + b"\r\n" + body


def down(content: bytes) -> bytes:
    return convert(content, eight_bit=False)


# --- what is converted ---


def test_text_becomes_quoted_printable() -> None:
    before = message("Un café.\r\n-- \r\n.\r\n".encode())
    assert down(before) == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\nUn caf=C3=A9.\r\n--=20\r\n=2E\r\n"
    )
    assert convert(before, eight_bit=True) is before


def test_text_that_would_grow_too_much_becomes_base64() -> None:
    converted = down(message("Привет, мир!\r\n".encode() * 10))
    assert b"Content-Transfer-Encoding: base64\r\n" in converted
    assert leaves(converted) == [("text/plain", "Привет, мир!\r\n".encode() * 10)]


def test_what_is_not_text_becomes_base64() -> None:
    converted = down(message(b"\xff\x00\r\n" * 40, "Content-Type: image/png\r\n"))
    assert b"Content-Transfer-Encoding: base64\r\n" in converted
    assert leaves(converted) == [("image/png", b"\xff\x00\r\n" * 40)]


@pytest.mark.parametrize("body", [b"a\rb\xe9", b"a\nb\xe9", b"x" * 2000 + b"\n\xe9", b"\xe9 \n"])
def test_text_with_bare_newlines_is_kept_to_the_octet(body: bytes) -> None:
    before = message(body + b"y" * 100)
    assert leaves(down(before))[0][1] == body + b"y" * 100


@pytest.mark.parametrize("body", [b"x" * 70_000 + b"\r\n\xe9", b"x" * 58_368, (b"x" * 70 + b"\r\n") * 3000 + b"\xe9 "])
def test_large_text_is_encoded_in_pieces(body: bytes) -> None:
    converted = down(message(body))
    assert leaves(converted)[0][1] == body
    assert max(map(len, converted.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 76


@BOTH
def test_long_lines_are_broken_whatever_the_next_hop_takes(eight_bit: bool) -> None:
    before = message(LONG + b"\r\nshort\r\n")
    converted = convert(before, eight_bit=eight_bit)
    assert not has_long_line(converted)
    assert leaves(converted) == [("text/plain", LONG + b"\r\nshort\r\n")]


def test_the_octets_that_end_a_line_are_not_counted() -> None:
    for count, long in ((998, False), (999, True)):
        for end in (b"", b"\r\n", b"\r\nx" * 2000):
            assert has_long_line(b"\r\n" + b"x" * count + end) is long
            assert has_long_line(b"x" * 5000 + b"\r\n" + b"x" * count + end, 5002) is long


@pytest.mark.parametrize(
    "field",
    [
        "content-transfer-encoding:8bit\r\n",
        "Content-Transfer-Encoding: binary (so it is)\r\nX-Other: y\r\n",
        "Content-Transfer-Encoding:\r\n 8bit\r\nContent-Transfer-Encoding: 7bit\r\n",
        "",
    ],
)
def test_there_is_one_encoding_in_the_end(field: str) -> None:
    converted = down(message(b"caf\xe9\r\n", f"{field}Content-Type: text/plain\r\n"))
    assert email.message_from_bytes(converted).get_all("Content-Transfer-Encoding") == ["quoted-printable"]
    assert leaves(converted) == [("text/plain", b"caf\xe9\r\n")]


def test_a_message_that_knows_nothing_of_mime() -> None:
    converted = down(b"Subject: x\r\n\r\ncaf\xe9\r\n")
    assert converted == (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9\r\n"
    )


def test_a_message_without_a_header() -> None:
    assert leaves(down(b"caf\xe9 without a header\r\n")) == [("text/plain", b"caf\xe9 without a header\r\n")]


def test_quoted_printable_that_holds_8_bit_octets() -> None:
    converted = down(message(b"caf=E9 \xe9=20\r\n" + LONG, "Content-Transfer-Encoding: quoted-printable\r\n"))
    assert leaves(converted) == [("text/plain", b"caf\xe9 \xe9 \r\n" + LONG)]


@pytest.mark.parametrize("end", [b"=C3=A9" * 40_000, b"=C3=A9 =\r\n" * 40_000, b"caf\xe9=" * 40_000])
def test_large_quoted_printable_is_decoded_in_pieces(monkeypatch: pytest.MonkeyPatch, end: bytes) -> None:
    sizes: list[int] = []

    def decode(octets: bytes) -> bytes:
        sizes.append(len(octets))
        return a2b_qp(octets)

    for shift in range(4):
        body = LONG + b"\r\n" + b"x" * shift + end
        monkeypatch.setattr("smtpeter.mime.convert.decode_quoted", decode)
        converted = down(message(body, "Content-Transfer-Encoding: quoted-printable\r\n"))
        assert leaves(converted) == [("text/plain", a2b_qp(body))]
    assert max(sizes) <= 65_536


def test_base64_in_one_line() -> None:
    header = "Content-Type: image/png\r\nContent-Transfer-Encoding: Base64\r\n"
    before = message(b"QUJD" * 1000 + b"\xa0\r\n", header)
    converted = convert(before, eight_bit=True)
    large = convert(message(b"QUJD" * 50_000, header), eight_bit=True)
    assert leaves(large) == [("image/png", b"ABC" * 50_000)]
    assert set(map(len, large.partition(b"\r\n\r\n")[2].split(b"\r\n")[:-2])) == {76}
    assert converted == message(b"\r\n".join([b"QUJD" * 19] * 52 + [b"QUJD" * 12]) + b"\r\n", header)


def test_what_needs_nothing_is_the_same_object() -> None:
    for content in (b"", b"\r\n", message(b"x\r\n"), message(b"x" * 998 + b"\r\n" * 40)):
        assert down(content) is content


# --- parts ---


def test_only_the_leaf_that_needs_it_changes() -> None:
    first = lines("--b", "Content-Type: text/plain", "", "plain = text ", "")
    last = lines("--b", "Content-Type: text/html", "", "<p>   ", "--b--", "the end")
    head = lines("Content-Type: multipart/mixed; boundary=b", "Content-Transfer-Encoding: 8bit", "", "see below")
    converted = down(head + first + lines("--b", "", "un café noir") + last)
    assert converted == (
        b"Content-Type: multipart/mixed; boundary=b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
        b"see below\r\n"
        + first
        + lines("--b", "Content-Transfer-Encoding: quoted-printable", "", "un caf=C3=A9 noir")
        + last
    )


def test_a_message_within_a_message_is_converted_inside() -> None:
    inner = lines("Subject: inner", "Content-Type: text/plain", "", "un café noir")
    before = lines("MIME-Version: 1.0", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 8bit", "") + inner
    assert down(before) == lines(
        "MIME-Version: 1.0", "Content-Type: message/rfc822", "Content-Transfer-Encoding: 7bit", "",
        "Subject: inner", "Content-Type: text/plain", "MIME-Version: 1.0",
        "Content-Transfer-Encoding: quoted-printable", "", "un caf=C3=A9 noir",
    )  # fmt: skip


def test_what_stands_around_the_parts_is_left_out_where_it_cannot_go() -> None:
    before = lines(
        "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "préambule",
        "--b", "Content-Type: multipart/mixed; boundary=i", "", "--i", "", "one", "--i--", "fin",
        "--b--", "épilogue",
    )  # fmt: skip
    assert down(before) == lines(
        "MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=b", "", "",
        "--b", "Content-Type: multipart/mixed; boundary=i", "", "--i", "", "one", "--i--", "fin",
        "--b--",
    )  # fmt: skip


def test_the_text_of_a_multipart_without_delimiters_is_not_thrown_away() -> None:
    before = lines("Content-Type: multipart/mixed; boundary=b", "", "café")
    assert down(before) is before


@pytest.mark.parametrize(
    ("boundary", "line"),
    [("end", "x" * 75 + "--end"), ("b=C3=A9", "--bé"), ("b=20", "--b "), ("x", "x" * 75 + "--x--")],
)
def test_no_line_becomes_a_delimiter(boundary: str, line: str) -> None:
    before = lines(
        f'Content-Type: multipart/mixed; boundary="{boundary}"', "", f"--{boundary}", "Content-Type: text/plain", "",
        "é" + "x" * 100, line, "rest", f"--{boundary}--",
    )  # fmt: skip
    assert leaves(down(before)) == leaves(before)


# --- what is not touched ---


@BOTH
@pytest.mark.parametrize(
    "type",
    [
        'multipart/signed; protocol="application/pgp-signature"; boundary=b',
        "multipart/encrypted; boundary=b",
        "application/pkcs7-mime; smime-type=signed-data",
        "message/partial; id=1; number=1",
        "message/delivery-status",
    ],
)
def test_what_is_signed_or_must_not_be_encoded_stays(type: str, eight_bit: bool) -> None:
    body = lines("--b", "Content-Type: text/plain", "", "café", LONG.decode(), "--b", "", "signature", "--b--")
    before = message(body, f"Content-Type: {type}\r\n")
    assert convert(before, eight_bit=eight_bit) is before
    outer = message(
        b"--outer\r\nContent-Type: "
        + type.encode()
        + b"\r\n\r\n"
        + body
        + b"\r\n--outer\r\n\r\nna\xefve, isn't it?\r\n--outer--\r\n",
        "Content-Type: multipart/mixed; boundary=outer\r\n",
    )
    converted = convert(outer, eight_bit=eight_bit)
    assert b"\r\n\r\n" + body + b"\r\n--outer\r\n" in converted
    assert (b"na=EFve, isn't it?" in converted) is not eight_bit


@BOTH
def test_a_message_with_a_dkim_signature_stays(eight_bit: bool) -> None:
    before = message(b"caf\xe9\r\n" + LONG, "DKIM-Signature: v=1; d=example.org\r\n")
    assert convert(before, eight_bit=eight_bit) is before


def test_a_dkim_signature_of_a_message_within_is_no_obstacle() -> None:
    inner = message(b"caf\xe9\r\n", "DKIM-Signature: v=1; d=example.org\r\n")
    assert down(message(inner, "Content-Type: message/rfc822\r\n")).isascii()


@BOTH
def test_an_encoding_that_nobody_knows_stays(eight_bit: bool) -> None:
    before = message(b"caf\xe9\r\n" + LONG, "Content-Transfer-Encoding: x-secret\r\n")
    assert convert(before, eight_bit=eight_bit) is before


def test_8_bit_octets_of_a_header_stay() -> None:
    converted = down(b"Subject: caf\xe9\r\n\r\ncaf\xe9\r\n")
    assert converted.startswith(b"Subject: caf\xe9\r\n")
    assert converted.endswith(b"\r\n\r\ncaf=E9\r\n")


def test_a_message_beyond_the_limits_stays() -> None:
    before = b"Content-Type: message/rfc822\r\n\r\n" * 40 + b"\r\ncaf\xe9\r\n"
    assert down(before) is before


# --- headers ---


def unfold(content: bytes) -> bytes:
    return content.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")


def test_long_lines_of_a_header_are_folded() -> None:
    references = b" ".join(b"<%d@example.org>" % number for number in range(200))
    before = b"Subject: x\r\nReferences: " + references + b"\r\nX: y\r\n\r\nhello\r\n"
    converted = convert(before, eight_bit=True)
    assert not has_long_line(converted)
    assert unfold(converted) == before
    assert converted.count(b"\r\n") == before.count(b"\r\n") + 3


def test_a_word_of_a_header_that_is_too_long_stays() -> None:
    before = b"X: " + b"y" * 3000 + b"   \r\n\r\nhello\r\n"
    assert unfold(convert(before, eight_bit=True)) == before
    whole = b"X:" + b"y" * 3000 + b" " * 3000 + b"\r\n\r\nhello\r\n"
    assert convert(whole, eight_bit=True) is whole


@given(st.lists(st.sampled_from([b" ", b"\t", b"  ", b"a", b"b" * 300, b"c" * 997, b" " * 1000]), min_size=4))
def test_folding_adds_nothing_but_line_ends(words: list[bytes]) -> None:
    before = b"X: y" + b"".join(words) + b"\r\n\r\nhello\r\n"
    converted = convert(before, eight_bit=True)
    assert unfold(converted) == unfold(before)
    assert all(line.strip() for line in converted.partition(b"\r\n\r\n")[0].split(b"\r\n"))
    assert convert(converted, eight_bit=True) is converted


# --- anything that is well made ---

TEXT = st.text(st.sampled_from("aé€ =.-\t\u3042"), max_size=120).map(str.encode)
LINE = st.one_of(
    TEXT,
    st.sampled_from([b"", b".", b"-- ", b"--", b"--b", b"--b1 x", b"From here", LONG, b"=E9=", b"\xe9\xff"]),
)
BODY = st.lists(LINE, max_size=8).map(b"\r\n".join)
ENCODING = st.sampled_from([None, b"7bit", b"8bit", b"binary", b"8BIT"])
LEAF_TYPE = st.sampled_from(
    [None, b"text/plain", b"text/html; charset=utf-8", b"application/json", b"image/png", b"text/plain; format=flowed"]
)
AROUND = st.one_of(st.just(b""), TEXT)


def entity(type: bytes | None, encoding: bytes | None, body: bytes) -> bytes:
    fields = [b"X-Kept: " + b"y" * 40]
    if encoding is not None:
        fields.append(b"Content-Transfer-Encoding: " + encoding)
    if type is not None:
        fields.append(b"Content-Type: " + type)
    return b"".join(field + b"\r\n" for field in fields) + b"\r\n" + body


@st.composite
def multiparts(draw: Any, inner: Any) -> bytes:
    parts = draw(st.lists(inner, min_size=1, max_size=4))
    boundary = b"b%d" % draw(st.integers(0, 99))
    while any(b"--" + boundary in part for part in parts):
        boundary += b"x"
    before, after = draw(AROUND), draw(AROUND)
    body = b"".join(b"\r\n--" + boundary + b"\r\n" + part for part in parts)
    body = (before + body if before else body[2:]) + b"\r\n--" + boundary + b"--" + (b"\r\n" + after if after else b"")
    kind = draw(st.sampled_from([b"mixed", b"alternative", b"related"]))
    return entity(b'multipart/%s; boundary="%s"' % (kind, boundary), draw(ENCODING), body)


LEAF = st.builds(entity, LEAF_TYPE, ENCODING, BODY)
TREE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        multiparts(inner), st.builds(entity, st.just(b"message/rfc822"), st.sampled_from([None, b"8bit"]), inner)
    ),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example], deadline=None)
@given(TREE, st.booleans())
def test_what_arrives_is_what_was_sent(tree: bytes, eight_bit: bool) -> None:
    before = b"From: a@example.org\r\n" + tree + b"\r\n"
    converted = convert(before, eight_bit=eight_bit)
    assert eight_bit or converted.isascii()
    assert not has_long_line(converted)
    assert max(map(len, converted.split(b"\r\n"))) <= 998
    assert b"\n" not in converted.replace(b"\r\n", b"") and b"\r" not in converted.replace(b"\r\n", b"")
    assert leaves(converted) == leaves(before)
    assert convert(converted, eight_bit=eight_bit) is converted
    assert_untouched(before, converted, eight_bit)


def assert_untouched(before: bytes, converted: bytes, eight_bit: bool) -> None:
    """Leaves that fitted are the same octets, and so is every header but for what says how its body is encoded."""
    old, new = scan(before), scan(converted)
    assert old is not None and new is not None and len(old) == len(new)
    for was, part in zip(old, new, strict=True):
        was_body = before[was.body : was.end]
        if not was.inner and (eight_bit or was_body.isascii()) and not has_long_line(was_body):
            assert before[was.begin : was.end] == converted[part.begin : part.end]
        assert header_without_encoding(before, was) == header_without_encoding(converted, part)


def header_without_encoding(content: bytes, part: Any) -> list[bytes]:
    fields = content[part.begin : part.header_end].split(b"\r\n")
    return [field for field in fields if not field.startswith((b"Content-Transfer-Encoding:", b"MIME-Version:"))]


# --- anything at all ---


@given(HOSTILE, st.booleans())
def test_whatever_comes_is_converted_or_left(content: bytes, eight_bit: bool) -> None:
    converted = convert(content, eight_bit=eight_bit)
    assert convert(converted, eight_bit=eight_bit) == converted


@given(HOSTILE, st.booleans())
def test_hostile_content_with_long_lines_and_8_bit_octets(content: bytes, eight_bit: bool) -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xe9\r\n" + content + b"y" * 1000
    converted = convert(content, eight_bit=eight_bit)
    assert convert(converted, eight_bit=eight_bit) == converted
