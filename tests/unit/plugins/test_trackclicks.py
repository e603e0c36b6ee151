"""Links that lead through us, and to exactly where they led before."""

from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smtpeter.plugins.trackclicks import LONGEST, _host, plugin
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from smtpeter.api import NOT_FOUND, Addressee, ConfigError, EventKind, FailurePolicy
from smtpeter.interfaces import IFeaturePlugin, IPersonalizingFeature, IPreparingFeature, IResourceFeature
from smtpeter.mime.editing import EditableMessage
from smtpeter.mime.html import find_links
from tests.fakes.services import SUBMISSION, FakeContext, FakeServer, html_message, personal_copy, web_request
from tests.unit.plugins.urls import URLS, spellings

PREFIX = b"https://click.example.com/t/trackclicks/"
ALPHABET = string.ascii_letters + string.digits + "-_"


def feature(server: FakeServer | None = None, **section: Any) -> Any:
    return plugin.configure(section, (server or FakeServer()).services)


def prepared(html: bytes, server: FakeServer | None = None, charset: str = "utf-8", **section: Any) -> bytes:
    """The HTML that the first recipient gets."""
    return noted(html, server, charset, **section)[0]


def noted(html: bytes, server: FakeServer | None = None, charset: str = "utf-8", **section: Any) -> tuple[bytes, str]:
    """The same, with what was told of it."""
    message, context, made = html_message(html, charset), FakeContext(), feature(server, **section)
    made.prepare(message, context)
    (note,) = context.notes
    return decoded(personal_copy(message, made, 1)), note


def decoded(content: bytes) -> bytes:
    (leaf,) = EditableMessage(content).html
    return leaf.octets


def left_alone(html: bytes, charset: str = "utf-8", **section: Any) -> str:
    """Why the only link stays as it is."""
    after, note = noted(html, charset=charset, **section)
    assert after == html
    match = re.fullmatch("0 links tracked, 1 left alone: 1 (.+)", note)
    assert match is not None, note
    return match[1]


def tail_of(html: bytes) -> str:
    (link,) = find_links(html)
    assert link.value.startswith(PREFIX)
    return link.value.removeprefix(PREFIX).decode("ascii")


def location(server: FakeServer, tail: str, **changes: Any) -> bytes | None:
    """Where a request is sent on to; None: nowhere."""
    response = feature(server).serve(web_request(tail, **changes))
    if response is NOT_FOUND:
        return None
    assert response.status == 302
    return dict(response.headers)[b"Location"]


# --- what it is ---


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IFeaturePlugin, plugin) and IPlugin.providedBy(plugin)
    for interface in (IPreparingFeature, IPersonalizingFeature, IResourceFeature):
        assert verifyObject(interface, feature())
    assert feature().on_failure is FailurePolicy.SEND


def test_both_names_of_the_option() -> None:
    (option,) = plugin.options
    assert (option.name, option.aliases) == ("trackclicks", ("clicktracking",))
    assert feature().wants({"trackclicks": "true"})
    assert not feature().wants({"trackclicks": "false"}) and not feature().wants({})


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"excluded": []}, "features.trackclicks.excluded: there is no such key"),
        ({"exclude": "example.com"}, "features.trackclicks.exclude: is no list of domains"),
        ({"exclude": [1]}, "features.trackclicks.exclude: is no list of domains"),
        ({"exclude": [""]}, "features.trackclicks.exclude: is no list of domains"),
        ({"text": "true"}, "features.trackclicks.text: has to be true or false"),
    ],
)
def test_a_wrong_table_is_refused(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)):
        feature(**section)


# --- there and back ---


def test_there_are_enough_addresses() -> None:
    assert len(set(URLS)) >= 500


