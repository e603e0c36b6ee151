"""Anything at all said to the server: ``python -m tests.campaigns.fuzz_server``.

Sessions are made of commands by grammar, of the same with octets changed, of raw octets, endless lines, deep quoting,
AUTH exchanges and messages; half of them with the limits of a real server, half with none, so that what stands behind
an error is heard too.  There must be no failure in the log, every reply must be well-formed, memory must not grow,
and no piece of input may take more than 5 ms of CPU time.  A piece that did is tried four times more, and its
shortest time counts.

A case is a session of about 100 lines.
"""

from __future__ import annotations

import gc
import re
import tracemalloc
from pathlib import Path
from random import Random
from time import thread_time

from smtpeter.intake.tls import READ_SIZE
from smtpeter.smtp.server import SessionLimits
from tests.campaigns import vocabulary
from tests.campaigns.command import Figures, Found, main
from tests.campaigns.wire import Host, Troubles, Wire, log_to_nobody

SLOW = 0.005  # seconds
GROWTH = 20 * 2**20  # octets
REAL = SessionLimits(50_000_000, 1000, 2048, 20, 3, 100)
NONE = SessionLimits(50_000_000, 10**9, 2048, 10**9, 10**9, 10**9)
_TEXT = rb"[^\x00-\x1f\x7f\r\n]{0,500}\r\n"
WELL_FORMED = re.compile(
    rb"(?:(?:220|250)[ -]mx\.test" + _TEXT + rb"|250[ -](?:PIPELINING|STARTTLS|AUTH PLAIN LOGIN|SIZE \d+|8BITMIME|"
    rb"ENHANCEDSTATUSCODES|DSN|SMTPUTF8)\r\n|3[35]4 " + _TEXT + rb"|([245])\d\d \1\.\d{1,3}\.\d{1,3} " + _TEXT + rb")*"
)
_BLOCK = 500  # sessions that share a pool of items

OPENING = b"EHLO client.test\r\n" + vocabulary.RIGHT + b"\r\n"
COMMANDS = [
    *(b"MAIL " + argument.encode() for argument in vocabulary.MAIL),
    *(b"RCPT " + each.encode() for each in vocabulary.RCPT), *vocabulary.ANYTIME, *vocabulary.HELLOS,
    *vocabulary.AUTHS, *vocabulary.BAD, *vocabulary.RESPONSES, b"DATA", b"STARTTLS",
]  # fmt: skip
ATOMS = [
    b"\r", b"\n", b"\0", b"\r\n", b".", b"\r\n.\r\n", b"<", b">", b"@", b":", b";", b",", b'"', b"\\", b"[", b"]",
    b" ", b"\t", b"=", b"+", b"+0A", b"\xff", b"\x7f", b"\x1b[2J", "\x85\u2028\u202e\ufeff".encode(), "ﬆı".encode(),
    b"\xed\xa0\x80", b"*", b"-", b"%n",
]  # fmt: skip


def _command(random: Random) -> bytes:
    return random.choice(COMMANDS) + b"\r\n"


def _transaction(random: Random) -> bytes:
    rcpts = b"".join(b"RCPT " + random.choice(_RECIPIENTS) + b"\r\n" for _ in range(random.randrange(1, 12)))
    content = random.choice(vocabulary.CONTENTS) if random.random() < 0.7 else _mutate(random, random.choice(_FIELDS))
    return b"MAIL " + random.choice(_SENDERS) + b"\r\n" + rcpts + b"DATA\r\n" + content + b"\r\n.\r\n"


def _mutate(random: Random, octets: bytes) -> bytes:
    changed = bytearray(octets)
    for _ in range(random.randrange(1, 6)):
        at = random.randrange(len(changed) + 1)
        act = random.randrange(5)
        if act == 0:
            changed[at:at] = random.choice(ATOMS)
        elif act == 1:
            del changed[at : at + random.randrange(1, 8)]
        elif act == 2 and changed:
            changed[at - 1] = random.randrange(256)
        elif act == 3:
            changed[at:at] = changed[at : at + random.randrange(1, 30)] * random.randrange(1, 8)
        else:
            changed[at:at] = random.choice(ATOMS) * random.randrange(1, 40)
    return bytes(changed)


