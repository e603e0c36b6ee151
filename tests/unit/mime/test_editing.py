"""Messages as features edit them: what may be touched, and that nothing else changes."""

from __future__ import annotations

import base64
import email
from email.message import Message

import pytest
from zope.interface.verify import verifyObject

from smtpeter.features.editable import EditableLeaf, EditableMessage
from smtpeter.interfaces import IEditableLeaf, IEditableMessage
from smtpeter.model.feature import PlacedSlot, Slot
from tests.unit.mime.test_structure import lines

SLOT = Slot("tracking", "k1", 24)


def part(*header: str, body: str = "text") -> list[str]:
    return [*header, "", body]


def multipart(kind: str, boundary: str, *parts: list[str]) -> list[str]:
    inner = [line for part in parts for line in (f"--{boundary}", *part)]
    return [f"Content-Type: multipart/{kind}; boundary={boundary}", "", *inner, f"--{boundary}--"]


def message(*rest: str) -> EditableMessage:
    return EditableMessage(lines("From: a@example.com", "MIME-Version: 1.0", *rest))


HTML = part("Content-Type: text/html; charset=utf-8", body="<p>html</p>")
PLAIN = part("Content-Type: text/plain; charset=utf-8", body="plain")


def octets(leaves: tuple[EditableLeaf, ...]) -> list[bytes]:
    return [leaf.octets for leaf in leaves]


def set_octets(leaf: EditableLeaf, new: bytes) -> None:
    leaf.splice([(0, len(leaf.octets), [new])])


def decoded(content: bytes, path: tuple[int, ...] = ()) -> bytes:
    """The octets of a leaf, as Python reads them."""
    found: Message = email.message_from_bytes(content)
    for step in path:
        found = found.get_payload()[step]  # type: ignore[assignment,index]
    payload = found.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload


def fill(content: bytes, slots: tuple[PlacedSlot, ...], value: str) -> bytes:
    filled = bytearray(content)
    for offset, slot in slots:
        filled[offset : offset + slot.length] = value[: slot.length].encode()
    assert len(filled) == len(content)
    return bytes(filled)


def test_it_is_what_features_are_promised() -> None:
    edited = message(*HTML)
    verifyObject(IEditableMessage, edited)
    verifyObject(IEditableLeaf, edited.html[0])


def test_without_edits_the_very_same_content_comes_back() -> None:
    content = lines(*multipart("mixed", "b", HTML, PLAIN))
    edited = EditableMessage(content)
    assert (octets(edited.html), octets(edited.plain)) == ([b"<p>html</p>"], [b"plain"])
    assert edited.render()[0] is content
    set_octets(edited.html[0], b"other")
    set_octets(edited.html[0], b"<p>html</p>")
    edited.html[0].protect(0, 3)
    assert edited.render() == (content, ())


def test_only_the_edited_leaf_changes() -> None:
    content = lines(
        "Received: from x\r\n\tby y;  odd   spaces ", "Content-Type: multipart/mixed; boundary=b", "", "preamble",
        "--b  ", *PLAIN, "--b", *HTML, "--b", "Content-Type: image/png", "", "\x89PNG", "--b--", "epilogue",
    )[:-2]  # fmt: skip
    edited = EditableMessage(content)
    edited.html[0].splice([(3, 3, [b"more "])])
    assert edited.render()[0] == content.replace(b"<p>html", b"<p>more html")


def test_a_slot_makes_a_leaf_quoted_printable() -> None:
    edited = message("Content-Type: text/html", "", '<a href="http://x.example/">link</a> ')
    edited.html[0].splice([(9, 26, [b"https://click.example/t/", SLOT, b"/k.abc"])])
    content, slots = edited.render()
    assert content == lines(
        "From: a@example.com", "MIME-Version: 1.0", "Content-Type: text/html",
        "Content-Transfer-Encoding: quoted-printable", "",
        '<a href=3D"https://click.example/t=', f"=2F{'x' * 24}=", '/k.abc">link</a>=20',
    )  # fmt: skip
    assert slots == (PlacedSlot(content.index(b"xxx"), SLOT),)
    value = "AAAAAQ-_0123456789abcdef"
    assert decoded(fill(content, slots, value)) == (
        b'<a href="https://click.example/t/' + value.encode() + b'/k.abc">link</a> \r\n'
    )