@pytest.mark.parametrize("part", range(10))
def test_any_address_comes_back_octet_for_octet(part: int) -> None:
    server = FakeServer()
    for url in URLS[part::10]:
        for element in spellings(url):
            after = prepared(element, server)
            assert location(server, tail_of(after)) == url.encode(), element
            (link,) = find_links(element)
            assert after.startswith(element[: link.start]) and after.endswith(element[link.end :])


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60))
def test_any_characters_come_back(rest: str) -> None:
    url = f"https://example.com/x{rest}y"
    written = url.replace("&", "&amp;").replace('"', "&quot;")
    after, note = noted(f'<a href="{written}">'.encode())
    if note.startswith("1 link tracked"):
        assert location(FakeServer(), tail_of(after)) == url.encode()
    else:
        assert after == f'<a href="{written}">'.encode()
        assert "placeholder" in note or "unsubscribe" in note


def test_only_addresses_change() -> None:
    html = (
        b"<!DOCTYPE html>\r\n<html><head><link href=http://a/><base href='http://b/'>"
        b"<style>a{background:url(http://c/)}</style></head>\r\n"
        b"<body bgcolor=#fff background=http://d/><p>caf\xe9 &amp; < \t\r\n\r\n"
        b"<A Class=x hReF =  'http://example.com/?a&amp;b'  id=y>http://example.com/</A>"
        b"<img src=http://e/ srcset='http://f/ 2x'>"
        b'<!--[if mso]><v:rect href="http://example.com/2"/><![endif]--><a href=mailto:a@b>m</a></body></html>\r\n'
    )
    after = prepared(html, charset="iso-8859-1")
    pattern = b"(" + PREFIX + rb"[\w-]{24}/k1\.[\w-]+)"
    kept = re.split(pattern, after)[::2]
    assert kept == re.split(rb"http://example\.com/\?a&amp;b|http://example\.com/2", html)


def test_an_address_that_is_there_twice_is_sealed_once() -> None:
    html = b"<a href='http://example.com/?a&amp;b'>1</a><a href=http://example.com/?a&b>2</a><a href=http://example.com/>3</a>"
    first, second, third = (link.value for link in find_links(prepared(html)))
    assert first == second != third


def test_all_links_of_a_recipient_have_his_token_and_no_other_has_it() -> None:
    message, context, made = (
        html_message(b"<a href=http://a.example/><a href=http://b.example/>"),
        FakeContext(),
        feature(),
    )
    made.prepare(message, context)
    tokens = [
        {link.value.removeprefix(PREFIX)[:24] for link in find_links(decoded(personal_copy(message, made, number)))}
        for number in range(1, 6)
    ]
    assert [len(each) for each in tokens] == [1] * 5
    assert len(set.union(*tokens)) == 5


def test_values_for_several_keys() -> None:
    addressee = Addressee(SUBMISSION, 3, "reader@example.net", None)
    links = FakeServer().services.links
    made = [links.token("k1", SUBMISSION, 3), links.token("k2", SUBMISSION, 3)]
    assert feature().values(["k1", "k2"], addressee) == made and made[0] != made[1]


def test_what_was_done_is_told() -> None:
    html = (
        b"<a href=http://a.example/><a href=http://b.example/><a href=mailto:x><a href=tel:1><a href='{{x}}'>"
        b"<a href='#top'><a href=''><a href=/unsubscribe>"
    )
    assert noted(html)[1] == "2 links tracked, 4 left alone: 2 other scheme, 1 placeholder, 1 relative"
    assert noted(b"<a href=http://a.example/>")[1] == "1 link tracked"
    assert noted(b"")[1] == "0 links tracked"


def test_preparing_again_leaves_what_is_ours_alone() -> None:
    html = prepared(b"<a href=http://example.com/>")
    assert left_alone(html) == "tracked already"


def test_the_tracking_url_is_written_as_html_needs_it() -> None:
    server = FakeServer("https://click.example.com/a&lt'\"")
    after = prepared(b"<a href='http://example.com/'><a href=http://example.com/>", server)
    assert [link.value[:35] for link in find_links(after)] == [b"https://click.example.com/a&lt'\"/t/"] * 2


