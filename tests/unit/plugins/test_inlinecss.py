"""Style sheets move into style attributes, by either engine in the same way, and nothing else changes."""

from __future__ import annotations

import re
import sys
from importlib import util
from pathlib import Path

import pytest
from smtpeter.plugins.inlinecss import plugin
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from smtpeter.api import ConfigError, FailurePolicy, Inlined
from smtpeter.interfaces import IFeaturePlugin, IPreparingFeature
from smtpeter.mime.css import read_declarations
from smtpeter.mime.outline import attribute, read_outline
from smtpeter.mime.shield import cover_templates
from smtpeter.plugins import inlinecss
from tests.fakes.services import FakeContext, FakeServer, html_message

ENGINES = ("premailer", "css-inline")
NEWSLETTERS = sorted((Path(__file__).parents[2] / "corpus" / "newsletters").glob("*.html"))


def make(engine: str = "premailer", **section: object) -> inlinecss.InlineCss:
    return plugin.configure({"engine": engine, **section}, FakeServer().services)


FEATURES = {engine: make(engine, cache=0) for engine in ENGINES}


@pytest.fixture(params=ENGINES)
def inline(request):
    """Inlines a text."""
    feature = FEATURES[request.param]
    return lambda text: feature.inlined(text).text


def declared(html: str) -> list[str | None]:
    """What the style attribute of each element in the body is."""
    body = re.split("<body[^>]*>", html)[1]
    return [attribute(source, "style") for source in read_outline(body).sources if source[1] != "/"]


def page(css: str, body: str) -> str:
    return f"<!DOCTYPE html>\n<html><head><style>{css}</style></head><body>{body}</body></html>\n"


# --- the cascade ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("css", "body", "styles"),
    [
        ("p{color:red}", "<p>x</p>", ["color:red"]),
        ("p{color:red;}", "<P CLASS=x>x</P>", ["color:red"]),
        ("P { Color : Red }", "<p>x</p>", ["color:Red"]),
        ("p{color:red} p{color:blue}", "<p>x</p>", ["color:blue"]),
        (".a{color:red} p{color:blue}", "<p class=a>x</p>", ["color:red"]),
        ("#i{color:red} .a.b{color:blue} p{color:green}", "<p id=i class='b a'>x</p>", ["color:red"]),
        ("div p{color:red} p{color:blue}", "<div><p>x</p></div><p>y</p>", [None, "color:red", "color:blue"]),
        ("div > p{color:red}", "<div><span><p>x</p></span><p>y</p></div>", [None, None, None, "color:red"]),
        ("h1+p{color:red} h1~p{margin:0}", "<h1>h</h1><p>1</p><p>2</p>", [None, "color:red; margin:0", "margin:0"]),
        ("p:first-child{color:red}", "<div><p>1</p><p>2</p></div>", [None, "color:red", None]),
        ("p:nth-child(2n){color:red}", "<div><p>1</p><p>2</p></div>", [None, None, "color:red"]),
        ("p:last-child{color:red}", "<div><p>1</p><p>2</p></div>", [None, None, "color:red"]),
        ("table > tr{a:b} tbody > tr{c:d}", "<table><tr><td>", [None, "c:d", None]),
        ("[align=center]{color:red}", "<p align='center'>x</p>", ["color:red"]),
        ('[title^="a b"]{color:red}', "<p title='a b c'>x</p><p title=b>", ["color:red", None]),
        ("*{color:red}", "<p>x</p>", ["color:red"]),
        ("h1,h2 , .a{color:red}", "<h1>x</h1><h2>y</h2><b class=a>z</b>", ["color:red"] * 3),
        # Shorthands win over what came before, wherever that was declared first.
        ("p{margin-top:1px} p.a{margin:0} p.a.b{margin-top:2px}", "<p class='a b'>", ["margin:0; margin-top:2px"]),
        ("p{margin:1px} p{margin-top:2px} .a{margin:3px}", "<p class=a>", ["margin-top:2px; margin:3px"]),
        # The attribute wins, but not over what is important.
        ("p{color:red;margin:0}", "<p style='color:blue'>", ["margin:0; color:blue"]),
        ("p{color:red!important}", "<p style='color:blue'>", ["color:blue; color:red"]),
        ("p{color:red ! IMPORTANT}", "<p style='color:blue;'>", ["color:blue; color:red"]),
        ("p{color:red!important}", "<p style='color:blue !important'>", [None]),
        ("p{color:red!important} #i{color:blue}", "<p id=i>", ["color:red"]),
        ("p{color:red!important} .a{color:blue!important}", "<p class=a>", ["color:blue"]),
        ("p{color:red!important;color:blue}", "<p>", ["color:red"]),
        ("p{color:red}", "<p style=''>", ["color:red"]),
        ("p{color:red}", "<p style>", ["color:red"]),
        ("p{color:red}", "<p style=margin:0>", ["color:red; margin:0"]),
        # What not everybody understands has something before it.
        ("p{color:red;color:rgb(0 0 0/50%)}", "<p>", ["color:red; color:rgb(0 0 0/50%)"]),
        # What engines would not read themselves.
        ("p{width:calc(100% - (2 * 4px));--x:1}", "<p>", ["width:calc(100% - (2 * 4px)); --x:1"]),
        ("p{*zoom:1;mso-line-height-rule:exactly}", "<p>", ["*zoom:1; mso-line-height-rule:exactly"]),
        ("p{background:url(data:image/png;base64,AA==)}", "<p>", ["background:url(data:image/png;base64,AA==)"]),
        ('p{font-family:"Open Sans",Arial}', "<p>", ["font-family:'Open Sans',Arial"]),
        ("p{font-family:'Open Sans'}", "<p style='a:\"x\"'>", ["font-family:'Open Sans'; a:\"x\""]),
        ("p{background:url(http://x/?a=1&b=2)}", "<p>", ["background:url(http://x/?a=1&b=2)"]),
        ("p{/* a */color/**/:red/* } */;/**/}", "<p>", ["color:red"]),
        ("<!-- p{color:red} -->", "<p>", ["color:red"]),
        ("p{color:red", "<p>", [None]),
        ("p{color:{red}}", "<p>", [None]),
    ],
)
def test_the_cascade_is_right(inline, css, body, styles) -> None:
    before = page(css, body)
    after = inline(before)
    own = [attribute(source, "style") for source in read_outline(body).sources if source[1] != "/"]
    if all(style is None for style in styles):
        assert after == before
    else:
        assert declared(after) == [style if style is not None else old for style, old in zip(styles, own, strict=True)]


