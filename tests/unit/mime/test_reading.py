"""A message as people see it: its text, its HTML, its header and its files."""

from __future__ import annotations

import base64
import email
import email.policy
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.reading import File, MessageReader, find_file
from tests.corpus import messages
from tests.fakes.bombs import MIME_BOMBS

HEAD = b"From: a@b.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"


def leaf(body, *fields):
    return b"".join([field + b"\r\n" for field in fields]) + b"\r\n" + body


def multi(subtype, *parts, boundary=b"b", head=b""):
    inner = b"".join([b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts])
    return (
        head
        + b"Content-Type: multipart/"
        + subtype
        + b"; boundary="
        + boundary
        + b"\r\n\r\n"
        + inner
        + b"--"
        + boundary
        + b"--\r\n"
    )


def read(*parts, subtype=b"mixed"):
    return MessageReader(multi(subtype, *parts, head=HEAD))


def html_type(charset=b"utf-8"):
    return b"Content-Type: text/html; charset=" + charset


PNG = b"Content-Type: image/png"
PLAIN = leaf(b"plain", b"Content-Type: text/plain")
HTML = leaf(b"<p>", b"Content-Type: text/html")


# --- texts ------------------------------------------------------------------------------------------------------------


def test_a_message_of_text_only():
    reader = MessageReader(HEAD + b"\r\nHello\r\nyou\r\n")
    assert (reader.text, reader.html, reader.attachments, reader.embeds) == ("Hello\r\nyou\r\n", None, (), ())


def test_alternatives():
    reader = read(PLAIN, HTML, subtype=b"alternative")
    assert (reader.text, reader.html, reader.attachments, reader.embeds) == ("plain", "<p>", (), ())


def test_what_is_within_another_message_is_not_shown():
    """The header of the inner message has no empty line that ends the outer one."""
    inner = HEAD + html_type() + b"\r\n\r\n<p>inner"
    reader = read(leaf(inner, b"Content-Type: message/rfc822"), PLAIN)
    assert (reader.text, reader.html) == ("plain", None)
    assert reader.attachments == (File("", 1, "message/rfc822", len(inner), 1),)
    assert reader.content(reader.attachments[0]) == inner


def test_the_first_text_that_is_no_file_is_shown():
    reader = read(
        leaf(b"1", b"Content-Type: text/plain", b"Content-Disposition: attachment; filename=1.txt"),
        leaf(b"2", b"Content-Type: text/plain; name=2.txt", b"Content-Disposition: inline"),
        leaf(b"3", b"Content-Type: text/plain", b"Content-Disposition: inline"),
        leaf(b"4", b"Content-Type: text/plain"),
    )
    assert reader.text == "3"
    assert [(file.name, reader.content(file)) for file in reader.attachments] == [
        ("1.txt", b"1"),
        ("2.txt", b"2"),
        ("", b"4"),
    ]


def test_an_alternative_may_have_a_name():
    reader = read(PLAIN, leaf(b"<p>", b"Content-Type: text/html; name=mail.html"), subtype=b"alternative")
    assert reader.html == "<p>"


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        (b"utf-8", "ä€\u2028".encode(), "ä€\u2028"),
        (b"iso-8859-1", b"\xe4", "ä"),
        (b"us-ascii", b"\xe4\x80", "ä€"),
        (b"us-ascii", "ä".encode(), "ä"),
        (b"nonsense", "ä".encode(), "ä"),
        (b"nonsense", b"\xe4", "ä"),
        (b"", b"\xe4", "ä"),
        (b"utf-8", b"a\xffb", "a\ufffdb"),
        (b"iso-2022-jp", "日本".encode("iso2022_jp"), "日本"),
        (b"utf-16", "ä".encode("utf-16"), "ä"),
        (b"utf-7", b"+2AA-", "?"),
        (b"hz-gb-2312", b"~{VPND~}", "中文"),
        (b"rot13", b"a", "a"),
    ],
)
def test_charsets(charset, octets, text):
    body = base64.b64encode(octets)
    reader = MessageReader(HEAD + leaf(body, html_type(charset), b"Content-Transfer-Encoding: base64"))
    assert reader.html == text
    reader.html.encode("utf-8")


@pytest.mark.parametrize(
    ("encoding", "body", "content"),
    [
        (b"base64", b"YWJj", b"abc"),
        (b"base64", b"YWJ\r\nj\r\n", b"abc"),
        (b"base64", b"YWI", b"ab"),
        (b"base64", b"YWJjY", b"abc"),
        (b"base64", b"!Y*W-J j", b"abc"),
        (b"base64", b"YWI=\r\n\r\nSome footer", b"ab"),
        (b"base64", b"", b""),
        (b"base64", b"=", b""),
        (b"base64", b"Y", b""),
        (b"quoted-printable", b"a=3D=\r\nb", b"a=b"),
        (b"quoted-printable", b"a=zb", b"a=zb"),
        (b"x-unknown", b"abc", b"abc"),
        (b"binary", b"a\xff", b"a\xff"),
    ],
)
def test_transfer_encodings(encoding, body, content):
    reader = read(leaf(body, PNG, b"Content-Transfer-Encoding: " + encoding))
    [file] = reader.attachments
    assert reader.content(file) == content
    assert file.size == len(content)


