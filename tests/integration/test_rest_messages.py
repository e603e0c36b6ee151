"""Random messages through the whole way: what is read at the other end is what was given, octet for octet."""

from __future__ import annotations

import base64
import email
import email.policy
import random
import re
from contextlib import closing
from email.header import decode_header, make_header
from email.utils import getaddresses

import pytest

from tests.integration.gateway import Gateway, free_ports, wait_for
from tests.integration.receiver import Receiver
from tests.integration.rest import Caller

SEED = 20_261_121
CAPTURED, RELAYED = 300, 60

_ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ",
    "".join(map(chr, range(0x20, 0x7F))),
    "aä \"\\\\,;:@<>()[]=?_.'",
    "äöüßéèñçøåÆŁłşğ àê",
    "Привет мир ",
    "今日は世界、 你好 한국어",
    "שלום עולם مرحبا ",
    "e\u0301a\u0308n\u0303 \u200d\u200b\ufeff\u00a0\u3000",
    "👍🏽👨‍👩‍👧😀🇳🇱𝕏𐍈 ",
)
_LINES = (
    "", ".", "..", ".x", "From here", ">From", "--", "--=_x", "=", "=3D", "x ", "x\t", " x", "\tx", "-- ", "=\u00e9",
    "Subject: x", "x" * 76, "y" * 77, "z" * 998, "w" * 999, "\u00e9" * 2000, "%PDF", "\u2028\x85", "a =C3=A9",
    "=?utf-8?q?x?=",
)  # fmt: skip
_TYPES = ("", "application/pdf", "image/png", "text/plain", "text/csv", "application/octet-stream")


def text_of(choose, longest):
    """Some characters of one script, or of several, without white space at its ends."""
    alphabet = "".join(choose.sample(_ALPHABETS, choose.randint(1, 3)))
    return "".join(choose.choices(alphabet, k=choose.randint(0, longest))).strip()


def body_of(choose):
    """Lines of every kind, with line ends of every kind."""
    lines = [
        choose.choice(_LINES) if choose.random() < 0.3 else text_of(choose, 200) for _ in range(choose.randint(1, 8))
    ]
    return "".join(line + choose.choice(("\n", "\r\n", "\n", "\r")) for line in lines) + choose.choice(("", "end"))


def mailbox_of(choose, number):
    name, address = text_of(choose, 60), f"a{number}.b-{choose.randint(0, 99)}@example.net"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return name, address, f'"{quoted}" <{address}>' if name else address


def attachment_of(choose, number, cid=""):
    kind = choose.choice(_TYPES)
    octets = choose.randbytes(choose.choice((0, 1, 56, 57, 58, choose.randint(0, 5000))))
    if kind.startswith("text/"):
        octets = body_of(choose).encode()
    # What is on both sides of a slash is no part of a name, nor are dots at its ends.
    name = re.sub(r"[/\\:]", "", text_of(choose, 50)).strip(". ") or f"file {number}"
    return {"name": f"{name}.bin", "data": base64.b64encode(octets).decode(), "type": kind, "cid": cid}


class Given:
    """One message as a program hands it over, and what has to be read of it."""

    def __init__(self, choose, number):
        self.subject = text_of(choose, 300)
        self.sender, self.to, self.cc = (mailbox_of(choose, 3 * number + each) for each in range(3))
        self.text, self.html = (body_of(choose) if choose.random() < 0.7 else "" for _ in range(2))
        self.attachments = [attachment_of(choose, each) for each in range(choose.choice((0, 0, 1, 3)))]
        self.inline = [
            attachment_of(choose, each, f"i{each}@x") for each in range(choose.choice((0, 1, 2)) if self.html else 0)
        ]
        self.html += "".join(f'<img src="cid:{each["cid"]}">' for each in self.inline)
        self.recipient = f"r{number}@example.net"
        self.request = {
            "recipient": self.recipient, "from": self.sender[2], "to": [self.to[2]], "cc": self.cc[2],
            "subject": self.subject, "text": self.text, "html": self.html,
            "attachments": self.attachments + self.inline, "extra": {"X-Number": str(number)},
        }  # fmt: skip

    def check(self, octets):
        """Whether this is what is read there."""
        assert b"\n" not in octets.replace(b"\r\n", b"") and max(map(len, octets.split(b"\r\n"))) <= 998
        found = email.message_from_bytes(octets, policy=email.policy.default)
        header = email.message_from_bytes(octets)  # its newer parser keeps white space between encoded words
        assert decoded(header["Subject"] or "") == self.subject
        for field, (name, address, _) in (("From", self.sender), ("To", self.to), ("Cc", self.cc)):
            ((found_name, found_address),) = getaddresses([unfolded(header[field])])
            assert (decoded(found_name), found_address) == (name, address)
        assert not any(part.defects for part in found.walk())
        leaves = [part for part in found.walk() if not part.is_multipart()]
        texts = [part for part in leaves if part.get_filename() is None]
        assert [lines(part.get_payload(decode=True)) for part in texts] == [
            lines(each.encode()) for each in (self.text, self.html) if each
        ] or [b""]
        assert all(part.get_content_charset() in ("utf-8", "us-ascii") for part in texts)
        files = {(part.get_filename(), part["Content-ID"]): part for part in leaves if part.get_filename() is not None}
        assert len(files) == len(leaves) - len(texts)
        assert {
            (each["name"], f"<{each['cid']}>" if each["cid"] else None) for each in self.request["attachments"]
        } == files.keys()
        for each in self.request["attachments"]:
            part = files[each["name"], f"<{each['cid']}>" if each["cid"] else None]
            assert part.get_payload(decode=True) == base64.b64decode(each["data"])
            assert not each["type"] or part.get_content_type() == each["type"]