def test_fields_are_put_on_top() -> None:
    content = lines("Subject: one", "subject: =?utf-8?q?two?=", "\tgoes on", "", "text")
    edited = EditableMessage(content)
    edited.add_field("List-Unsubscribe", "<https://x.example/>")
    edited.add_field("Subject", "added")
    assert edited.fields("SUBJECT") == ("added", "one", "=?utf-8?q?two?=\tgoes on")
    assert edited.fields("missing") == ()
    assert edited.render() == (lines("Subject: added", "List-Unsubscribe: <https://x.example/>") + content, ())


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"no header\r\n", b"X: y\r\n\r\nno header\r\n"),
        (b"\r\nempty header\r\n", b"X: y\r\n\r\nempty header\r\n"),
        (b"", b"X: y\r\n"),
        (b"From a@b Sat Nov\r\nSubject: x\r\n\r\n", b"From a@b Sat Nov\r\nX: y\r\nSubject: x\r\n\r\n"),
        (b"Subject: x", b"X: y\r\nSubject: x"),
        (b" goes on\r\n\tand on\r\nSubject: x\r\n", b" goes on\r\n\tand on\r\nX: y\r\nSubject: x\r\n"),
        (b" goes on", b" goes on\r\nX: y\r\n"),
    ],
)
def test_a_field_on_top_of_an_odd_message(before: bytes, after: bytes) -> None:
    edited = EditableMessage(before)
    edited.add_field("X", "y")
    assert edited.render() == (after, ())


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nb"), ("X", "a\nb"), ("X", "é"), ("X", ""), ("X", " "), ("X", "a\tb"), ("X Y", "a"), ("X:", "a"),
     ("", "a"), ("é", "a"), ("X", "a" * 996), ("X\r\n", "a")],
)  # fmt: skip
def test_fields_that_cannot_be(name: str, value: str) -> None:
    edited = message("", "x")
    with pytest.raises(ValueError, match="a field has"):
        edited.add_field(name, value)


# --- what may be touched ---


def test_what_is_not_shown_or_not_text_is_not_offered() -> None:
    edited = message(
        *multipart(
            "mixed", "b",
            HTML,
            part("Content-Type: text/html", "Content-Disposition: ATTACHMENT; filename=x.html", body="attached"),
            part("Content-Type: text/html", "Content-Disposition: inline; filename*=utf-8''x.html", body="a file"),
            part("Content-Type: text/html; name=x.html", body="a file"),
            part("Content-Type: text/html", "Content-Disposition: x-odd", body="unknown disposition"),
            part("Content-Type: text/html", "Content-Disposition: inline", body="inline"),
            part("Content-Type: text/calendar", body="calendar"),
            part("Content-Type: text/x-amp-html", body="amp"),
            part("Content-Type: application/xhtml+xml", body="xhtml"),
            ["Content-Type: message/rfc822", "", *HTML],
            ["Content-Type: message/delivery-status", "", *PLAIN],
            ["Content-Disposition: attachment", *multipart("mixed", "c", HTML)],
            multipart("signed", "d", HTML, part("Content-Type: application/pgp-signature")),
            multipart("encrypted", "e", HTML),
            multipart("alternative", "f", PLAIN, multipart("related", "g", HTML, HTML)),
        )
    )  # fmt: skip
    assert octets(edited.html) == [b"<p>html</p>", b"inline", b"<p>html</p>"]
    assert octets(edited.plain) == [b"plain"]
    assert edited.closed == ""


