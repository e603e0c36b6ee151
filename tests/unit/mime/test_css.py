"""Style sheets are read as the standard says, and what is not understood is left out."""

from __future__ import annotations

import pytest

from smtpeter.mime.css import is_empty, read_declarations, read_sheet
from smtpeter.mime.shield import cover_templates


def rules(text: str) -> list[tuple[str, bool]]:
    return [(text[rule.start : rule.end], rule.conditional) for rule in read_sheet(text).rules]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        (" a{b:c} \n d{}", ["a{b:c}", "d{}"]),
        ("/*x{}*/a/*{*/{b:'}'}", ["a/*{*/{b:'}'}"]),
        ('a{b:"\\"}"} c{d:e}', ['a{b:"\\"}"}', "c{d:e}"]),
        ("a{b:url(})} c{}", ["a{b:url(})}", "c{}"]),
        ("a{b:url('})')} c{}", ["a{b:url('})')}", "c{}"]),
        ("a{b:{c}d} e{}", ["a{b:{c}d}", "e{}"]),
        ("a{b:'x\n} c{}", ["a{b:'x\n}", "c{}"]),
        ("a[b='{']{c:d}", ["a[b='{']{c:d}"]),
        ("<!-- a{} --> b{}", ["a{}", "b{}"]),
        ("@import 'x;y'; @charset x;a{}", ["a{}"]),
        ("@font-face{a:b} @page :first{a:b} @keyframes x{from{a:b} to{a:b}} a{}", ["a{}"]),
        ("a{b:c", []),
        ("@media x{a{}", []),
        ("a\\{b{c:d} e{}", ["a\\{b{c:d}", "e{}"]),
        ("@\\6dedia x{a{}} b{}", ["b{}"]),
        (";a{} b{}", [";a{}", "b{}"]),
    ],
)
def test_rules_are_found(text, found) -> None:
    assert rules(text) == [(rule, False) for rule in found]


def test_rules_within_conditions_are_found() -> None:
    text = "@media (x){a{} @supports (y){b{} @media z{c{} @media v{d{}}}} e{}} f{} @MEDIA x{g{}}"
    assert rules(text) == [*[(f"{each}{{}}", True) for each in "abce"], ("f{}", False), ("g{}", True)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a:b", [("a", "b", False)]),
        (" A : b c ;; D:e ! important; ", [("a", "b c", False), ("d", "e", True)]),
        ("a:url(x;y);b:';';c:\"}\"", [("a", "url(x;y)", False), ("b", "';'", False), ("c", '"}"', False)]),
        ("/*x:y*/a/**/:/**/b/*;*/", [("a", "b", False)]),
        ("--x:;*a:b;_c:d;-e-f:g", [("--x", "", False), ("*a", "b", False), ("_c", "d", False), ("-e-f", "g", False)]),
        ("a:b\n\t c", [("a", "b c", False)]),
        ("", []),
        ("a", None),
        ("a:", None),
        ("a b:c", None),
        ("@x y;a:b", None),
        ("a:{b}", None),
    ],
)
def test_declarations_are_read(text, found) -> None:
    read = read_declarations(text)
    assert (read and [each[:3] for each in read]) == (found or (() if found == [] else None))


def test_the_place_of_a_value_is_known() -> None:
    text = "p { a : b c /* x */; d:e!important }"
    (rule,) = read_sheet(text).rules
    assert [text[each.start : each.end] for each in rule.declarations or ()] == ["b c", "e!important"]


@pytest.mark.parametrize(
    ("text", "normal", "specificity"),
    [
        ("A", "a", (0, 0, 1)),
        ("*", "*", (0, 0, 0)),
        ("a.B#c", "a.B#c", (1, 1, 1)),
        ("a  >  b+c ~d   e", "a>b+c~d e", (0, 0, 5)),
        ("A[ Href ^= 'x y' ]", 'a[href^="x y"]', (0, 1, 1)),
        ("[x=y]", '[x="y"]', (0, 1, 0)),
        ("a:FIRST-child", "a:first-child", (0, 1, 1)),
        (":nth-child( 2N + 1 )", "*:nth-child( 2n + 1 )", (0, 1, 0)),
    ],
)
def test_selectors_are_read(text, normal, specificity) -> None:
    ((selector,),) = [rule.selectors for rule in read_sheet(text + "{a:b}").rules]
    assert (selector.text, selector.exact, selector.specificity) == (normal, True, specificity)


@pytest.mark.parametrize(
    ("text", "loose"),
    [
        ("a:hover", "a"),
        (":hover", "*"),
        ("p :hover b", "p * b"),
        ("a:not(.x).y", "a.y"),
        ("li:first-child a", "li a"),
        ("a:first-child:hover", "a"),
        ("a[style*=x]", "a"),
        ("a[href^='http://x']", "a"),
    ],
)
def test_what_depends_on_more_is_taken_out(text, loose) -> None:
    ((selector,),) = [rule.selectors for rule in read_sheet(text + "{a:b}").rules]
    assert (selector.text, selector.exact) == (loose, False)


@pytest.mark.parametrize(
    "text",
    [
        *("a::before", "a:after", "a\\:b", "a,,b", ",a", "a,", "a|b", "> a", "a >", "a > > b"),
        *("[x='\"']", "1a", ".1a", "a&b", "é"),
    ],
)
def test_what_is_not_understood_is_left_out(text) -> None:
    assert [rule.selectors for rule in read_sheet(text + "{a:b}").rules] == [None]


def test_selectors_tell_what_they_ask_for() -> None:
    sheet = read_sheet("a.b #c > td.d.e, [x=y][z]{a:b}")
    first, _ = sheet.rules[0].selectors or ()
    assert [tuple(each) for each in first.compounds] == [("", "a", ("b",)), (" ", "", ("c",)), (">", "td", ("d", "e"))]
    assert sheet.attributes == {"x", "z"}


@pytest.mark.parametrize(
    ("text", "templated"),
    [
        ("a{b:c}", False),
        ("a{b:{{c}}} @media x{a{b:c*|D|*e}}", False),
        ("{{x}} a{b:c}", True),
        ("{{x}}{b:c}", True),
        ("a{{{x}}}", True),
        ("a{{{x}}:y}", True),
        ("a{b:c;{{x}}}", True),
        ("{% if x %}a{b:c}{% endif %}", True),
        ("/* {{x}} */a{b:c}", True),
    ],
)
def test_template_tags_outside_of_values_are_told(text, templated) -> None:
    assert read_sheet(cover_templates(text)).templated == templated


@pytest.mark.parametrize(("text", "empty"), [("", True), (" /* x */ <!-- --> ", True), ("a", False), ("/*x*/;", False)])
def test_emptiness(text, empty) -> None:
    assert is_empty(text) == empty