def unfolded(value):
    return re.sub(r"\r\n(?=[ \t])", "", value)


def decoded(value):
    """A text out of encoded words (RFC 2047), or as it is."""
    return str(make_header(decode_header(unfolded(value))))


def lines(octets):
    """A text without what lines end with, and without an end of its last one: RFC 2046 leaves no other choice."""
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").removesuffix(b"\n")


def send_all(caller, count, seed):
    """Random messages by the ids that they were given."""
    choose, sent = random.Random(seed), {}
    with closing(caller.connect()) as connection:
        for number in range(count):
            given = Given(choose, number)
            answer = caller.send(given.request, connection=connection)
            assert answer.status == 200, (answer, given.request)
            (id,) = answer.value
            sent[id] = given
    return sent


def test_what_was_given_is_what_is_kept(gateway):
    caller = Caller(gateway)
    sent = send_all(caller, CAPTURED, SEED)
    with closing(caller.connect()) as connection:
        for id, given in sent.items():
            answer = caller.ask("GET", f"/v1/raw/{id}", connection=connection)
            assert answer.status == 200
            given.check(answer.body)


@pytest.fixture
def relaying(tmp_path):
    (port,) = free_ports(1)
    receiver = Receiver(port).start()
    gateway = Gateway(tmp_path / "gateway", f'mode = "relay"\nrelay = "smtp://localhost:{port}"')
    gateway.start()
    yield Caller(gateway), receiver
    gateway.end()
    receiver.stop()


def test_what_was_given_is_what_the_next_hop_gets(relaying):
    """As it is, and converted for one that takes ASCII only (RFC 6152 section 3)."""
    caller, receiver = relaying
    for number, lacks in enumerate([(), ("8BITMIME", "SMTPUTF8")]):
        receiver.hang_up()
        receiver.lacks = lacks
        receiver.messages.clear()
        sent = send_all(caller, RELAYED, SEED + number)
        wait_for(lambda: len(receiver.messages) == RELAYED, 60)
        for given in sent.values():
            (octets,) = receiver.got(given.recipient)
            given.check(octets)
            assert octets.isascii() or not lacks


def test_a_whole_message_of_eight_bits_is_converted_where_it_has_to_be(relaying):
    caller, receiver = relaying
    head = "Subject: x\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    for number, lacks in enumerate([(), ("8BITMIME", "SMTPUTF8")]):
        receiver.hang_up()
        receiver.lacks = lacks
        choose = random.Random(SEED + number)
        given = {f"{number}.{each}@example.net": "é" + text_of(choose, 200) + "\n.\n" for each in range(20)}
        for recipient, text in given.items():
            assert caller.send({"recipient": recipient, "mime": head + text}).status == 200
        wait_for(lambda: len(receiver.messages) == 20 * (number + 1), 60)  # noqa: B023 (asked at once)
        for recipient, text in given.items():
            (octets,) = receiver.got(recipient)
            found = email.message_from_bytes(octets)
            assert lines(found.get_payload(decode=True)) == lines(text.encode())
            assert octets.isascii() == bool(lacks)
