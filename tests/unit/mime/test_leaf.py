"""Leaves: charsets, slots that move, protected ranges."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.charset import find_charset
from smtpeter.mime.leaf import EditableLeaf, UntouchableError
from smtpeter.model.feature import Slot

SLOT = Slot("tracking", "k", 8)


def leaf(raw: bytes, charset: str = "utf-8", encoding: str = "8bit", type: str = "text/html") -> EditableLeaf:
    return EditableLeaf(raw, type, encoding, charset.encode(), 1000)


def encoded(edited: EditableLeaf) -> tuple[str, bytes]:
    found = edited.encode((), is_last=False)
    return found.encoding, b"".join(found.body)


# --- charsets ---


@pytest.mark.parametrize(
    ("charset", "codec"),
    [("", "ascii"), ("US-ASCII", "ascii"), ("UTF-8", "utf-8"), ("iso-8859-1", "iso8859-1"), ("KOI8-R", "koi8-r"),
     ("ISO-8859-15", "iso8859-15"), ("windows-1252", "cp1252"), ("euc-jp", "euc_jp"), ("EUC-KR", "euc_kr"),
     ("latin1", "iso8859-1"), ("'utf-8'", "utf-8")],
)  # fmt: skip
def test_where_ascii_is_ascii_octets_are_edited(charset: str, codec: str) -> None:
    raw = b"<p>\xff\x80\xe9</p>"  # not what most of these charsets say: nobody asks
    edited = leaf(raw, charset)
    assert (edited.octets, edited.encoding, edited.takes_slots) == (raw, codec, True)
    edited.splice([(3, 3, [b"new"])])
    assert encoded(edited) == ("8bit", b"<p>new\xff\x80\xe9</p>")


@pytest.mark.parametrize(
    ("charset", "codec", "text", "slots"),
    [
        ("shift_jis", "cp932", "<p>表示ソ能</p>", True),
        ("iso-2022-jp", "iso2022_jp", "<p>これは</p>", True),
        ("gb2312", "gbk", "<p>您好</p>", True),
        ("GBK", "gbk", "<p>您好</p>", True),
        ("gb18030", "gb18030", "<p>您好㐀</p>", True),
        ("big5", "cp950", "<p>許功蓋</p>", True),
        ("ks_c_5601-1987", "cp949", "<p>똠방각하</p>", True),
        ("iso-2022-kr", "iso2022_kr", "<p>안녕</p>", False),
        ("hz-gb-2312", "hz", "<p>您好</p>", False),
        ("utf-7", "utf-7", "<p>é</p>", False),
        ("utf-16", "utf-16-le", "\ufeff<p>é</p>", False),
        ("utf-16", "utf-16-be", "<p>é</p>", False),
        ("utf-16le", "utf-16-le", "<p>é</p>", False),
        ("utf-32", "utf-32-be", "\ufeff<p>é</p>", False),
        ("utf-32", "utf-32-le", "\ufeff<p>é</p>", False),
    ],
)
def test_other_charsets_are_edited_as_utf_8(charset: str, codec: str, text: str, slots: bool) -> None:
    raw = text.encode(codec)
    edited = leaf(raw, charset)
    assert (edited.text(), edited.octets, edited.encoding) == (text, text.encode(), "utf-8")
    assert edited.takes_slots is slots
    assert not edited.edited
    at = edited.octets.index(b"</p>")
    edited.splice([(at, at, ["é➜😀".encode()])])
    shown = "".join(
        character if can_encode(character, codec) else f"&#{ord(character)};" for character in edited.text()
    )
    found = edited.encode((), is_last=False)
    _, octets = found.encoding, b"".join(found.body)
    if found.encoding == "quoted-printable":
        octets = leaf(octets, "", "quoted-printable", "text/plain").octets
    assert octets.decode(codec) == shown
    if slots:
        edited.splice([(3, 3, [SLOT])])
        body = b"".join(edited.encode((), is_last=False).body)
        decoded = leaf(body, charset, "quoted-printable")
        assert decoded.text() == shown.replace("<p>", "<p>xxxxxxxx")
    else:
        with pytest.raises(ValueError, match="takes no slots"):
            edited.splice([(0, 0, [SLOT])])


def can_encode(character: str, codec: str) -> bool:
    try:
        return bool(character.encode(codec))
    except UnicodeError:
        return False


@pytest.mark.parametrize(
    ("raw", "charset"),
    [
        (b"\x1b$B$3\x1b$B$3\x1b(B", "iso-2022-jp"),  # a needless escape sequence
        (b"\x1b$B$3", "iso-2022-jp"),
        (b"\xfa\x54 \x81", "shift_jis"),
        (b"\xff", "gb18030"),
        (b"a\0b", "utf-16"),
        (b"+AGE-", "utf-7"),
    ],
)
def test_what_would_be_damaged_is_left_alone(raw: bytes, charset: str) -> None:
    with pytest.raises(UntouchableError, match=f"would be damaged: it is not exactly {charset}"):
        leaf(raw, charset)


@pytest.mark.parametrize(
    ("charset", "shown"),
    [("x-unknown", "x-unknown"), ("a b\xff\x00" + "y" * 99, "a?b???" + "y" * 34), ("rot13", "rot13")],
)
def test_an_unknown_charset_is_left_alone(charset: str, shown: str) -> None:
    with pytest.raises(UntouchableError) as caught:
        leaf(b"x", charset)
    assert str(caught.value) == f"a text/html part is in the charset {shown}, which is not known"


@pytest.mark.parametrize("encoding", ["x-uuencode", "base64"])
def test_a_body_that_cannot_be_decoded_is_left_alone(encoding: str) -> None:
    with pytest.raises(UntouchableError, match=f"transfer encoding {encoding}, which cannot be read"):
        leaf(b"!", encoding=encoding)


def test_all_text_is_replaced() -> None:
    edited = leaf("<p>é</p>".encode("latin-1"), "iso-8859-1")
    assert edited.text() == "<p>é</p>"
    edited.protect(0, 1)
    edited.set_text("ü ➜")
    assert (edited.octets, edited.protected) == (b"\xfc &#10140;", ())
    plain = leaf(b"", "iso-8859-1", type="text/plain")
    plain.set_text("ü ➜")
    assert plain.octets == b"\xfc ?"
    japanese = leaf(b"x", "iso-2022-jp", "7bit")
    japanese.set_text("これ é \ud800")
    assert japanese.text() == "これ &#233; &#55296;"
    assert encoded(japanese) == ("7bit", "これ &#233; &#55296;".encode("iso2022_jp"))
    edited.splice([(0, 0, [SLOT])])
    with pytest.raises(ValueError, match="slots were put"):
        edited.set_text("x")


def test_text_that_is_not_what_its_charset_says() -> None:
    with pytest.raises(UnicodeError):
        leaf(b"\xe9", "").text()


def test_every_known_codec_is_one() -> None:
    for label in (b"", b"utf-8", b"iso-8859-16", b"windows-1258", b"ibm866", b"x-mac-ce", b"johab", b"utf-32"):
        charset = find_charset(label)
        assert charset is not None
        assert "a".encode(charset.codec)


# --- transfer encodings ---


@pytest.mark.parametrize(
    ("encoding", "new", "expected"),
    [
        ("7bit", b"x" * 998 + b"\r\n", "7bit"),
        ("", b"x", ""),
        ("7bit", b"x" * 999, "quoted-printable"),
        ("7bit", b"\xc3\xa9", "quoted-printable"),
        ("", b"\xc3\xa9", "quoted-printable"),
        ("8bit", b"\xc3\xa9", "8bit"),
        ("binary", b"\xc3\xa9", "binary"),
        ("8bit", b"a\nb", "quoted-printable"),
        ("8bit", b"a\rb", "quoted-printable"),
        ("8bit", b"\0", "quoted-printable"),
        ("8bit", b"x" * 999, "quoted-printable"),
        ("quoted-printable", b"x", "quoted-printable"),
        ("base64", b"x\0\r", "base64"),
    ],
)
def test_the_transfer_encoding_stays_if_it_can(encoding: str, new: bytes, expected: str) -> None:
    edited = leaf(b"eHg=" if encoding == "base64" else b"xx", encoding=encoding)
    assert edited.octets == b"xx"
    edited.splice([(0, 2, [new])])
    found, body = encoded(edited)
    assert found == expected
    assert leaf(body, encoding=found).octets == new


# --- splicing ---


def test_slots_and_protected_ranges_move() -> None:
    edited = leaf(b"0123456789")
    edited.splice([(2, 2, [b"ab", SLOT]), (5, 7, [SLOT, b"!"])])
    assert edited.octets == b"01abxxxxxxxx234xxxxxxxx!789"
    edited.protect(12, 15)
    edited.protect(24, 27)
    edited.splice([(0, 2, []), (4, 4, [b"+"]), (12, 12, [b">"]), (13, 14, [b"three"]), (15, 24, [b"gone"])])
    assert edited.octets == b"ab+xxxxxxxx>2three4gone789"
    assert edited.protected == ((12, 19), (23, 26))
    assert edited.snapshot().slots == ((3, SLOT),)


def test_protected_ranges_are_joined() -> None:
    edited = leaf(b"0123456789")
    for start, end in ((6, 8), (1, 3), (4, 5), (2, 4), (9, 9), (7, 10)):
        edited.protect(start, end)
    assert edited.protected == ((1, 5), (6, 10))
    with pytest.raises(ValueError, match="no range"):
        edited.protect(5, 11)


@pytest.mark.parametrize(
    "edits", [[(1, 0, [])], [(0, 11, [])], [(-1, 2, [])], [(3, 4, []), (2, 5, [])], [(0, 2, []), (1, 3, [])]]
)
def test_edits_out_of_order_or_range(edits: Any) -> None:
    edited = leaf(b"0123456789")
    with pytest.raises(ValueError, match="is no range"):
        edited.splice(edits)
    assert not edited.edited


def test_an_edit_that_fails_changes_nothing() -> None:
    edited = leaf(b"0123456789")
    edited.protect(2, 4)
    pieces: Any = ["no octets"]
    with pytest.raises(TypeError):
        edited.splice([(0, 0, [SLOT]), (1, 1, pieces)])
    assert not edited.edited
    assert edited.protected == ((2, 4),)


@pytest.mark.parametrize("edit", [(3, 3), (0, 3), (3, 20), (5, 6)])
def test_a_slot_cannot_be_cut(edit: tuple[int, int]) -> None:
    edited = leaf(b"0123456789" * 2)
    edited.splice([(2, 2, [SLOT])])
    with pytest.raises(ValueError, match="within a slot"):
        edited.splice([(*edit, [])])
    edited.splice([(2, 10, [])])
    assert not edited.edited


@pytest.mark.parametrize("length", [0, -1, 65])
def test_a_slot_fits_on_a_line(length: int) -> None:
    with pytest.raises(ValueError, match="1 to 64 octets"):
        leaf(b"").splice([(0, 0, [Slot("x", "y", length)])])


@given(st.data())
def test_splicing_in_any_way(data: st.DataObject) -> None:
    """Against a model: a list of single octets, each of which knows whether it is protected, and slots."""
    edited = leaf(b"abcdefgh" * 3)
    model: list[tuple[Any, bool]] = [(bytes((octet,)), False) for octet in edited.octets]
    for _ in range(data.draw(st.integers(1, 4))):
        cuts = [0]
        for item, _shield in model:
            cuts.append(cuts[-1] + (item.length if isinstance(item, Slot) else 1))
        if data.draw(st.booleans()):
            start, end = sorted(data.draw(st.lists(st.integers(0, len(model)), min_size=2, max_size=2)))
            edited.protect(cuts[start], cuts[end])
            model[start:end] = [(item, True) for item, _ in model[start:end]]
        places = sorted(data.draw(st.lists(st.integers(0, len(model)), max_size=6)))
        edits, changed, position = [], [], 0
        for start, end in zip(places[::2], places[1::2], strict=False):
            pieces = data.draw(st.lists(st.sampled_from([b"", b"X", b"YZ", SLOT]), max_size=3))
            edits.append((cuts[start], cuts[end], pieces))
            around = start > 0 and end < len(model) and model[start - 1][1] and model[end][1]
            changed += model[position:start]
            for piece in pieces:
                changed += [(SLOT, around)] if piece is SLOT else [(bytes((o,)), around) for o in piece]  # type: ignore[union-attr]
            position = end
        model = changed + model[position:]
        edited.splice(edits)
    expected = b"".join([b"x" * 8 if isinstance(item, Slot) else item for item, _ in model])
    assert edited.octets == expected
    offset, slots = 0, []
    for item, _shield in model:
        if isinstance(item, Slot):
            slots.append((offset, item))
            offset += item.length
        else:
            offset += 1
    assert edited.snapshot().slots == tuple(slots)
    assert list(edited.protected) == sorted(edited.protected)
    assert all(0 <= start < end <= len(expected) for start, end in edited.protected)
