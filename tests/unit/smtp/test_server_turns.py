"""How much of what a client sends is looked at before others have their turn."""

from __future__ import annotations

import pytest

from smtpeter.smtp.events import TurnOverEvent
from tests.fakes.smtp_session import LIMITS, ScriptedSession, codes, ready

ENVELOPE = b"MAIL FROM:<a@a.test> SMTPUTF8\r\n"
MESSAGE = b"MAIL FROM:<a@a.test>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n\r\nx\r\n.\r\n"
PLENTY = LIMITS._replace(recipients=10_000, errors=10_000, junk_commands=10_000)


class Counting(ScriptedSession):
    """Counts the replies that were made in each turn."""

    def __init__(self) -> None:
        self.turns = [0]
        super().__init__(limits=PLENTY)
        self.send(b"EHLO client.test\r\n", b"AUTH PLAIN AHVzZXIAc2VjcmV0\r\n", ENVELOPE)
        self.turns = [0]

    def _take(self, event):
        if isinstance(event, TurnOverEvent):
            self.turns[-1] = len(codes(self.session.take_output()))
            self.turns.append(0)
        super()._take(event)


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (b"NOOP\r\n", 50),
        (b"XYZZY\r\n", 50),
        (b"RCPT TO:<b@b.test>\r\n", 50),
        (b"RCPT TO:<b@b.test> ORCPT=rfc822;" + b"+41" * 160 + b"\r\n", 6),
        ("RCPT TO:<b@bücher.test>\r\n".encode(), 2),
        (b"RSET\r\n" + MESSAGE, 4 * 5),
    ],
)
def test_so_many_replies_are_made_in_a_turn(command, most):
    session = Counting()
    session.send(command * 200)
    turns = session.turns[:-1]
    assert len(turns) > 1 and max(turns) <= most, turns


def test_a_turn_is_given_up_only_where_something_waits():
    session = Counting()
    for _ in range(200):
        session.send(b"NOOP\r\n")
    session.send(b"NOOP\r\n" * 50)
    assert session.turns == [0]


def test_nothing_is_lost_between_two_turns():
    assert codes(ready(limits=PLENTY).send(b"NOOP\r\n" * 175 + b"VRFY x\r\n")) == ["250 2.0.0"] * 175 + ["252 2.0.0"]
