"""HTML that is meant to cost time.  What takes milliseconds must not take seconds, whatever is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from smtpeter.mime.html import find_body_end, find_links, visible_text

SIZE = 50_000
SECONDS = 2.0  # of CPU; it takes a hundredth, and quadratic time would be a minute

BEGINNINGS = [b"", b"<a href=x>", b"<!--[if x]>", b"<a href='", b"<p "]
REPEATED = [
    b"<", b"<a", b"<a ", b"<a href=", b'<a href="', b"<a href='", b"<a href=x>", b"<a href=x>x</a>", b"<!--",
    b"<!--[if",
    b"<!--[if x]>", b"<!--[if x]><a href=x>", b"<!--[if x]><a href=x>-->", b"<style>", b"<title></title>", b"</", b"<!",
    b"<?",
    b" href=x", b" =", b"&", b"&#", b"&#1", b"&#x", b"f", b"1", b"&amp", b"&amp;", b"&a", b"</style>", b"-", b"--",
    b"-->", b"--!",
    b"<!---", b"<a/", b"<v:", b"<v:x href=y>", b"</a>", b"</body>", b"<div>", b"=", b'"', b"'", b" ", b"/", b"]", b"\0",
    b"\n",
]  # fmt: skip


def text_of(html: bytes) -> str:
    return visible_text(html, 0, len(html), "utf-8")


def seconds(work: Callable[[bytes], object], html: bytes) -> float:
    begin = time.process_time()
    work(html)
    return time.process_time() - begin


@pytest.mark.parametrize("work", [find_links, find_body_end, text_of])
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_attack_anything_repeated(beginning: bytes, work: Callable[[bytes], object]) -> None:
    for repeated in REPEATED:
        html = beginning + repeated * (SIZE // len(repeated))
        assert seconds(work, html) < SECONDS, (beginning, repeated)


@pytest.mark.parametrize(
    ("html", "count"),
    [
        (b"<div>" * 100_000 + b"<a href=x>", 1),
        (b"<a href=x>" * 100_000, 100_000),
        (b"<a " + b"b=c " * 1_000_000 + b"href=x>", 1),
        (b"<a " + b"href=x " * 1_000_000 + b">", 1),
        (b"<a href=" + b"x" * 1_000_000 + b">", 1),
        (b"<a href='&#" + b"9" * 1_000_000 + b";'>", 1),
        (b"<a href='&" + b"x" * 1_000_000 + b";'>", 1),
        (b"<!--[if mso]>" + b"<a href=x>" * 100_000 + b"<![endif]-->", 100_000),
        (b"<!--[if mso]><a href=x><![endif]-->" * 50_000, 50_000),
        (b"<!--[if mso]>" * 100_000 + b"<a href=x>", 0),
        (b"<!--" * 100_000 + b"--><a href=x>", 1),
        (b"<style></styl>" * 100_000 + b"</style><a href=x>", 1),
        (b"<title></title>" * 100_000 + b"<a href=x>", 1),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else value,
)
def test_attack_bombs(html: bytes, count: int) -> None:
    links: list[object] = []
    assert seconds(lambda html: links.extend(find_links(html)), html) < 5 * SECONDS
    assert len(links) == count


def test_attack_the_texts_of_many_links_that_never_end() -> None:
    html = b"<!--[if mso]><a href=http://x><![endif]-->www.x.example " * 20_000
    begin = time.process_time()
    for link in find_links(html):
        visible_text(html, link.inner_start, link.inner_end, "utf-8")
    assert time.process_time() - begin < SECONDS
