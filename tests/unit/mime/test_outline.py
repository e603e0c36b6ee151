"""The tags of a document are found where browsers find them."""

from __future__ import annotations

import pytest

from smtpeter.mime.outline import attribute, attributes, read_outline, vocabulary
from smtpeter.mime.shield import COVER, cover_templates


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x<p>y</p>z", ["<p>", "</p>"]),
        ("<P a=1\nb='>' c=\">\" d=it's>x", ["<P a=1\nb='>' c=\">\" d=it's>"]),
        ("<p 'a' \"b>\">x", ["<p 'a' \"b>"]),
        ("<p a=b/c/><br/>", ["<p a=b/c/>", "<br/>"]),
        ("< p><1><p", []),
        ("<p title='><b>", []),
        ("<!-- <p> --><p><!--><b><!---><i>", ["<p>", "<b>", "<i>"]),
        ("<!--[if mso]><p><![endif]--><b>", ["<b>"]),
        ("<![if !mso]><p><![endif]><!DOCTYPE x><?xml <b>?><i>", ["<p>", "<i>"]),
        ("<script><p></script><title><p></TITLE ><xmp><p></xmp><b>", ["<b>"]),
        ("<textarea><p></textarea><svg><p></svg><b>", ["<textarea>", "</textarea>", "<svg>", "</svg>", "<b>"]),
        ("<script><p></scripts><b>", []),
        ("<head><meta><link><base><o:p></o:p><p>", ["<p>"]),
    ],
)
def test_tags_are_found(text, found) -> None:
    outline = read_outline(text)
    assert outline.sources == found
    for source, start in zip(outline.sources, outline.starts, strict=True):
        assert text.startswith((source, "</"), start)


def test_style_elements_are_found() -> None:
    text = "<style a>x</style><!--[if mso]><style>y</style><![endif]-->"
    text += "<!--[if !mso]><!--><STYLE>z</STYLE ><!--<![endif]--><style>v"
    styles = read_outline(text).styles
    assert [(style.source, text[style.sheet_start : style.sheet_end], style.common) for style in styles] == [
        ("<style a>", "x", True),
        ("<STYLE>", "z", False),
    ]
    assert text[styles[1].start : styles[1].end] == "<STYLE>z</STYLE >"


def test_what_only_some_readers_see_is_told() -> None:
    text = "<!--[if mso]><td class=a></td><![endif]--><!-- <i> --><noscript><b></noscript><o:p><p>"
    assert {source for source in read_outline(text).hidden if source[1] != "/"} == {"<td class=a>", "<b>", "<o:p>"}


@pytest.mark.parametrize(
    ("text", "depth"), [("<p><p><br><li>", 0), ("<div><b></b><i><p></i></div>", 2), ("</b></b>", 0)]
)
def test_depth(text, depth) -> None:
    assert read_outline(text).depth == depth


def test_attributes() -> None:
    source = "<P a B=c d = 'e\"' f=\"g'\" h='' a=2 =x i=/>"
    assert [(each.name, each.value, each.quote) for each in attributes(source)] == [
        *(("a", "", ""), ("b", "c", ""), ("d", 'e"', "'"), ("f", "g'", '"'), ("h", "", "'"), ("a", "2", "")),
        *(("=x", "", ""), ("i", "/", "")),
    ]
    for each in attributes(source):
        assert source[each.value_start : each.value_start + len(each.value)] == each.value or not each.value
    assert attribute("<p title='a &amp; b'>", "title") == "a & b"
    assert attribute("<p>", "title") is None


def test_vocabulary() -> None:
    tags, words = vocabulary(["<P class='a b'>", "<P class='a b'>", "</i>", "<td id=c class=a>", "<td data-id=x>"])
    assert tags == {"p": 2, "td": 2}
    assert words == {"a": 3, "b": 2, "c": 1}


@pytest.mark.parametrize(
    "tag",
    ["{{a}}", "{{{a}}}", "{% a > b %}", "<% a < b %>", "<?php a ?>", "*|A:B|*", "%%a b%%", "[[a]]", "${a}"],
)
def test_template_tags_are_covered(tag) -> None:
    assert cover_templates(f"x{tag}y{tag}") == f"x{COVER * len(tag)}y{COVER * len(tag)}"


@pytest.mark.parametrize(
    "text",
    [
        "100%% of 50%%",
        "a{b{c:d}}",
        "<!--[if mso]>",
        "a[b[c]]",
        "*|*{}",
        "{{",
        "$x",
        "<?xml version='1.0'?>",
        "{foreach}",
    ],
)
def test_what_is_no_template_tag_stays(text) -> None:
    assert cover_templates(text) == text


def test_an_end_tag_of_no_latin_letter_is_a_comment() -> None:
    outline = read_outline("<p></\xe9><b></b>")
    assert outline.sources == ["<p>", "<b>", "</b>"]
