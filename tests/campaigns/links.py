"""Forged links, none of which leads anywhere: ``python -m tests.campaigns.links``.

Each is asked for at the doors of clicks and of opens.  Some are drawn at random, others made of true links: with a
character or a bit changed, cut, made longer, put together from parts of different links, made with another key or for
another feature.  The true links themselves are asked for too, so that it is known that the door is there.
"""

from __future__ import annotations

import string
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from random import Random
from typing import Any

from smtpeter.features.services import FeatureKeys
from smtpeter.model.feature import NOT_FOUND
from smtpeter.model.ids import make_submission_id
from smtpeter.plugins import trackclicks, trackopens
from tests.campaigns.command import Figures, Found, main
from tests.fakes.services import FakeServer, web_request

ALPHABET = string.ascii_letters + string.digits + "-_"
ANY = string.printable + "\x00\x80\u00e9\u017f\u212a"
EVIL = b"https://evil.example/"
TRUE_LINKS = 20

Link = tuple[str, str]  # token and destination
Forger = Callable[[Random, list[Link]], Link]


class Door:
    """A feature as the world sees it, and links that it made."""

    def __init__(self, module: Any, random: Random) -> None:
        self.name = module.NAME
        self.keys = FeatureKeys("2", {"1": random.randbytes(32), "2": random.randbytes(32)})
        self.server = FakeServer(keys=self.keys)
        self.feature = module.plugin.configure({}, self.server.services)
        self.links: list[Link] = []
        seal = self.server.services.links
        for number in range(TRUE_LINKS):
            submission = make_submission_id(1_700_000_000_000 + number // 4, random.randbytes(10))
            seal.current = str(1 + number % 2)
            payload = b"https://example.com/%d?%b" % (number, b"x" * number) if module is trackclicks else b""
            destination = seal.destination(submission, number % 3 or None, payload)
            self.links.append((seal.token(seal.current, submission, 1 + number), destination))

    def opens(self, link: Link) -> bool:
        """Whether something else than nothing is found behind a link."""
        before = len(self.server.recorded)
        response = self.feature.serve(web_request("/".join(link)))
        return response is not NOT_FOUND or len(self.server.recorded) != before


def drawn(random: Random, links: list[Link]) -> Link:
    """Nothing true but the form."""
    length = random.choice((48, 54, 75, 80, 100, 2000))
    token = "".join(random.choices(ALPHABET, k=24))
    return token, f"{random.randrange(1, 3)}.{''.join(random.choices(ALPHABET, k=length))}"


def changed(random: Random, links: list[Link]) -> Link:
    """A character changed, left out or added."""
    whole = "/".join(random.choice(links))
    at = random.randrange(len(whole))
    new = random.choice(ANY if random.random() < 0.5 else ALPHABET) + random.choice(("", whole[at]))
    if random.random() < 0.1:
        new = ""
    token, _, destination = (whole[:at] + new + whole[at + 1 :]).partition("/")
    return token, destination


def flipped(random: Random, links: list[Link]) -> Link:
    """A bit changed in what is sealed."""
    token, destination = random.choice(links)
    key_id, _, sealed = destination.partition(".")
    if random.random() < 0.5:
        return _flip(random, token), destination
    return token, f"{key_id}.{_flip(random, sealed)}"


def _flip(random: Random, sealed: str) -> str:
    octets = bytearray(urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4)))
    octets[random.randrange(len(octets))] ^= 1 << random.randrange(8)
    return urlsafe_b64encode(octets).rstrip(b"=").decode()


def mixed(random: Random, links: list[Link]) -> Link:
    """The recipient of one link and the destination of another, or parts of two destinations."""
    (token, destination), (other_token, other_destination) = random.choice(links), random.choice(links)
    cut = random.randrange(len(destination))
    return random.choice(
        (
            (token, other_destination),
            (token, destination[:cut] + other_destination[cut:]),
            (token[: cut % 24] + other_token[cut % 24 :], destination),
            (token, other_destination.partition(".")[0] + "." + destination.partition(".")[2]),
        )
    )


def redirected(random: Random, links: list[Link]) -> Link:
    """A destination whose address is another one, under the MAC of the true one."""
    token, destination = random.choice(links)
    key_id, _, sealed = destination.partition(".")
    octets = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
    evil = octets[:20] + EVIL[: random.randrange(1, len(EVIL) + 1)] + octets[-16:]
    return token, f"{key_id}.{urlsafe_b64encode(evil).rstrip(b'=').decode()}"


def made_elsewhere(random: Random, links: list[Link]) -> Link:
    """Well made, with a key that is not ours."""
    seal = FakeServer(keys=FeatureKeys("2", {"2": random.randbytes(32)})).services.links
    submission = make_submission_id(1_700_000_000_000, random.randbytes(10))
    return seal.token("2", submission, 1), seal.destination(submission, 1, random.choice((EVIL, b"")))


FORGERS: tuple[Forger, ...] = (drawn, changed, flipped, mixed, redirected, made_elsewhere)


def campaign(seed: int, first: int, count: int) -> Figures:
    """Links number ``first`` and on."""
    keys = Random(seed)
    doors = [Door(trackclicks, keys), Door(trackopens, keys)]
    for door in doors:
        for link in door.links:
            if not door.opens(link):
                raise Found(f"a true link of {door.name} leads nowhere: {link}")
    everything = {(door.name, link) for door in doors for link in door.links}
    forged = 0
    for number in range(first, first + count):
        random = Random(seed * 1_000_003 + number)
        maker, door = random.choice(doors), random.choice(doors)
        forger = random.choice(FORGERS)
        link = forger(random, maker.links)
        if (door.name, link) in everything:
            continue
        forged += 1
        if door.opens(link):
            raise Found(f"link {number} of seed {seed}, {forger.__name__}: {door.name} took {link}")
    return {"forged": forged}


if __name__ == "__main__":
    main("links", campaign, 1_000_000, "links")
