"""A next hop that answers anything at all: ``python -m tests.campaigns.fuzz_client``.

Our client's session gets replies that fit, that do not, that are malformed, endless or mere octets, in any pieces,
with the connection lost at any time.  It must not fail; each transaction must end with exactly one outcome for each
recipient; nothing that it sends may hold a bare CR or LF; what it keeps of the answers is bounded; texts have no
controls, and dialogues no secrets either.

A case is a connection of about 10 lines of answers.
"""

from __future__ import annotations

import re
from random import Random

from smtpeter.model.route import TlsPolicy
from smtpeter.smtp import client_events as events
from smtpeter.smtp.client import ClientSession
from smtpeter.smtp.client_events import ClientProfile
from smtpeter.smtp.transaction import Transaction
from tests.campaigns.command import Figures, Found, main
from tests.campaigns.reading import has_bare
from tests.fakes.jobs import make_recipient

PROFILES = [
    ClientProfile("mx.test", "next.test"),
    ClientProfile("mx.test", "next.test", tls=TlsPolicy.MAY),
    ClientProfile("mx.test", "next.test", tls=TlsPolicy.REQUIRE),
    ClientProfile("mx.test", "next.test", username="user", password="secret\u00e4"),
    ClientProfile("mx.test", "next.test", tls=TlsPolicy.REQUIRE, username="user", password="secret"),
]
ANSWERS = [
    b"250 2.0.0 ok\r\n", b"250 2.1.5 ok\r\n", b"250 ok\r\n", b"354 go\r\n", b"220 2.0.0 go\r\n", b"235 2.7.0 ok\r\n",
    b"334 \r\n", b"334 VXNlcm5hbWU6\r\n",
    b"250-relay\r\n250-STARTTLS\r\n250-PIPELINING\r\n250-AUTH PLAIN LOGIN\r\n250 SIZE 100\r\n",
    b"250-relay\r\n250-AUTH=LOGIN\r\n250-STARTTLS\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
    b"421 4.3.2 going\r\n", b"450 4.2.1 later\r\n", b"452 4.5.3 too many recipients\r\n", b"550 5.1.1 unknown\r\n",
    b"535 5.7.8 no\r\n", b"554 no\r\n", b"221 bye\r\n", b"552-too many\r\n552 recipients\r\n",
]  # fmt: skip
FITTING = {
    "greeting": [b"220 relay\r\n"],
    "hello": ANSWERS[8:10],
    "starttls": [b"220 go\r\n"],
    "auth": [b"235 ok\r\n", b"334 \r\n"],
    "mail": [b"250 ok\r\n"],
    "rcpt": [b"250 ok\r\n", b"550 5.1.1 unknown\r\n"],
    "data": [b"354 go\r\n"],
    "end": [b"250 2.0.0 ok\r\n", b"451 4.3.0 later\r\n"],
}
STRANGE = [
    b"250\r\n", b"250\n", b"250-a\r\n550 b\r\n", b"\r\n", b"hello\r\n", b"999 x\r\n", b"25 x\r\n", b"250x\r\n",
    b"\0\r\n", b"250 \xff\x00\x1b[2J\r\n", b"250-" + b"x" * 70_000, b"250-x\r\n" * 200,
    b"550 5.7.1 " + b"y" * 5000 + b"\r\n", b"150 hm\r\n", b"250 2.1.5\r\n250 2.1.5\r\n",
    "550 5.1.1 \u2028\x85\u202e\r\n".encode(), b"250 4.0.0 odd\r\n", b"x" * 100_000, b"250 a\rb\r\n",
    b"250--\r\n250 \r\n", b"250- \r\n" * 127,
]  # fmt: skip
CONTENTS = [
    b"",
    b"Subject: x\r\n\r\n.\r\n..\r\nbody\r\n",
    "Subject: ä\r\n\r\nö\r\n".encode(),
    b"no end",
    b"x" * 70_000 + b"\r\n.\r\n",
]
PATHS = ["a@example.com", "", "ä@example.com", "a@b\r\nRCPT TO:<c@d>", "a\x00@b"]
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LINE = re.compile(r"[0-9]+ [<>-] .*")
_KEPT = 65536 + 3 * 100_060  # octets: the largest reply that is read on with, and the largest piece that comes in here


