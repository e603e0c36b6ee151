"""Replies of receivers, good and bad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpeter.model.reply import Reply
from smtpeter.smtp.replies import LINES_LIMIT, SIZE_LIMIT, MalformedReply, ReplyParser


def parse(*pieces: bytes) -> list[Reply | str]:
    """All replies; the text of the error last where there was one."""
    parser = ReplyParser()
    replies: list[Reply | str] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while (reply := parser.next_reply()) is not None:
                replies.append(reply)
        except MalformedReply as error:
            return [*replies, str(error)]
    return replies


GOOD = [
    (b"250 Ok\r\n", Reply(250, "", "Ok")),
    (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
    (b"250 2.1.0\r\n", Reply(250, "2.1.0", "")),
    (b"250\r\n", Reply(250, "", "")),
    (b"250 \r\n", Reply(250, "", "")),
    (b"250 Ok\n", Reply(250, "", "Ok")),
    (b"354 End data\r\n", Reply(354, "", "End data")),
    (b"550 4.1.1 the classes differ\r\n", Reply(550, "", "4.1.1 the classes differ")),
    (b"550 5.1.1234 not a code\r\n", Reply(550, "", "5.1.1234 not a code")),
    (b"550 5.1.1: not a code\r\n", Reply(550, "", "5.1.1: not a code")),
    (b"599 unknown but clear\r\n", Reply(599, "", "unknown but clear")),
    (b"250-one\r\n250-two\r\n250 three\r\n", Reply(250, "", "one\ntwo\nthree")),
    (b"250-one\r\n250\r\n", Reply(250, "", "one\n")),
    (b"550-5.7.1 one\r\n550 5.7.1 two\r\n", Reply(550, "5.7.1", "one\ntwo")),
    (b"550-5.7.1 one\r\n550 two\r\n", Reply(550, "5.7.1", "one\ntwo")),
    (b"250 a\0b\x1b[31mc\rd\r\n", Reply(250, "", "a b [31mc d")),
    (b"250 caf\xc3\xa9 \xff\r\n", Reply(250, "", "café �")),
    (b"250 a\xe2\x80\xa8b\xc2\x85c\r\n", Reply(250, "", "a b c")),
]


@pytest.mark.parametrize(("octets", "reply"), GOOD)
def test_good_replies_at_every_split(octets: bytes, reply: Reply) -> None:
    assert parse(octets) == [reply]
    assert parse(*(octets[at : at + 1] for at in range(len(octets)))) == [reply]
    for at in range(len(octets)):
        assert parse(octets[:at], octets[at:] + octets) == [reply, reply]


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 short\r\n",
        b"2500 long\r\n",
        b"250_underscore\r\n",
        b"250Ok\r\n",
        b"199 class 1\r\n",
        b"650 class 6\r\n",
        b"999 class 9\r\n",
        b" 250 Ok\r\n",
        b"\xff\xfe\r\n",
        "２５０ wide digits\r\n".encode(),
        b"250-one\r\n251 two\r\n",
        b"250-one\r\nhello\r\n250 two\r\n",
        b"250-one\r\n\r\n",
    ],
)
def test_what_is_no_reply(octets: bytes) -> None:
    (error,) = parse(octets)
    assert isinstance(error, str)
    assert parse(b"220 ok\r\n" + octets) == [Reply(220, "", "ok"), error]


def test_an_endless_reply_of_many_lines_is_cut_off() -> None:
    line = b"250-more\r\n"
    assert parse(line * (LINES_LIMIT - 1) + b"250 end\r\n") == [Reply(250, "", "more\n" * (LINES_LIMIT - 1) + "end")]
    assert parse(line * LINES_LIMIT) == [f"a reply of more than {LINES_LIMIT} lines"]


def test_an_endless_line_is_cut_off_while_it_comes() -> None:
    parser = ReplyParser()
    parser.feed(b"250 " + b"x" * (SIZE_LIMIT - 4))
    assert parser.next_reply() is None
    parser.feed(b"x")
    with pytest.raises(MalformedReply):
        parser.next_reply()


def test_long_lines_add_up() -> None:
    line = b"250-" + b"x" * 8192 + b"\r\n"
    assert parse(*[line] * 9) == [f"a reply of more than {SIZE_LIMIT} octets"]


def test_each_reply_has_the_whole_limit() -> None:
    reply = b"250 " + b"x" * 60000 + b"\r\n"
    assert len(parse(reply * 3)) == 3


def test_text_is_cut() -> None:
    (reply,) = parse(b"250 " + b"x" * 5000 + b"\r\n")
    assert isinstance(reply, Reply) and len(reply.text) == 1024


@pytest.mark.parametrize("rest", [b"2", b"250-x\r\n", b"250 x\r\n", b"\n"])
def test_pending_tells_of_octets_behind_a_reply(rest: bytes) -> None:
    parser = ReplyParser()
    parser.feed(b"220 go\r\n" + rest)
    assert parser.next_reply() == Reply(220, "", "go")
    assert parser.pending


def test_nothing_is_pending_after_the_last_reply() -> None:
    parser = ReplyParser()
    parser.feed(b"220-a\r\n220 go\r\n")
    assert parser.pending
    assert parser.next_reply() is not None
    assert not parser.pending


@given(st.lists(st.sampled_from([b"2", b"5", b"0", b"-", b" ", b"\r", b"\n", b"\0", b"\xff", b"250", b"x"])))
def test_cutting_never_changes_what_is_read(pieces: list[bytes]) -> None:
    whole = parse(b"".join(pieces))
    assert parse(*pieces) == whole
    for reply in whole:
        assert isinstance(reply, str) or all(line.isprintable() for line in reply.text.split("\n"))