@pytest.mark.parametrize(
    ("start", "shown"),
    [("", b"one"), ('; start="<2@x>"', b"two"), ('; start="<3@x>"', b"one"), ("; start=2@x", b"one")],
)
def test_of_related_parts_the_root_is_offered(start: str, shown: bytes) -> None:
    related = multipart(
        "related", "r",
        part("Content-Type: text/html", "Content-ID: <1@x>", body="one"),
        part("Content-Type: text/html", "Content-ID: <2@x>", body="two"),
    )  # fmt: skip
    related[0] += start
    assert octets(message(*related).html) == [shown]


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("Content-Type: multipart/signed; boundary=b", "signed"),
        ("Content-Type: MULTIPART/Encrypted; boundary=b", "encrypted"),
        ("Content-Type: application/pkcs7-mime; smime-type=signed-data", "signed"),
        ('Content-Type: application/x-pkcs7-mime; name="smime.p7m"; smime-type="Signed-Data"', "signed"),
        ("Content-Type: application/pkcs7-mime; smime-type=enveloped-data", "encrypted"),
        ("Content-Type: application/pkcs7-mime", "encrypted"),
        ("Content-Type: multipart/mixed; boundary=b", ""),
    ],
)
def test_a_message_that_is_signed_or_encrypted_is_closed(header: str, why: str) -> None:
    edited = message(header, "", "--b", *HTML, "--b--")
    assert edited.closed == why
    assert len(edited.html) == (not why)


def test_a_message_beyond_the_limits_is_closed() -> None:
    content = lines("Subject: x", *multipart("mixed", "b", HTML, PLAIN))
    for edited in (EditableMessage(content, depth=1), EditableMessage(content, parts=2)):
        assert (edited.closed, edited.html, edited.plain) == ("too complex", (), ())
        assert edited.fields("subject") == ("x",)
        assert edited.render()[0] is content
    assert EditableMessage(content, depth=2, parts=3).closed == ""


@pytest.mark.parametrize(("outer", "inner"), [("b", "b"), ("b", "b--"), ("b--", "b")])
def test_attack_a_boundary_that_is_there_twice_hides_nothing_that_is_signed(outer: str, inner: str) -> None:
    """To Python, what follows belongs to the inner one: it is signed."""
    content = lines(
        f'Content-Type: multipart/mixed; boundary="{outer}"', "", f"--{outer}",
        f'Content-Type: multipart/signed; boundary="{inner}"', "", f"--{inner}",
        "Content-Type: text/html", "", "<a href=http://a.example/>", f"--{inner}--", f"--{outer}--", "",
    )  # fmt: skip
    edited = EditableMessage(content)
    assert (edited.closed, edited.html) == ("ambiguous", ())


def test_parts_beside_each_other_may_have_the_same_boundary() -> None:
    part = ("--a", "Content-Type: multipart/mixed; boundary=b", "", "--b", "Content-Type: text/html", "", "x", "--b--")
    content = lines("Content-Type: multipart/mixed; boundary=a", "", *part, *part, "--a--", "")
    edited = EditableMessage(content)
    assert (edited.closed, len(edited.html)) == ("", 2)


@pytest.mark.parametrize("begin", ["", "Some words.\r\n"])
def test_inline_pgp_is_not_touched(begin: str) -> None:
    edited = message("", f"{begin}-----BEGIN PGP SIGNED MESSAGE-----", "Hash: SHA256", "", "text")
    assert edited.plain == ()
    assert edited.notes == ("a text/plain part is signed or encrypted with PGP",)
    html = message("Content-Type: text/html", "", f"<pre>{begin}<br> -----BEGIN PGP MESSAGE-----</pre>")
    assert (html.html, html.notes) == ((), ("a text/html part is signed or encrypted with PGP",))
    assert message("", "Look for -----BEGIN PGP MESSAGE----- in it").plain != ()