@pytest.mark.parametrize(
    "rule",
    [
        "@media (max-width:480px){p{color:red!important}}",
        "@font-face{font-family:x;src:url(x.woff)}",
        "@keyframes k{from{color:red}to{color:blue}}",
        "@supports (display:grid){p{display:grid!important}}",
        "@page{margin:1cm}",
        "@import url(http://example.com/x.css);",
        "a:hover{color:red!important}",
        "a::before{content:'}'}",
        "a:not(.x){margin:0}",
        ".unseen{color:red}",
        "v\\:*{behavior:url(#default#VML)}",
        ".x\\:y{color:red}",
        "p{color:red!important}",
        "p,a:hover{color:red}",
        "p:empty{margin:0}",
        "[style*=color]{top:0}",
        "@media print{}",
        ";;;{}",
    ],
)
def test_what_is_still_needed_stays(inline, rule) -> None:
    after = inline(page(f"\n  b{{margin:0}}\n  {rule}\n", "<p>x</p><b>y</b><a href=x>z</a>"))
    assert f"<style>\n  {rule}\n</style>" in after
    assert 'b style="margin:0"' in after


def test_what_moved_is_gone(inline) -> None:
    assert inline(page("p{color:red}", "<p>x</p>")) == page("", '<p style="color:red">x</p>').replace(
        "<style></style>", ""
    )


def test_conditional_rules_win_where_they_won_before(inline) -> None:
    css = "a{color:red} .b{margin:1px} a:hover{color:blue} @media x{ p{margin:2px} a{color:green;top:0} }"
    after = inline(page(css, "<a>x</a><p class=b>y</p>"))
    # `p` is less specific than `.b`, and nobody else says `top`.
    assert "<style> a:hover{color:blue !important} @media x{ p{margin:2px} a{color:green !important;top:0} }" in after


def test_an_attribute_of_its_own_is_not_overridden(inline) -> None:
    after = inline(page("a{top:0} a:hover{color:blue}", "<a style='color:red'>x</a>"))
    assert "a:hover{color:blue}" in after


