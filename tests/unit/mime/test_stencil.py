"""Edits done again for texts with the same tags are those that would have been found out for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from css_inline import CSSInliner
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpeter.mime.inlining import Bounds, inline_styles
from smtpeter.mime.stencil import apply_stencil, cut_html, make_stencil

NEWSLETTERS = sorted((Path(__file__).parents[2] / "corpus" / "newsletters").glob("*.html"))
BOUNDS = Bounds(characters=2_000_000, marks=20_000, depth=100, selectors=10_000, work=10_000_000, growth=1_000_000)


STYLED = re.compile(r'x-n="(\d+)"(?:[^>"]|"[^"]*")*? style="([^"]*)"')


def engine(html, css):
    return {int(number): style for number, style in STYLED.findall(CSSInliner(extra_css=css).inline(html))}


def both_ways(one, other):
    """What becomes of ``other``, found out by itself, and by what is known of ``one``; None where they have not the
    same key."""
    first, second = cut_html(one), cut_html(other)
    if first is None or second is None or first.key != second.key:
        return None
    known = make_stencil(first, inline_styles(one, engine, BOUNDS).edits)
    assert known is not None
    assert apply_stencil(known, first) == inline_styles(one, engine, BOUNDS).text
    return inline_styles(other, engine, BOUNDS).text, apply_stencil(known, second)


def with_other_words(html):
    """The same letter with other words, and with other addresses where no selector asks for them."""
    made = cut_html(html)
    assert made is not None
    pieces = made.pieces.copy()
    for number in range(2, len(pieces), 2):
        if pieces[number].strip() and not pieces[number - 1].lower().startswith(("<style", "<!", "</")):
            pieces[number] = f"other words, {len(pieces[number])} before"
    for number in range(1, len(pieces), 2):
        if made.values is not None and pieces[number][1] != "!":
            pieces[number] = re.sub(
                r' (href|src)="http[^"]*"', r' \1="https://other.example/?a=1&amp;b"', pieces[number]
            )
    return "".join(pieces)


@pytest.mark.parametrize("path", NEWSLETTERS, ids=lambda path: path.stem)
def test_newsletters_with_other_words(path):
    html = re.sub(
        r"\{\{[^}]*\}\}|\*\|[^|]*\|\*|\[\[[^\]]*\]\]|%%[^%]*%%|\{%[^%]*%\}|\$\{[^}]*\}|<%[^%]*%>",
        "word",
        path.read_text(),
    )
    other = with_other_words(html)
    assert other != html
    ways = both_ways(html, other)
    assert ways is not None
    assert ways[0] == ways[1]


STYLES = (
    "p { color: red } .a { margin: 0 } #b { top: 1px } a:hover { color: blue } td > b { left: 2px !important }",
    "<!-- b { color: green } --> @media print { p { color: black } } .a { padding: 0 }",
    'a[href] { color: red } p { color: green } [title="x"] { left: 0 }',
    "* { color: red } p.a, p#b { font: 12px/1 x }",
    "p[x-apple-data-detectors] { color: red } p { left: 0 }",
)
TAGS = (
    "<p>", "<p class=a>", '<p id="b" style="top: 0">', "</p>", "<b>", "</b>", '<a href="@" class="a">', "</a>",
    '<a style="left: 0" href="@">', '<img src="@" alt="@">', "<br>", "<table><tr><td>", "</td></tr></table>",
    "<!-- @ <p> -->", "<!--[if mso]><p class=a><![endif]-->", "<script>@</script>", "<title>@</title>",
    "<svg><p></svg>", "<noscript><p class=a></noscript>", '<p title="@">', "<a href='@'>", "<!doctype html>", "</p ",
    "<textarea>@</textarea>",
)  # fmt: skip
TEXTS = st.sampled_from(
    (
        "",
        "x",
        "other words",
        "a < b",
        "a > b",
        '"',
        "'",
        "&amp;",
        "=",
        "<",
        "< p>",
        "-->",
        "{",
        "{{x}}",
        "%%x%%",
        "é",
        "\n",
    )
)
VALUES = st.sampled_from(("", "x", "https://example.com/?a=1&b=2", "a>b", "'", "a class=a", "{{x}}", "p style=x"))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_html(data):
    tags = data.draw(st.lists(st.sampled_from(TAGS), min_size=1, max_size=12))
    sheet = data.draw(st.sampled_from(STYLES))

    def draw():
        out = [f"<style>{sheet}</style>"]
        for tag in tags:
            out += (re.sub("@", lambda match: data.draw(VALUES), tag), data.draw(TEXTS))
        return "".join(out)

    ways = both_ways(draw(), draw())
    assert ways is None or ways[0] == ways[1]


def test_template_tags_are_not_guessed_about():
    assert cut_html("<p>{{ name }}</p>") is None
    assert cut_html("<p>%%name%%</p>") is None
    assert cut_html("<style>p { color: red }</style><p>name</p>") is not None


def test_addresses_count_where_a_selector_may_ask_for_them():
    def key(sheet, address):
        cut = cut_html(f'<style>{sheet}</style><a href="{address}">x</a>')
        assert cut is not None
        return cut.key

    assert key("a { color: red }", "x") == key("a { color: red }", "y")
    assert key("a[title] { color: red }", "x") == key("a[title] { color: red }", "y")
    for asking in ("[href]", "[ HREF^='x']", "[*|href]", "[hr\\65 f]"):
        assert key(f"a{asking} {{ color: red }}", "x") != key(f"a{asking} {{ color: red }}", "y")