def test_a_leaf_that_is_too_large_is_not_touched() -> None:
    content = lines("Content-Type: text/html", "", "x" * 78)
    assert len(EditableMessage(content, leaf_limit=80).html) == 1
    edited = EditableMessage(content, leaf_limit=79)
    assert (edited.html, edited.notes) == ((), ("a text/html part of 0.0 MB is too large to be touched",))
    packed = base64.encodebytes(b"x" * 100).replace(b"\n", b"\r\n")
    header = lines("Content-Type: text/html", "Content-Transfer-Encoding: base64", "")
    assert EditableMessage(header + packed, leaf_limit=99).html == ()
    assert len(EditableMessage(header + packed, leaf_limit=100).html) == 1


@pytest.mark.parametrize(
    ("author", "signature", "why"),
    [
        ("a@example.com", "v=1; a=rsa-sha256; d=example.com; s=x", "dkim"),
        ("a@example.com", "v=1;\r\n\td = Example.COM ;s=x", "dkim"),
        ("a@news.example.com", "d=example.com", "dkim"),
        ("a@example.com", "d=news.example.com", "dkim"),
        ("A <a@example.com>, b@other.example", "d=other.example", "dkim"),
        ("a@ex\u00e4mple.com", "d=xn--exmple-cua.com", "dkim"),
        ("A <a@ Example (the firm) . com>", "d=example.com", "dkim"),
        ("a@(x)ex.example,\r\n b@ y.example", "d=ex.example", "dkim"),
        ("a@example.com B", "d=example.com", "dkim"),
        ("a@example.com", "d=provider.example", ""),
        ("a@example.com", "d=badexample.com", ""),
        ("a@badexample.com", "d=example.com", ""),
        ("a@example.com", "d=com", ""),
        ("a@com", "d=com", ""),
        ("a@example.com", "xd=example.com; bd=example.com", ""),
        ("a", "d=example.com", ""),
        ("a@example.com", "", ""),
    ],
)
def test_a_signature_of_the_authors_domain_closes(author: str, signature: str, why: str) -> None:
    edited = EditableMessage(
        lines(f"From: {author}", f"DKIM-Signature: {signature}", "DKIM-Signature: d=x", "", "text")
    )
    assert edited.closed == why


# --- odd messages ---


def test_a_part_without_a_body_gets_one() -> None:
    for empty in (["Content-Type: text/html"], ["Content-Type: text/html", ""]):
        content = lines(*multipart("mixed", "b", empty, PLAIN))
        edited = EditableMessage(content)
        set_octets(edited.html[0], b"new")
        assert edited.render()[0] == lines(*multipart("mixed", "b", part("Content-Type: text/html", body="new"), PLAIN))


def test_a_header_without_a_body_gets_one() -> None:
    edited = EditableMessage(b"Subject: x\r\nContent-Type: text/html")
    edited.html[0].splice([(0, 0, [b"<p>", SLOT])])
    content, slots = edited.render()
    assert content.startswith(b"Subject: x\r\nContent-Type: text/html\r\nMIME-Version: 1.0\r\n")
    assert decoded(fill(content, slots, "V" * 24)) == b"<p>" + b"V" * 24


@pytest.mark.parametrize(
    "content", [b"no header\r\n", b"\r\nempty header\r\n", b"From a@b\r\nSubject: x\r\n\r\ntext\r\n"]
)
def test_a_field_and_an_edit_of_an_odd_message(content: bytes) -> None:
    edited = EditableMessage(content)
    before = edited.plain[0].octets
    edited.plain[0].splice([(0, 0, [b"new ", SLOT])])
    edited.add_field("X-Test", "x")
    rendered, slots = edited.render()
    found = email.message_from_bytes(fill(rendered, slots, "V" * 24))
    assert found.get_payload(decode=True) == b"new " + b"V" * 24 + before
    assert (found["X-Test"], found["Content-Transfer-Encoding"]) == ("x", "quoted-printable")


