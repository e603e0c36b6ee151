"""The structure of messages, well made and hostile."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.structure import DEPTH_LIMIT, HEADER_LIMIT, PARTS_LIMIT, Part, scan


def lines(*text: str) -> bytes:
    return "".join(f"{line}\r\n" for line in text).encode()


def found(content: bytes) -> list[Part]:
    parts = scan(content)
    assert parts is not None
    return parts


def types(content: bytes) -> list[str]:
    return [part.type for part in found(content)]


def bodies(content: bytes) -> list[bytes]:
    return [content[part.body : part.end] for part in found(content) if not part.inner]


def mixed(boundary: str, *rest: str) -> bytes:
    return lines(f"Content-Type: multipart/mixed; boundary={boundary}", "", *rest)


def test_a_message_of_one_part() -> None:
    content = lines("Subject: x", "Content-Type: TEXT/Html; charset=utf-8", "Content-Transfer-Encoding: 8Bit", "", "hi")
    (part,) = found(content)
    assert (part.type, part.encoding, part.parent, part.inner) == ("text/html", "8bit", -1, False)
    assert content[part.begin : part.header_end].endswith(b"8Bit\r\n")
    assert content[part.body : part.end] == b"hi\r\n"


def test_parts_in_parts() -> None:
    content = lines(
        "Content-Type: multipart/mixed;", ' boundary="a b"', "", "preamble",
        "--a b", "Content-Type: multipart/alternative; boundary=in", "",
        "--in", "", "one",
        "--in", "Content-Type: text/html", "", "two",
        "--in--", "epilogue within",
        "--a b", "Content-Type: message/rfc822", "",
        "Subject: inner", "", "three",
        "--a b--", "epilogue",
    )  # fmt: skip
    parts = found(content)
    assert [(part.type, part.parent, part.inner) for part in parts] == [
        ("multipart/mixed", -1, True),
        ("multipart/alternative", 0, True),
        ("text/plain", 1, False),
        ("text/html", 1, False),
        ("message/rfc822", 0, True),
        ("text/plain", 4, False),
    ]
    assert bodies(content) == [b"one", b"two", b"three"]
    outer, inner = parts[0], parts[1]
    assert content[outer.body : outer.preamble_end] == b"preamble"
    assert content[outer.epilogue : outer.end] == b"\r\nepilogue\r\n"
    assert content[inner.epilogue : inner.end] == b"\r\nepilogue within"
    assert inner.preamble_end == inner.body
    assert content[parts[4].body : parts[4].end] == b"Subject: inner\r\n\r\nthree"


def test_a_digest_holds_messages() -> None:
    content = lines(
        "Content-Type: multipart/digest; boundary=d", "", "--d", "", "Subject: x", "", "one", "--d",
        "Content-Type: text/plain", "", "two", "--d--",
    )  # fmt: skip
    assert types(content) == ["multipart/digest", "message/rfc822", "text/plain", "text/plain"]


@pytest.mark.parametrize(
    "parameters",
    [
        "boundary=bound",
        "BOUNDARY = bound",
        'boundary="bound"',
        'boundary="bo\\und"',
        "charset=x; boundary=bound; boundary=other",
        '(a comment; boundary=no (in) it) ; x="; boundary=no"; boundary (here) = bound',
        "junk; =; boundary=bound",
        "boundary*=us-ascii'en'bou%6Ed",
        'boundary*0="bo"; boundary*1=und',
        "boundary*1*=u%6Ed; boundary*0*=us-ascii''bo",
        'type="text/html";\r\n\tboundary="bound"',
        'boundary="bound',
    ],
)
def test_every_way_to_write_a_boundary(parameters: str) -> None:
    content = lines(f"Content-Type: multipart/mixed; {parameters}", "", "--bound", "", "one", "--bound--")
    assert bodies(content) == [b"one"]


@pytest.mark.parametrize("given", ["", "text", "text/", "/plain", ";", "te xt/plain", '"text/html"', "é/x"])
def test_a_type_that_cannot_be_read_is_plain_text(given: str) -> None:
    assert types(lines(f"Content-Type: {given}", "", "x")) == ["text/plain"]


def test_of_fields_that_are_there_twice_the_first_counts() -> None:
    content = lines("Content-Type: text/html", "Content-Type: image/png", "", "x")
    assert types(content) == ["text/html"]


# --- delimiters ---


def test_a_boundary_that_begins_like_another() -> None:
    content = mixed(
        "b",
        "--b",
        "Content-Type: multipart/mixed; boundary=bb",
        "",
        "--bb",
        "",
        "one",
        "--b-",
        "--bbb",
        "--bb--",
        "--b--",
    )
    assert bodies(content) == [b"one\r\n--b-\r\n--bbb"]


def test_a_boundary_that_ends_like_a_last_delimiter() -> None:
    content = mixed(
        "b", "--b", "Content-Type: multipart/mixed; boundary=b--", "", "--b--", "", "one", "--b----", "--b--"
    )
    # The line is the outer one's last delimiter as well; here the exact one counts.
    assert bodies(content) == [b"one"]


def test_a_delimiter_may_have_white_space_behind_it() -> None:
    assert bodies(mixed("b", "--b \t ", "", "one", "--b--  ")) == [b"one"]


def test_the_outer_of_two_that_have_the_same_boundary_gets_its_lines() -> None:
    content = mixed("b", "--b", "Content-Type: multipart/mixed; boundary=b", "", "--b", "", "one", "--b--")
    assert [(part.type, part.parent, part.inner) for part in found(content)] == [
        ("multipart/mixed", -1, True),
        ("multipart/mixed", 0, False),
        ("text/plain", 0, False),
    ]


def test_an_inner_multipart_without_its_last_delimiter_ends_with_the_outer_one() -> None:
    content = mixed(
        "o", "--o", "Content-Type: multipart/mixed; boundary=i", "", "--i", "", "one", "--o", "", "two", "--i", "--o--"
    )
    assert bodies(content) == [b"one", b"two\r\n--i"]


@pytest.mark.parametrize("end", ["", "\r\n", "\r\n--b", "\r\n--b-", "\r\n--b--"])
def test_a_message_that_was_cut(end: str) -> None:
    content = mixed("b", "--b", "", "one")[:-2] + end.encode()
    assert bodies(content)[0].rstrip() in (b"one", b"one\r\n--b-")


def test_after_the_last_delimiter_nothing_begins() -> None:
    assert bodies(mixed("b", "--b", "", "one", "--b--", "--b", "", "two")) == [b"one"]


def test_a_multipart_whose_delimiters_are_not_there_is_a_leaf() -> None:
    for content in (
        mixed("b", "text"),
        lines("Content-Type: multipart/mixed", "", "--", "text"),
        mixed('""', "--", ""),
    ):
        (part,) = found(content)
        assert not part.inner


def test_a_part_without_a_header_and_one_without_a_body() -> None:
    content = mixed("b", "--b", "one line", "--b", "Content-Type: text/html", "--b", "--b--")
    parts = found(content)[1:]
    assert [(part.type, content[part.body : part.end]) for part in parts] == [
        ("text/plain", b"one line"),
        ("text/html", b""),
        ("text/plain", b""),
    ]


def test_an_encoded_message_within_a_message_is_not_looked_into() -> None:
    assert types(lines("Content-Type: message/rfc822", "Content-Transfer-Encoding: base64", "", "U3ViamVjdDog")) == [
        "message/rfc822"
    ]


# --- limits ---


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(depth)
    )
    return head + b"\r\nbody\r\n"


def test_depth_is_limited() -> None:
    assert len(found(nested(DEPTH_LIMIT - 1))) == DEPTH_LIMIT
    assert scan(nested(DEPTH_LIMIT)) is None
    assert scan(b"Content-Type: message/rfc822\r\n\r\n" * 100_000) is None


def test_parts_are_limited() -> None:
    assert len(found(mixed("b", *["--b", "", "x"] * (PARTS_LIMIT - 1)))) == PARTS_LIMIT
    assert scan(mixed("b", *["--b", "", "x"] * PARTS_LIMIT)) is None


def test_headers_are_limited() -> None:
    field = b"x" * 62 + b":\r\n"
    assert scan(field * (HEADER_LIMIT // 65) + b"\r\n") is not None
    assert scan(field * (HEADER_LIMIT // 65 + 1) + b"\r\n") is None


def test_lines_that_look_like_delimiters_are_limited() -> None:
    assert scan(mixed("b", "--b", "", *["--"] * 500_001)) is None


# --- anything ---

PIECES = st.sampled_from(
    [
        b"\r\n", b"--b", b"--b--", b"--bb", b"--", b" ", b":", b"(", b'"', b"\\", b";", b"=", b"*", b"'", b"%", b"x",
        b"Content-Type: multipart/mixed; boundary=b\r\n", b"Content-Type: multipart/digest; boundary=bb\r\n",
        b"Content-Type: message/rfc822\r\n", b"\r\n\r\n--b\r\n", b"Content-Transfer-Encoding: base64\r\n", b"\r", b"\n",
        b"\xff", b"From ", b"boundary",
    ]
)  # fmt: skip
HOSTILE: Any = st.one_of(st.binary(), st.lists(PIECES, max_size=60).map(b"".join))


@given(HOSTILE)
def test_whatever_comes_has_a_structure(content: bytes) -> None:
    parts = found(content)
    assert (parts[0].begin, parts[0].end, parts[0].parent) == (0, len(content), -1)
    for index, part in enumerate(parts):
        assert part.begin <= part.header_end <= part.body <= part.end <= len(content)
        assert content[part.header_end : part.body] in (b"", b"\r\n")
        if index:
            around = parts[part.parent]
            assert part.parent < index and around.inner
            assert around.body <= part.begin and part.end <= around.end
        if part.inner and part.boundary:
            assert part.body <= part.preamble_end <= part.end
            assert not part.epilogue or part.preamble_end < part.epilogue <= part.end
    for before, after in pairwise(parts):
        assert before.body <= after.begin
        assert after.parent == parts.index(before) or before.end <= after.begin
