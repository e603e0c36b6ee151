"""Each campaign in a few seconds, and whether it finds what it is there to find."""

from __future__ import annotations

from base64 import urlsafe_b64decode

import pytest

from smtpeter import seals
from smtpeter.smtp import data, server
from smtpeter.smtp.client import ClientSession
from smtpeter.smtp.dotstuff import DotStuffer
from smtpeter.smtp.framing import LineBuffer
from smtpeter.smtp.server import ServerSession
from tests.campaigns import bombs, fuzz_client, fuzz_server, links, sessions, smuggling, stuffing, syntax
from tests.campaigns.command import Found

EACH = len(smuggling.STRINGS)
UP_TO_FIVE = sum(len(string) < 6 for string in smuggling.STRINGS)


def test_sessions():
    assert sessions.campaign(1, 0, 2000)["messages"] > 100


@pytest.mark.parametrize("surroundings", range(len(smuggling.SURROUNDINGS)))
def test_no_string_of_cr_lf_nul_and_dot_smuggles_a_message(surroundings):
    # All strings where they stand inside a line; the long form has those of six octets everywhere.
    figures = smuggling.campaign(0, surroundings * EACH, UP_TO_FIVE if surroundings else EACH)
    assert figures["accepted"] > 0 and figures["passed on"] > 0


def test_stuffing():
    stuffing.campaign(1, 0, 8000)


def test_fuzz_of_the_server():
    assert fuzz_server.campaign(1, 0, 1000, slow=0.1)["lines"] > 10_000


def test_fuzz_of_the_client():
    assert fuzz_client.campaign(1, 0, 10_000)["results"] > 1000


def test_bombs():
    assert bombs.campaign(1, 0, 4)["max CPU"] > 0


def test_syntax():
    syntax.campaign(1, 0, 2000)


def test_links():
    assert links.campaign(1, 0, 5000)["forged"] > 4500


# --- they can fail ---


@pytest.mark.parametrize(("bound", "value"), [("CPU", -1.0), ("MEMORY", 1000), ("TURN", 0.0)])
def test_a_bomb_that_costs_too_much_is_found(monkeypatch, bound, value):
    monkeypatch.setattr(bombs, bound, value)
    with pytest.raises(Found, match="100,000 multiparts"):
        bombs.campaign(1, 2, 1)


def test_a_session_that_goes_wrong_is_found(monkeypatch):
    monkeypatch.setattr(ServerSession, "_need_no_transaction", lambda self: None)
    with pytest.raises(Found, match="replies"):
        sessions.campaign(1, 0, 2000)


def test_a_command_hidden_behind_starttls_is_found(monkeypatch):
    monkeypatch.setattr(ServerSession, "pending", property(lambda self: 0))
    with pytest.raises(Found, match="replies"):
        sessions.campaign(1, 0, 2000)


def test_a_lenient_end_of_data_is_found(monkeypatch):
    feed = data.DataDecoder.feed
    monkeypatch.setattr(data.DataDecoder, "feed", lambda self, chunk: feed(self, chunk.replace(b"\n.\n", b"\r\n.\r\n")))
    with pytest.raises(Found):
        smuggling.campaign(0, 0, EACH)


def test_a_bare_newline_that_goes_out_is_found(monkeypatch):
    stuff = DotStuffer.feed
    monkeypatch.setattr(DotStuffer, "feed", lambda self, chunk: stuff(self, chunk).replace(b"\r\n..", b"\n.."))
    with pytest.raises(Found, match="bare"):
        smuggling.campaign(0, 0, EACH)


def test_a_stuffer_that_forgets_what_went_before_is_found(monkeypatch):
    def feed(self, chunk):
        self._tail = chunk[-2:] or self._tail
        return chunk.replace(b"\r\n.", b"\r\n..")

    monkeypatch.setattr(DotStuffer, "feed", feed)
    with pytest.raises(Found):
        stuffing.campaign(1, 0, 1000)


def test_a_failure_of_the_server_is_found(monkeypatch):
    monkeypatch.setitem(server._COMMANDS, "VRFY", lambda self, argument: argument[1000])
    with pytest.raises(Found, match="log_failure"):
        fuzz_server.campaign(1, 0, 200, slow=0.1)


def test_a_reply_that_is_not_well_formed_is_found(monkeypatch):
    monkeypatch.setitem(server._COMMANDS, "NOOP", lambda self, argument: self._output.append(b"250 ok\x1b[2J\r\n"))
    with pytest.raises(Found, match="not well-formed"):
        fuzz_server.campaign(1, 0, 200, slow=0.1)


def test_a_piece_that_takes_too_long_is_found(monkeypatch):
    take_line = LineBuffer.take_line
    monkeypatch.setattr(LineBuffer, "take_line", lambda self, limit: sum(range(10**5)) and take_line(self, limit))
    with pytest.raises(Found, match="ms for piece"):
        fuzz_server.campaign(1, 0, 20)


def test_a_client_that_forgets_a_recipient_is_found(monkeypatch):
    finish = ClientSession._finish

    def forget(self):
        self._outcomes.pop(1, None)
        finish(self)

    monkeypatch.setattr(ClientSession, "_finish", forget)
    with pytest.raises(Found, match="outcomes"):
        fuzz_client.campaign(1, 0, 3000)


def test_a_seal_that_is_not_compared_is_found(monkeypatch):
    monkeypatch.setattr(seals.hmac, "compare_digest", lambda one, other: one[:1] == other[:1])
    with pytest.raises(Found, match="took"):
        links.campaign(1, 0, 2000)


def test_a_link_that_has_more_than_one_spelling_is_found(monkeypatch):
    monkeypatch.setattr(seals, "_decode", lambda text: urlsafe_b64decode(text + "=="))
    with pytest.raises(Found, match="took"):
        links.campaign(1, 0, 5000)


def test_time_that_grows_faster_than_the_octets_is_found(monkeypatch):
    monkeypatch.setattr(syntax, "_time", lambda work, octets: octets * 1e-6)
    syntax.check_times()
    monkeypatch.setattr(syntax, "_time", lambda work, octets: octets**2 * 1e-9)
    with pytest.raises(Found, match="times as many"):
        syntax.check_times()