class Hop:
    """A client's session and what was seen of it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.session = ClientSession(random.choice(PROFILES), "192.0.2.1", "192.0.2.25")
        self.sent = b""
        self.lines = 0
        self.open: set[int] | None = None
        self.results = 0

    def run(self) -> str:
        """What is wrong; empty where nothing is."""
        random, session = self.random, self.session
        for _ in range(random.randrange(3, 16)):
            wrong = self._hear(random)
            if wrong or session.closed:
                break
            if random.random() < 0.03:
                session.lost("connection lost")
        else:
            wrong = ""
        if not wrong and not session.closed:
            session.lost("connection lost")
        return wrong or self._look() or ("a transaction has no result" if self.open is not None else "")

    def _hear(self, random: Random) -> str:
        answer = random.choice(ANSWERS if random.random() < 0.8 else STRANGE)
        if random.random() < 0.7:
            answer = random.choice(FITTING.get(self.session.stage, ANSWERS))
        if random.random() < 0.05:
            answer = random.randbytes(random.randrange(60)) + answer
        answer *= random.choice((1, 1, 1, 1, 2, 3))
        at = random.randrange(len(answer)) if random.random() < 0.3 else len(answer)
        for piece in (answer[:at], answer[at:]):
            if piece:
                self.session.receive(piece)
        self.lines += answer.count(b"\n")
        return self._look()

    def _look(self) -> str:
        session = self.session
        while True:
            output = session.take_output()
            event = session.next_event()
            self.sent += output
            if not output and event is None:
                break
            match event:
                case events.StartTlsEvent():
                    session.tls_started()
                case events.MarkEvent():
                    session.marked(self.random.random() < 0.8)
                case events.ResultEvent(outcomes):
                    if self.open is None or outcomes.keys() != self.open:
                        return f"outcomes for {outcomes.keys()} instead of {self.open}"
                    self.open = None
                    self.results += 1
                    if not all(len(one.text) <= 1024 and not _CONTROL.search(one.text) for one in outcomes.values()):
                        return f"a text that is not clean: {outcomes}"
                    if not all(_is_fit(one.dialogue) for one in outcomes.values()):
                        return f"a dialogue that is not fit: {outcomes}"
            if session.ready and not session.closed and self.open is None:
                self._begin()
        if has_bare(self.sent) or len(session._parser._data) > _KEPT:
            return f"a bare CR or LF in {self.sent!r}, or {len(session._parser._data)} octets kept"
        return ""

    def _begin(self) -> None:
        random = self.random
        recipients = [make_recipient(number, random.choice(PATHS) or None) for number in range(random.randrange(1, 4))]
        self.open = {recipient.number for recipient in recipients}
        utf8 = random.random() < 0.3
        transaction = Transaction(random.choice(PATHS), recipients, random.choice(CONTENTS), smtputf8=utf8)
        self.session.begin(transaction._replace(mark=random.random() < 0.2))


def _is_fit(dialogue: str) -> bool:
    lines = dialogue.split("\n")
    clean = all(_LINE.fullmatch(line) and not _CONTROL.search(line) for line in lines)
    return clean and "secret" not in dialogue and len(dialogue.encode()) <= 8192


def campaign(seed: int, first: int, count: int) -> Figures:
    """Connections number ``first`` and on."""
    lines = results = 0
    for number in range(first, first + count):
        hop = Hop(Random(seed * 1_000_003 + number))
        try:
            wrong = hop.run()
        except Exception as error:
            raise Found(f"connection {number} of seed {seed}: {error!r}") from error
        if wrong:
            raise Found(f"connection {number} of seed {seed}: {wrong}"[:4000])
        lines += hop.lines
        results += hop.results
    return {"lines": lines, "results": results}


if __name__ == "__main__":
    main("fuzz_client", campaign, 120_000, "connections")
