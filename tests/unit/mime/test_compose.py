"""Messages composed of fields: what Python's email package and our own reader find in them is what was given."""

from __future__ import annotations

import email.utils
import re
from email.utils import getaddresses

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from smtpeter.mime.addresses import Address
from smtpeter.mime.attachment import Attachment
from smtpeter.mime.compose import Letter, canonical, compose
from smtpeter.mime.reading import MessageReader
from smtpeter.mime.transfer import has_bare_newline
from tests.unit.mime.composing import ENTROPY, PLAIN, SENDER, as_python, octets, python_text, types

# --- shape ------------------------------------------------------------------------------------------------------------


def test_the_smallest_message():
    assert octets(PLAIN) == (
        b"From: a@b.example\r\nTo: c@d.example\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nHello you\r\n"
    )


def test_nothing_but_a_sender():
    content = octets(Letter(SENDER))
    assert content.startswith(b"From: a@b.example\r\nMIME-Version")
    assert as_python(content).get_payload() == "\r\n"


def test_everything_has_its_place():
    letter = PLAIN._replace(
        html="<img src='cid:logo.png'><img src=CID:two@x>",
        attachments=[
            Attachment(b"1", "a.pdf"),
            Attachment(b"2", "logo.png"),
            Attachment(b"3", "other.png", content_id="<two@x>"),
            Attachment(b"4", "unused.png", content_id="three"),
        ],
    )
    content = octets(letter)
    assert types(content) == [
        "multipart/mixed",
        " multipart/alternative",
        "  text/plain",
        "  multipart/related",
        "   text/html",
        "   image/png",
        "   image/png",
        " application/pdf",
        " image/png",
    ]
    reader = MessageReader(content)
    assert [file.name for file in reader.embeds] == ["logo.png", "other.png"]
    assert [file.name for file in reader.attachments] == ["a.pdf", "unused.png"]
    assert re.findall(rb"Content-ID: (.*)\r\n", content) == [b"<logo.png>", b"<two@x>", b"<three>"]
    boundaries = re.findall(rb'boundary="(.*)"', content)
    assert len(set(boundaries)) == 3 and all(ENTROPY.encode() in each and len(each) <= 70 for each in boundaries)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text": None, "html": "<p>"}, ["text/html"]),
        ({"html": "<p>"}, ["multipart/alternative", " text/plain", " text/html"]),
        (
            {"text": None, "html": "cid:x", "attachments": [Attachment(b"", "x")]},
            ["multipart/related", " text/html", " application/octet-stream"],
        ),
        ({"text": None, "attachments": [Attachment(b"", "x.txt")]}, ["multipart/mixed", " text/plain"]),
        ({"attachments": [Attachment(b"")]}, ["multipart/mixed", " text/plain", " application/octet-stream"]),
        (
            {"html": "cid:x", "attachments": [Attachment(b"", "x"), Attachment(b"", "x")]},
            [
                "multipart/mixed",
                " multipart/alternative",
                "  text/plain",
                "  multipart/related",
                "   text/html",
                "   application/octet-stream",
                " application/octet-stream",
            ],
        ),
    ],
)
def test_as_few_parts_as_possible(changes, expected):
    assert types(octets(PLAIN._replace(**changes))) == expected


def test_a_boundary_that_is_in_the_text_is_not_taken():
    text = f"--=_001_{ENTROPY}\r\nContent-Type: text/html\r\n\r\n<b>\r\n--=_001_{ENTROPY}--"
    content = octets(PLAIN._replace(text=text, html="<p>"))
    assert types(content) == ["multipart/alternative", " text/plain", " text/html"]
    assert MessageReader(content).text == text


@pytest.mark.parametrize("entropy", ["", "short", "x" * 41, "x" * 20 + '"', "x" * 20 + "\r\n", "ä" * 20])
def test_boundaries_need_entropy(entropy):
    with pytest.raises(ValueError):
        compose(PLAIN, entropy)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", "7bit"),
        ("x" * 998, "7bit"),
        ("x" * 999, "quoted-printable"),
        ("mostly plain, but € too", "quoted-printable"),
        ("Это не латиница", "base64"),
        ("\u2028\x85", "base64"),
    ],
)
def test_transfer_encodings(text, encoding):
    message = as_python(octets(PLAIN._replace(text=text)))
    assert message["Content-Transfer-Encoding"] == encoding
    assert message.get_payload(decode=True).decode() == text + ("\r\n" if encoding != "base64" else "")


# --- what is given comes back -----------------------------------------------------------------------------------------

