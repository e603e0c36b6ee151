"""Forms: names, lists and objects in names, files."""

from __future__ import annotations

from urllib.parse import quote, quote_plus, unquote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.web.rest.forms import MOST_VALUES, File, grow, read_multipart, read_urlencoded
from smtpeter.web.rest.values import ApiError


def refusal(function, *arguments):
    with pytest.raises(ApiError) as caught:
        function(*arguments)
    assert caught.value.status == 400 and caught.value.text.isprintable()
    return caught.value.text


def part(disposition, value=b"x", *more):
    return b"\r\n".join([b"--B", b"Content-Disposition: " + disposition, *more, b"", value, b""])


def multipart(*parts, end=b"--B--\r\n"):
    return read_multipart(b"".join(parts) + end, "B")


# --- application/x-www-form-urlencoded ---


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1&b=2\r\n", {"a": "1", "b": "2"}),
        (b"a=&b", {"a": "", "b": ""}),
        (b"a=x+y%20z%2B%26%3D", {"a": "x y z+&="}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a=%C3%A9&%C3%A9=1", {"a": "\u00e9", "\u00e9": "1"}),
        (b"&&a=1&&", {"a": "1"}),
        (b"a=%0D%0A", {"a": "\r\n"}),
        (b"a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        (b"a[]=1", {"a": ["1"]}),
        (b"a[]=1&a[]=2", {"a": ["1", "2"]}),
        (b"a%5B%5D=1&a%5B%5D=2", {"a": ["1", "2"]}),
        (b"a[1]=y&a[0]=x", {"a": ["x", "y"]}),
        (b"a[10]=z&a[9]=y", {"a": ["y", "z"]}),
        (b"a[3]=x&a[]=y", {"a": ["x", "y"]}),
        (b"dsn[notify]=NEVER&dsn[ret]=HDRS", {"dsn": {"notify": "NEVER", "ret": "HDRS"}}),
        (b"a[0][name]=x&a[0][data]=y&a[1][name]=z", {"a": [{"name": "x", "data": "y"}, {"name": "z"}]}),
        (b"r[jane@example.com][name]=Jane", {"r": {"jane@example.com": {"name": "Jane"}}}),
        (b"a[0]=x&a[b]=y", {"a": {"0": "x", "b": "y"}}),
        (b"a]=1&[b]=2&c[d=3", {"a]": "1", "[b]": "2", "c[d": "3"}),
        (b"a[00]=x&a[01]=y", {"a": ["x", "y"]}),
    ],
)
def test_forms(body, expected):
    assert read_urlencoded(body) == expected


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"subject=50% off", "%25"),
        (b"subject=%", "subject"),
        (b"subject=%4", "subject"),
        (b"subject=%zz", "subject"),
        (b"subject=%ff", "subject: this is not UTF-8"),
        (b"subject=\xff", "subject: this is not UTF-8"),
        (b"%ff=1", "UTF-8"),
        (b"subject=%ED%A0%80", "UTF-8"),
        (b"dsn=1&dsn[ret]=2", "dsn: given both"),
        (b"dsn[ret]=1&dsn=2", "dsn: given both"),
        (b"a[b][c]=1&a[b]=2", "a: given both"),
        (b"a[b]=1&a[b][c]=2", "a: given both"),
        (b"a[b][c][d][e]=1", "levels"),
        (b"a=1&" * (MOST_VALUES + 1), "values"),
    ],
)
def test_what_is_no_good_form(body, word):
    assert word in refusal(read_urlencoded, body)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: "[" not in name), st.text()), st.booleans())
def test_what_python_writes_is_read(fields, plus):
    assert read_urlencoded(urlencode(fields, quote_via=quote_plus if plus else quote).encode()) == fields


@given(st.binary(max_size=80))
def test_every_octet_survives_its_escape(octets):
    body = b"a=" + b"".join(b"%%%02x" % octet for octet in octets)
    try:
        found = read_urlencoded(body)["a"]
    except ApiError:
        with pytest.raises(UnicodeDecodeError):
            octets.decode()
    else:
        assert found == octets.decode()


@given(st.text("ab=%41 \t+&;\r\n[]0.", max_size=40))
def test_what_is_read_means_what_it_means_to_others(text):
    try:
        found = read_urlencoded(b"v=" + text.replace("&", "").rstrip("\r\n").encode())["v"]
    except ApiError:
        return
    assert found == unquote_plus(text.replace("&", "").rstrip("\r\n"))