def test_a_message_that_may_not_be_touched() -> None:
    message = EditableMessage(b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n\r\n--x--\r\n")
    context = FakeContext()
    feature().prepare(message, context)
    assert context.notes == ["no links tracked: signed"]


# --- what is left alone ---


@pytest.mark.parametrize(
    ("href", "reason"),
    [
        ("mailto:a@example.com", "other scheme"), ("tel:+31", "other scheme"), ("sms:1", "other scheme"),
        ("cid:x@y", "other scheme"),
        ("data:text/html,x", "other scheme"), ("javascript:alert(1)", "other scheme"),
        ("ftp://example.com/", "other scheme"),
        ("httpx://example.com/", "other scheme"), ("java\nscript:x", "other scheme"),
        ("/a/b", "relative"), ("a.html", "relative"), ("?a", "relative"), ("//example.com/", "relative"),
        ("www.example.com", "relative"),
        ("{{url}}", "placeholder"), ("http://example.com/?x={{id}}", "placeholder"), ("[[url]]", "placeholder"),
        ("%%unsub%%", "placeholder"), ("*|UNSUB|*", "placeholder"), ("${url}", "placeholder"),
        ("http://{{host}}/", "placeholder"),
        ("http://example.com/unsubscribe?u=1", "unsubscribe"), ("http://example.com/a/Opt-Out", "unsubscribe"),
        ("http://example.com/optout", "unsubscribe"), ("http://example.com/?do=opt_out", "unsubscribe"),
        ("http://example.com/email-preferences/1", "unsubscribe"), ("https://unsubscribe.example.com/", "unsubscribe"),
        ("http:", "not well-formed"), ("http:example.com", "not well-formed"), ("http:/example.com", "not well-formed"),
        ("http://", "not well-formed"),
        ("http:///example.com", "not well-formed"), ("http:\\\\example.com", "not well-formed"),
        ("http://user@/", "not well-formed"),
        ("http://exa mple.com/", "not well-formed"), ("http://example.com:x/", "not well-formed"),
        ("http://?a", "not well-formed"),
        ("http://[::1/", "not well-formed"), ("http://example.com/\x01/", "not well-formed"),
        ("http://example.com/a\x0cb", "not well-formed"),
        ("http://example.com/&#127;", "not well-formed"), ("http://example.com/&#0;x&#x1f;y", "not well-formed"),
    ],
)  # fmt: skip
def test_what_is_left_alone(href: str, reason: str) -> None:
    assert left_alone(f'<a href="{href}">'.encode()) == reason


@pytest.mark.parametrize(
    "href",
    [
        "http://example.com/subscribe", "http://example.com/opt/out", "http://example.com/prefer",
        "http://example.com/?a=%7B%7Bid%7D%7D", "http://example.com/100%%",
        "http://example.com/{{x", "http://example.com/x}}{{",
    ],
)  # fmt: skip
def test_what_only_looks_like_it_is_tracked(href: str) -> None:
    assert noted(f'<a href="{href}">'.encode())[1] == "1 link tracked"


def test_the_longest_address() -> None:
    url = b"http://example.com/".ljust(LONGEST, b"x")
    assert location(FakeServer(), tail_of(prepared(b"<a href=" + url + b">"))) == url
    assert left_alone(b"<a href=" + url + b"x>") == "over 1500 octets"
    assert left_alone(b"<a href=data:" + url + b"x>") == "other scheme"


def test_a_link_that_says_that_it_is_not_to_be_tracked() -> None:
    assert left_alone(b"<a data-no-track href=http://example.com/>") == "data-no-track"
    assert left_alone(b"<a href=http://example.com/ DATA-NO-TRACK='1'>") == "data-no-track"


def test_what_another_feature_protects() -> None:
    html = b"<a href=http://a.example/><a href=http://b.example/><a href=http://a.example/>"
    message, context = html_message(html), FakeContext()
    second = find_links(html)[1]
    message.html[0].protect(second.start, second.start + 3)
    feature().prepare(message, context)
    assert context.notes == ["2 links tracked, 1 left alone: 1 protected"]
    assert html[second.start - 8 : second.end + 1] in message.html[0].octets


def test_the_address_in_list_unsubscribe() -> None:
    message = html_message(
        b"<a href='https://example.com/bye?u=1&amp;v=2'><a href=https://example.com/>",
        fields="List-Unsubscribe: <mailto:bye@example.com>,\r\n <https://example.com/bye\r\n ?u=1&v=2>\r\n",
    )
    context = FakeContext()
    feature().prepare(message, context)
    assert context.notes == ["1 link tracked, 1 left alone: 1 unsubscribe"]


def test_what_one_message_says_of_unsubscribing_is_nothing_to_the_next() -> None:
    html = b"<a href=https://example.com/bye>"
    messages = [
        html_message(html, fields=fields) for fields in ("", "List-Unsubscribe: <https://example.com/bye>\r\n", "")
    ]
    context, made = FakeContext(), feature()
    for message in messages:
        made.prepare(message, context)
    left = "0 links tracked, 1 left alone: 1 unsubscribe"
    assert context.notes == ["1 link tracked", left, "1 link tracked"]


@pytest.mark.parametrize(
    "url", [b"http://e.example\n@x.example/", b"http://e\x01@x.example/", b"http://x.example/\x7f"]
)
def test_attack_controls_anywhere_in_an_address(url: bytes) -> None:
    assert _host(url) == ""


@pytest.mark.parametrize("word", ["Unsubscribe", "PREFERENCES", "optout", "Opt-Out", "opt_OUT"])
def test_words_of_leaving_in_any_case(word: str) -> None:
    assert noted(f"<a href=https://example.com/{word}>".encode())[1].endswith("1 left alone: 1 unsubscribe")


@pytest.mark.parametrize(
    ("url", "tracked"),
    [
        ("http://example.com/", False), ("https://WWW.Example.COM:8080/x", False),
        ("https://user:pass@a.b.example.com.?x", False),
        ("http://notexample.com/", True), ("http://example.com.evil.example/", True),
        ("http://example.com@evil.example/", True),
        ("http://evil.example\\@example.com/", True), ("http://evil.example/example.com", True),
        ("http://xn--bcher-kva.example/", False),
        ("http://www.b\u00fccher.example/", False), ("http://cher.example/", True), ("http://192.0.2.1/", False),
        ("http://192.0.2.10/", True), ("http://3221225985/", False), ("http://ex%61mple.com\u3002/", False),
        ("http://xn--strae-oqa.example/", False), ("http://strasse.example/", True),
    ],
)  # fmt: skip
def test_domains_that_are_excluded(url: str, tracked: bool) -> None:
    html = f"<a href='{url}'>".encode()
    after, note = noted(html, exclude=[".Example.com", "b\u00fccher.example.", "stra\u00dfe.example", "192.0.2.1"])
    assert (after != html) is tracked
    assert note == ("1 link tracked" if tracked else "0 links tracked, 1 left alone: 1 excluded")


@pytest.mark.parametrize(
    ("charset", "html", "reason"),
    [
        ("iso-8859-1", b"<a href='http://example.com/\xe9'>", "charset iso8859-1"),
        ("utf-8", b"<a href='http://example.com/\xe9'>", "not well-formed"),
        ("us-ascii", b"<a href='http://example.com/\xe9'>", "not well-formed"),
    ],
)
def test_octets_of_which_nobody_knows_what_they_mean(charset: str, html: bytes, reason: str) -> None:
    assert left_alone(html, charset).replace("latin-1", "iso8859-1") == reason


def test_references_in_another_charset_mean_what_they_mean() -> None:
    after = prepared(b"\xe9<a href='http://example.com/&eacute;'>\xe9", charset="iso-8859-1")
    assert location(FakeServer(), tail_of(after)) == "http://example.com/é".encode()
    assert after[:1] == after[-1:] == b"\xe9"


def test_a_charset_that_takes_no_slots() -> None:
    html = "<a href=http://example.com/>".encode("utf-16")
    message = EditableMessage(
        b"Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: binary\r\n\r\n" + html
    )
    context = FakeContext()
    feature().prepare(message, context)
    assert context.notes and context.notes[0].startswith("0 links tracked")
    assert message.render()[1] == ()


# --- plain text ---


def in_text(text: str, format: str = "") -> tuple[str, str]:
    """What becomes of a text, with T for each of our links, and the note."""
    header = f"Content-Type: text/plain; charset=utf-8{format}\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    message, context, made = EditableMessage(header.encode() + text.encode()), FakeContext(), feature(text=True)
    made.prepare(message, context)
    octets = message.plain[0].octets
    return re.sub(PREFIX + rb"x{24}/k1\.[\w-]+", b"T", octets).decode(), context.notes[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("See http://example.com/a?b=c&d=e#f for more", "See T for more"),
        ("See http://example.com/.", "See T."), ("(see http://example.com/)", "(see T)"),
        ("(http://example.com/a_(b))", "(T)"),
        ("http://example.com/a), http://example.com/b]; x", "T), T]; x"),
        ("http://example.com/?!... \"http://example.com/\"", "T?!... \"T\""),
        ("<http://example.com/>\r\n> http://example.com/\r\n", "<T>\r\n> T\r\n"),
        ("*http://example.com/*, 'http://example.com/'", "*T*, 'T'"),
        ("xhttp://example.com/ a@http://a.example/ https://a.example/", "xhttp://example.com/ a@http://a.example/ T"),
        ("http://example.com/caf\u00e9 http://example.com/\u3002", "http://example.com/caf\u00e9 http://example.com/\u3002"),
        ("http://example.com/ \r\nflowed", "http://example.com/ \r\nflowed"),
        ("http://example.com/ \r\n\r\nx", "T \r\n\r\nx"),
        ("http://example.com/\r\nnext", "T\r\nnext"),
        ("http://example.com/{{id}} http://example.com/unsubscribe", "http://example.com/{{id}} http://example.com/unsubscribe"),
        ("http://example.com/\r\n-- \r\nhttp://example.com/\r\n", "T\r\n-- \r\nhttp://example.com/\r\n"),
        ("-- \r\nhttp://example.com/", "-- \r\nhttp://example.com/"),
        ("http://example.com/\r\n--\r\nhttp://example.com/\r\n", "T\r\n--\r\nT\r\n"), ("HTTP://EXAMPLE.COM/", "T"),
        ("http:// http://. https://)", "http:// http://. https://)"),
    ],
)  # fmt: skip
def test_addresses_in_plain_text(before: str, after: str) -> None:
    assert in_text(before)[0] == after


