"""Real messages through the whole program: what leaves is what came in; with features on only what they may change is
different."""

from __future__ import annotations

import re

import pytest

from smtpeter.mime.convert import has_long_line
from smtpeter.mime.header import find_header_end, read_header
from smtpeter.mime.structure import scan
from tests.corpus import messages
from tests.integration.gateway import Gateway, send, wait_for
from tests.unit.mime.reading import assert_only_these_differ

ALL = ("InlineCSS", "PreventScam", "TrackClicks", "TrackOpens")
_TRACE = re.compile(rb"(?:(?:Received|Date|Message-ID|Return-Path): [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+")


def takeable():
    """Messages of the corpus that can be sent as they are: no NUL, no line that has to be broken on the way."""
    for name, content in messages().items():
        content = content if content.endswith(b"\r\n") else content + b"\r\n"
        if b"\0" not in content and not has_long_line(content):
            yield name, content


@pytest.fixture(scope="module")
def sent(tmp_path_factory):
    """All of them, sent without features and with all: (name, content, as it arrived, as it arrived with features)."""
    from tests.integration.gateway import free_ports
    from tests.integration.receiver import Receiver

    receiver = Receiver(*free_ports(1)).start()
    relay = f'mode = "relay"\nrelay = "smtp://localhost:{receiver.port}"'
    gateway = Gateway(tmp_path_factory.mktemp("verbatim"), relay, "[limits]\nreceived_fields = 500")
    login = gateway.add_login()
    gateway.start()
    wanted = dict(enumerate(takeable()))
    fields = "".join(f"X-SMTPeter-{name}: true\r\n" for name in ALL).encode()
    try:
        with gateway.connect(login) as client:
            for number, (_, content) in wanted.items():
                option = ("body=8bitmime",) if not content.isascii() else ()
                send(client, "a@example.com", [f"plain-{number}@example.net"], content, option)
                send(client, "a@example.com", [f"all-{number}@example.net"], fields + content, option)
        wait_for(lambda: len(receiver.messages) >= 2 * len(wanted), 120)
        arrived = {recipients[0]: octets for _, recipients, octets in receiver.messages}
        assert len(arrived) == 2 * len(wanted)
        yield [
            (name, content, arrived[f"plain-{number}@example.net"], arrived[f"all-{number}@example.net"])
            for number, (name, content) in wanted.items()
        ]
    finally:
        gateway.end()
        receiver.stop()


def kept_of(content: bytes) -> bytes:
    """What of a message is to arrive: all but the fields that must not leave."""
    end = find_header_end(content)
    assert end is not None
    return read_header(content[:end]).block + content[end:]


def test_with_no_feature_on_what_leaves_is_what_came_in(sent):
    for name, content, plain, _ in sent:
        kept = kept_of(content)
        assert plain.endswith(kept), name
        assert _TRACE.fullmatch(plain[: len(plain) - len(kept)]), name


def test_with_features_on_only_html_leaves_differ(sent):
    changed = 0
    for name, _, plain, featured in sent:
        before, after = without_trace(plain), without_trace(featured)
        parts = scan(before)
        assert parts is not None, name
        html = {index for index, part in enumerate(parts) if part.type == "text/html"}
        if html:
            assert_only_these_differ(before, after, html)
        else:
            assert before == after, name
        changed += before != after
    assert changed >= 3


def without_trace(octets: bytes) -> bytes:
    """A message without what we put on top of it: a Date or Message-ID that it lacked is different each time."""
    match = _TRACE.match(octets)
    assert match is not None
    received = re.match(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*", octets)
    assert received is not None
    rest = octets[received.end() :]
    added = re.match(rb"(?:(?:Date|Message-ID): [^\r\n]*\r\n)*", rest)
    assert added is not None
    return rest[added.end() :]