def test_rules_that_only_outlook_needs_stay(inline) -> None:
    ghost = "<!--[if mso]><table class=g><tr><td><![endif]-->"
    after = inline(page("td{margin:0} p{margin:0} .g{top:0}", f"{ghost}<p class=g>x</p><table><tr><td>y</table>"))
    assert "<style>td{margin:0} .g{top:0}</style>" in after
    assert ghost in after and '<td style="margin:0">' in after and '<p style="margin:0; top:0" class=g>' in after


@pytest.mark.parametrize("attributes", ["data-embed", 'data-premailer="ignore"', 'type="text/less"'])
def test_a_sheet_that_wants_to_be_left_alone_is(inline, attributes) -> None:
    text = f"<style {attributes}>p{{color:red}}</style><p>x</p>"
    assert inline(text) == text


@pytest.mark.parametrize(
    "sheet",
    [
        "<style media='(max-width: 400px)'>%s</style>",
        "<style media=print>%s</style>",
        "<!--[if !mso]><!--><style>%s</style><!--<![endif]-->",
        "<!--[if !mso]><!-- --><style>%s</style><!--<![endif]-->",
        "<![if !mso]><style>%s</style><![endif]>",
        "<!--[if mso]><style>%s</style><![endif]-->",
    ],
)
def test_a_sheet_that_is_not_for_everybody_stays(inline, sheet) -> None:
    sheet %= ".a{color:red}"
    after = inline(f"{sheet}<style>p{{margin:0}}</style><p class=a>x</p>")
    assert after == f'{sheet}<p style="margin:0" class=a>x</p>'


def test_sheets_are_taken_in_order(inline) -> None:
    text = "<style>p{color:red}</style><style media=screen>p{color:blue}</style><p>x</p><style>p{top:0}</style>"
    assert inline(text) == '<p style="color:blue; top:0">x</p>'


# --- nothing else changes -------------------------------------------------------------------------------------------

WITHOUT_STYLES = re.compile(r'(?<=[a-z0-9])\s+style="[^"]*"', re.IGNORECASE)
SHEET = re.compile(r"<style\b.*?</style>", re.DOTALL | re.IGNORECASE)


@pytest.mark.parametrize(
    "text",
    [
        "<p>fragment",
        "text <p>x</p> text",
        "<tr><td>x",
        "<p>x<br/>y<br />z<hr>",
        "<p>&nbsp;&zwnj;&#8203;&#x200b;&amp;&lt;&copy &unknown; & < > \u00a0\u200b\U0001f600",
        "<P\n  ALIGN = center\tid='a'  >x</P  >",
        "<p title='\"'>x</p><p title=\"'\">y</p><p title=it's>z</p><p title=`x`>",
        "<p a=1 a=2 {b} c= d>x",
        "<p>x</p><o:p>&nbsp;</o:p><v:rect href='x'><w:anchorlock/></v:rect>",
        "<!--[if mso]><p>x</p><table><tr><td><![endif]--><p>y</p><!--[if mso]></td></tr></table><![endif]-->",
        "<![if !mso]><p>x</p><![endif]><!--[if !mso]><!--><p>y</p><!--<![endif]--><!-- <p> --><!--><p>z",
        "<table>{foreach}<tr><td>x</td></tr>{/foreach}</table>",
        "<table>{{#each x}}<tr>{% if a > b %}<td>x</td>{% endif %}</tr>{{/each}}</table>",
        "<p>*|FNAME|* %%name%% [[name]] <%= a > b %> ${name} {{{raw}}} {{ a | b('<p>') }} <?php if ($a > 1) ?></p>",
        '<a href=\'{{ url("x") }}\' title="{{ a > b }}">x</a><a href=*|URL|*>y</a>',
        "<textarea><p>x</p></textarea><script>'<p>'</script><title><p></title><p>x",
        "<svg><p class=x/></svg><select><option>x</select><noscript><p>x</p></noscript><p>y",
        "<a><b><a>x</b></a><p><div></p></div><table><p>x</table>",
        "<p>x\r\n\r\n\ty\x0b\x0cz\x00</p>\n\n",
        "<p>x<",
        "<p>x<p",
        "<p>x<p title='",
        "<p>x<!-- ",
        "<html xmlns='http://www.w3.org/1999/xhtml' xml:lang=en><head/><body class=a><p>x",
        "<?xml version='1.0'?><!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\" 'x'><html><p>x</p></html>",
        "<div style='margin:0'>x</div><p>y",
    ],
)
def test_only_style_attributes_change(inline, text) -> None:
    sheet = "<style>p{color:red} td, a{margin:0} @media x{p{top:0}}</style>"
    for before in (sheet + text, text + sheet):
        after = inline(before)
        without = SHEET.sub("", WITHOUT_STYLES.sub("", after))
        assert without == SHEET.sub("", before)


