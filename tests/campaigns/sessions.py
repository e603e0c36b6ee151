"""Sessions of every kind, compared with the reference model: ``python -m tests.campaigns.sessions``.

A case is a random walk of commands, legal and illegal, in pipelined groups that are cut anywhere.  Code and enhanced
code of every reply, what EHLO offers, every accepted message with its envelope, and the end of the session must be as
the model has them.
"""

from __future__ import annotations

import itertools
import re
from random import Random

from smtpeter.intake.message import MessagePolicy
from smtpeter.smtp.server import SessionLimits
from tests.campaigns import vocabulary
from tests.campaigns.command import Figures, Found, main
from tests.campaigns.reference import Reference
from tests.campaigns.wire import Host, Wire, log_to_nobody, replies

TIGHT = SessionLimits(message_size=300, recipients=2, command_line=2048, errors=5, auth_failures=2, junk_commands=6)
WIDE = TIGHT._replace(message_size=100_000, recipients=100, errors=1000, auth_failures=100, junk_commands=1000)
POLICY = MessagePolicy("mx.test", header_size=3000, received_fields=2, expire=3600.0)
DOORS = {"smtp": {"encrypted": False}, "smtps": {"encrypted": True}, "mx": {"encrypted": False, "mx": True}}
_TRACE = re.compile(
    rb"Received: from \S+ \(\[192\.168\.1\.1\]\)\r\n\tby mx\.test with (?:UTF8SMTP|ESMTP)SA \(TLSv1\.3 AES\)\r\n"
    rb"\tid \S+(?:\r\n\tfor <[^>]*>)?;\r\n\t[^\r\n]+\r\n(?:Message-ID: [^\r\n]+\r\n)?(?:Date: [^\r\n]+\r\n)?"
)


class Pair:
    """A session of ours and the model of it, hearing the same."""

    def __init__(self, host: Host, door: str, *, slow: bool = False) -> None:
        limits = host.door.limits
        self.wire = Wire(host, slow=slow, **DOORS[door])
        self.model = Reference(
            limits=limits,
            header_size=POLICY.header_size,
            received_fields=POLICY.received_fields,
            encrypted=door == "smtps",
            mx=door == "mx",
        )

    @property
    def over(self) -> bool:
        return bool(self.wire.closed)

    def say(self, pieces: list[bytes], *, at_once: bool) -> None:
        """Octets of one group, piece by piece.  ``at_once``: the server's answers wait for nothing."""
        for piece in pieces:
            if self.over:
                return
            self.wire.say(piece)
            self.model.receive(piece)
            self.wire.go_on()
            if at_once:
                self.wire.settle()
            if self.wire.transport.tls:
                break  # what is left of the group is no TLS: it is not heard of
        self.wire.settle()
        if self.wire.transport.tls:
            self.wire.secure()
            if self.model.wants_tls:
                self.model.tls()

    def difference(self) -> str:
        """What is not the same; empty where nothing is."""
        output = self.wire.output
        said, expected = replies(output), self.model.said
        if said != expected:
            return f"replies: {said} instead of {expected}"
        if self.wire.closed != self.model.closed:
            return f"closed: {self.wire.closed} instead of {self.model.closed}"
        offers = re.findall(rb"(?m)^250-(STARTTLS|AUTH PLAIN LOGIN)\r$", output)
        if len(set(offers)) > 1 + (b"220 2.0.0" in output):
            return f"EHLO offered {offers}"
        submissions = self.wire.host.intake.submissions
        if len(submissions) != len(self.model.messages):
            return f"{len(submissions)} messages were accepted instead of {len(self.model.messages)}"
        for submission, (sender, recipients, content) in zip(submissions, self.model.messages, strict=True):
            envelope = submission.envelope
            if (envelope.reverse_path, envelope.body, envelope.smtputf8, envelope.ret, envelope.envid) != sender[:5]:
                return f"the sender of {envelope} instead of {sender}"
            if [(one.address, one.notify, one.orcpt) for one in envelope.recipients] != [tuple(r) for r in recipients]:
                return f"the recipients of {envelope} instead of {recipients}"
            trace = _TRACE.match(submission.content.data)
            if trace is None:
                return f"the trace fields in {submission.content.data!r}"
            kept = submission.content.data[trace.end() :]
            if kept not in (content, b"\r\n" + content):
                return f"the content {kept!r} instead of {content!r}"
        return ""


