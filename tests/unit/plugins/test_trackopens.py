"""The image that tells that a message was shown."""

from __future__ import annotations

import re
import string
import struct
from typing import Any

import pytest
from smtpeter.plugins.trackopens import PIXEL, plugin
from twisted.plugin import IPlugin
from zope.interface.verify import verifyObject

from smtpeter.api import NOT_FOUND, Addressee, ConfigError, EventKind, FailurePolicy
from smtpeter.features.order import running_order
from smtpeter.interfaces import IFeaturePlugin, IPersonalizingFeature, IPreparingFeature, IResourceFeature
from smtpeter.mime.editing import EditableMessage
from smtpeter.plugins import preventscam, trackclicks
from tests.fakes.services import KEYS, SUBMISSION, FakeContext, FakeServer, html_message, personal_copy, web_request

IMAGE = re.compile(
    rb'<img src="https://click\.example\.com/t/trackopens/([\w-]{24}/k1\.[\w-]+)"'
    rb' width="1" height="1" alt="" style="border:0">'
)


def feature(server: FakeServer | None = None) -> Any:
    return plugin.configure({}, (server or FakeServer()).services)


def an_image(account: int | None = 7, payload: bytes = b"", number: int = 2) -> str:
    links = FakeServer().services.links
    return f"{links.token('k1', SUBMISSION, number)}/{links.destination(SUBMISSION, account, payload)}"


def test_the_interfaces_are_provided() -> None:
    assert verifyObject(IFeaturePlugin, plugin) and IPlugin.providedBy(plugin)
    for interface in (IPreparingFeature, IPersonalizingFeature, IResourceFeature):
        assert verifyObject(interface, feature())
    assert feature().on_failure is FailurePolicy.SEND
    (option,) = plugin.options
    assert (option.name, option.aliases) == ("trackopens", ("openstracking",))
    assert feature().wants({"trackopens": "true"}) and not feature().wants({"trackopens": "false"})


def test_it_has_no_settings() -> None:
    with pytest.raises(ConfigError, match=r"features\.trackopens\.x: there is no such key"):
        plugin.configure({"x": 1}, FakeServer().services)


# --- in the message ---


@pytest.mark.parametrize(
    "html",
    [
        b"<html><body><p>x</p>|</body></html>\r\n", b"x</body><p>y</p>|</BODY >", b"<p>x</p>|\r\n",
        b"x|</body><!-- </body> -->", b"x|</html>",
        b"<body>caf\xe9|</body>", b"|",
    ],
)  # fmt: skip
def test_an_image_is_put_in_and_nothing_else_changes(html: bytes) -> None:
    message, context, made = html_message(html.replace(b"|", b""), "iso-8859-1"), FakeContext(), feature()
    made.prepare(message, context)
    (leaf,) = EditableMessage(personal_copy(message, made, 2)).html
    match = IMAGE.search(leaf.octets)
    assert match is not None
    assert leaf.octets.replace(match[0], b"|") == html
    assert context.notes == ["opens tracked"]
    server = FakeServer()
    assert feature(server).serve(web_request(match[1].decode())).status == 200
    assert server.recorded[0][:3] == (EventKind.OPEN, SUBMISSION, 2)


def test_the_image_is_small() -> None:
    message = html_message(b"<body></body>")
    feature().prepare(message, FakeContext())
    assert len(message.html[0].octets) - len(b"<body></body>") < 200


def test_of_several_html_parts_the_first_has_the_image() -> None:
    message = EditableMessage(
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\none\r\n"
        b"--x\r\nContent-Type: text/html\r\n\r\ntwo\r\n--x--\r\n"
    )
    feature().prepare(message, FakeContext())
    first, second = (leaf.octets for leaf in message.html)
    assert IMAGE.search(first.replace(b"x" * 24, b"A" * 24)) and second == b"two"


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (b"\r\ntext\r\n", "opens not tracked: no HTML"),
        (b"Content-Type: multipart/signed; boundary=x\r\n\r\n--x\r\n\r\n\r\n--x--\r\n", "opens not tracked: signed"),
        (
            b"Content-Type: text/html; charset=utf-16\r\nContent-Transfer-Encoding: binary\r\n\r\n\xff\xfex\0",
            "opens not tracked: its charset is not a superset of ASCII",
        ),
    ],
)
def test_why_there_is_no_image(content: bytes, note: str) -> None:
    message, context = EditableMessage(content), FakeContext()
    feature().prepare(message, context)
    assert message.render()[1] == () and context.notes[0].startswith(note)


def test_recipients_have_tokens_of_their_own() -> None:
    made = {
        feature().values(["k1"], Addressee(SUBMISSION, number, "x@example.net", None))[0] for number in range(1, 101)
    }
    assert len(made) == 100 and all(len(token) == 24 for token in made)


def test_it_comes_last() -> None:
    plugins = [plugin, trackclicks.plugin, preventscam.plugin]
    earlier = {
        each.name: {*each.after, *(other.name for other in plugins if each.name in other.before)} for each in plugins
    }
    assert running_order({"inlinecss": (), **earlier}) == ["inlinecss", "preventscam", "trackclicks", "trackopens"]


# --- the image itself ---


def test_it_is_one_transparent_pixel() -> None:
    assert len(PIXEL) == 43 and PIXEL.startswith(b"GIF89a") and PIXEL.endswith(b";")
    assert struct.unpack_from("<HH", PIXEL, 6) == (1, 1)
    control = PIXEL.index(b"!\xf9\x04")
    assert PIXEL[control + 3] & 1  # there is a transparent colour,
    assert PIXEL[control + 6] == 0  # it is the first one,
    # and the only pixel has it: clear (100), 0 (000), end (101), from the right.
    assert PIXEL[-6:-1] == bytes((2, 2, 0b01000100, 0b1, 0))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("query", ["", "x=1"])
def test_an_open_is_recorded(method: str, query: str) -> None:
    server = FakeServer()
    request = web_request(an_image(), method, query)
    assert feature(server).serve(request) == (200, ((b"Content-Type", b"image/gif"),), PIXEL)
    assert server.recorded == [(EventKind.OPEN, SUBMISSION, 2, {}, request)]


@pytest.mark.parametrize("method", ["POST", "get", ""])
def test_other_methods_find_nothing(method: str) -> None:
    server = FakeServer()
    assert feature(server).serve(web_request(an_image(), method)) is NOT_FOUND and server.recorded == []


@pytest.mark.parametrize("blocked", [7, SUBMISSION])
def test_what_is_blocked_finds_nothing(blocked: int | str) -> None:
    server = FakeServer()
    server.blocked.add(blocked)
    assert feature(server).serve(web_request(an_image())) is NOT_FOUND and server.recorded == []


def test_attack_no_character_can_be_changed() -> None:
    server = FakeServer()
    serve = feature(server).serve
    image = an_image()
    for position, right in enumerate(image):
        for wrong in {*string.ascii_letters, *string.digits, *"-_./=+%"} - {right}:
            assert serve(web_request(image[:position] + wrong + image[position + 1 :])) is NOT_FOUND
    for tail in (image + "/", "/" + image, image + ".gif", "", "x", image.partition("/")[0]):
        assert serve(web_request(tail)) is NOT_FOUND
    assert server.recorded == []


def test_attack_a_link_is_no_image_and_an_image_no_link() -> None:
    server = FakeServer()
    assert feature(server).serve(web_request(an_image(payload=b"http://example.com/"))) is NOT_FOUND
    assert trackclicks.plugin.configure({}, server.services).serve(web_request(an_image())) is NOT_FOUND
    assert server.recorded == [] and KEYS.current == "k1"
