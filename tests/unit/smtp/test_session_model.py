"""The whole server side of a connection against a model that was written from the standards, step by step."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.campaigns import vocabulary
from tests.campaigns.sessions import DOORS, Pair, make_hosts

COMMANDS = [
    *(b"MAIL " + argument.encode() for argument in vocabulary.MAIL),
    *(b"RCPT " + argument.encode() for argument in vocabulary.RCPT), *vocabulary.HELLOS, *vocabulary.ANYTIME,
    *vocabulary.AUTHS, *vocabulary.BAD, *vocabulary.RESPONSES, b"DATA", b"QUIT", b".",
]  # fmt: skip
OPENING = (b"EHLO client.test", vocabulary.RIGHT)
TRANSACTION = (b"MAIL FROM:<a@a.test>", b"RCPT TO:<b@b.test>")


class Sessions(RuleBasedStateMachine):
    """Says the same to a session of ours and to the model."""

    pair = None

    @initialize(door=st.sampled_from(sorted(DOORS)), wide=st.booleans(), slow=st.booleans())
    def connect(self, door, wide, slow):
        self.pair = Pair(make_hosts()[wide], door, slow=slow)

    @precondition(lambda self: self.pair.over)
    @rule(line=st.sampled_from(COMMANDS))
    def say_to_nobody(self, line):
        """Behind the end of a session nothing is heard."""
        self.pair.wire.say(line + b"\r\n")

    def say(self, lines, data):
        octets = b"".join(line + b"\r\n" for line in lines)
        cut = data.draw(st.integers(0, len(octets)))
        self.pair.say([piece for piece in (octets[:cut], octets[cut:]) if piece], at_once=data.draw(st.booleans()))

    @precondition(lambda self: not self.pair.over)
    @rule(lines=st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=4), data=st.data())
    def commands(self, lines, data):
        self.say(lines, data)

    @precondition(lambda self: not self.pair.over)
    @rule(
        lines=st.sampled_from([OPENING, TRANSACTION, OPENING + TRANSACTION, (b"STARTTLS",), (b"STARTTLS", b"NOOP")]),
        data=st.data(),
    )
    def usual(self, lines, data):
        self.say(lines, data)

    @precondition(lambda self: not self.pair.over)
    @rule(content=st.sampled_from(vocabulary.CONTENTS), data=st.data())
    def message(self, content, data):
        self.say([*TRANSACTION, b"DATA", *content.split(b"\r\n")[:-1], b"."], data)

    @invariant()
    def is_as_the_model(self):
        if self.pair is not None:
            assert self.pair.difference() == ""

    def teardown(self):
        if self.pair is not None:
            self.pair.wire.lose()


TestSessions = Sessions.TestCase
TestSessions.settings = settings(max_examples=80, stateful_step_count=15)