def test_plain_text_only_where_it_was_asked_for() -> None:
    message = EditableMessage(b"\r\nhttp://example.com/\r\n")
    feature().prepare(message, context := FakeContext())
    assert context.notes == ["0 links tracked"] and message.plain[0].octets == b"http://example.com/\r\n"


def test_the_same_address_in_text_and_html_is_the_same_link() -> None:
    message = EditableMessage(
        b"Content-Type: multipart/alternative; boundary=x\r\n\r\n--x\r\n\r\nhttp://example.com/?a&b\r\n"
        b"--x\r\nContent-Type: text/html\r\n\r\n<a href='http://example.com/?a&amp;b'>\r\n--x--\r\n"
    )
    feature(text=True).prepare(message, FakeContext())
    (link,) = find_links(message.html[0].octets)
    assert message.plain[0].octets.strip() == link.value


# --- who follows a link ---

URL = b"https://example.com/path?a=1&b=2#c"


def a_link(account: int | None = 7, url: bytes = URL, number: int = 2, key: str = "k1") -> str:
    links = FakeServer().services.links
    links.current = key
    return f"{links.token(key, SUBMISSION, number)}/{links.destination(SUBMISSION, account, url)}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_click_is_recorded_and_sent_on(method: str) -> None:
    server = FakeServer()
    request = web_request(a_link(), method)
    response = feature(server).serve(request)
    assert response == (302, ((b"Location", URL), (b"Content-Type", b"text/plain; charset=utf-8")), b"Moved\n")
    assert server.recorded == [(EventKind.CLICK, SUBMISSION, 2, {"destination": URL.decode()}, request)]