def _deep(random: Random) -> bytes:
    depth = random.choice((10, 60, 100, 500, 1000, 1900))
    inner = random.choice(
        (b'"' + b"\\\\" * depth + b'"@x.test', b"@a," * depth + b"@a:b@c.test", b"a." * depth + b"@b.test",
         b"<" * depth, b"a@" + b"b-" * depth + b"b.test", b"a@" + b"b." * depth + b"test",
         b"a@[IPv6:" + b":" * depth + b"]", ("ä." * (depth // 3)).encode() + b"a@b.test",
         b"a@" + ("ü" * depth).encode()[: depth & ~1] + b".test",
         b'"' * depth + b"@b.test", b'"' + b"x" * depth)
    )  # fmt: skip
    verb = random.choice((b"MAIL FROM:<%s> SMTPUTF8\r\n", b"RCPT TO:<%s>\r\n", b"RCPT TO:%s ORCPT=rfc822;+%s\r\n"))
    return verb.replace(b"%s", inner)


def _raw(random: Random) -> bytes:
    return random.randbytes(random.randrange(200)) + random.choice((b"", b"\r\n", b"\n"))


def _endless(random: Random) -> bytes:
    return random.choice((b"x", b"AUTH PLAIN ", b"\xff", b"\0", b" ", b"MAIL FROM:<")) * random.randrange(500, 4000)


_SENDERS = [argument.encode() for argument, meaning in vocabulary.MAIL.items() if not isinstance(meaning, str)]
_RECIPIENTS = [argument.encode() for argument, meaning in vocabulary.RCPT.items() if not isinstance(meaning, str)]
_FIELDS = [
    b"Received: x\r\n" * 60, b"Subject: " + b"=?utf-8?q?=C3=A4?= " * 50 + b"\r\n",
    b"Subject: =?utf-7?b?K0FBbw==?=\r\n", b"Bcc: x\r\n y\r\n", b"X-SMTPeter-Tags: " + b"a," * 90 + b"\r\n",
    b"X-SMTPeter-MaxDeliverTime: 2099-01-01 00:00:00\r\n", b"Message-ID: <x@y>\r\n", b"From a\r\nDate: x\r\n",
    b": \r\n", b"x" * 5000 + b"\r\n", b"Subject: x\r\n" + b" \r\n" * 300, b"X-SMTPeter-TrackOpens: yes\r\n",
]  # fmt: skip
_KINDS = [
    _command,
    _command,
    _command,
    _transaction,
    _transaction,
    _transaction,
    _transaction,
    _transaction,
    _raw,
    _deep,
]


def make_pool(random: Random) -> list[bytes]:
    """Items of sessions."""
    pool = [random.choice(_KINDS)(random) for _ in range(2000)]
    pool += [_mutate(random, random.choice(pool)) for _ in range(1000)]
    return pool + [_endless(random) for _ in range(10)]


class Session:
    """What is said in one session, in pieces."""

    def __init__(self, random: Random, pool: list[bytes]) -> None:
        self.encrypted = random.random() < 0.9
        self.mx = random.random() < 0.2
        self.real = random.random() < 0.5
        said = OPENING if random.random() < 0.9 else b""
        said += b"".join(random.choices(pool, k=random.randrange(1, 30)))
        most = READ_SIZE if self.real else 2048
        self.pieces = []
        while said:
            size = random.randrange(1, 80) if random.random() < 0.1 else random.randrange(1, most)
            self.pieces.append(said[:size])
            said = said[size:]

    def run(self, hosts: dict[bool, Host], times: list[float]) -> tuple[int, bytes]:
        """Say it; how many lines were heard, and what was answered.  ``times`` gets the seconds of each piece."""
        wire = Wire(hosts[self.real], encrypted=self.encrypted, mx=self.mx, slow=True)
        transport = wire.transport
        lines = 0
        for piece in self.pieces:
            if transport.disconnecting:
                break
            before = thread_time()
            wire.say(piece)
            times.append(thread_time() - before)
            wire.settle()
            if not transport.disconnecting:  # in the last piece it is not known how far the server looked
                lines += piece.count(b"\n")
            if transport.tls:
                wire.secure()
        wire.lose()
        hosts[self.real].forget()
        return lines, wire.output


class Times:
    """How long pieces took, in groups."""

    def __init__(self) -> None:
        self.over = {0.0005: 0, 0.001: 0, 0.002: 0, SLOW: 0}
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        for limit in self.over:
            self.over[limit] += seconds > limit
        self.longest = max(self.longest, seconds)


def resident() -> int:
    """Octets of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def campaign(seed: int, first: int, count: int, slow: float = SLOW) -> Figures:
    """Sessions number ``first`` and on.  ``slow``: seconds that no piece may take each time."""
    hosts = {True: Host(REAL), False: Host(NONE)}
    times = Times()
    lines = pieces = messages = 0
    warm = 0
    gc.collect()
    gc.disable()
    with Troubles() as troubles:
        for number in range(first, first + count):
            if number % _BLOCK == 0 or number == first:
                pool = make_pool(Random(f"{seed} {number // _BLOCK}"))
                gc.collect()
                if number > first + count // 5 and not warm:
                    warm = resident()
            session = Session(Random(seed * 1_000_003 + number), pool)
            taken: list[float] = []
            heard, output = session.run(hosts, taken)
            lines += heard
            pieces += len(taken)
            messages += output.count(b"queued as")
            if WELL_FORMED.fullmatch(output) is None or troubles.events:
                what = troubles.events or f"not well-formed from {output[WELL_FORMED.match(output).end() :][:600]!r}"  # type: ignore[union-attr]
                raise Found(f"session {number} of seed {seed}: {what}\n{session.pieces}"[:8000])
            for seconds in taken:
                if seconds > 0.0005:
                    times.add(seconds)
            if taken and max(taken) > slow and not tracemalloc.is_tracing():
                _try_again(session, hosts, slow, f"session {number} of seed {seed}")
    gc.collect()
    gc.enable()
    growth = max(0, resident() - warm) if warm else 0  # a few sessions say nothing of it
    if growth > GROWTH:
        raise Found(f"memory grew by {growth:,} octets after the first fifth of {count} sessions")
    figures = {f"pieces over {limit * 1000:g} ms": n for limit, n in times.over.items()}
    return {
        "lines": lines,
        "messages": messages,
        "pieces": pieces,
        "max ms": round(times.longest * 1000, 3),
        "max growth": growth,
    } | figures


def _try_again(session: Session, hosts: dict[bool, Host], slow: float, name: str) -> None:
    """Whether a piece is slow each time."""
    runs = []
    for _ in range(4):
        taken: list[float] = []
        session.run(hosts, taken)
        runs.append(taken)
    for at, best in enumerate(map(min, zip(*runs, strict=True))):
        if best > slow:
            raise Found(f"{name}: {best * 1000:.1f} ms for piece {at}: {session.pieces[at]!r}"[:8000])


def traced(seed: int, count: int) -> int:
    """How many octets of our objects there are more after ``count`` sessions, by tracemalloc; slow."""
    campaign(seed, 0, count)
    gc.collect()
    tracemalloc.start()
    campaign(seed, 0, count)
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    campaign(seed, count, count)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


if __name__ == "__main__":
    log_to_nobody()
    growth = traced(1, 2000)
    print(f"fuzz_server: {growth:,} octets more after 2,000 sessions, by tracemalloc")
    if growth > 2**20:
        raise SystemExit(1)
    main("fuzz_server", campaign, 100_000, "sessions")