HEADER_TEXT = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=200)
NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=80)
BODIES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=400) | st.lists(
    st.sampled_from(["a", "=", ".", "\r", "\n", "\r\n", " ", "\t", "--", "From ", "ä", "x" * 80, "€" * 30, "x" * 999]),
    max_size=40,
).map("".join)
MAILBOXES = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}@[a-z0-9]{1,10}\.example", fullmatch=True)
ADDRESSES = st.builds(lambda name, mailbox: Address(name, mailbox, mailbox.split("@")[1]), NAMES, MAILBOXES)
FILES = st.builds(
    Attachment,
    st.binary(max_size=200),
    NAMES.filter(str.strip),
    st.sampled_from(["", "image/png", "text/csv"]),
    st.just(""),
)


def normal(text):
    return re.sub("\r\n?|\n", "\r\n", text)


def python_leaf(message, type):
    for part in message.walk():
        if part.get_content_type() == type and part.get_content_disposition() is None:
            return part.get_payload(decode=True).decode("utf-8")
    return None


def assert_same_text(found, text):
    """A single text has a line end behind it."""
    assert found is not None
    assert found in (normal(text), normal(text) + "\r\n")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Letter,
        ADDRESSES,
        st.lists(ADDRESSES, max_size=4),
        st.lists(ADDRESSES, max_size=3),
        st.lists(ADDRESSES, max_size=2),
        HEADER_TEXT,
        st.none() | BODIES,
        st.none() | BODIES,
        st.none(),
        st.lists(st.tuples(st.just("X-A"), HEADER_TEXT), max_size=3),
        st.lists(FILES, max_size=3),
    )
)
@example(Letter(Address(",", "a@b.example", "b.example"), subject=" "))
@example(Letter(SENDER, text=" ", html="\t"))
@example(Letter(SENDER, text="--=_\r\n.\r\n", html="\r"))
def test_what_is_given_comes_back(letter):
    content = octets(letter)
    message = as_python(content)
    reader = MessageReader(content)
    assert not message.defects
    if letter.text is not None:
        assert_same_text(python_leaf(message, "text/plain"), letter.text)
        assert_same_text(reader.text, letter.text)
    if letter.html is not None:
        assert_same_text(python_leaf(message, "text/html"), letter.html)
        assert_same_text(reader.html, letter.html)
    else:
        assert reader.html is None
    if letter.subject:
        assert python_text(message["Subject"].replace("\r\n", "")) == letter.subject
    assert [python_text(value.replace("\r\n", "")) for value in message.get_all("X-A", [])] == [
        value for _, value in letter.extra
    ]
    for name, addresses in (
        ("From", [letter.sender]),
        ("To", letter.to),
        ("Cc", letter.cc),
        ("Reply-To", letter.reply_to),
    ):
        value = message[name]
        assert (value is not None) == bool(addresses)
        if value is None:
            continue
        pairs = getaddresses([value.replace("\r\n", "")])
        assert [mailbox for _, mailbox in pairs] == [each.mailbox for each in addresses]
        assert [python_text(name) for name, _ in pairs] == [each.name for each in addresses]
    if letter.attachments:
        files = [part for part in message.walk() if part.get_content_disposition() == "attachment"]
        assert [part.get_payload(decode=True) for part in files] == [each.data for each in letter.attachments]
        assert [
            email.utils.collapse_rfc2231_value(part.get_param("filename", header="content-disposition"))
            for part in files
        ] == [each.name for each in letter.attachments]
    assert [reader.content(file) for file in reader.attachments] == [each.data for each in letter.attachments]
    assert [file.size for file in reader.attachments] == [len(each.data) for each in letter.attachments]


# --- whole messages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", b"\r\n"),
        ("a: b\n\nc", b"a: b\r\n\r\nc\r\n"),
        ("a: b\r\n\r\nc\r\n", b"a: b\r\n\r\nc\r\n"),
        ("a\rb\nc\r\nd\r\r\ne\n\r", b"a\r\nb\r\nc\r\nd\r\n\r\ne\r\n\r\n"),
        ("ä\u2028\x85", "ä\u2028\x85\r\n".encode()),
        (b"\xe4\n", b"\xe4\r\n"),
    ],
)
def test_canonical(text, expected):
    assert canonical(text) == expected


@pytest.mark.parametrize("text", ["a\0b", "a\ud800", "\udc0a", b"\0"])
def test_canonical_refuses_what_mail_cannot_carry(text):
    with pytest.raises(ValueError, match=r"^mime: "):
        canonical(text)


@given(st.text(st.sampled_from(["\r", "\n", "a", "ä"]), max_size=30))
def test_canonical_octets_are_canonical(text):
    octets = canonical(text)
    assert not has_bare_newline(octets) and octets.endswith(b"\r\n")
    assert canonical(octets) == octets
    assert re.sub("\r\n?|\n", "\n", text).removesuffix("\n") == octets.decode().replace("\r\n", "\n").removesuffix("\n")