def test_links_made_with_an_older_key_live_on() -> None:
    assert location(FakeServer(), a_link(key="k2")) == URL


def test_what_was_added_behind_a_question_mark_is_ignored() -> None:
    server = FakeServer()
    assert location(server, a_link(), query="fbclid=x&url=https://evil.example/") == URL
    assert server.recorded[0].data == {"destination": URL.decode()}


@pytest.mark.parametrize("method", ["POST", "PUT", "get", ""])
def test_other_methods_find_nothing(method: str) -> None:
    server = FakeServer()
    assert location(server, a_link(), method=method) is None and server.recorded == []


@pytest.mark.parametrize("blocked", [7, SUBMISSION, "example.com"])
def test_what_is_blocked_finds_nothing(blocked: int | str) -> None:
    server = FakeServer()
    server.blocked.add(blocked)
    assert location(server, a_link()) is None and server.recorded == []


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (b"http://EVIL.example./", "evil.example"), (b"http://user@evil.example:80/", "evil.example"),
        (b"http://good.example@evil.example", "evil.example"),
        (b"http://evil.example\\@good.example/", "evil.example"),
        (b"http://evil.example?@good.example/", "evil.example"),
        (b"http://evil.example#@good.example/", "evil.example"), (b"http://a@b@evil.example/", "evil.example"),
        (b"http://e%76il.example/", "e%76il.example"), ("http://b\u00dccher.example/".encode(), "b\u00fccher.example"),
        (b"http://[::1]:8/", "[::1]"),
    ],
)  # fmt: skip
def test_attack_a_blocked_domain_cannot_be_hidden(url: bytes, host: str) -> None:
    server = FakeServer()
    server.blocked.add(host)
    assert location(server, a_link(url=url)) is None
    assert location(FakeServer(), a_link(url=url)) == url


