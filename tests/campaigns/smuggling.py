"""All short strings of CR, LF, NUL and dot inside a message, cut everywhere: ``python -m tests.campaigns.smuggling``.

Each of the 5,460 strings of length 1 to 6 stands in the middle of a message, in the surroundings where a line does or
does not end before and after it, followed by commands and a second message for whoever sees an end too soon.  The
server must see what a strict reading of RFC 5321 sees, and refuse a message with a bare CR, LF or NUL with 550 5.5.2;
what it accepts goes out through our client to a receiver that must see the same, with no bare CR or LF on the way.

A case is one string in one of the surroundings with all its cuts; there are 21,840, all by default (about a minute).
"""

from __future__ import annotations

import itertools

from smtpeter.smtp.client import ClientSession
from smtpeter.smtp.client_events import ClientProfile
from smtpeter.smtp.server import SessionLimits
from smtpeter.smtp.transaction import Transaction
from tests.campaigns.command import Figures, Found, main
from tests.campaigns.reading import complaint, has_bare, read_strictly
from tests.campaigns.wire import Host, Wire, log_to_nobody, replies
from tests.fakes.jobs import make_recipient
from tests.fakes.smtp_connection import AUTH, MAIL

STRINGS = [bytes(string) for length in range(1, 7) for string in itertools.product(b"\r\n\0.", repeat=length)]
SURROUNDINGS = [(b"before", b""), (b"before\r\n", b""), (b"before", b"\r\n"), (b"before\r", b"\n.\r\n")]
CASES = len(STRINGS) * len(SURROUNDINGS)
EVIL = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nSubject: smuggled\r\n\r\nevil\r\n.\r\n"
LIMITS = SessionLimits(10**6, 100, 2048, 10**9, 3, 10**9)


def stream_of(number: int) -> tuple[bytes, int, int]:
    """What a client sends after 354 in this case, and between which offsets the string and its surroundings lie."""
    string = STRINGS[number % len(STRINGS)]
    before, after = SURROUNDINGS[number // len(STRINGS)]
    head = b"Subject: x\r\n\r\n" + before
    return head + string + after + EVIL, len(head) - len(before), len(head + string + after)


def expect(stream: bytes) -> tuple[list[str], list[bytes]]:
    """The replies to a stream, and the messages in it, by a strict reading: then commands, then perhaps a message."""
    codes: list[str] = []
    contents: list[bytes] = []
    while stream:
        read = read_strictly(stream)
        if read is None:
            break
        raw = stream[: len(stream) - len(read[1])]
        content, stream = read
        if has_bare(raw) or b"\0" in raw:
            codes.append("550 5.5.2")
        else:
            codes.append("250 2.0.0")
            contents.append(content)
        while stream and codes[-1:] != ["354"]:
            line, _, stream = stream.partition(b"\n")
            codes.append(_expect_command(line + b"\n", codes))
    return codes, contents


def _expect_command(line: bytes, before: list[str]) -> str:
    if not line.endswith(b"\r\n") or b"\r" in line[:-2] or b"\0" in line:
        return "500 5.5.2"
    if line.startswith(b"MAIL"):
        return "250 2.1.0"
    if line.startswith(b"RCPT"):
        return "250 2.1.5" if "250 2.1.0" in before else "503 5.5.1"
    if line.startswith(b"DATA"):
        return "354" if "250 2.1.5" in before else "503 5.5.1"
    return "500 5.5.1"


def pass_on(content: bytes) -> bytes:
    """The octets with which our client hands this content to the next hop, final dot included."""
    session = ClientSession(ClientProfile("mx.test", "next.test"))
    session.receive(b"220 hi\r\n")
    session.take_output()
    session.receive(b"250 next.test\r\n")
    session.begin(Transaction("a@example.com", [make_recipient()], content))
    for reply in (b"250 ok\r\n", b"250 ok\r\n", b"354 go\r\n"):
        session.take_output()
        session.receive(reply)
    wire = session.take_output()
    while session.sending:
        wire += session.take_output()
    return wire


class Attempts:
    """One session after the other, each used for many messages."""

    def __init__(self) -> None:
        self._host = Host(LIMITS)
        self._wire: Wire | None = None

    def submit(self, pieces: list[bytes]) -> tuple[list[str], list[bytes], list[bytes]]:
        """Replies, what was taken as it is kept, and what came in of it (without our trace fields)."""
        self._host.forget()
        if self._wire is None:
            self._wire = Wire(self._host)
            self._wire.say(b"EHLO c.test\r\n" + AUTH)
        wire = self._wire
        wire.say(b"RSET\r\n" + MAIL)
        wire.settle()
        wire.transport.written.clear()
        for piece in pieces:
            wire.say(piece)
        wire.settle()
        codes = replies(wire.output)
        wire.transport.written.clear()
        if wire.protocol._session.receiving_data:  # a message without end: only losing the connection ends it
            wire.lose()
            self._wire = None
        kept = [submission.content.data for submission in self._host.intake.submissions]
        return codes, kept, [without_trace(data) for data in kept]


def without_trace(data: bytes) -> bytes:
    """A message as it came in: without the fields that the server put on top, of which Date is the last."""
    _, _, rest = data.partition(b"\r\nDate: ")
    return rest.partition(b"\r\n")[2]


def campaign(seed: int, first: int, count: int) -> Figures:
    """Cases number ``first`` and on; the seed is not used, as nothing is left to chance."""
    attempts = Attempts()
    sent = accepted = 0
    passed: set[bytes] = set()
    for number in range(first, min(first + count, CASES)):
        stream, begin, end = stream_of(number)
        codes, contents = expect(stream)
        cuts = [[stream[:at], stream[at:]] for at in range(begin, end + 1)]
        cuts.append([stream[:begin], *(stream[at : at + 1] for at in range(begin, end)), stream[end:]])
        for pieces in cuts:
            said, kept, got = attempts.submit(pieces)
            sent += 1
            if said != codes or got != contents:
                raise Found(f"case {number}: {pieces}\n{said} {got} instead of\n{codes} {contents}")
            accepted += len(got)
            for data, content in zip(kept, got, strict=True):
                if content in passed:
                    continue
                passed.add(content)
                wrong = complaint(pass_on(data), data)
                if wrong:
                    raise Found(f"case {number}: {pieces}\n{wrong}")
    return {"submitted": sent, "accepted": accepted, "passed on": len(passed)}


if __name__ == "__main__":
    log_to_nobody()
    main("smuggling", campaign, CASES, "cases")