@pytest.mark.parametrize("path", NEWSLETTERS, ids=lambda path: path.stem)
def test_newsletters(path) -> None:
    before = path.read_text("utf-8")
    after, other = (FEATURES[engine].inlined(before) for engine in ENGINES)
    assert after == other and after.text != before
    # Every token but for style attributes and what is in sheets.
    assert squeezed(after.text) == squeezed(before)
    # It says nothing new when it is done again.
    again = FEATURES["premailer"].inlined(after.text).text
    assert all_declared(again) == all_declared(after.text)


def squeezed(text: str) -> str:
    text = re.sub(r"(?i)<style\b(?! data-embed)[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    return re.sub(r"(?i)\s+style=(\"[^\"]*\"|'[^']*'|[^\s>]+)", "", text)


def all_declared(text: str) -> list[dict[str, str]]:
    sources = [source for source in read_outline(cover_templates(text)).sources if source[1] != "/"]
    values = [attribute(source, "style") or "" for source in sources]
    return [{each.name: each.value for each in read_declarations(value) or ()} for value in values]


@pytest.mark.parametrize(
    ("css", "body", "expected"),
    [
        ("p{color:{{c}}}", "<p>x", '<p style="color:{{c}}">x'),
        ("p{color:*|C|*;margin:0}", "<p>x", '<p style="color:*|C|*; margin:0">x'),
        ("p{top:0}", '<p style="color:{{ "x" }}">', '<p style="top:0; color:{{ "x" }}">'),
        ("p{color:red}", '<p style="color:{{c}}">', '<p style="color:red; color:{{c}}">'),
        ("p{top:0}", '<p style="{% if a > b %}a:b{% endif %}">', '<p style="top:0; {% if a > b %}a:b{% endif %}">'),
        (".a{top:0}", '<p class="a {{b}}">x', '<p style="top:0" class="a {{b}}">x'),
    ],
)  # fmt: skip
def test_template_tags_in_values(inline, css, body, expected) -> None:
    assert inline(f"<style>{css}</style>{body}") == expected


@pytest.mark.parametrize(
    ("css", "body"),
    [
        ('p{color:{{ "x" }}}', "<p>x"),  # its quotes would not be its own any more
        ("p{top:0}", "<p {{attributes}}>x"),
        ("p{top:0}", "<p style='a:{{ \"x\" }}'>x"),
    ],
)
def test_where_template_tags_make_it_unclear_nothing_is_done(inline, css, body) -> None:
    text = f"<style>{css}</style>{body}"
    assert inline(text) == text


@pytest.mark.parametrize(
    "css", ["{% if a %}p{top:0}{% endif %}", "{{css}} p{top:0}", "p{top:0;{{more}}}", "{{a}}{top:0}"]
)
def test_sheets_with_template_tags_between_rules_are_left_alone(css) -> None:
    text = f"<style>{css}</style><p>x"
    for feature in FEATURES.values():
        result = feature.inlined(text)
        assert result.text == text
        assert result.notes == ("a style sheet with template tags between its rules was left as it is",)


# --- the feature ----------------------------------------------------------------------------------------------------


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IFeaturePlugin, plugin) and IPlugin.providedBy(plugin)
    assert verifyObject(IPreparingFeature, make())
    assert make().on_failure is FailurePolicy.SEND
    assert [(option.name, option.aliases) for option in plugin.options] == [("inlinecss", ("inlinizecss",))]
    assert make().wants({"inlinecss": "true"}) and not make().wants({"inlinecss": "false"}) and not make().wants({})


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("charset", ["utf-8", "iso-8859-1", "utf-16"])
def test_a_message_is_inlined(engine, charset) -> None:
    message = html_message("<style>p{color:red}</style><p>Größe &nbsp;</p>".encode(charset), charset)
    context = FakeContext()
    make(engine).prepare(message, context)
    assert message.html[0].text().lstrip("\ufeff") == '<p style="color:red">Größe &nbsp;</p>'
    assert context.notes == []


