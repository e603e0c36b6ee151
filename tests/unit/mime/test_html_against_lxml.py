"""The links that are found are those that lxml finds, which builds a tree with libxml2.

Generated pages leave out what is known to differ, as ``smtpeter/mime/html.py`` lists it: conditional comments, ``svg``,
``math``, ``template``, and scripts with ``<!--`` in them.  What lxml finds is cleaned as browsers clean addresses.
"""

from __future__ import annotations

from itertools import chain
from random import Random

import lxml.etree
import lxml.html
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.html import find_body_end, find_links, visible_text

# Before this, libxml2 had tokens of its own.
pytestmark = pytest.mark.skipif(lxml.etree.LIBXML_VERSION < (2, 14), reason="libxml2 does not follow HTML 5")

PARTS = [
    b"<a href=", b"<a ", b"<A\nHREF = ", b"</a>", b"<area href=", b"'", b'"', b">", b"<", b"/", b" ", b"\n", b"=",
    b"&amp;",
    b"&copy=", b"&copy;", b"&copy", b"&#38;", b"&#x26;", b"&#128;", b"&#0;", b"http://x.example/", b"?a=1&b=2", b"<p>",
    b"</p>", b"<style>", b"</style>", b"<title>", b"</title>", b"<textarea>", b"</textarea>", b"<!--", b"-->", b"--!>",
    b"<!",
    b"<?", b"</", b"<!DOCTYPE html>", b"<![CDATA[", b"]]>", b"href=x", b"href", b'class="c"', b"text", b"\xc3\xa9",
    b"<v:rect href='v'>", b"<noscript>", b"<b>", b"</body>", b"</html>", b"-", b"--", b"<xmp>", b"</xmp>", b"<iframe>",
    b"</iframe>", b"&notit;", b"&#99999999999;", b"&", b"&#", b"&#x", b"\0", b"\x0c", b"<img src=x>", b"<br/>",
    b"<plaintext>", b"<table><tr><td>", b"<script>", b"</script>",
]  # fmt: skip


def links_of_lxml(html: bytes) -> list[tuple[bytes, bytes]]:
    parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True)
    try:
        root = lxml.html.document_fromstring(html, parser=parser)
    except lxml.etree.ParserError:  # nothing in it
        return []
    trees = [*reversed(list(root.itersiblings(preceding=True))), root, *root.itersiblings()]
    found = []
    for element in chain.from_iterable(tree.iter() for tree in trees):
        if isinstance(element.tag, str) and (element.tag in ("a", "area") or element.tag.startswith("v:")):
            value = element.get("href", "").encode("utf-8", "surrogatepass")
            found.append((element.tag.encode(), value.translate(None, b"\t\r\n").strip(bytes(range(0x21)))))
    return [each for each in found if each[1]]


def our_links(html: bytes) -> list[tuple[bytes, bytes]]:
    return [(link.tag, link.value) for link in find_links(html)]


def has_comment_in_script(html: bytes) -> bool:
    return b"<!--" in html.partition(b"<script")[2]


@pytest.mark.parametrize("seed", range(4))
def test_pages_of_any_parts(seed: int) -> None:
    random = Random(seed)
    count = 0
    for _ in range(3000):
        html = b"".join(random.choices(PARTS, k=random.randrange(1, 25)))
        if has_comment_in_script(html):
            continue
        expected = links_of_lxml(html)
        count += len(expected)
        assert our_links(html) == expected, html
    assert count > 500


_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
_SPACES = st.sampled_from(["", " ", "\n", "\t ", "\r\n", "\x0c"])


@st.composite
def attribute(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(["href", "HREF", "class", "style", "data-x", "title", "hreflang"]))
    value = draw(_TEXT).replace("&", draw(st.sampled_from(["&", "&amp;", "&#38;", "&copy;", "&lt"])))
    quote = draw(st.sampled_from(['"', "'", ""]))
    value = value.replace(quote, "") if quote else "".join(value.split()).replace(">", "").strip("\"'") or "x"
    equals = draw(_SPACES) + "=" + draw(_SPACES)
    return draw(st.sampled_from([f"{name}{equals}{quote}{value}{quote}", name]))


@st.composite
def element(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    name = draw(st.sampled_from(["a", "A", "p", "div", "span", "b", "v:rect", "h1", "td", "area", "center"]))
    attributes = "".join(" " + each + draw(_SPACES) for each in draw(st.lists(attribute(), max_size=4)))
    return f"<{name}{attributes} >{draw(inner)}</{name}>"


_LEAVES = st.one_of(
    _TEXT.map(lambda text: text.replace("<", "&lt;")),
    st.sampled_from(
        ["<br>", "<img src='a>b'>", "<!-- <a href=no> -->", "<style>a{}</style>", "<hr/>", "&nbsp;", "< 3"]
    ),
)
_PAGES = st.recursive(_LEAVES, lambda inner: element(st.lists(inner, max_size=3).map("".join)), max_leaves=20)


@given(_PAGES)
def test_pages_that_are_well_made(page: str) -> None:
    html = f"<!DOCTYPE html><html><head><title>x</title></head><body>{page}</body></html>".encode()
    assert our_links(html) == links_of_lxml(html)
    assert find_body_end(html) == html.rindex(b"</body>")


@given(st.binary(max_size=200) | st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join))
def test_ranges_are_in_order_and_hold_what_is_said_of_them(html: bytes) -> None:
    position = 0
    for link in find_links(html, forms=True):
        assert position <= link.start < link.end < len(html)
        assert link.end <= link.inner_start <= link.inner_end <= len(html)
        before, after = html[link.start - 1 : link.start], html[link.end : link.end + 1]
        assert before == after if before in (b'"', b"'") else before in b"=\t\n\x0c\r "
        text = visible_text(html, link.inner_start, link.inner_end, "utf-8")
        assert text == " ".join(text.split())
        position = link.end
    assert 0 <= find_body_end(html) <= len(html)


@given(st.lists(st.sampled_from(PARTS), max_size=30).map(b"".join))
def test_an_address_that_is_replaced_is_the_only_thing_that_changes(html: bytes) -> None:
    links = find_links(html)
    new = html
    for number, link in reversed(list(enumerate(links))):
        new = new[: link.start] + b"https://t.example/%d" % number + new[link.end :]
    again = find_links(new)
    assert [link.value for link in again] == [b"https://t.example/%d" % number for number in range(len(links))]
    assert [(link.tag, link.names) for link in again] == [(link.tag, link.names) for link in links]
