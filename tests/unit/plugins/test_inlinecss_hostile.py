"""Nothing that a style sheet or a document may hold takes the inliner long, or makes it fail."""

from __future__ import annotations

import time

import pytest
from smtpeter.plugins.inlinecss import plugin

from smtpeter.api import TooComplex
from smtpeter.mime.inlining import Bounds, inline_styles
from tests.fakes.bombs import HTML_BOMBS
from tests.fakes.services import FakeServer

ENGINES = ("premailer", "css-inline")
FEATURES = {engine: plugin.configure({"engine": engine, "cache": 0}, FakeServer().services) for engine in ENGINES}
PROMPT = 10  # seconds of CPU; far more than it takes, and far less than what runs away
PAGE = "<!DOCTYPE html><html><head><style>{}</style></head><body>{}</body></html>"
CELLS = "<table>" + "<tr><td class=a><p>x</p></td><td><b>y</b></td></tr>" * 200 + "</table>"


def inlined(text: str, engine: str) -> tuple[str, ...]:
    begin = time.process_time()
    result = FEATURES[engine].inlined(text)
    assert time.process_time() - begin < PROMPT
    if any("too complex" in note for note in result.notes):
        assert result.text == text
    return result.notes


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", HTML_BOMBS)
def test_bombs(engine, name) -> None:
    body = HTML_BOMBS[name]().partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    inlined("<style>p,a,div,b{color:red}</style>" + body, engine)


def many(form: str, count: int) -> str:
    """The form again and again, each with its number."""
    return "".join([form.replace("#", str(number)) for number in range(count)])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("css", "body"),
    [
        (many(".c#{top:#px}", 5_000), "<p class=c1>"),
        (many(".c#{top:#px}", 5_000), many("<p class=c#>", 5_000)),
        (many("td.c#{top:#px}", 500), f"<p class='{many('c# ', 500)}'>{CELLS}"),
        (" ".join(["div"] * 200) + "{top:0}", "<div>" * 90),
        (many(" ".join(["div"] * 8) + ":nth-child(#n){top:0}", 50), ("<div>" * 90 + "</div>" * 90) * 20),
        ("~".join(["p"] * 14) + "{top:0}", "<p>x</p>" * 3_000),
        ("+".join(["p"] * 14) + "{top:0}", "<p>x</p>" * 3_000),
        (many("p:nth-child(#n+1){top:0}", 150), "<p>x</p>" * 3_000),
        ("p{" + many("p#:0;", 2_000) + "}", many("<p style='a:#'>", 3_000)),
        (f"*{{{many('p-#:0;', 300)}}}@media x{{*{{{many('p-#:0;', 300)}}}}}", many("<p style='a:#'>", 300)),
        ("p{top:0}" * 9_000, "<p>"),
        (",".join(["p"] * 9_000) + "{top:0}", "<p>"),
        ("@media x{" * 3 + "p{a:b}" * 9_000 + "}" * 3, "<p>"),
        ("p{a:" + "(" * 500_000, "<p>"),
        ("p{a:" + "{{x}}" * 100_000 + "}", "<p>"),
        ("p{a:" + "! " * 500_000 + "}", "<p>"),
        ("p" + " " * 500_000 + "!{a:b}", "<p>"),
        ('"\n' * 500_000, "<p>"),
        *[("p{a:b}", opening * 500_000) for opening in ("{{", "{%", "<%", "%%a", "*|", "[[", "${", "{{a", "<![if")],
        ("p{a:b}", "<!--[if" + " " * 1_000_000),
        ("p{a:b}", "<p a" + " " * 1_000_000 + "=b>"),
        ("p{a:b}", "<p" + " a =" * 400_000 + ">"),
        ("p{a:b}", "<svg></svg>" * 100_000),
        ("p{a:b}", "<svg>" * 300_000),
        ("p{a:b}", "<p>" * 500_000),
        ("a{a:b}", "<a><b></a></b>" * 1_000),
        ("b{a:b}", "<b><p></b>" * 2_000),
        ("p{a:b}", "<table><p>x</p><b>" * 45),
        ("td{a:b}", "<table><tr><td>" * 90),
    ],
)
def test_what_would_take_long_is_refused_or_done(engine, css, body) -> None:
    inlined(PAGE.format(css, body), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_ordinary_large_newsletter_is_not_too_complex(engine) -> None:
    css = many(".c#, .c# td, .c# a {top:#px; color:red} .c#:hover{color:blue}", 40)
    body = many("<table class=c#><tr><td class=a><a href=x>text</a></td></tr></table>", 40) * 10
    assert inlined(PAGE.format(css, body), engine) == ()


@pytest.mark.parametrize(
    ("bounds", "text", "reason"),
    [
        ({"characters": 30}, "", "it has more than 30 characters"),
        ({"marks": 1}, "", "its style sheets have more than 1 rules, selectors and values"),
        ({"depth": 2}, "<div><div><div>", "its elements nest more than 2 deep"),
        ({"selectors": 2}, "", "it has 3 selectors for 6 tags"),
        ({"work": 100}, "", "it has 3 selectors for 6 tags"),
        ({"growth": 10}, "", "it would grow too much"),
    ],
)
def test_bounds(bounds, text, reason) -> None:
    text = f"<style>p{{a:b}} i{{a:b}}</style><p>x</p><i>y</i><b>z</b>{text}"
    all_bounds = Bounds(1000, 100, 100, 100, 1_000_000, 1000)
    assert inline_styles(text, FEATURES["premailer"]._load(), all_bounds).text != text
    with pytest.raises(TooComplex) as caught:
        inline_styles(text, FEATURES["premailer"]._load(), all_bounds._replace(**bounds))
    assert str(caught.value) == reason
