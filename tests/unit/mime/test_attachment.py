"""Files that go with a composed message."""

from __future__ import annotations

import email.utils
import tracemalloc

import pytest

from smtpeter.mime.attachment import Attachment
from smtpeter.mime.compose import compose
from smtpeter.mime.reading import MessageReader
from smtpeter.mime.structure import scan
from tests.unit.mime.composing import ENTROPY, PLAIN, as_python, octets, python_text, types


@pytest.mark.parametrize(
    "name",
    [
        "a.pdf",
        "a b.pdf",
        "Müller, A.pdf",
        'a"b\\c.pdf',
        "田中太郎.pdf",
        "x" * 255,
        "ä" * 255,
        "👩‍💻" * 60,
        "a%41.pdf",
        "a'b'c.pdf",
        "=?utf-8?q?a?=.pdf",
        "a;b=c.pdf",
        " a.pdf ",
        "a=b*0*.pdf",
    ],
)
def test_file_names(name):
    content = octets(PLAIN._replace(attachments=[Attachment(b"x", name)]))
    part = as_python(content).get_payload()[1]
    assert email.utils.collapse_rfc2231_value(part.get_param("filename", header="content-disposition")) == name
    assert python_text(part.get_param("name").replace("\r\n", "")) == name
    [file] = MessageReader(content).attachments
    assert file.name == name.strip().rpartition("\\")[2]
    assert all(len(line) <= 78 for line in content.split(b"\r\n"))


@pytest.mark.parametrize(
    ("given", "name", "data", "expected"),
    [
        ("", "a.PDF", b"", "application/pdf"),
        ("", "a", b"", "application/octet-stream"),
        ("", "pdf", b"", "application/octet-stream"),
        ("", "a.nothing", b"", "application/octet-stream"),
        ("  ", "a.csv", b"a", "text/csv"),
        ("", "a.csv", "ä".encode(), "text/csv; charset=utf-8"),
        ("", "a.csv", b"\xe4", "text/csv"),
        ("Image/PNG", "", b"", "image/png"),
        ("text/csv; charset=iso-8859-1", "", b"\xe4", "text/csv; charset=iso-8859-1"),
        ('text/calendar; METHOD=REQUEST;charset="utf-8"', "", b"", 'text/calendar; method=REQUEST; charset="utf-8"'),
        ("text/plain; name=evil; boundary=x; a=1; a=2", "", b"", "text/plain; a=1"),
    ],
)
def test_types(given, name, data, expected):
    content = octets(PLAIN._replace(attachments=[Attachment(data, name, given)]))
    part = as_python(content).get_payload()[1]
    assert part["Content-Type"].partition("; name=")[0].replace("\r\n", "") == expected
    assert part.get_payload(decode=True) == data


@pytest.mark.parametrize(
    "given",
    [
        "image",
        "image/",
        "/png",
        "image/png/x",
        "image png",
        "multipart/mixed",
        "Multipart/Alternative; boundary=x",
        "message/partial; id=x; number=1",
        "message/external-body; access-type=URL",
        "image/png\r\nX: y",
        "image/png; a",
        "ä/ö",
        "image/png; a=b c",
        'image/png; a="',
        'image/png; a="\r\n"',
        'image/png; a="\\""',
        "x" * 201 + "/y",
        "image/(c)png",
    ],
)
def test_types_that_are_refused(given):
    with pytest.raises(ValueError, match=r"^attachments\.type: "):
        compose(PLAIN._replace(attachments=[Attachment(b"", "x", given)]), ENTROPY)


def test_a_message_is_attached_as_it_is():
    """RFC 2046 section 5.2.1 allows no base64 for it."""
    for data, eight_bit in ((b"Subject: x\n\ny\r\n", False), ("Subject: x\r\n\r\nä".encode(), True)):
        content = octets(PLAIN._replace(html="<p>", attachments=[Attachment(data, "a.eml")]))
        parts = scan(content)
        assert parts is not None
        assert [part.encoding for part in parts] == (
            ["8bit" if eight_bit else "", "", "7bit", "7bit", "8bit" if eight_bit else "7bit", ""]
        )
        [file] = MessageReader(content).attachments
        assert (file.name, file.type) == ("a.eml", "message/rfc822")
        assert MessageReader(content).content(file) == data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@pytest.mark.parametrize("data", [b"Subject: x\r\n\r\n" + b"x" * 999, b"a\0b"])
def test_a_message_that_cannot_go_as_it_is_becomes_a_file(data):
    content = octets(PLAIN._replace(attachments=[Attachment(data, "a.eml", "message/rfc822")]))
    [file] = MessageReader(content).attachments
    assert (file.name, file.type, MessageReader(content).content(file)) == ("a.eml", "application/octet-stream", data)


def test_large_files_are_encoded_when_they_are_needed():
    data = bytes(range(256)) * 4096
    composed = compose(PLAIN._replace(attachments=[Attachment(data, "x")] * 8), ENTROPY)
    tracemalloc.start()
    assert max(map(len, composed.pieces)) < 100_000
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()
    content = octets(PLAIN._replace(attachments=[Attachment(data, "x")]))
    assert as_python(content).get_payload()[1].get_payload(decode=True) == data
    assert MessageReader(content).content(MessageReader(content).attachments[0]) == data


@pytest.mark.parametrize("content_id", ["a b", "ä", "a>", "<<a>", "a\r\n", "x" * 201, '"', "a;b"])
def test_content_ids_that_are_refused(content_id):
    with pytest.raises(ValueError, match=r"^attachments\.cid: "):
        compose(PLAIN._replace(attachments=[Attachment(b"", "x", content_id=content_id)]), ENTROPY)


def test_a_content_id_spells_no_end_of_a_line():
    html = "<img src=cid:a%0Ab><img src=cid:c%0ad>"
    content = octets(PLAIN._replace(html=html, attachments=[Attachment(b"x", name) for name in "abcd"]))
    assert b"Content-ID" not in content and b"multipart/related" not in content


@pytest.mark.parametrize(
    ("html", "name", "given", "content_id"),
    [
        ("<img src=cid:logo.png>", "logo.png", "", "logo.png"),
        ("<img src='cid:logo@x'>", "logo.png", "logo@x", "logo@x"),
        ('<img src="CID:logo%40x">', "logo.png", "<logo@x>", "logo@x"),
        ("<style>a{b:url(cid:logo.png)}</style>", "logo.png", "other", "logo.png"),
        ("cid:a cid:logo.png", "logo.png", "a", "a"),
        ("cid:logo", "logo.png", "", None),
        ("logo.png", "logo.png", "", None),
        ("<img src='cid:my%20logo.png'>", "my logo.png", "", None),
        ("<img src='cid:x%0D%0ABcc:%20y'>", "x", "", None),
    ],
)
def test_what_the_html_shows(html, name, given, content_id):
    content = octets(PLAIN._replace(html=html, attachments=[Attachment(b"x", name, "image/png", given)]))
    [part] = [part for part in as_python(content).walk() if part.get_content_type() == "image/png"]
    if content_id is None:
        assert (part.get_content_disposition(), part["Content-ID"]) == ("attachment", None)
        assert "multipart/related" not in "".join(types(content))
    else:
        assert (part.get_content_disposition(), part["Content-ID"]) == ("inline", f"<{content_id}>")
        assert [file.name for file in MessageReader(content).embeds] == [name]