@pytest.mark.parametrize(
    "html", [b"<p>no sheet</p>", b"<style>@media x{p{a:b}}</style><p>x", b"<styles>p{a:b}</styles>"]
)
def test_where_nothing_is_to_be_done_nothing_is_touched(html) -> None:
    message = html_message(html)
    before = message.render()
    make().prepare(message, FakeContext())
    assert message.render() == before


def test_text_that_is_not_what_its_charset_says_is_left_alone() -> None:
    message = html_message(b"<style>p{color:red}</style><p>\xff</p>")
    before = message.render()
    context = FakeContext()
    make().prepare(message, context)
    assert message.render() == before
    assert context.notes == ["style sheets not inlined: the text is not utf-8"]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"engin": "premailer"}, "features.inlinecss.engin: there is no such key"),
        ({"engine": "juice"}, "features.inlinecss.engine: has to be one of premailer, css-inline"),
        ({"engine": ["premailer"]}, "features.inlinecss.engine: has to be one of premailer, css-inline"),
        ({"cache": "much"}, 'features.inlinecss.cache: is not a size (try "50MB")'),
    ],
)
def test_a_wrong_table_is_refused(section, complaint) -> None:
    with pytest.raises(ConfigError) as caught:
        plugin.configure(section, FakeServer().services)
    assert str(caught.value) == complaint


def test_css_inline_has_to_be_installed(monkeypatch) -> None:
    monkeypatch.setattr(inlinecss, "find_spec", lambda name: None if name == "css_inline" else util.find_spec(name))
    with pytest.raises(
        ConfigError, match=r"^features.inlinecss.engine: css-inline is not installed: pip install 'smtpeter\[fast\]'$"
    ):
        make("css-inline")
    make("premailer")


def test_engines_are_loaded_when_they_are_needed() -> None:
    feature = make()
    assert feature._engine is None
    feature.inlined("<style>p{color:red}</style><p>x")
    assert feature._engine is not None and "premailer" in sys.modules


def test_one_result_serves_all_messages_with_the_same_text(monkeypatch) -> None:
    feature = make()
    calls = []
    engine = inlinecss.premailer()
    feature._engine = lambda html, css: calls.append(html) or engine(html, css)
    texts = [f"<style>p{{color:red}}</style><p>{number}" for number in (1, "{{ 2 }}")]
    results = [feature.inlined(text) for text in texts * 3]
    assert len(calls) == 2
    assert [result.text for result in results[:2]] == [f'<p style="color:red">{number}' for number in (1, "{{ 2 }}")]
    assert results[:2] == results[2:4] == results[4:]


def test_the_engine_is_not_asked_about_the_third_text_with_the_same_tags() -> None:
    feature = make()
    calls = []
    engine = inlinecss.premailer()
    feature._engine = lambda html, css: calls.append(html) or engine(html, css)
    texts = [f'<style>a{{color:red}}</style><a href="{number}">{number}</a>' for number in range(4)]
    results = [feature.inlined(text).text for text in texts]
    assert results == [f'<a style="color:red" href="{number}">{number}</a>' for number in range(4)]
    assert len(calls) == 2


def test_the_cache_is_bounded() -> None:
    cache = inlinecss.Cache(10_000)
    for number in range(1000):
        text = f"{number:04d}" * 200
        cache.put(text, Inlined(text + "x", ()), 2 * len(text))
        assert cache.octets <= 10_000
    assert cache.get("0999" * 200) == Inlined("0999" * 200 + "x", ())
    assert cache.get("0000" * 200) is None
    # What was asked for last is forgotten last.
    kept = [f"{number:04d}" * 200 for number in range(1000) if cache.get(f"{number:04d}" * 200)]
    assert len(kept) > 2
    cache.get(kept[0])
    cache.put("new" * 200, Inlined("new" * 200, ()), 1000)
    assert cache.get(kept[0]) is not None and cache.get(kept[1]) is None


def test_what_is_put_again_counts_once() -> None:
    cache = inlinecss.Cache(10_000)
    cache.put("text", Inlined("x" * 100, ()), 100)
    before = cache.octets
    cache.put("text", Inlined("y" * 200, ()), 200)
    assert cache.octets == before + 100 and cache.get("text") == Inlined("y" * 200, ())


def test_what_does_not_fit_is_not_cached() -> None:
    cache = inlinecss.Cache(1000)
    cache.put("x" * 2000, Inlined("y", ()), 1)
    assert cache.octets == 0 and cache.get("x" * 2000) is None
