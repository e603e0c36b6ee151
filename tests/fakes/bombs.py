"""Messages that are made to cost time and memory.  Each is canonical (CRLF), and made only when it is called for.

``MIME_BOMBS`` are hostile in their structure, headers, encodings and charsets; ``HTML_BOMBS`` are proper messages with
one hostile text/html part of at most 2 MB; ``BOMBS`` are all of them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

Bomb = Callable[[], bytes]

HEAD = b"From: a@example.com\r\nTo: b@example.net\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
MEGABYTE = 1_000_000
LEAF = 1_900_000  # just below what is looked at


def repeat(unit: bytes, size: int) -> bytes:
    """As many as fit."""
    return unit * (size // len(unit))


def in_field(name: bytes, unit: bytes, *, size: int = 250_000, begin: bytes = b"", end: bytes = b"") -> Bomb:
    """A field with something many times, folded, in an otherwise proper message."""

    def make() -> bytes:
        value = begin + repeat(unit, size) + end
        folded = b"\r\n ".join([value[at : at + 900] for at in range(0, len(value), 900)])
        return HEAD + name + b": " + folded + b"\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n"

    return make


def in_each_part(header: bytes, parts: int = 900) -> Bomb:
    """Many parts with the same expensive header."""
    return lambda: mixed(*[header + b"\r\n\r\nx"] * parts)


def mixed(*parts: bytes, boundary: bytes = b"b") -> bytes:
    inner = b"".join([b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts])
    return (
        HEAD
        + b"Content-Type: multipart/mixed; boundary="
        + boundary
        + b"\r\n\r\n"
        + inner
        + b"--"
        + boundary
        + b"--\r\n"
    )


def nested(depth: int, kind: bytes = b"mixed") -> bytes:
    """Multiparts in multiparts."""
    return HEAD + b"".join(
        [b"Content-Type: multipart/%b; boundary=b%d\r\n\r\n--b%d\r\n" % (kind, level, level) for level in range(depth)]
    )


def text(body: bytes, *, type: bytes = b"text/html; charset=utf-8", encoding: bytes = b"8bit") -> bytes:
    """A message of one part."""
    return (
        HEAD + b"Content-Type: " + type + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body + b"\r\n"
    )


def lines(unit: bytes, size: int, width: int = 900) -> bytes:
    """Something many times, in lines."""
    a_line = repeat(unit, width) or unit
    return repeat(a_line + b"\r\n", size)


MIME_BOMBS: dict[str, Bomb] = {
    # depth
    "31 multiparts": lambda: nested(31) + b"\r\nx",
    "100,000 multiparts": lambda: nested(100_000),
    "100,000 closed multiparts": lambda: (
        nested(100_000) + b"".join([b"\r\n--b%d--" % n for n in range(99_999, -1, -1)])
    ),
    "multiparts with one boundary": lambda: (
        HEAD + repeat(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", MEGABYTE)
    ),
    "messages in messages": lambda: HEAD + repeat(b"Content-Type: message/rfc822\r\n\r\n", 5 * MEGABYTE),
    "digests in digests": lambda: nested(100_000, b"digest"),
    "related in related": lambda: nested(30, b"related") + b"Content-Type: text/html\r\n\r\nx",
    "encoded messages": lambda: mixed(
        *[b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ=="] * 999
    ),
    # parts
    "998 parts": lambda: mixed(*[b"Content-Type: text/html\r\n\r\n<p>x</p>"] * 998),
    "a million parts": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\n\r\n" * 1_000_000
    ),
    "parts without anything": lambda: (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n" * 1_000_000
    ),
    "parts of 40 kB": lambda: mixed(*[b"Content-Type: text/html\r\n\r\n" + lines(b"<p>x", 40_000)] * 900),
    "related parts": lambda: mixed(*[b"Content-Type: text/html\r\nContent-ID: <x>\r\n\r\nx"] * 998).replace(
        b"mixed", b"related; start=y"
    ),
    "nested parts": lambda: nested(30) + repeat(b"\r\n--b29\r\n\r\nx", 10_000),
    "parts of a digest": lambda: mixed(*[b"\r\nContent-Type: text/html\r\n\r\nx"] * 998).replace(b"mixed", b"digest"),
    # delimiters
    "lines that begin like delimiters": lambda: mixed(b"\r\n" + b"--\r\n" * 5_000_000),
    "lines that begin like this delimiter": lambda: mixed(b"\r\n" + b"--bb\r\n" * 4_000_000),
    "delimiters with spaces behind": lambda: mixed(b"\r\n" + (b"--b" + b" " * 60_000 + b"x\r\n") * 500),
    "hyphens": lambda: mixed(b"\r\n" + lines(b"-", 20 * MEGABYTE)),
    "a line of hyphens": lambda: mixed(b"\r\n" + b"-" * 20 * MEGABYTE),
    "a long boundary": lambda: mixed(b"\r\nx", boundary=b"x" * 2_000),
    "a boundary of 100 kB": lambda: mixed(b"\r\nx", boundary=b"x" * 100_000),
    "a boundary of hyphens": lambda: mixed(
        *[b"Content-Type: text/html\r\n\r\n" + b"--\r\n" * 100] * 900, boundary=b"-" * 70
    ),
    "an empty boundary": lambda: HEAD + b'Content-Type: multipart/mixed; boundary=""\r\n\r\n' + b"--\r\n" * 2_000_000,
    "delimiters after the end": lambda: mixed(b"\r\nx") + b"--b\r\n" * 2_000_000,
    # headers
    "a header of 10 MB": lambda: HEAD + repeat(b"X: y\r\n", 10 * MEGABYTE) + b"\r\nx",
    "a field of 10 MB": lambda: HEAD + b"X:" + repeat(b" y\r\n", 10 * MEGABYTE) + b"\r\nx",
    "a name of 10 MB": lambda: HEAD + b"x" * 10 * MEGABYTE + b":\r\n\r\nx",
    "a name that has no colon": lambda: HEAD + b"x" * 10 * MEGABYTE,
    "content types": lambda: (
        HEAD + repeat(b"Content-Type: multipart/mixed; boundary=b\r\n", 250_000) + b"\r\n--b\r\n\r\nx"
    ),
    "transfer encodings": lambda: HEAD + repeat(b"Content-Transfer-Encoding: 7bit\r\n", 250_000) + b"\r\nx",
    "headers of 16 MB in parts": in_each_part(repeat(b"X: y\r\n", 50_000), 320),
    "headers of 45 MB in parts": in_each_part(repeat(b"X: y\r\n", 50_000)),
    "only continuation lines": lambda: HEAD + repeat(b" \r\n", 250_000) + b"\r\nx",
    "no header": lambda: lines(b"x ", 20 * MEGABYTE),
    "DKIM signatures": lambda: HEAD + repeat(b"DKIM-Signature: d=x.example\r\n", 250_000) + b"\r\nx",
    "tags of a DKIM signature": in_field(b"DKIM-Signature", b"; d "),
    "authors": lambda: (
        HEAD + b"DKIM-Signature: d=x\r\nFrom: " + b",\r\n ".join([b"a@b.example"] * 15_000) + b"\r\n\r\nx"
    ),
    "an author's domain of labels": lambda: HEAD + b"DKIM-Signature: d=x\r\nFrom: a@" + b"a." * 100_000 + b"\r\n\r\nx",
    "an author's domain that is not ASCII": lambda: (
        HEAD + b"DKIM-Signature: d=x\r\nFrom: a@" + "ä.".encode() * 60_000 + b"\r\n\r\nx"
    ),
    "authors whose domains are not ASCII": lambda: (
        HEAD + b"DKIM-Signature: d=x\r\nFrom: " + "a@ä.é,".encode() * 20_000 + b"\r\n\r\nx"
    ),
    # parameters and comments
    "parameters": in_field(b"Content-Type", b"; a=b", begin=b"multipart/mixed", end=b"; boundary=b"),
    "parameters without values": in_field(b"Content-Type", b"; a", begin=b"multipart/mixed"),
    "semicolons": in_field(b"Content-Type", b";", begin=b"multipart/mixed"),
    "sections of a boundary": lambda: (
        HEAD
        + b"Content-Type: multipart/mixed"
        + b"".join([b";\r\n boundary*%d=x" % n for n in range(14_000)])
        + b"\r\n\r\n--x\r\n"
    ),
    "a quoted boundary without an end": in_field(b"Content-Type", b"x", begin=b'multipart/mixed; boundary="'),
    "quotes": in_field(b"Content-Type", b'"', begin=b"multipart/mixed; boundary="),
    "backslashes": in_field(b"Content-Type", b"\\", begin=b'multipart/mixed; boundary="'),
    "comments in comments": in_field(b"Content-Type", b"(", begin=b"multipart/mixed;"),
    "nested comments that are closed": in_field(b"Content-Type", b"(()())", begin=b"text/html", end=b"; charset=x"),
    "comments that are not closed": in_field(b"Content-Type", b";a(", begin=b"multipart/mixed"),
    "deeper comments that are not closed": in_field(b"Content-Type", b";a(b(c", begin=b"multipart/mixed"),
    "comments before the type": in_field(b"Content-Type", b"(x)", end=b"text/html"),
    "open comments before the type": in_field(b"Content-Type", b"(x"),
    "comments of backslashes": in_field(b"Content-Type", b"(\\)", begin=b"text/html;"),
    "comments in each part": in_each_part(b"Content-Type: text/html" + b";a(" * 8_000, 600),
    "comments in dispositions": in_each_part(b"Content-Disposition: inline" + b";a(" * 8_000, 600),
    "comments before transfer encodings": in_each_part(
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: " + b"(" * 30_000, 500
    ),
    "percent signs": in_field(b"Content-Type", b"%41", begin=b"multipart/mixed; boundary*=us-ascii''"),
    "a charset of 100 kB": lambda: text(b"x", type=b"text/html; charset=" + b"x" * 100_000),
    # bodies
    "a line of 40 MB": lambda: text(b"x" * 40 * MEGABYTE),
    "40 MB of empty lines": lambda: text(b"\r\n" * 20 * MEGABYTE),
    "10 MB of NUL": lambda: text(b"\0" * 10 * MEGABYTE),
    "a leaf of NUL": lambda: text(b"\0" * LEAF),
    "white space at the ends of lines": lambda: text(lines(b" ", LEAF, 74)),
    "a leaf of short lines": lambda: text(b"\r\n" * (LEAF // 2)),
    "a leaf of one line": lambda: text(b"x" * LEAF),
    "base64 of line ends": lambda: text(base64.encodebytes(b"\n" * LEAF).replace(b"\n", b"\r\n"), encoding=b"base64"),
    "base64 with an octet a line": lambda: text(repeat(b"Q\r\n", 6 * MEGABYTE), encoding=b"base64"),
    "base64 of padding": lambda: text(lines(b"=", 7 * MEGABYTE), encoding=b"base64"),
    "40 MB of base64": lambda: text(lines(b"QUJD", 40 * MEGABYTE, 76), encoding=b"base64"),
    "soft line breaks": lambda: text(b"=\r\n" * 2_000_000, encoding=b"quoted-printable"),
    "quoted-printable of equals signs": lambda: text(b"=" * 7 * MEGABYTE, encoding=b"quoted-printable"),
    "quoted-printable of controls": lambda: text(lines(b"=00", 5 * MEGABYTE, 75), encoding=b"quoted-printable"),
    "base64 of delimiters": lambda: mixed(
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(repeat(b"--b\r\n", LEAF)).replace(b"\n", b"\r\n")
    ),
    "20 leaves of 1.9 MB": lambda: mixed(*[b"Content-Type: text/html\r\n\r\n" + lines(b"<b>", LEAF)] * 20),
    # charsets
    "escape sequences of ISO-2022-JP": lambda: text(
        repeat(b"\x1b$B$3\x1b(B", LEAF), type=b"text/html; charset=iso-2022-jp"
    ),
    "shifts of ISO-2022-KR": lambda: text(b"\x1b$)C" + b"\x0e\x0f" * 900_000, type=b"text/html; charset=iso-2022-kr"),
    "UTF-7": lambda: text(repeat(b"+AOk-", LEAF), type=b"text/html; charset=utf-7"),
    "HZ": lambda: text(repeat(b"~{VP~}", LEAF), type=b"text/html; charset=hz-gb-2312"),
    "UTF-32": lambda: text(repeat(b"\0\x01\xf6\0", LEAF), type=b"text/html; charset=utf-32be", encoding=b"binary"),
    "GB18030 of four octets": lambda: text(repeat(b"\x90\x30\x81\x30", LEAF), type=b"text/html; charset=gb18030"),
    "charsets in each part": lambda: mixed(*[b"Content-Type: text/html; charset=x%d\r\n\r\nx" % n for n in range(998)]),
    # what looks like PGP
    "almost PGP": lambda: text(lines(b"x-----BEGIN PGP ", LEAF, 16)),
}


def page(body: bytes, head: bytes = b"") -> Bomb:
    """A hostile page, in base64."""

    def make() -> bytes:
        html = b"<html><head>" + head + b"</head><body>" + body + b"</body></html>"
        return text(base64.encodebytes(html[:LEAF]).replace(b"\n", b"\r\n"), encoding=b"base64")

    return make


def _later(body: Bomb, head: Bomb = lambda: b"") -> Bomb:
    return lambda: page(body(), head())()


def _style(css: Bomb) -> Bomb:
    return lambda: b"<style>" + css() + b"</style>"


ELEMENTS: Bomb = lambda: b'<p class="a b c" id="i" title="t">x</p>' * 5_000  # noqa: E731

HTML_BOMBS: dict[str, Bomb] = {
    "100,000 open elements": _later(lambda: b"<div>" * 100_000),
    "100,000 nested elements": _later(lambda: b"<div>" * 100_000 + b"</div>" * 100_000),
    "100,000 open tables": _later(lambda: b"<table><tr><td>" * 100_000),
    "100,000 open formatting elements": _later(lambda: b"<b><i><a href=http://x.example/>" * 50_000),
    "mis-nested formatting": _later(lambda: b"<b><p></b>" * 150_000),
    "end tags": _later(lambda: b"</p></x>" * 200_000),
    "an element with a million attributes": _later(lambda: b"<a " + b"a " * 900_000 + b">"),
    "an attribute of 1.8 MB": _later(lambda: b'<a href="http://x.example/' + b"x" * 1_800_000 + b'">'),
    "an attribute without an end": _later(lambda: b'<a href="' + b"<a href=x>" * 180_000),
    "tags without an end": _later(lambda: b"<a href=http://x.example/ " * 70_000),
    "open angle brackets": _later(lambda: b"<" * 1_800_000),
    "quotes": _later(lambda: b"<a href='\"" * 180_000),
    "comments without an end": _later(lambda: b"<!-- " * 350_000),
    "hyphens": _later(lambda: b"<!" + b"-" * 1_800_000),
    "conditional comments in each other": _later(lambda: b"<!--[if mso]>" * 130_000),
    "conditional comments": _later(lambda: b"<!--[if mso]><a href=http://x.example/><![endif]-->" * 35_000),
    "ends of conditional comments": _later(lambda: b"<!--[if mso]>" + b"<![endif]" * 190_000),
    "declarations": _later(lambda: b"<!x <?y <![CDATA[" * 100_000),
    "scripts without an end": _later(lambda: b"<script><!--<script>" * 90_000),
    "titles without an end": _later(lambda: b"<title>" * 250_000),
    "ends of the body": _later(lambda: b"</body>" * 250_000),
    "60,000 links": _later(lambda: b'<a href="http://x.example/">x</a>' * 57_000),
    "60,000 different links": _later(
        lambda: b"".join([b"<a href=http://x.example/%d>x</a>" % n for n in range(50_000)])
    ),
    "links in a link": _later(lambda: b"<a href=http://x.example/>x" * 65_000),
    "entities": _later(lambda: b'<a href="' + b"&amp;" * 360_000 + b'">'),
    "entities that are none": _later(lambda: b'<a href="' + b"&a" * 900_000 + b'">'),
    "numbers of characters": _later(lambda: b'<a href="&#' + b"9" * 1_800_000 + b';">'),
    "white space in a link": _later(lambda: b'<a href="' + b" \n\t" * 600_000 + b'">'),
    "NUL in tags": _later(lambda: b"<a\0href=x\0>" * 150_000),
    "2 MB of selectors": _later(ELEMENTS, _style(lambda: b".a,#i,p>p~p+p " * 110_000 + b"{color:red}")),
    "80,000 rules": _later(ELEMENTS, _style(lambda: b".a .b .c{color:red}" * 80_000)),
    "80,000 different rules": _later(
        ELEMENTS, _style(lambda: b"".join([b".c%d p{top:%dpx}" % (n, n) for n in range(80_000)]))
    ),
    "a long selector": _later(ELEMENTS, _style(lambda: b"p " * 800_000 + b"{color:red}")),
    "negations": _later(ELEMENTS, _style(lambda: b"p" + b":not(.x)" * 190_000 + b"{color:red}")),
    "negations in each other": _later(ELEMENTS, _style(lambda: b"p" + b":not(" * 300_000)),
    "attribute selectors": _later(ELEMENTS, _style(lambda: b"[title*=t]" * 160_000 + b"{color:red}")),
    "universal selectors": _later(ELEMENTS, _style(lambda: b"* " * 800_000 + b"{color:red}")),
    "a rule with 100,000 declarations": _later(ELEMENTS, _style(lambda: b".a{" + b"color:red;" * 150_000 + b"}")),
    "open braces": _later(ELEMENTS, _style(lambda: b"{" * 1_600_000)),
    "media in media": _later(ELEMENTS, _style(lambda: b"@media all{" * 140_000)),
    "imports": _later(ELEMENTS, _style(lambda: b"@import url(http://127.0.0.1:1/x.css);" * 40_000)),
    "comments of CSS": _later(ELEMENTS, _style(lambda: b"/*" * 800_000)),
    "strings of CSS": _later(ELEMENTS, _style(lambda: b"a{content:'" * 140_000)),
    "escapes of CSS": _later(ELEMENTS, _style(lambda: b"\\" * 1_600_000)),
    "40,000 style elements": _later(lambda: b"<style>p{color:red}</style><p>x</p>" * 45_000),
    "style attributes": _later(
        lambda: b'<p style="color:red;color:blue">x</p>' * 45_000, _style(lambda: b"p{margin:0}" * 100)
    ),
    "a style attribute of 1.8 MB": _later(lambda: b'<p style="' + b"color:red;" * 180_000 + b'">'),
    "an element with 300,000 classes": _later(
        lambda: b'<p class="' + b"a " * 300_000 + b'">', _style(lambda: b".a.a{top:0}" * 50_000)
    ),
}

BOMBS = MIME_BOMBS | {f"HTML: {name}": bomb for name, bomb in HTML_BOMBS.items()}
