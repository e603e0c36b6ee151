"""Whatever comes in, the session does not fail, and what it says is SMTP."""

from __future__ import annotations

import itertools
import re
import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from smtpeter.smtp.events import ContentEvent, EndEvent
from tests.fakes.smtp_session import LIMITS, LOGIN, ScriptedSession

REPLY = re.compile(rb"(?:([2-5][0-9][0-9])-[^\x00-\x1f\x7f]*\r\n)*([2-5][0-9][0-9]) [^\x00-\x1f\x7f]*\r\n")
PATIENT = LIMITS._replace(errors=1000, junk_commands=1000, auth_failures=1000)


def assert_well_formed(output: bytes) -> None:
    position = 0
    while position < len(output):
        match = REPLY.match(output, position)
        assert match is not None, output[position:]
        reply = match[0]
        assert {line[:3] for line in reply.split(b"\r\n")[:-1]} == {match[2]}
        assert all(len(line) + 2 <= 512 for line in reply.split(b"\r\n"))
        reply.decode("utf-8")
        position = match.end()


WORDS = [
    b"EHLO c.test\r\n",
    b"HELO ",
    b"MAIL FROM:",
    b"RCPT TO:",
    b"<a@a.test>",
    b"<>",
    b'<"a b"@a.test>',
    "<ä@ä.test>".encode(),
    b" SIZE=",
    b" BODY=8BITMIME",
    b" SMTPUTF8",
    b" RET=FULL",
    b" ENVID=a+0A",
    b" NOTIFY=NEVER",
    b" ORCPT=rfc822;x",
    b" AUTH=<>",
    b"DATA\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY ",
    b"QUIT",
    b"AUTH PLAIN",
    b"AUTH LOGIN",
    b"STARTTLS",
    LOGIN,
    b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n",
    b"\r\n.\r\n",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b".",
    b" ",
    b"=",
    b"*",
    b"\xff",
    "\x85\u2028\u202e".encode(),
    b"x" * 600,
]
PIECES = st.lists(st.one_of(st.sampled_from(WORDS), st.binary(max_size=20)), max_size=40)


@given(PIECES, st.booleans(), st.booleans())
@settings(max_examples=300, deadline=None)
def test_nothing_that_comes_in_makes_it_fail(pieces, encrypted, mx):
    scripted = ScriptedSession(encrypted=encrypted, mx=mx, limits=PATIENT)
    assert_well_formed(scripted.greeting + scripted.send(*pieces))


@given(PIECES)
@settings(max_examples=300, deadline=None)
def test_nothing_that_comes_in_makes_it_fail_within_a_session(pieces):
    scripted = ScriptedSession(limits=PATIENT)
    assert_well_formed(scripted.send(b"EHLO c.test\r\n", LOGIN, b"MAIL FROM:<a@a.test>\r\n", *pieces))
    assert scripted.events


@given(PIECES, st.data())
@settings(max_examples=200, deadline=None)
def test_random_cuts_change_nothing(pieces, data):
    stream = b"EHLO c.test\r\n" + LOGIN + b"".join(pieces)
    whole = ScriptedSession(limits=PATIENT)
    output = whole.send(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    cut = ScriptedSession(limits=PATIENT)
    bounds = [0, *cuts, len(stream)]
    assert cut.send(*(stream[a:b] for a, b in itertools.pairwise(bounds))) == output
    assert cut.events == whole.events


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\0", b".", b"x", b"\r\n", b"\r\n.", b"..", b"MAIL FROM:<a@a.test>\r\n"]))
)
@settings(max_examples=300, deadline=None)
def test_the_content_of_a_message_is_what_a_plain_reading_of_the_standard_gives(pieces):
    """Against a model: cut at the first CRLF.CRLF, then at CRLF, then take one dot off each line."""
    stream = b"".join(pieces) + b"\r\n.\r\n"
    scripted = ScriptedSession(limits=PATIENT._replace(message_size=1_000_000))
    scripted.send(b"EHLO c.test\r\n", LOGIN, b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n", stream)
    content, end = next(
        (before, after) for before, after in itertools.pairwise(scripted.events) if isinstance(after, EndEvent)
    )
    raw, _, _ = (b"\r\n" + stream).partition(b"\r\n.\r\n")
    lines = raw.split(b"\r\n")[1:]
    unfit = any(octet in line for line in lines for octet in (b"\r", b"\n", b"\0"))
    assert (end.refusal is not None) == unfit
    assert isinstance(content, ContentEvent)
    if not unfit:
        assert content.octets == b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


@given(st.integers(0, 0x10FFFF).filter(lambda code: not 0xD800 <= code <= 0xDFFF))
@example(0x85)
@example(0xA0)
@example(0x2028)
@example(0x7F)
@settings(max_examples=200, deadline=None)
def test_no_character_of_a_client_gets_into_an_address_as_a_control_or_a_line_end(code):
    scripted = ScriptedSession()
    scripted.send(b"EHLO c.test\r\n", LOGIN)
    scripted.events.clear()
    character = chr(code)
    scripted.send(f'MAIL FROM:<"a{character}b"@a.test> SMTPUTF8\r\n'.encode())
    fit = character == " " or unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Zs")
    assert bool(scripted.events) == (fit and character != '"')