def test_many_open_lists_take_no_square_of_time():
    pairs = [(f"a[{number}][]", "x") for number in range(5000)] + [("b[]", "x")] * 5000
    found = grow(pairs)
    assert len(found["a"]) == len(found["b"]) == 5000


# --- multipart/form-data ---


def test_values_and_files():
    found = multipart(
        part(b'form-data; name="subject"', "caf\u00e9".encode()),
        part(b'form-data; name="recipients[]"', b"a@example.org"),
        part(b'form-data; name="recipients[]"', b"b@example.org"),
        part(b'form-data; name="attachments[]"; filename="a.bin"', b"\r\n\0\xff--B\r\n-", b"Content-Type: image/png"),
        part(b'form-data; name="dsn[ret]"', b"HDRS", b"Content-Type: text/plain; charset=utf-8"),
    )
    assert found == {
        "subject": "caf\u00e9",
        "recipients": ["a@example.org", "b@example.org"],
        "attachments": [File("a.bin", "image/png", b"\r\n\0\xff--B\r\n-")],
        "dsn": {"ret": "HDRS"},
    }


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b'form-data; name="a%22b"', 'a"b'),
        (b'form-data; name="a\\"b"', 'a"b'),
        (b'FORM-DATA; NAME="a"', "a"),
        (b"form-data;name=a", "a"),
        ('form-data; name="\u00e9"'.encode(), "\u00e9"),
        (b'form-data; name="a;b"', "a;b"),
    ],
)
def test_names_of_parts(disposition, name):
    assert multipart(part(disposition)) == {name: "x"}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"", "cut off"),
        (b"--B--", ""),
        (part(b'form-data; name="a"'), "cut off"),
        (part(b'form-data; name="a"') + b"--B", "cut off"),
        (part(b'form-data; name="a"') + b"--B--\r\nmore", "cut off"),
        (b"preamble\r\n" + part(b'form-data; name="a"') + b"--B--", "begin"),
        (part(b"form-data") + b"--B--", "name="),
        (part(b'form-data; name=""') + b"--B--", "name="),
        (part(b'attachment; name="a"') + b"--B--", "name="),
        (part(b'form-data; name="a"; name="b"') + b"--B--", "two names"),
        (part(b'form-data; name="a" garbage') + b"--B--", "name="),
        (part(b'form-data; name="a') + b"--B--", "name="),
        (part(b'form-data; name="a"', b"x", b"Content-Transfer-Encoding: base64") + b"--B--", "encoded"),
        (part(b'form-data; name="a"', b"x", b'Content-Disposition: form-data; name="b"') + b"--B--", "twice"),
        (part(b'form-data; name="a"', b"x", b"no field") + b"--B--", "no field"),
        (part(b'form-data; name="a"', b"x", b" folded") + b"--B--", "no field"),
        (part(b'form-data; name="a"', b"x", b"X: " + b"y" * 9000) + b"--B--", "header"),
        (part(b'form-data; name="a"', b"\xff") + b"--B--", "a: this is not UTF-8"),
        (b"--B\r\nno end", "cut off"),
        (b"--B\r\n\r\nx\r\n--B--", "name="),
    ],
)
def test_what_is_no_good_multipart(body, word):
    if word:
        assert word in refusal(read_multipart, body, "B")
    else:
        assert read_multipart(body, "B") == {}


@pytest.mark.parametrize("boundary", ["", "x" * 71, "x ", "x\r\ny", "\u00e9", '"'])
def test_boundaries(boundary):
    assert "boundary" in refusal(read_multipart, b"--x--", boundary)


def test_a_boundary_that_others_would_find_in_a_value_is_one():
    # A delimiter ends a part wherever it stands at the beginning of a line (RFC 2046 section 5.1.1).
    body = part(b'form-data; name="a"', b"x\r\n--Bogus") + b"--B--"
    assert "header" in refusal(read_multipart, body, "B")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.binary(max_size=30)), max_size=5))
def test_octets_of_files_come_through(files):
    parts = [part(b'form-data; name="%s[]"; filename="f"' % name.encode(), octets) for name, octets in files]
    found = multipart(*parts)
    assert sorted((name, file.octets) for name, several in found.items() for file in several) == sorted(files)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(octets):
    for body in (octets, b"--B\r\n" + octets + b"\r\n--B--", part(b'form-data; name="a"', octets) + b"--B--"):
        try:
            read_multipart(body, "B")
            read_urlencoded(body)
        except ApiError as error:
            assert error.status == 400
