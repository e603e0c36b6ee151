"""Links, texts and the end of the body, in HTML of all kinds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.mime.html import Link, find_body_end, find_links, visible_text


def addresses(html: bytes, **options: bool) -> list[bytes]:
    return [link.value for link in find_links(html, **options)]


def texts(html: bytes, encoding: str = "utf-8") -> list[str]:
    return [visible_text(html, link.inner_start, link.inner_end, encoding) for link in find_links(html)]


def the_link(html: bytes) -> Link:
    (link,) = find_links(html)
    return link


# --- where links are ---


@pytest.mark.parametrize(
    ("html", "written"),
    [
        (b'<a href="http://x/">', b"http://x/"),
        (b"<a href='http://x/\"'>", b'http://x/"'),
        (b"<a href=http://x/>", b"http://x/"),
        (b"<a href=http://x/a/ class=b>", b"http://x/a/"),
        (b"<a href=http://x<b>", b"http://x<b"),
        (b"<a href=http://x\"'`>", b"http://x\"'`"),
        (b"<A\r\nCLASS = 'b'\tHREF\n=\n\"http://x/\">", b"http://x/"),
        (b'<a/href="http://x/"/>', b"http://x/"),
        (b'<a class="b"href="http://x/">', b"http://x/"),
        (b'<a title="a > b" href="http://x/">', b"http://x/"),
        (b"<a title='<a href=y>' href=http://x/>", b"http://x/"),
        (b'<a title=">" disabled href="http://x/">', b"http://x/"),
        (b'<a =title href="http://x/">', b"http://x/"),
        (b'<a b"c href="http://x/">', b"http://x/"),
        (b'<a href="http://x/" href="http://y/">', b"http://x/"),
        (b'<a data-href="y" href="http://x/">', b"http://x/"),
        (b'<area shape="rect" HREF="http://x/">', b"http://x/"),
        (b'<v:roundrect xmlns:v="urn" href="http://x/" arcsize="5%">', b"http://x/"),
        (b'<V:Rect HREF="http://x/">', b"http://x/"),
        (b'<<a href="http://x/">', b"http://x/"),
        (b'1 < 2 <3 <a href="http://x/">', b"http://x/"),
        (b'</ <a href="y"><a href="http://x/">', b"http://x/"),
        (b'<!doctype html "><a href="http://x/">', b"http://x/"),
        (b'<?xml version="1.0"?><a href="http://x/">', b"http://x/"),
        (b'<![CDATA[<a href="y">]]><a href="http://x/">', b"http://x/"),
        (b'<noscript><a href="http://x/"></noscript>', b"http://x/"),
        (b'<p class="x" <a href="y"><a href="http://x/">', b"http://x/"),
    ],
)  # fmt: skip
def test_the_range_of_an_address(html: bytes, written: bytes) -> None:
    link = find_links(html)[0]
    assert (html[link.start : link.end], link.value) == (written, written)


@pytest.mark.parametrize(
    "html",
    [
        b"", b"<a>", b"<a href>", b"<a href=>", b'<a href="">', b'<a href=" \t\n">', b"<a href=&#32;>",
        b"<a href href=http://x/>", b"<a href='' href=http://x/>",
        b"<abbr href=http://x/>", b"<link href=http://x/>", b"<base href=http://x/>", b"<img src=http://x/>",
        b"<a name=x>", b"<a-b href=http://x/>", b"<area:a href=http://x/>", b"</a href=http://x/>",
        b"< a href=http://x/>",
        b"<form action=http://x/>", b"<a xlink:href=http://x/>",
        # Tags that do not end are none
        b"<a href=http://x/", b'<a href="http://x/>', b'<a href="http://x/"', b"<a href='http://x/\">", b"<p <a href=y",
        # What only looks like tags
        b"<!-- <a href=http://x/> -->", b"<!--><!-- <a href=y> -->", b"<!---><!-- <a href=y> -->", b"<!-- <a href=y>",
        b"<!-- --- <a href=y> -- > -->", b"<!--!> <a href=y> -->", b"<! <a href=y>", b"<? <a href=y>",
        b"</? <a href=y>",
        b"<style><a href=y></style>", b"<STYLE type='>'><a href=y></style >", b"<style></styl><a href=y></styles>",
        b"<title><a href=y></title>", b"<textarea><a href=y></textarea>", b"<xmp><a href=y></xmp>",
        b"<script>'<a href=y>'</script>", b"<iframe><a href=y></iframe>", b"<noembed><a href=y></noembed>",
        b"<noframes><a href=y></noframes>", b"<plaintext></plaintext><a href=y>", b"<style><!-- </x> <a href=y>",
        b"<title></style><a href=y></TITLE\n>",
    ],
)  # fmt: skip
def test_what_is_no_link(html: bytes) -> None:
    assert find_links(html) == []


@pytest.mark.parametrize(
    "html",
    [
        b"<style></style>%b", b"<style></style/>%b", b"<style></sty</style\n x='>'>%b", b"<title>&lt;</title>%b",
        b"<script/></script>%b",
        b"<!---->%b", b"<!-->%b", b"<!--->%b", b"<!-- -- -->%b", b"<!-- --!>%b", b"<!--- a --->%b", b"<!a>%b", b"<!>%b",
        b"</>%b", b"<?>%b",
        b"<!--[if !mso]><!-->%b<!--<![endif]-->", b"<![if !mso]>%b<![endif]>", b"<!--[if gte mso 9]>%b<![endif]-->",
        b"<!--[if (gte mso 9)|(IE)]><table><tr><td>%b</td></tr></table><![endif]-->", b"<!--[IF MSO]>%b-->",
        b"<!--[if mso]>%b--!>",
        b"<!--[if mso]><style><a href=y></style>%b<![endif]-->", b"<!--[if mso]><style><![endif]-->%b",
        b"<!--[if mso]><p title='<![endif]-->%b", b"<!--[if mso]><!-- a <![endif]-->%b", b"<!--[if mso]>-->%b",
        b"<!--[if mso]>%b<a href='y-->",
        b"\xff\xfe%b\x80", b"\0<p\0>%b",
    ],
)  # fmt: skip
def test_what_is_around_a_link(html: bytes) -> None:
    assert addresses(html.replace(b"%b", b"<a href=http://x/>")) == [b"http://x/"]


def test_links_of_outlook_are_in_order_with_the_others() -> None:
    html = (
        b"<a href=1>one</a><!--[if mso]><v:rect href=2><center>two</center></v:rect><![endif]-->"
        b"<!--[if !mso]><!--><a href=3>three</a><!--<![endif]--><!-- [if mso]><a href=no><![endif]--><a href=4>four</a>"
    )
    assert addresses(html) == [b"1", b"2", b"3", b"4"]
    assert texts(html) == ["one", "", "three", "four"]


def test_forms_only_where_asked_for() -> None:
    html = b"<form method=post action=http://x/><a href=http://y/>"
    assert addresses(html) == [b"http://y/"]
    assert addresses(html, forms=True) == [b"http://x/", b"http://y/"]


def test_the_names_of_attributes() -> None:
    link = the_link(b'<a Class=b DATA-no-track href="http://x/" href=y>')
    assert (link.tag, link.names) == (b"a", (b"class", b"data-no-track", b"href", b"href"))


def test_whether_it_has_an_attribute() -> None:
    link = the_link(b'<a title="data-no-track" x-data-no-track HREF="http://x/" Class=b>')
    assert link.has(b"class") and link.has(b"href")
    assert not link.has(b"data-no-track")


@pytest.mark.parametrize(
    "tag",
    [
        b'<td class="a" style="<a href=y>">', b"<td>", b"</td>", b'<img alt=">">', b'<p class="a"id="<a href=y>">',
        b'<tdx title="<a href=y>">', b'<TD title="<a href=y>">', b'<p = "<b">', b'<br/>', b"<table\nx='<a href=y>'>",
    ],
)  # fmt: skip
def test_tags_that_are_passed_over(tag: bytes) -> None:
    assert addresses(tag + b"<a href=http://x/>" + tag) == [b"http://x/"]


# --- what addresses mean ---


@pytest.mark.parametrize(
    ("written", "value"),
    [
        (b"http://x/?a=1&amp;b=2", b"http://x/?a=1&b=2"),
        (b"http://x/?a=1&#38;b=2&#x26;c&#X26c", b"http://x/?a=1&b=2&c\xc9\xac"),
        (b"http://x/?a=1&b=2", b"http://x/?a=1&b=2"),
        (b"?a&amp;lt;", b"?a&lt;"),
        (b"?a&amp;amp;b&lt", b"?a&amp;b<"),
        (b"?a&ampb", b"?a&ampb"),
        (b"?a&amp=b", b"?a&amp=b"),
        (b"?a&amp.b", b"?a&.b"),
        (b"?x&copy=1&copy2=1&copy;&copy", b"?x&copy=1&copy2=1\xc2\xa9\xc2\xa9"),
        (b"?x&notit;&not;&not&in;&notin;", b"?x&notit;\xc2\xac\xc2\xac\xe2\x88\x88\xe2\x88\x89"),
        (b"?&nosuch;&;&#;&#x;&#xg;&", b"?&nosuch;&;&#;&#x;&#xg;&"),
        (b"a&#128;&#x9f;&#129;", b"a\xe2\x82\xac\xc5\xb8\xc2\x81"),
        (b"a&#0;&#xd800;&#x110000;&#99999999999999999999;", b"a" + 4 * b"\xef\xbf\xbd"),
        (b"a&#0000000000000000038;b&#x000000000000026b", b"a&b\xc9\xab"),
        (b"a&#65b", b"aAb"),
        (b"a\0b", b"a\xef\xbf\xbdb"),
        (b" \r\n http://x/a\r\n b\t&#10;c \x0c&nbsp;", b"http://x/a bc \x0c\xc2\xa0"),
        (b"\x01http://x/\x1f", b"http://x/"),
        (b"http://x/%41%c3%A9%26amp;", b"http://x/%41%c3%A9%26amp;"),
        (b"http://\xfc.example/\xe9", b"http://\xfc.example/\xe9"),
        (b"&NotEqualTilde;", b"\xe2\x89\x82\xcc\xb8"),
    ],
)  # fmt: skip
def test_what_an_address_means(written: bytes, value: bytes) -> None:
    assert the_link(b'<a href="' + written + b'">').value == value


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1))
def test_any_address_written_in_references_comes_back(address: str) -> None:
    written = "".join(f"&#{ord(character)};" for character in address).encode("ascii")
    value = address.strip(" ").encode()
    assert addresses(b"<a href=" + written + b">") == [value] * bool(value)


# --- what people read ---


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        (b"www.bank.example", "www.bank.example"),
        (b" \r\n www.<b class='>'>bank</b>.<wbr>exam<!-- > -->ple&nbsp;</a>", "www.bank.example"),
        (b"a<br>b<p>c</p>d", "a b c d"),
        (b"a<style>b</style><script>c</script>d", "a d"),
        (b"a<!--[if mso]>b<![endif]--><![if !mso]>c<![endif]>", "ac"),
        (b"&lt;b&gt; &amp;amp; &#8364; < 3", "<b> &amp; \u20ac < 3"),
        (b"<img alt=a src=b>", ""),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        (b"a<b title=\"", "a"),
        (b"a<title>b", "a"),
        (b"", ""),
    ],
)  # fmt: skip
def test_the_text_of_a_link(inner: bytes, text: str) -> None:
    assert texts(b"<a href=x>" + inner + b"</a>")[:1] == [text]


def test_a_text_in_another_charset() -> None:
    assert texts(b"<a href=x>caf\xe9 &eacute;</a>", "latin-1") == ["café é"]


def test_a_link_ends_where_the_next_one_begins() -> None:
    assert texts(b"<a href=x>one<a href=y>two</A >three<a name=z>four</a><a href=z>five") == ["one", "two", "five"]
    assert texts(b"<!--[if mso]><a href=x>one<![endif]-->two") == ["one"]


# --- the end of the body ---


@pytest.mark.parametrize(
    "html",
    [
        b"<p>x</p>|</body></html>", b"<p>x</p>|</BODY\n></html>", b"x</body>y|</body>", b"x|</html>\n", b"x|",
        b"x|\r\n", b"x\r\n y|\n\n", b"|",
        b"x|</body><!-- </body> -->", b"x|</body><style></body></style>", b"x|</body><p title='</body>'>",
        b"x<!-- </body> -->|</html>", b"x<!--[if mso]></body><![endif]-->|", b"x</bodyx>|", b"x</body|", b"x <!-- y|",
        b"<body><html>|",
    ],
)  # fmt: skip
def test_the_end_of_the_body(html: bytes) -> None:
    assert find_body_end(html.replace(b"|", b"")) == html.index(b"|")
