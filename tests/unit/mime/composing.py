"""What tests of composed messages need: the octets, whose form is checked, and how Python reads them."""

from __future__ import annotations

import email
from email.header import decode_header, make_header

from smtpeter.mime.addresses import Address
from smtpeter.mime.compose import Letter, compose
from smtpeter.mime.structure import find_fields, scan
from smtpeter.mime.transfer import has_bare_newline, has_long_line

ENTROPY = "abcdefghij0123456789"
SENDER = Address("", "a@b.example", "b.example")
PLAIN = Letter(SENDER, [Address("", "c@d.example", "d.example")], subject="Hello", text="Hello you")


def octets(letter, entropy=ENTROPY):
    """The message, whose form is right whatever is in it."""
    composed = compose(letter, entropy)
    content = b"".join(composed.pieces)
    assert b"".join(composed.pieces) == content
    assert content.endswith(b"\r\n")
    assert not has_bare_newline(content)
    assert not has_long_line(content)
    assert b"\0" not in content
    header = content[: content.index(b"\r\n\r\n")]
    assert composed.smtputf8 == (not header.isascii())
    return content


def as_python(content):
    return email.message_from_bytes(content)


def header(content):
    return content[: content.index(b"\r\n\r\n") + 2].decode("utf-8")


def field_of(content, name):
    """A field as it is written, unfolded."""
    [value] = [value for each, value in find_fields(content) if each == name.lower().encode()]
    return value.decode("utf-8")


def python_text(value):
    return str(make_header(decode_header(value)))


def types(content):
    parts = scan(content)
    assert parts is not None
    depths = []
    for part in parts:
        depth = 0
        while part.parent >= 0:
            part, depth = parts[part.parent], depth + 1
        depths.append(depth)
    return [" " * depth + part.type for depth, part in zip(depths, parts, strict=True)]
