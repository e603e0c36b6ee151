"""Addresses of all kinds that lead somewhere, and the ways in which HTML can say them."""

from __future__ import annotations

from collections.abc import Iterator

_HOSTS = [
    "example.com", "www.example.com", "EXAMPLE.com", "example.com.", "a.b.c.d.e.example", "xn--bcher-kva.example",
    "b\u00fccher.example", "\u4f8b\u3048.jp", "user@example.com", "user:p%40ss@example.com", "192.0.2.1",
    "[2001:db8::1]",
    "[::ffff:192.0.2.1]", "example.com:8080", "user@[2001:db8::1]:8443", "ex_ample.com", "example.com:", "a-b.example",
]  # fmt: skip
_TAILS = [
    "", "/", "/a/b/c.html", "/a//b/../c/./d", "?", "#", "/?", "/?a=1&b=2", "?a=1&copy=2&lt=3&amp=4&notit=5",
    "/?a=1&amp;b=2",
    "/?q=a+b%20c%26d", "/%e4%bd%a0/%E4%BD%A0", "/%2e%2E/%2F%5c%00", "/100%", "/%zz", "/a b c",
    "/a;b=c,d:e@f!g$h'i(j)k*l~m",
    "/\"quoted\"/'quoted'/`quoted`", "/<b>", "/a|b^c{d}[e]\\f", "/\u00e9/\u4f60\u597d?q=\U0001f600#\u00fc",
    "/#fragment?no=query",
    "/#/app/route?x=1&y=#2", "/?url=https%3A%2F%2Fother.example%2F%3Fa%3D1%26b%3D2",
    "/?url=https://other.example/?a=1&b=2",
    "/?utm_source=a&utm_medium=b&utm_campaign=c", "/?jwt=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-_", "/?e=&f&&=g",
    "/\u200d\u00a0x",
    "/t/trackclicks/a/b", "/?" + "x" * 1400, "/{x}", "/a%0d%0aSet-Cookie:%20x", "/&#38;", "/&amp;amp;&lt;",
]  # fmt: skip
URLS = [
    scheme + host + tail
    for number, host in enumerate(_HOSTS)
    for place, tail in enumerate(_TAILS)
    for scheme in [("https://", "http://", "HTTPS://", "hTtP://")[(number + place) % 4]]
]
"""Each has a meaning of its own; none has white space around it."""


def spellings(url: str) -> Iterator[bytes]:
    """Elements that lead to an address, as people, programs and obscure programs write them."""
    escaped = url.replace("&", "&amp;")
    yield f'<a href="{escaped.replace(chr(34), "&quot;")}">'.encode()
    yield f"<a class='x' HREF =\r\n' {escaped.replace(chr(39), '&#39;')}\t'\r\n>".encode()
    numbers = "".join(f"&#{ord(each)};" if number % 2 else f"&#x{ord(each):X};" for number, each in enumerate(url))
    yield f"<area href={numbers}>".encode()
    middle = len(escaped) // 2
    if "&" not in escaped[middle - 8 : middle + 8]:
        broken = f"{escaped[:middle]}\r\n\t{escaped[middle:]}".replace('"', "&#34;")
        yield f'<!--[if mso]><v:rect href="{broken}"><![endif]-->'.encode()
    if not any(character in url for character in " <>\"'`&"):
        yield f"<a href={url}>".encode()
        yield f"<a/href='{url}'title='>'>".encode()