class Walk:
    """The script of one session: a door, groups of lines, and for each group where it is cut."""

    def __init__(self, random: Random) -> None:
        self.door = random.choice(("smtp", "smtps", "smtps", "mx"))
        self.wide = random.random() < 0.6
        self.slow = random.random() < 0.2
        self.at_once = random.random() < 0.5
        self.groups: list[list[bytes]] = []
        lines = self._lines(random)
        group: list[bytes] = []
        alone = random.random() < 0.5
        for line in lines:
            group.append(line)
            # A client that wants TLS waits for its answer; sometimes this one does not.
            if alone or random.random() < 0.3 or (line == b"STARTTLS\r\n" and random.random() < 0.9):
                self.groups.append(group)
                group = []
        self.groups.append(group)
        self.cuts = [self._cut(random, sum(map(len, group))) for group in self.groups]

    @staticmethod
    def _cut(random: Random, length: int) -> list[int]:
        if random.random() < 0.4 or length < 2:
            return []
        return sorted(random.randrange(length) for _ in range(random.randrange(1, 5)))

    def _lines(self, random: Random) -> list[bytes]:
        lines: list[bytes] = []
        if random.random() < 0.9:
            lines.append(b"EHLO client.test")
            if self.door != "smtps" and random.random() < 0.8:
                lines += [b"STARTTLS", b"EHLO client.test"]
            if random.random() < 0.8:
                lines += self._login(random)
        for _ in range(random.randrange(1, 6)):
            lines += random.choice(
                (self._transaction, self._transaction, self._transaction, self._noise, self._noise, self._login)
            )(random)
        # Some lines are lost, said twice or moved: thus whole transactions are out of order.
        for _ in range(random.choice((0, 0, 0, 1, 2, 4))):
            if not lines:
                break
            at = random.randrange(len(lines))
            act = random.random()
            if act < 0.4:
                del lines[at : at + 1]
            elif act < 0.7:
                lines[at:at] = lines[at : at + 1]
            else:
                lines.insert(random.randrange(len(lines) + 1), lines.pop(at))
        whole = [line + b"\r\n" for line in lines]
        if random.random() < 0.02:
            long = b"y:" + b"y" * random.randrange(12270, 12290) + b"\r\n"
            whole.insert(random.randrange(len(whole) + 1), long)
        if random.random() < 0.03:
            whole.insert(random.randrange(len(whole) + 1), random.choice((b"NOOP\n", b"\n", b"NOOP\r\r\n")))
        return whole

    @staticmethod
    def _login(random: Random) -> list[bytes]:
        if random.random() < 0.6:
            return [vocabulary.RIGHT]
        lines = [random.choice(vocabulary.AUTHS)]
        return lines + random.choices(vocabulary.RESPONSES, k=random.choice((0, 1, 1, 2, 2)))

    @staticmethod
    def _transaction(random: Random) -> list[bytes]:
        senders, recipients = (_GOOD_SENDERS, _GOOD_RECIPIENTS) if random.random() < 0.7 else (_SENDERS, _RECIPIENTS)
        lines = [b"MAIL " + random.choice(senders)]
        lines += [b"RCPT " + random.choice(recipients) for _ in range(random.choice((0, 1, 1, 1, 2, 3)))]
        if random.random() < 0.9:
            lines.append(b"DATA")
            if random.random() < 0.95:
                stuffed = random.choice(vocabulary.CONTENTS)
                lines += [*stuffed.split(b"\r\n")[:-1], b"."]
        return lines

    @staticmethod
    def _noise(random: Random) -> list[bytes]:
        lines = []
        for _ in range(random.randrange(1, 5)):
            kind = random.random()
            if kind < 0.45:
                lines.append(random.choice(vocabulary.ANYTIME))
            elif kind < 0.6:
                lines.append(random.choice(vocabulary.HELLOS))
            elif kind < 0.7:
                lines.append(random.choice(vocabulary.BAD))
            elif kind < 0.95:
                lines.append(random.choice((b"STARTTLS", b"DATA", b"MAIL FROM:<a@a.test>", b"RCPT TO:<b@b.test>")))
            else:
                lines.append(b"QUIT")
        return lines

    def pieces(self, number: int) -> list[bytes]:
        octets = b"".join(self.groups[number])
        bounds = [0, *(cut for cut in self.cuts[number] if cut < len(octets)), len(octets)]
        return [octets[a:b] for a, b in itertools.pairwise(bounds) if b > a]

    def run(self, hosts: dict[bool, Host]) -> tuple[str, Pair]:
        """What went differently from the model; empty where nothing did."""
        host = hosts[self.wide]
        host.forget()
        pair = Pair(host, self.door, slow=self.slow)
        for number in range(len(self.groups)):
            pair.say(self.pieces(number), at_once=self.at_once)
        difference = pair.difference()
        pair.wire.lose()
        return difference, pair

    def shrink(self, hosts: dict[bool, Host]) -> None:
        """Leave out groups, lines and cuts while the difference stays."""
        for parts in (self.groups, *self.groups, *self.cuts):
            at = 0
            while at < len(parts):
                part = parts.pop(at)
                cuts = self.cuts.pop(at) if parts is self.groups else []
                if not self.run(hosts)[0]:
                    parts.insert(at, part)  # type: ignore[arg-type]
                    if parts is self.groups:
                        self.cuts.insert(at, cuts)
                    at += 1


_SENDERS = [argument.encode() for argument in vocabulary.MAIL]
_RECIPIENTS = [argument.encode() for argument in vocabulary.RCPT]
_GOOD_SENDERS = [argument.encode() for argument, meaning in vocabulary.MAIL.items() if not isinstance(meaning, str)]
_GOOD_RECIPIENTS = [argument.encode() for argument, meaning in vocabulary.RCPT.items() if not isinstance(meaning, str)]


def make_hosts() -> dict[bool, Host]:
    return {False: Host(TIGHT, POLICY), True: Host(WIDE, POLICY)}


def campaign(seed: int, first: int, count: int) -> Figures:
    """Walks number ``first`` and on."""
    hosts = make_hosts()
    said = messages = closed = 0
    for number in range(first, first + count):
        walk = Walk(Random(seed * 1_000_003 + number))
        difference, pair = walk.run(hosts)
        if difference:
            walk.shrink(hosts)
            difference, pair = walk.run(hosts)
            script = [walk.pieces(at) for at in range(len(walk.groups))]
            raise Found(
                f"walk {number} of seed {seed} on {walk.door} ({'wide' if walk.wide else 'tight'} limits, "
                f"slow={walk.slow}, at_once={walk.at_once})\n{difference[:4000]}\n{str(script)[:4000]}\n"
                f"{pair.wire.output[-4000:]!r}"
            )
        said += len(pair.model.said)
        messages += len(pair.model.messages)
        closed += pair.model.closed
    return {"replies": said, "messages": messages, "closed by the server": closed}


if __name__ == "__main__":
    log_to_nobody()
    main("sessions", campaign, 1_000_000, "sessions")