def test_large_files_are_decoded_in_pieces():
    data = bytes(range(256)) * 4001
    for body in (base64.encodebytes(data).replace(b"\n", b"\r\n"), base64.b64encode(data)):
        reader = read(leaf(body, PNG, b"Content-Transfer-Encoding: base64"))
        [file] = reader.attachments
        assert max(map(len, reader.pieces(file))) <= 65_536
        assert reader.content(file) == data
        assert file.size == len(data)


# --- header -----------------------------------------------------------------------------------------------------------


def test_the_header():
    reader = MessageReader(
        b"From: =?utf-8?q?=C3=A4?=\r\n <a@b.example>\r\nX-raw: \xc3\xa4\xff\r\nX-Raw: 2\r\nX:\r\n\r\nSubject: no\r\n"
    )
    assert reader.header == "From: =?utf-8?q?=C3=A4?=\r\n <a@b.example>\r\nX-raw: ä\ufffd\r\nX-Raw: 2\r\nX:\r\n"


@pytest.mark.parametrize(
    "content", [b"", b"\r\n", b"no header", b"a: b", b"a: b\r\n", b"\r\na: b\r\n", b"From x\r\na: b\r\n\r\n"]
)
def test_odd_messages(content):
    reader = MessageReader(content)
    assert reader.attachments == reader.embeds == ()
    assert reader.html is None
    assert ("a: b" in reader.header) == (b"a: b" in content and not content.startswith(b"\r\n"))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ([b"Content-Disposition: attachment; filename=a.png"], "a.png"),
        ([b'Content-Disposition: attachment; filename="a b;c.png"'], "a b;c.png"),
        ([b'Content-Disposition: attachment; filename="a\\"b.png"'], 'a"b.png'),
        ([b"Content-Disposition: attachment; filename*=utf-8''%C3%A4.png"], "ä.png"),
        ([b"Content-Disposition: attachment; filename*=iso-8859-1'de'%E4.png"], "ä.png"),
        ([b"Content-Disposition: attachment; filename*=koi8-r''%C1.png"], "а.png"),
        ([b"Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1*=%A4; filename*2=.png"], "ä.png"),
        ([b"Content-Disposition: attachment; filename*0=a; filename*1=.png"], "a.png"),
        ([b"Content-Disposition: attachment; filename=a.png; filename*=utf-8''%C3%A4.png"], "ä.png"),
        ([b'Content-Disposition: attachment; filename="=?utf-8?Q?=C3=A4.png?="'], "ä.png"),
        ([b'Content-Disposition: attachment; filename="=?utf-8?Q?=C3=A4?=\r\n =?utf-8?Q?.png?="'], "ä.png"),
        ([b'Content-Disposition: attachment; filename="\xc3\xa4.png"'], "ä.png"),
        ([b"Content-Type: image/png; name=a.png"], "a.png"),
        ([b'Content-Type: image/png; name="=?iso-8859-1?B?5C5wbmc=?="', b"Content-Disposition: inline"], "ä.png"),
        ([b"Content-Type: image/png; name=b.png", b"Content-Disposition: attachment; filename=a.png"], "a.png"),
        ([b"Content-Disposition: attachment"], ""),
        # only labels
        ([b'Content-Disposition: attachment; filename="../../etc/passwd"'], "passwd"),
        ([b"Content-Disposition: attachment; filename*=utf-8''..%2F..%2Fetc%2Fpasswd"], "passwd"),
        ([b'Content-Disposition: attachment; filename="=?utf-8?q?..=2Fa?="'], "a"),
        ([b'Content-Disposition: attachment; filename="C:\\\\Windows\\\\a.exe"'], "a.exe"),
        ([b'Content-Disposition: attachment; filename="/etc/"'], ""),
        ([b'Content-Disposition: attachment; filename=".."'], ""),
        ([b'Content-Disposition: attachment; filename="a/."'], ""),
        ([b"Content-Disposition: attachment; filename*=utf-8''a%00b%0D%0AX%E2%80%AEgnp.exe"], "a b  X gnp.exe"),
        ([b"Content-Disposition: attachment; filename*=utf-8''%FF.png"], "\ufffd.png"),
        ([b"Content-Disposition: attachment; filename*=utf-7''+2AA-.png"], "?.png"),
        ([b"Content-Disposition: attachment; filename=" + b"x" * 1000], "x" * 255),
    ],
)
def test_file_names(fields, name):
    fields = fields if fields[0].startswith(b"Content-Type") else [PNG, *fields]
    [file] = read(leaf(b"x", *fields)).attachments
    assert file == File(name, 1, "image/png", 1, 1)