@pytest.mark.parametrize(
    "url",
    [
        b"", b"javascript:alert(1)", b"//evil.example/", b"/path", b"ftp://example.com/", b"http:", b"http://",
        b" http://example.com/",
        b"http://example.com/\r\nSet-Cookie: x", b"http://example.com/\n", b"http://example.com/\0",
        b"http://example.com/\x7f", b"http://example.com/\xff",
        b"data:text/html,http://example.com/", b"x\nhttp://example.com/",
    ],
)  # fmt: skip
def test_attack_even_what_is_sealed_is_looked_at(url: bytes) -> None:
    server = FakeServer()
    assert location(server, a_link(url=url)) is None and server.recorded == []


def test_attack_no_character_can_be_changed_left_out_or_added() -> None:
    server = FakeServer()
    serve = feature(server).serve
    link = a_link()
    for position, right in enumerate(link):
        before, after = link[:position], link[position + 1 :]
        assert serve(web_request(before + after)) is NOT_FOUND
        for wrong in [*ALPHABET, *"./=+%~ \0\x80\u017f\u212a"]:
            assert serve(web_request(before + wrong + link[position:])) is NOT_FOUND
            if wrong != right:
                assert serve(web_request(before + wrong + after)) is NOT_FOUND, (position, wrong)
    for more in ("/", "=", "a", ".", "%00", "\n", "/x"):
        assert serve(web_request(link + more)) is NOT_FOUND and serve(web_request(more + link)) is NOT_FOUND
    assert server.recorded == []
    assert location(server, link) == URL


@pytest.mark.parametrize(
    "tail", ["", "/", "a", "a/b", "a/b/c", "/" * 100, "x" * 24 + "/k1.", "x" * 24 + "/k1." + "A" * 100, "x" * 100_000]
)
def test_attack_what_is_no_link_at_all(tail: str) -> None:
    assert location(FakeServer(), tail) is None


def test_attack_parts_of_different_links_do_not_fit() -> None:
    links = FakeServer().services.links
    other = SUBMISSION[:-1] + ("0" if SUBMISSION[-1] != "0" else "1")
    foreign, own = links.token("k1", other, 2), links.token("k2", SUBMISSION, 2)
    destination = links.destination(SUBMISSION, 7, URL)
    assert location(FakeServer(), f"{foreign}/{destination}") is None
    assert location(FakeServer(), f"{own}/{destination}") is None
    assert location(FakeServer(), f"{links.token('k1', SUBMISSION, 2)}/{destination}") == URL