def test_new_text_does_not_become_a_header() -> None:
    content = lines("Content-Type: multipart/mixed; boundary=b", "", "--b", "one line", "--b--")
    edited = EditableMessage(content)
    set_octets(edited.plain[0], b"Subject: x")
    assert edited.render()[0] == content.replace(b"one line", b"\r\nSubject: x")


def test_new_text_does_not_become_a_delimiter() -> None:
    long = "-" * 66 + "c"
    content = lines(*multipart("mixed", "b", multipart("mixed", long, PLAIN), HTML))
    dashed = f"--{long}".encode()
    for text in (
        b"--b",
        b"x\r\n--b--\r\n--b",
        b"--b" * 60,
        b"x\r\n--b \r\n",
        b"--bordeaux",
        dashed,
        dashed + b"d" * 80,
    ):
        edited = EditableMessage(content)
        set_octets(edited.plain[0], text)
        rendered, _ = edited.render()
        assert decoded(rendered, (0, 0)) == text
        assert decoded(rendered, (1,)) == b"<p>html</p>"
        assert set(map(len, rendered.partition(b"quoted-printable")[2].split(b"\r\n"))) <= set(range(77))
        assert rendered.count(b"\r\n--b") == content.count(b"\r\n--b")
        assert rendered.count(b"\r\n" + dashed) == content.count(b"\r\n" + dashed)


def test_a_message_that_was_cut_within_a_delimiter() -> None:
    content = lines("Content-Type: multipart/mixed; boundary=b", "", "--b", *PLAIN, "--b")[:-2]
    assert octets(EditableMessage(content).plain) == [b"plain"]


def test_the_last_line_end_of_a_message_stays() -> None:
    base = lines("Content-Type: text/html", "Content-Transfer-Encoding: base64", "")
    for line_end in (b"", b"\r\n", b"\r\n\r\n"):
        content = base + base64.b64encode(b"<p>x</p>") + line_end
        edited = EditableMessage(content)
        set_octets(edited.html[0], b"<p>longer</p>")
        assert edited.render()[0] == base + base64.b64encode(b"<p>longer</p>") + line_end
        edited.html[0].splice([(3, 3, [SLOT])])
        rendered, slots = edited.render()
        assert rendered.endswith(b"\n") is bool(line_end)
        assert decoded(fill(rendered, slots, "v" * 24)) == b"<p>" + b"v" * 24 + b"longer</p>"


def test_a_second_transfer_encoding_field_goes() -> None:
    edited = message(
        "Content-Type: text/plain", "content-transfer-encoding:\r\n 7bit (really)", "Content-Transfer-Encoding: base64",
        "X: y", "", "text",
    )  # fmt: skip
    set_octets(edited.plain[0], b"caf\xe9\r\n")
    assert edited.render()[0] == lines(
        "From: a@example.com", "MIME-Version: 1.0", "Content-Type: text/plain",
        "Content-Transfer-Encoding: quoted-printable", "X: y", "", "caf=E9",
    )  # fmt: skip


# --- what a feature did is undone ---


def test_edits_are_undone() -> None:
    edited = message(*multipart("mixed", "b", HTML, PLAIN))
    html = edited.html[0]
    html.splice([(3, 3, [b"kept", SLOT])])
    html.protect(0, 3)
    edited.add_field("X-One", "kept")
    before, state = edited.render(), edited.snapshot()
    html.splice([(0, 3, [SLOT])])
    html.protect(40, 41)
    edited.add_field("X-Two", "lost")
    set_octets(edited.plain[0], b"lost")  # it was not asked for before
    assert edited.render() != before
    edited.restore(state)
    assert edited.render() == before
    assert (html.protected, edited.plain[0].octets) == (((0, 3),), b"plain")
    html.splice([(0, 0, [b"!"])])
    edited.restore(state)
    assert edited.render() == before