def test_embeds():
    html = leaf(b"<img src='cid:one@x'><img src=CID:two%2B2>", html_type())
    reader = MessageReader(
        multi(
            b"mixed",
            multi(
                b"related",
                html,
                leaf(b"1", PNG, b"Content-ID: <one@x>"),
                leaf(b"2", PNG, b"Content-ID: <unused@x>", b"Content-Disposition: attachment; filename=2.png"),
                leaf(b"3", PNG),
                boundary=b"c",
            ),
            leaf(b"4", PNG, b"Content-Disposition: attachment; filename=4.png", b"Content-ID: <two+2>"),
            leaf(b"5", PNG, b"Content-ID: <other@x>"),
            head=HEAD,
        )
    )
    assert [(file.number, reader.content(file)) for file in reader.embeds] == [(1, b"1"), (2, b"2"), (3, b"4")]
    assert [(file.number, reader.content(file)) for file in reader.attachments] == [(1, b"3"), (2, b"5")]


def test_finding_a_file():
    files = (File("a", 1, "x/y", 1, 5), File("1", 2, "x/y", 1, 6), File("a", 3, "x/y", 1, 7), File("", 4, "x/y", 1, 8))
    assert find_file(files, "a") == files[0]
    assert find_file(files, "3") == files[2]
    assert find_file(files, "1") == files[1]
    assert find_file(files, "4") == files[3]
    for label in ("", "0", "5", "-1", "²", "٣", "A", "../a", "03", " 3"):
        found = find_file(files, label)
        assert found is None or (label == "" and found == files[3])


def test_a_message_that_is_a_file():
    reader = MessageReader(HEAD + leaf(b"x", PNG, b"Content-Disposition: attachment; filename=a.png"))
    assert (reader.text, reader.html) == (None, None)
    assert reader.attachments == (File("a.png", 1, "image/png", 1, 0),)


# --- real ones --------------------------------------------------------------------------------------------------------


def python_leaves(message):
    """Parts as Python finds them, without those that are within a message in the message."""
    if message.get_content_maintype() == "multipart" and message.is_multipart():
        for part in message.get_payload():
            yield from python_leaves(part)
    else:
        yield message


@pytest.mark.parametrize("name", [name for name in messages() if name.endswith(".eml") and "CPython" not in name])
def test_real_messages(name):
    """Each part is shown, or listed as a file; none is twice."""
    content = messages()[name]
    reader = MessageReader(content)
    message = email.message_from_bytes(content, policy=email.policy.default)
    files = sorted((file.type, file.name) for file in reader.attachments + reader.embeds)
    texts = [type for type, text in (("text/plain", reader.text), ("text/html", reader.html)) if text is not None]
    expected = sorted((part.get_content_type(), part.get_filename() or "") for part in python_leaves(message))
    for type in texts:
        expected.remove((type, ""))
    assert files == expected
    for type, text in (("plain", reader.text), ("html", reader.html)):
        body = message.get_body((type,))
        assert (text is None) == (body is None)
        try:
            shown = "" if body is None else body.get_content()
        except LookupError:  # a charset that nobody has
            continue
        if text is not None and "\ufffd" not in shown:  # Python knows fewer charsets as people use them
            # White space at the end of an encoded line is no part of it (RFC 2045 section 6.7); Python keeps the last.
            assert text.replace("\r\n", "\n").rstrip() == shown.replace("\r\n", "\n").rstrip()


# --- hostile ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIME_BOMBS)
def test_bombs(name):
    content = MIME_BOMBS[name]()
    started = time.process_time()
    reader = MessageReader(content)
    assert len(reader.header) <= 300_000
    shown = [reader.text or "", reader.html or ""]
    for file in reader.attachments + reader.embeds:
        assert len(reader.content(file)) == file.size
        shown.append(file.name)
    for text in shown:
        text.encode("utf-8")
    assert time.process_time() - started < 10


def test_a_message_beyond_the_limits_has_a_header_only():
    reader = MessageReader(MIME_BOMBS["100,000 multiparts"]())
    assert "Subject: x\r\n" in reader.header
    assert (reader.text, reader.html, reader.attachments, reader.embeds) == (None, None, (), ())


@given(
    st.lists(
        st.sampled_from(
            [
                b"\r\n",
                b"--b",
                b"--c",
                b"--",
                b": ",
                b";",
                b"=",
                b"Content-Type: multipart/mixed; boundary=b\r\n",
                b'"',
                b"\xff",
                b"<",
                b"Content-Type: multipart/related; boundary=c\r\n",
                b"Content-Type: message/rfc822\r\n",
                b"\0",
                b"a",
                b"=?utf-8?q?=FF?=",
                b"Content-ID: <a>\r\n",
                b"cid:a",
                b"Content-Disposition: attachment; filename*0*=",
                b"utf-7''%2B2AA-",
                b"'",
                b"\r",
                b"\n",
                b"Content-Type: text/html; charset=utf-16\r\n",
                b"Content-Transfer-Encoding: base64\r\n",
                b"%00",
                b"(",
                b" ",
                b"\\",
            ]
        ),
        max_size=60,
    ).map(b"".join)
)
def test_no_message_makes_it_fail(content):
    reader = MessageReader(content)
    texts = [reader.header, reader.text or "", reader.html or ""]
    for file in reader.attachments + reader.embeds:
        assert len(reader.content(file)) == file.size
        assert "/" not in file.name and "\\" not in file.name and (file.name.isprintable() or "\xad" in file.name)
        texts.append(file.name)
    "".join(texts).encode("utf-8")
