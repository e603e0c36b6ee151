"""Dot-stuffing over any content in any chunks, and back: ``python -m tests.campaigns.stuffing``.

What our client's stuffer sends must end only at its end, hold no bare CR or LF, and come out of the server's decoder,
which gets it in other chunks, as it went in.  Contents have many dots and line ends, cut where that matters.
"""

from __future__ import annotations

import itertools
from random import Random

from smtpeter.smtp.data import DataDecoder
from smtpeter.smtp.dotstuff import DotStuffer
from tests.campaigns.command import Figures, Found, main
from tests.campaigns.reading import complaint

PARTS = [b"\r\n", b"\r\n", b".", b".", b"..", b"\r\n.", b"\r\n.\r\n", b"\r\n..\r\n", b"a", b"b" * 70, b"\xff", b"MAIL"]


def cut(random: Random, octets: bytes) -> list[bytes]:
    """Chunks; half of the cuts are beside a dot or inside a line end."""
    if not octets:
        return []
    bounds = {0, len(octets)}
    for _ in range(random.randrange(8)):
        at = random.randrange(len(octets))
        if random.random() < 0.5:
            near = octets.find(random.choice((b".", b"\n", b"\r")), at)
            at = near + random.randrange(2) if near >= 0 else at
        bounds.add(at)
    ordered = sorted(bounds)
    return [octets[a:b] for a, b in itertools.pairwise(ordered)]


def campaign(seed: int, first: int, count: int) -> Figures:
    """Contents number ``first`` and on."""
    octets = 0
    for number in range(first, first + count):
        random = Random(seed * 1_000_003 + number)
        content = b"".join(random.choices(PARTS, k=random.randrange(16)))
        if random.random() < 0.01:
            content += b"x" * random.randrange(65530, 65540) + b"\r\n.\r\n" + content
        stuffer = DotStuffer()
        chunks = cut(random, content)
        wire = b"".join([*map(stuffer.feed, chunks), stuffer.finish()])
        wrong = complaint(wire, content)
        if not wrong:
            wrong = _decode(cut(random, wire + b"QUIT\r\n"), content)
        if wrong:
            raise Found(f"content {number} of seed {seed}: {chunks}\n{wrong}\n{wire!r}")
        octets += len(content)
    return {"octets": octets}


def _decode(chunks: list[bytes], content: bytes) -> str:
    """What is wrong with these chunks as our server decodes them; empty where ``content`` comes out."""
    decoder = DataDecoder(10**6)
    got = b""
    for at, chunk in enumerate(chunks):
        octets, rest = decoder.feed(chunk)
        got += octets
        if rest is not None:
            rest += b"".join(chunks[at + 1 :])
            whole = content + (b"" if not content or content.endswith(b"\r\n") else b"\r\n")
            if max(map(len, content.split(b"\r\n"))) > 65536:
                return "" if decoder.fault is not None and rest == b"QUIT\r\n" else "a long line was let pass"
            return "" if (got, rest, decoder.fault) == (whole, b"QUIT\r\n", None) else f"{got!r} {rest!r} came out"
    return "no end was found"


if __name__ == "__main__":
    main("stuffing", campaign, 1_000_000, "contents")
